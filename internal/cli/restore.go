package cli

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

var restoreCommand = &command{
	name: "restore", group: "Data", summary: "Bring a restore point back",
	usage: "ADDRESS -target=PATH|URL|NAME [options]",
	examples: `  holdfast restore backup.config -target=/tmp/config
  holdfast restore backup.app -target=postgres://admin@db2/app_restored
  holdfast restore backup.app -target=postgres://admin@db2/app -only='public.documents' -replace
  holdfast restore backup.app -target=postgres://admin@db2/app_restored -point=20261121T021500Z-9fd2ma -plan-only
  holdfast restore backup.app -target=postgres://admin@db2/app_restored -from=store.offsite
  holdfast restore backup.app_pitr -target=data_dir=/var/lib/postgresql/15/restored -to=2026-11-21T02:14:00Z
  holdfast restore backup.app_pitr -target=postgres://admin@db/app -only=app/public.documents -to=2026-11-21T02:14:00Z
  holdfast restore backup.vectors -target='*_restored' -only='docs-*' -aliases
  holdfast restore backup.vectors -target=http://10.1.0.5:6333,http://10.1.0.6:6333
  holdfast restore backup.points -target=docs_acme -only=docs -filter='{"must":[{"key":"tenant","match":{"value":"acme"}}]}'`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf, ids, ap := a.policyFlags(f), a.identityFlag(f), a.approvalFlags(f)
		c := &restoring{approval: ap}
		c.point = f.string("point", "ID", "latest", "which restore point")
		c.from = f.string("from", "STORE", "", "read from the copy in this store, and from no other")
		c.target = f.string("target", "PATH|URL|NAME", "", "where to: a folder (files), a database URL (postgres; a password is better in PGPASSWORD), data_dir=DIR[,TABLESPACE=DIR] (postgres, base backups), or a collection's new name, in which * is its old one, on the source's servers or on those of URL[,URL][/NAME] (qdrant; a key is better in QDRANT_API_KEY)")
		c.only = f.list("only", "GLOB", "bring back only this: a path glob (files), DATABASE, SCHEMA.TABLE or DATABASE/SCHEMA.TABLE (postgres), a glob over collections (qdrant)")
		c.replace = f.Bool("replace", false, "overwrite what is there")
		c.planOnly = f.Bool("plan-only", false, "show what would happen and stop")
		c.options = restoreOptions(f)
		return func(ctx context.Context, args []string) error {
			if len(args) != 1 || *c.target == "" {
				return usageError("restore needs an address and a target: holdfast restore ADDRESS -target=PATH|URL|NAME")
			}
			if !*c.planOnly {
				if err := a.needsApproval(ap, false); err != nil {
					return err
				}
			}
			s, err := a.open(ctx, pf, ids, false)
			if err != nil {
				return err
			}
			return s.restore(ctx, args[0], c)
		}
	},
}

// restoring is what one restore was asked for.
type restoring struct {
	*approval
	point, from       *string
	target            *string
	only              *[]string
	replace, planOnly *bool
	options           []restoreOption
}

func (s *session) restore(ctx context.Context, address string, c *restoring) error {
	if err := s.knows(address); err != nil {
		return err
	}
	point, err := s.chooseFor(address, c)
	if err != nil {
		return err
	}
	kind := s.kindOf(point)
	executor, ok := executorMap()[kind]
	if !ok {
		return fmt.Errorf("restore %s: this version of holdfast cannot restore %q sources", address, kind)
	}
	req, err := s.restoreRequest(address, point.Source, kind, c)
	if err != nil {
		return err
	}
	from, err := s.source(ctx, address, point, *c.from)
	if err != nil {
		return err
	}
	if point.Base != nil {
		if err := s.recoverFrom(ctx, address, point, c, &req); err != nil {
			return err
		}
	}
	preview, err := executor.Preview(ctx, req, from)
	if err != nil {
		return fmt.Errorf("restore %s: %w", address, err)
	}
	copied, _ := from.current()
	if err := s.showPreview(address, point, copied, preview, *c.planOnly); err != nil || *c.planOnly {
		return err
	}
	if err := s.approve(c.approval, "Do you want holdfast to restore this?"); err != nil {
		return err
	}
	return s.bringBack(ctx, address, point, executor, req, from, preview)
}

