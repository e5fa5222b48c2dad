package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// recover settles one action of a run that died: a point whose manifest is whole is adopted, anything else is discarded.
func (w *walker) recover(ctx context.Context, a plan.Action) (result, error) {
	res := result{}
	if a.Store != "" && a.Point != "" {
		repository, err := w.Repositories.Open(ctx, a.Store)
		if err != nil {
			return res, err
		}
		if res, err = w.settle(ctx, a, repository); err != nil {
			return res, fmt.Errorf("recover %s of run %s: %w", a.Point, a.Run, err)
		}
	}
	return res, w.book.update(ctx, func(c *state.Catalog) error {
		settleRun(c, a)
		return nil
	})
}

func (w *walker) settle(ctx context.Context, a plan.Action, repository Repository) (result, error) {
	known, expiring := false, false
	w.book.read(func(c *state.Catalog) {
		known = slices.ContainsFunc(c.Points[a.Address], func(p state.RestorePoint) bool { return p.ID == a.Point })
		if run := runOf(c, a.Run); run != nil {
			expiring = slices.ContainsFunc(run.Actions, func(ra state.RunAction) bool {
				return ra.Kind == string(plan.Expire) && ra.Address == a.Address && ra.Point == a.Point
			})
		}
	})
	if known {
		return result{point: a.Point}, nil
	}
	if !expiring {
		found, ok, err := repository.Find(ctx, a.Address, a.Point)
		if err != nil {
			return result{}, err
		}
		if ok {
			w.Events.ActionNote(a, "restore point "+a.Point+" is whole in the store; adopted")
			point := restorePoint(a.Point, a.Store, repository.ID(), found)
			w.adopted.Store(a.Address, point)
			return result{point: a.Point, bytes: found.Receipt.Size, stored: found.Receipt.Stored}, w.addPoint(ctx, a.Address, point)
		}
	}
	w.Events.ActionNote(a, "what was left of "+a.Point+" is discarded")
	err := repository.DeletePoint(ctx, a.Address, a.Point)
	if expiring {
		err = errors.Join(err, w.deleteElsewhere(ctx, a))
	}
	return result{}, err
}

// deleteElsewhere finishes an expiry in the stores of the backup's further copies.
func (w *walker) deleteElsewhere(ctx context.Context, a plan.Action) (failed error) {
	for _, store := range w.Policy.Backups[a.Address].Copies {
		repository, err := w.Repositories.Open(ctx, store)
		if err == nil {
			err = repository.DeletePoint(ctx, a.Address, a.Point)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// settleRun books the dead run's matching actions as interrupted, and the run itself when none is pending any more.
func settleRun(c *state.Catalog, a plan.Action) {
	run := runOf(c, a.Run)
	if run == nil {
		return
	}
	pending := false
	for i := range run.Actions {
		ra := &run.Actions[i]
		if ra.Status == state.RunPending && ra.Address == a.Address && ra.Point == a.Point {
			ra.Status, ra.Error = state.RunInterrupted, "the run died"
		}
		pending = pending || ra.Status == state.RunPending
	}
	if !pending {
		run.Status = state.RunInterrupted
		if run.Finished.IsZero() {
			run.Finished = run.Started
		}
	}
}
