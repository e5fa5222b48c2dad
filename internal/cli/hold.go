package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/state"
)

var holdCommand = &command{
	name: "hold", group: "Data", summary: "Keep a restore point whatever retention says",
	usage: "POINT... -reason=TEXT [options]",
	examples: `  holdfast hold 20261121T021500Z-9fd2ma -reason="before the migration"
  holdfast points backup.app            # held points say why`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		return a.holding(f, "hold", "why it must stay; needed")
	},
}

var releaseCommand = &command{
	name: "release", group: "Data", summary: "Let a held restore point go by the rules of retention again",
	usage: "POINT... [-reason=TEXT] [options]",
	examples: `  holdfast release 20261121T021500Z-9fd2ma
  holdfast release 20261121T021500Z-9fd2ma -reason="the audit is over"`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		return a.holding(f, "release", "why it may go; kept with the run")
	},
}

// holding defines both commands: they differ in what they do to a point.
func (a *app) holding(f *flags, verb, about string) func(context.Context, []string) error {
	pf := a.policyFlags(f)
	reason := f.string("reason", "TEXT", "", about)
	return func(ctx context.Context, points []string) error {
		if len(points) == 0 {
			return usageError("%s needs a restore point; `holdfast points` lists them", verb)
		}
		if verb == "hold" && *reason == "" {
			return usageError("a hold needs a reason, for those who find it later: -reason=TEXT")
		}
		s, err := a.open(ctx, pf, nil, true)
		if err != nil {
			return err
		}
		return s.hold(ctx, verb, *reason, points)
	}
}

// held is what became of one restore point.
type held struct {
	Address string      `json:"address"`
	Point   string      `json:"point"`
	Hold    *state.Hold `json:"hold,omitempty"` // as it is now
	Changed bool        `json:"changed"`        // false when it was so already
}

// hold holds or releases points, all of them or none. It takes no lock: a running apply looks at holds again before it
// takes a point out of the catalog.
func (s *session) hold(ctx context.Context, verb, reason string, points []string) error {
	now := s.Now().UTC()
	var done []held
	err := s.backend.Update(ctx, func(c *state.Catalog) error {
		done = nil
		run := state.Run{ID: newID(now), Operation: verb, Who: s.holder(), Started: now, Finished: now, Status: state.RunOK}
		for _, id := range points {
			one, err := setHold(c, id, verb, state.Hold{Reason: reason, Who: run.Who, At: now})
			if err != nil {
				return err
			}
			done = append(done, one)
			run.Actions = append(run.Actions, state.RunAction{
				Address: one.Address, Kind: verb, Point: id, Started: now, Finished: now, Status: state.RunOK, Note: reason,
			})
		}
		c.Runs = append(c.Runs, run)
		return nil
	})
	if err != nil {
		return err
	}
	if s.json {
		return s.out.Document(map[string]any{"format_version": "1.0", "operation": verb, "points": done})
	}
	for _, one := range done {
		fmt.Fprintln(s.out, one.sentence(verb))
	}
	return nil
}

// setHold changes one point of the catalog. The list it is in is replaced, not changed: others may look at it.
func setHold(c *state.Catalog, id, verb string, h state.Hold) (held, error) {
	for _, address := range slices.Sorted(maps.Keys(c.Points)) {
		i := slices.IndexFunc(c.Points[address], func(p state.RestorePoint) bool { return p.ID == id })
		if i < 0 {
			continue
		}
		before := c.Points[address][i].Hold
		one := held{Address: address, Point: id, Hold: before}
		switch {
		case verb == "release":
			one.Hold, one.Changed = nil, before != nil
		case before == nil:
			one.Hold, one.Changed = &h, true
		case before.Reason != h.Reason:
			return one, fmt.Errorf("restore point %s is held since %s UTC by %s: %s. Release it first, or leave that hold as it is",
				id, view.Time(before.At), before.Who, before.Reason)
		}
		c.Points[address] = slices.Clone(c.Points[address])
		c.Points[address][i].Hold = one.Hold
		return one, nil
	}
	return held{}, usageError("there is no restore point %s; `holdfast points` lists them", id)
}

func (h held) sentence(verb string) string {
	subject := fmt.Sprintf("Restore point %s of %s ", h.Point, h.Address)
	switch {
	case verb == "hold" && h.Changed:
		return subject + "is held: " + h.Hold.Reason + "."
	case verb == "hold":
		return subject + "was held already: " + h.Hold.Reason + "."
	case h.Changed:
		return subject + "is released; retention decides about it again."
	default:
		return subject + "was not held."
	}
}