func (s *session) showPreview(address string, p state.RestorePoint, c state.Copy, v executors.Preview, only bool) error {
	if s.json {
		s.out.JSON(map[string]any{"type": "version", "format_version": "1.0", "holdfast_version": s.Version})
		s.out.JSON(map[string]any{
			"type": "restore_plan", "address": address, "point": p.ID, "time": p.Time, "store": c.Store, "verified": c.Verified() && !p.Incomplete, "copies": p.Copies, "incomplete": p.Incomplete,
			"target": v.Target, "items": v.Items, "bytes": v.Bytes, "creates": v.Creates, "replaces": v.Replaces, "notes": v.Notes,
		})
		return nil
	}
	fmt.Fprintf(s.out, "holdfast will restore %s\n\n", s.out.Bold(address))
	fmt.Fprintf(s.out, "  restore point  %s (%s UTC, %s old)\n", p.ID, view.Time(p.Time), view.Duration(s.Now().Sub(p.Time)))
	fmt.Fprintf(s.out, "  from           %s (%s)%s\n", c.Store, s.evidence(c), s.others(p, c))
	fmt.Fprintf(s.out, "  to             %s\n", v.Target)
	fmt.Fprintf(s.out, "  writes         %d %s, %s\n", v.Items, plural(int(v.Items), "item", "items"), view.Bytes(v.Bytes))
	for _, name := range v.Creates {
		fmt.Fprintf(s.out, "  %s %s\n", s.out.Green("+"), name)
	}
	for _, name := range v.Replaces {
		fmt.Fprintf(s.out, "  %s %s %s\n", s.out.Red("x"), name, s.out.Red("(replaced)"))
	}
	for _, note := range v.Notes {
		fmt.Fprintf(s.out, "  note: %s\n", note)
	}
	if only {
		fmt.Fprintln(s.out, "\nNothing was done (-plan-only).")
	}
	return nil
}

// others says where else the point is.
func (s *session) others(p state.RestorePoint, c state.Copy) string {
	rest := slices.DeleteFunc(slices.Clone(p.Copies), func(o state.Copy) bool { return o.Store == c.Store })
	if len(rest) == 0 {
		return ""
	}
	return "; also in " + storesOf(rest)
}

// bringBack restores, with progress, and records the run. A state that cannot be written does not keep data from coming back.
func (s *session) bringBack(ctx context.Context, address string, p state.RestorePoint, executor executors.Executor, req executors.RestoreRequest, from *fallback, v executors.Preview) error {
	progress := view.NewProgress(s.out, s.err, s.json, s.Now)
	a := plan.Action{ID: "restore " + address, Kind: view.Restoring, Address: address, Point: p.ID}
	started := s.Now().UTC()
	progress.ActionStarted(a)
	res, err := executor.Restore(ctx, req, &progressSupply{Supply: from, tell: func(n int64) { progress.ActionProgress(a, n, 0, v.Bytes) }})
	missing := 0
	for i, problem := range res.Problems {
		if problem.Missing {
			missing++
		}
		if i < 20 {
			progress.ActionNote(a, fmt.Sprintf("%s: %v", problem.Path, problem.Err))
		}
	}
	if err == nil && missing > 0 {
		err = fmt.Errorf("%d items could not be restored", missing)
	}
	copied, _ := from.current()
	done := state.RunAction{
		Address: address, Kind: string(view.Restoring), Point: p.ID, Store: copied.Store, Started: started, Finished: s.Now().UTC(),
		Status: state.RunOK, Bytes: res.Bytes,
	}
	if err != nil {
		done.Status, done.Error = state.RunFailed, s.redactor.String(err.Error())
		if ctx.Err() != nil {
			done.Status = state.RunInterrupted
		}
	}
	progress.ActionFinished(a, done)
	s.recordRestore(context.WithoutCancel(ctx), done, from.damaged())
	if err != nil {
		return fmt.Errorf("restore %s: %w", address, err)
	}
	if !s.json {
		fmt.Fprintf(s.out, "\n%s %d %s, %s in %s.\n", s.out.Green("Restore complete!"), res.Items, plural(int(res.Items), "item", "items"), view.Bytes(res.Bytes), view.Duration(done.Finished.Sub(started)))
	}
	return nil
}

// recordRestore keeps the run, and as evidence which copies were found damaged: the next plan repairs them.
func (s *session) recordRestore(ctx context.Context, done state.RunAction, damaged map[string]string) {
	run := state.Run{
		ID: newID(s.Now()), Operation: "restore", Who: s.holder(), Started: done.Started, Finished: done.Finished, Status: done.Status,
		Actions: []state.RunAction{done},
	}
	b, err := s.openState(ctx, s.policy.Settings, true)
	if err == nil {
		err = b.Update(ctx, func(c *state.Catalog) error {
			c.Runs = append(c.Runs, run)
			for store, problem := range damaged {
				apply.AddProof(c, done.Address, done.Point, store, state.Proof{Level: string(policy.VerifyStored), At: done.Finished, Run: run.ID, Error: problem})
			}
			return nil
		})
	}
	if err != nil {
		s.err.Warning("this restore could not be recorded in the state: " + err.Error())
	}
}

// progressSupply tells how much was read.
type progressSupply struct {
	executors.Supply
	bytes int64
	tell  func(int64)
}

func (s *progressSupply) Read(ctx context.Context, want func(executors.Entry) bool, each func(executors.Entry, io.Reader) error) error {
	return s.Supply.Read(ctx, want, func(e executors.Entry, r io.Reader) error {
		return each(e, &countingReader{r: r, s: s})
	})
}

type countingReader struct {
	r io.Reader
	s *progressSupply
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.s.bytes += int64(n)
	c.s.tell(c.s.bytes)
	return n, err
}
