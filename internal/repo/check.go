package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/frame"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// Severity says how much a finding counts.
type Severity string

// The severities: an object is damaged or missing; something does not belong here; worth knowing, and nothing to do.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityInfo    Severity = "info"
)

func rank(s Severity) int {
	return slices.Index([]Severity{SeverityError, SeverityWarning, SeverityInfo}, s)
}

// Finding is one thing that was found about an object, who is affected, and what to do.
type Finding struct {
	Severity Severity `json:"severity"`
	Object   string   `json:"object,omitempty"`
	Problem  string   `json:"problem"`
	Points   []string `json:"points,omitempty"` // "address/id" of the points that need it, as far as the keys at hand tell
	Advice   string   `json:"advice,omitempty"`
}

// CheckOptions say how thoroughly to check.
type CheckOptions struct {
	Deep     bool                 // hash every stored byte
	Progress func(VerifyProgress) // of the hashing; one call at a time; may be nil
}

// CheckReport is what a check found, and what it could not look at.
type CheckReport struct {
	Repository     string    `json:"repository"`
	Points         int       `json:"points"`
	Objects, Bytes int64     `json:"-"` // in the store
	Hashed         int64     `json:"-"` // bytes that were read and hashed
	Opened         int       `json:"-"` // manifests that were opened and whose every chunk was looked up
	Findings       []Finding `json:"findings"`
	NotChecked     []string  `json:"not_checked,omitempty"`
}

// Errors counts the findings that are errors.
func (c CheckReport) Errors() (n int) {
	for _, f := range c.Findings {
		if f.Severity == SeverityError {
			n++
		}
	}
	return n
}

// Check looks at the structure of the repository with nothing else known: whether all that belongs together is there.
// With a reading key every manifest is opened and every chunk that it names must be in a pack that exists.
//
// Damage is no error; failures to reach the store are.
func (r *Repository) Check(ctx context.Context, o CheckOptions) (CheckReport, error) {
	in, err := r.inspect(ctx)
	if err != nil {
		return CheckReport{}, err
	}
	out := CheckReport{Repository: r.config.ID, Points: len(in.early), Objects: in.objects, Bytes: in.bytes}
	if o.Deep {
		report, err := r.VerifyStored(ctx, VerifyOptions{All: true, Progress: o.Progress})
		if err != nil {
			return CheckReport{}, err
		}
		out.Hashed = report.Bytes
		for _, d := range report.Damaged {
			advice := adviseCopy
			if strings.HasPrefix(d.Object, walPrefix) {
				advice = adviseWAL
			}
			in.note(SeverityError, d.Object, d.Problem, advice, d.Points...)
		}
	}
	if r.CanRead() && r.CanWrite() {
		if out.Opened, err = in.openManifests(ctx); err != nil {
			return CheckReport{}, err
		}
	}
	out.Findings = in.sorted()
	out.NotChecked = r.notChecked(o)
	return out, nil
}

// notChecked says what a check with these keys does not look at.
func (r *Repository) notChecked(o CheckOptions) (out []string) {
	if !r.CanWrite() {
		out = append(out, "indexes and summaries were not opened, so nobody looked for packs that restore points need; that takes the secret key of one of: "+
			strings.Join(append(r.config.Recipients[:len(r.config.Recipients):len(r.config.Recipients)], r.config.Writers...), ", "))
	}
	if !r.CanRead() || !r.CanWrite() {
		out = append(out, "manifests were not opened and their chunks not looked up; that takes the secret key of one of: "+strings.Join(r.config.Recipients, ", "))
	}
	if o.Deep {
		if !r.CanRead() {
			out = append(out, "what packs and write-ahead log hold was not decrypted: their bytes are those that were stored, by their hash")
		}
		return out
	}
	return append(out, "the bytes of packs and write-ahead log were not read and hashed; -deep does that")
}

// openManifests opens the manifest of every point that was judged and looks every chunk up.
func (in *inspection) openManifests(ctx context.Context) (opened int, err error) {
	loaded, err := in.r.loadIndex(ctx, nil)
	if err != nil {
		return 0, err
	}
	decoder, err := frame.NewDecoder()
	if err != nil {
		return 0, err
	}
	base := &Reader{src: &source{r: in.r, loaded: loaded, packs: newPackReader(in.r), decoder: decoder}}
	if err := base.completeIndex(ctx); err != nil {
		return 0, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, in.r.concurrency))
	for p := range in.points {
		if !in.judged(p) {
			continue
		}
		g.Go(func() error {
			ok, err := in.openManifest(gctx, p, *base.src)
			in.mu.Lock()
			defer in.mu.Unlock()
			if ok {
				opened++
			}
			var d *DamagedError
			var sealed *OtherKeyError
			switch {
			case errors.As(err, &d):
				in.noteLocked(SeverityError, d.Object, d.Problem, adviseCopy, label(p))
				return nil
			case errors.As(err, &sealed):
				in.noteLocked(SeverityInfo, sealed.Object, "no key at hand opens it: it was sealed to other recipients", "`holdfast key rotate -reseal` seals it anew, where one of their keys is", label(p))
				return nil
			}
			return err
		})
	}
	err = g.Wait()
	return opened, err
}

func (in *inspection) openManifest(ctx context.Context, p [2]string, src source) (ok bool, err error) {
	rd := &Reader{name: manifestName(p[0], p[1]), src: &src}
	src.absent = func(ref manifest.Ref) error {
		return damaged(rd.name, "its list of entries is in chunk %s, which is in no pack", ref.ID)
	}
	raw, err := in.r.bucket.Get(ctx, rd.name)
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil // expired since it was listed
	}
	if err != nil {
		return false, fmt.Errorf("read manifest: %w", err)
	}
	if err := rd.decode(in.r, p[0], p[1], raw); err != nil {
		if in.r.sealedToOthers(ctx, p[0], p[1], raw) {
			return false, &OtherKeyError{Object: rd.name}
		}
		return false, err
	}
	lost, err := rd.lostChunks(ctx)
	if err != nil {
		return false, err
	}
	if lost.count > 0 {
		return true, damaged(rd.name, "%d of its chunks are in no pack that is stored (the first is %s, of %s)", lost.count, lost.first, lost.path)
	}
	return true, nil
}

// lostChunks is what a manifest refers to and no index places in a stored pack.
type lostChunks struct {
	count       int64
	first, path string
}

func (rd *Reader) lostChunks(ctx context.Context) (lost lostChunks, err error) {
	lines, done := rd.lines(ctx)
	defer done()
	path := "the list of entries"
	missing := func(refs []manifest.Ref) {
		for _, ref := range refs {
			loc, ok := rd.src.loaded.index.Lookup(ref.ID)
			if ok {
				info := rd.src.loaded.index.Pack(loc.Pack)
				size, stored := rd.src.loaded.stored[info.ID]
				ok = stored && size == info.Size
			}
			if ok {
				continue
			}
			if lost.count++; lost.count == 1 {
				lost.first, lost.path = ref.ID.String(), path
			}
		}
	}
	var items int64
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return lost, rd.checkItems(items)
		}
		if err != nil {
			return lost, err
		}
		if line.Entry != nil {
			items++
			path = line.Entry.Path
		}
		missing(line.Refs)
	}
}
