package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// recover settles one action of a run that died: a point whose manifest is whole is adopted, anything else is discarded,
// and what an expiry left is deleted.
func (w *walker) recover(ctx context.Context, a plan.Action) (result, error) {
	res := result{}
	if a.Store != "" && a.Point != "" {
		var err error
		if res, err = w.settle(ctx, a); err != nil {
			return res, fmt.Errorf("recover %s of run %s: %w", a.Point, a.Run, err)
		}
	}
	return res, w.book.update(ctx, func(c *state.Catalog) error {
		settleRun(c, a)
		return nil
	})
}

func (w *walker) settle(ctx context.Context, a plan.Action) (result, error) {
	known, expiring := false, false
	var deletes []state.Left
	w.book.read(func(c *state.Catalog) {
		for _, points := range c.Points { // whatever its backup is called by now
			known = known || slices.ContainsFunc(points, func(p state.RestorePoint) bool { return p.ID == a.Point })
		}
		if run := runOf(c, a.Run); run != nil {
			for _, ra := range run.Actions {
				if ra.Kind == string(plan.Expire) && ra.Address == a.Address && ra.Point == a.Point {
					expiring, deletes = true, ra.Deletes
				}
			}
		}
	})
	switch {
	case known:
		return result{point: a.Point}, nil
	case expiring:
		if len(deletes) == 0 {
			deletes = []state.Left{{Store: a.Store, Address: a.Address}} // booked by an older version
		}
		return result{}, w.deleteLeft(ctx, a, deletes)
	}
	store, declared := w.storeNow(a.Store)
	if !declared {
		store = a.Store // what was applied last may still tell where it is
	}
	repository, err := w.Repositories.Open(ctx, store)
	if err != nil && !declared && ctx.Err() == nil {
		w.Events.ActionNote(a, fmt.Sprintf("what was left of %s stays in %s, which is not declared any more: %v", a.Point, a.Store, err))
		return result{}, nil
	}
	if err != nil {
		return result{}, err
	}
	found, ok, err := repository.Find(ctx, a.Address, a.Point)
	if err != nil {
		return result{}, err
	}
	if ok {
		w.Events.ActionNote(a, "restore point "+a.Point+" is whole in the store; adopted")
		point, address := PointOf(a.Point, store, repository.ID(), found), a.Address
		if to := policy.Destination(w.Policy.Moved, address); to != "" && w.declares(to) && !w.declares(address) {
			address, point.StoredAs = to, address
		}
		w.adopted.Store(address, point)
		return result{point: a.Point, bytes: found.Receipt.Size, stored: found.Receipt.Stored}, w.addPoint(ctx, address, point)
	}
	w.Events.ActionNote(a, "what was left of "+a.Point+" is discarded")
	return result{}, repository.DeletePoint(ctx, a.Address, a.Point)
}

// deleteLeft finishes an expiry in every store that was not done with. A store that the policy does not declare any more
// cannot be reached: what is in it stays.
func (w *walker) deleteLeft(ctx context.Context, a plan.Action, deletes []state.Left) (failed error) {
	for _, l := range deletes {
		store, declared := w.storeNow(l.Store)
		if !declared {
			w.Events.ActionNote(a, "what was left of "+a.Point+" stays in "+l.Store+", which is not declared any more")
			continue
		}
		repository, err := w.Repositories.Open(ctx, store)
		if err == nil {
			err = repository.DeletePoint(ctx, l.Address, a.Point)
		}
		if err == nil {
			w.Events.ActionNote(a, "what was left of "+a.Point+" in "+l.Store+" is deleted")
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

func (w *walker) declares(backup string) bool {
	_, ok := w.Policy.Backups[backup]
	return ok
}

// storeNow is the address by which the policy knows a store that a run wrote to; false when it does not declare it any more.
func (w *walker) storeNow(store string) (now string, declared bool) {
	if _, declared = w.Policy.Stores[store]; declared {
		return store, true
	}
	now = policy.Destination(w.Policy.Moved, store)
	_, declared = w.Policy.Stores[now]
	return now, declared
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
