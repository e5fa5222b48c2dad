package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

var showCommand = &command{
	name: "show", group: "Inspect", summary: "Show a saved plan, or the state",
	usage: "[options] [PLANFILE]",
	examples: `  holdfast show p.hfplan
  holdfast show -json p.hfplan | jq .actions
  holdfast show -json`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf := a.policyFlags(f)
		return func(ctx context.Context, args []string) error {
			if len(args) > 1 {
				return usageError("show takes one plan file, not %d", len(args))
			}
			if len(args) == 1 {
				return a.showSaved(args[0])
			}
			s, err := a.open(ctx, pf, nil, false)
			if err != nil {
				return err
			}
			return s.showState()
		}
	},
}

func (a *app) showSaved(name string) error {
	file, err := readPlan(name)
	if err != nil {
		return err
	}
	if a.json {
		data, err := plan.Encode(file.Plan)
		if err == nil {
			_, err = a.out.Write(append(data, '\n'))
		}
		return err
	}
	fmt.Fprintf(a.out, "Saved plan, to be applied before %s UTC (state serial %d)\n\n", view.Time(file.Expires), file.Plan.Serial)
	fmt.Fprint(a.out, a.out.Symbols(plan.Text(file.Plan)))
	return nil
}

func (s *session) showState() error {
	c := s.catalog
	if s.json {
		if c.Objects == nil {
			c.Objects = map[string]state.Object{}
		}
		points := slices.AppendSeq([]listedPoint{}, s.listed(""))
		return s.out.Document(map[string]any{
			"format_version": "1.0", "lineage": c.Lineage, "serial": c.Serial, "objects": c.Objects, "points": points, "wal": s.allWAL(), "runs": c.Runs,
		})
	}
	if c.Serial == 0 {
		fmt.Fprintln(s.out, "The state is empty: nothing was applied yet.")
		return nil
	}
	fmt.Fprintf(s.out, "State %s, serial %d\n\n", c.Lineage, c.Serial)
	var rows [][]string
	for _, address := range slices.Sorted(maps.Keys(c.Objects)) {
		note := ""
		if c.Objects[address].Forgotten {
			note = "forgotten"
		}
		points := ""
		if n := len(c.Points[address]); n > 0 {
			points = fmt.Sprint(n)
		}
		rows = append(rows, []string{address, points, note})
	}
	s.out.Table([]string{"OBJECT", "POINTS", ""}, rows)
	s.walTable(slices.Sorted(maps.Keys(c.WAL)), s.Now())
	return nil
}

// allWAL is what the catalog knows of WAL, by backup.
func (s *session) allWAL() map[string][]walStatus {
	all := map[string][]walStatus{}
	for address := range s.catalog.WAL {
		all[address] = s.walOf(address, s.Now())
	}
	return all
}
