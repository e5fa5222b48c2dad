package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Severity says how bad a finding is.
type Severity string

// The severities: something cannot be restored or used as it should; something does not belong or waits to be cleaned up;
// something worth knowing.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityInfo    Severity = "info"
)

// Finding is one thing that Check noticed.
type Finding struct {
	Severity Severity `json:"severity"`
	Object   string   `json:"object,omitempty"`
	Problem  string   `json:"problem"`
	Points   []string `json:"points,omitempty"` // "address/id" of the points that need it, as far as the keys at hand tell
	Advice   string   `json:"advice,omitempty"`
}

// CheckOptions say how far Check goes.
type CheckOptions struct {
	Deep     bool // also hash every stored byte
	Progress func(VerifyProgress)
}

// CheckReport is what Check found, and what it could not look at.
type CheckReport struct {
	Repository     string    `json:"repository"`
	Points         int       `json:"points"`
	Objects, Bytes int64     `json:"-"`
	Findings       []Finding `json:"findings"`
	NotChecked     []string  `json:"not_checked,omitempty"`
}

// Errors counts the findings of severity error.
func (c CheckReport) Errors() int {
	n := 0
	for _, f := range c.Findings {
		if f.Severity == SeverityError {
			n++
		}
	}
	return n
}

// Check looks at the structure of a repository with nothing else known of it: every point has what it needs, every object
// belongs to something. With a recipient's key, every chunk of every point must have a place. What the keys at hand cannot
// tell is in NotChecked, never passed over.
func (r *Repository) Check(ctx context.Context, o CheckOptions) (CheckReport, error) {
	survey, err := r.Survey(ctx)
	if err != nil {
		return CheckReport{}, err
	}
	c := &checker{r: r, seen: map[string]bool{}}
	c.report = CheckReport{Repository: r.ID(), Objects: survey.Objects, Bytes: survey.Bytes, Findings: []Finding{}}
	c.survey(survey)
	if o.Deep {
		found, err := r.VerifyStored(ctx, VerifyOptions{All: true, Progress: o.Progress})
		if err != nil {
			return CheckReport{}, err
		}
		c.damage(found.Damaged)
		c.report.Bytes = max(c.report.Bytes, found.Bytes)
	} else {
		c.skip("the content of packs and manifests: -deep hashes every stored byte")
	}
	if r.CanRead() && r.CanWrite() {
		for _, p := range survey.Points {
			if err := c.chunks(ctx, p); err != nil {
				return CheckReport{}, err
			}
		}
	} else {
		c.skip("whether every chunk of every point has a place: that needs a recipient's key")
	}
	slices.SortFunc(c.report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank(a.Severity), rank(b.Severity)), strings.Compare(a.Object, b.Object), strings.Compare(a.Problem, b.Problem))
	})
	return c.report, nil
}

func rank(s Severity) int {
	return slices.Index([]Severity{SeverityError, SeverityWarning, SeverityInfo}, s)
}

type checker struct {
	r      *Repository
	report CheckReport
	seen   map[string]bool // damaged objects
}

func (c *checker) add(f Finding) { c.report.Findings = append(c.report.Findings, f) }

func (c *checker) skip(what string) { c.report.NotChecked = append(c.report.NotChecked, what) }

func (c *checker) damage(list []Damage) {
	for _, d := range list {
		if c.seen[d.Object] {
			continue
		}
		c.seen[d.Object] = true
		f := Finding{Severity: SeverityError, Object: d.Object, Problem: d.Problem, Points: d.Points}
		switch {
		case len(d.Points) > 0:
			f.Advice = "`holdfast verify` keeps the finding as evidence; `holdfast apply` then repairs it from a further copy, or sets it aside"
		case strings.HasPrefix(d.Object, packsPrefix), strings.HasPrefix(d.Object, indexPrefix):
			f.Severity = SeverityWarning
			f.Advice = "no restore point is known to need it; `holdfast apply` prunes it when it is due"
		}
		c.add(f)
	}
}

func (c *checker) survey(s Survey) {
	c.damage(s.Damaged)
	for _, name := range s.Unknown {
		c.add(Finding{Severity: SeverityWarning, Object: name, Problem: "it belongs to nothing that holdfast stores", Advice: "move it elsewhere; holdfast never touches it"})
	}
	for _, p := range s.Points {
		if p.Manifest {
			c.report.Points++
		} else {
			c.add(Finding{
				Severity: SeverityInfo, Object: summaryName(p.Address, p.ID), Problem: "it is left from a restore point that was not finished, or was deleted",
				Advice: "a prune deletes it after its grace",
			})
		}
	}
	if !s.Judged {
		c.skip("indexes and summaries, and what each point needs: that needs the key of a recipient or writer")
	}
	if s.Unneeded > 0 {
		c.add(Finding{Severity: SeverityInfo, Problem: fmt.Sprintf("%d bytes are in packs that no restore point needs, %d of them condemned", s.Unneeded, s.Condemned), Advice: "a prune reclaims them after their grace"})
	}
}

// chunks looks up every chunk of a point.
func (c *checker) chunks(ctx context.Context, p PointRef) error {
	if !p.Manifest {
		return nil
	}
	label := p.Address + "/" + p.ID
	rd, err := c.r.OpenPoint(ctx, p.Address, p.ID)
	var damaged *DamagedError
	switch {
	case errors.As(err, &damaged):
		c.damage([]Damage{{Object: damaged.Object, Problem: damaged.Problem, Points: []string{label}}})
		return nil
	case errors.Is(err, ErrNoPoint):
		return nil // deleted meanwhile
	case err != nil:
		return err
	}
	_, whole, err := rd.packs(ctx)
	if errors.As(err, &damaged) {
		c.damage([]Damage{{Object: damaged.Object, Problem: damaged.Problem, Points: []string{label}}})
		return nil
	}
	if err != nil {
		return err
	}
	if !whole && !c.known(label) {
		c.add(Finding{
			Severity: SeverityError, Object: rd.name, Problem: "some of its chunks are in no pack that is there", Points: []string{label},
			Advice: "`holdfast verify -level=read " + p.ID + "` names the files",
		})
	}
	return nil
}

// known tells whether some finding explains why a point is not whole.
func (c *checker) known(label string) bool {
	return slices.ContainsFunc(c.report.Findings, func(f Finding) bool { return slices.Contains(f.Points, label) })
}
