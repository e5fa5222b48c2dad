package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/state"
)

var importCommand = &command{
	name: "import", group: "Data", summary: "Take the restore points of a store into the catalog",
	usage: "STORE [options]",
	examples: `  holdfast import store.primary                               # points that another machine or an older state made
  holdfast import store.old -as=backup.nightly=backup.app     # under the name that this policy gives the backup`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf, ids := a.policyFlags(f), a.identityFlag(f)
		as := f.list("as", "OLD=NEW", "take the points that are stored under OLD as those of NEW")
		return func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return usageError("import takes one store: holdfast import store.primary")
			}
			names, err := renames(*as)
			if err != nil {
				return err
			}
			s, err := a.open(ctx, pf, ids, true)
			if err != nil {
				return err
			}
			return s.importStore(ctx, args[0], names)
		}
	},
}

func renames(as []string) (map[string]string, error) {
	names := map[string]string{}
	for _, one := range as {
		from, to, ok := strings.Cut(one, "=")
		if !ok || from == "" || to == "" {
			return nil, usageError("-as takes OLD=NEW, such as backup.nightly=backup.app")
		}
		names[from] = to
	}
	return names, nil
}

// imported is what an import did.
type imported struct {
	FormatVersion string         `json:"format_version"`
	Store         string         `json:"store"`
	Repository    string         `json:"repository"`
	Points        int            `json:"points"` // new in the catalog
	Copies        int            `json:"copies"` // further copies of points that it knew
	Backups       map[string]int `json:"backups"`
	Problems      []string       `json:"problems,omitempty"`
}

// importStore adds what a store holds and the catalog does not know. It takes nothing away and may be repeated.
func (s *session) importStore(ctx context.Context, address string, names map[string]string) error {
	if _, ok := s.policy.Stores[address]; !ok {
		return usageError("the policy declares no store %s; declare it (url and encryption as it was made), then import it", address)
	}
	r, err := s.stores.View(ctx, address)
	if err != nil {
		return err
	}
	if !r.CanWrite() {
		return fmt.Errorf("import %s: %w", address, r.KeyError())
	}
	started := s.Now().UTC()
	found, problems, err := findPoints(ctx, r)
	if err != nil {
		return fmt.Errorf("import %s: %w", address, err)
	}
	done := imported{FormatVersion: "1.0", Store: address, Repository: r.ID(), Problems: problems}
	err = s.backend.Update(ctx, func(c *state.Catalog) error {
		done.Points, done.Copies, done.Backups = 0, 0, map[string]int{}
		if c.Objects == nil {
			c.Objects = map[string]state.Object{}
		}
		if o := c.Objects[address]; o.Repository == "" {
			o = planner.Objects(s.policy)[address]
			o.Repository = r.ID()
			c.Objects[address] = o
		}
		moved := movedPoints(c)
		for _, f := range found {
			to := nameNow(s.policy, f.address)
			if name, ok := names[f.address]; ok {
				to = name
			}
			points, copies := addFound(c, to, f, moved)
			done.Points, done.Copies = done.Points+points, done.Copies+copies
			done.Backups[to] += points + copies
		}
		c.Runs = append(c.Runs, state.Run{
			ID: newID(started), Operation: "import", Who: s.holder(), Started: started, Finished: s.Now().UTC(), Status: state.RunOK,
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("import %s: %w", address, err)
	}
	return s.showImported(done)
}

func (s *session) showImported(done imported) error {
	if s.json {
		return s.out.Document(done)
	}
	for _, p := range done.Problems {
		s.err.Warning(p + "; left out")
	}
	fmt.Fprintf(s.out, "%s: %d %s and %d further %s taken into the catalog.\n", done.Store, done.Points, plural(done.Points, "restore point", "restore points"),
		done.Copies, plural(done.Copies, "copy", "copies"))
	var rows [][]string
	for address, n := range done.Backups {
		note := ""
		if _, declared := s.policy.Backups[address]; !declared {
			note = "not declared: stays, never expires"
		}
		rows = append(rows, []string{address, fmt.Sprint(n), note})
	}
	slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	if len(rows) > 0 {
		s.out.Table([]string{"BACKUP", "NEW", ""}, rows)
	}
	return nil
}
