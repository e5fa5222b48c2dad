package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/state"
)

var runsCommand = &command{
	name: "runs", group: "Inspect", summary: "Tell what ran, when, and how it ended",
	usage: "[options] [ADDRESS]",
	examples: `  holdfast runs -limit=5
  holdfast runs backup.app -json`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf := a.policyFlags(f)
		limit := f.Int("limit", 20, "show the newest N runs; 0 shows all")
		f.values["limit"] = "N"
		return func(ctx context.Context, args []string) error {
			address, err := optionalAddress("runs", args)
			if err != nil {
				return err
			}
			s, err := a.open(ctx, pf, nil, false)
			if err != nil {
				return err
			}
			if err := s.knows(address); err != nil {
				return err
			}
			return s.runs(address, *limit)
		}
	},
}

func (s *session) runs(address string, limit int) error {
	runs := []state.Run{}
	for _, r := range s.catalog.Runs {
		if address != "" {
			r.Actions = slices.DeleteFunc(slices.Clone(r.Actions), func(ra state.RunAction) bool { return ra.Address != address })
			if len(r.Actions) == 0 {
				continue
			}
		}
		runs = append(runs, r)
	}
	if limit > 0 && len(runs) > limit {
		runs = runs[len(runs)-limit:]
	}
	if s.json {
		return s.out.Document(map[string]any{"format_version": "1.0", "runs": runs})
	}
	if len(runs) == 0 {
		fmt.Fprintln(s.out, "Nothing ran yet.")
		return nil
	}
	var rows [][]string
	for _, r := range runs {
		rows = append(rows, []string{r.ID, r.Operation, "", view.Time(r.Started), s.took(r), s.status(s.runStatus(r)), r.Who})
		for _, ra := range r.Actions {
			detail := ra.Error
			if detail == "" {
				detail = ra.Note
			}
			if detail == "" && ra.Bytes > 0 {
				detail = view.Bytes(ra.Bytes)
				if ra.Stored > 0 {
					detail += ", " + view.Bytes(ra.Stored) + " stored"
				}
			}
			took := ""
			if !ra.Finished.IsZero() {
				took = view.Duration(ra.Finished.Sub(ra.Started))
			}
			rows = append(rows, []string{"", ra.Kind, ra.Address, ra.Point, took, s.status(ra.Status), detail})
		}
	}
	s.out.Table([]string{"RUN", "WHAT", "ADDRESS", "WHEN (UTC) / POINT", "TOOK", "STATUS", ""}, rows)
	return nil
}

// runStatus tells a working run from a dead one.
func (s *session) runStatus(r state.Run) state.RunStatus {
	if r.Status == state.RunPending && slices.Contains(s.alive, r.ID) {
		return "running"
	}
	return r.Status
}

func (s *session) took(r state.Run) string {
	if r.Finished.IsZero() {
		return ""
	}
	return view.Duration(r.Finished.Sub(r.Started))
}

func (s *session) status(st state.RunStatus) string {
	switch st {
	case state.RunOK:
		return s.out.Green(string(st))
	case state.RunFailed:
		return s.out.Red(string(st))
	case state.RunPending:
		return s.out.Yellow("unfinished")
	case state.RunInterrupted:
		return s.out.Yellow(string(st))
	default:
		return string(st)
	}
}
