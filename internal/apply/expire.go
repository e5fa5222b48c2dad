package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// expire takes a point out of the catalog, then deletes its manifests in every store: a crash in between leaves objects
// that a later run deletes, never a catalogued point without data. Every store with a copy is opened first: one that is down
// keeps the point, so that no copy is left behind in it.
func (w *walker) expire(ctx context.Context, a plan.Action) (result, error) {
	point, ok := w.point(a.Address, a.Point)
	if !ok {
		return result{skipped: "restore point " + a.Point + " is not in the catalog"}, nil
	}
	stored := point.Stored(a.Address)
	repositories := map[string]Repository{}
	res := result{bytes: point.Size}
	var failed error
	for _, store := range append(w.begunCopies(a.Point), storesOf(point)...) {
		copied, booked := point.In(store)
		repository, err := w.Repositories.Open(ctx, store)
		if err != nil && !booked {
			// Perhaps nothing is there: the point need not wait for it, a later run looks.
			failed = errors.Join(failed, fmt.Errorf("look for a copy of %s in %s that a run may have left (the next apply tries again): %w", a.Point, store, err))
			res.deletes = append(res.deletes, state.Left{Store: store, Address: stored})
			continue
		}
		if err != nil {
			return result{}, fmt.Errorf("expire %s of %s: %w", a.Point, a.Address, err)
		}
		if booked && copied.Repository != repository.ID() {
			return result{}, fmt.Errorf("expire %s of %s: %s holds repository %s, the copy is in %s: the store was swapped for another",
				a.Point, a.Address, store, repository.ID(), copied.Repository)
		}
		repositories[store] = repository
	}
	freed, allowed, err := w.forget(ctx, a, repositories, res.deletes)
	if err != nil {
		return result{}, fmt.Errorf("expire %s of %s: %w", a.Point, a.Address, err)
	}
	if !allowed {
		return result{skipped: "the restore point is kept now"}, nil
	}
	res.stored = freed
	for _, store := range slices.Sorted(maps.Keys(repositories)) {
		if err := repositories[store].DeletePoint(ctx, stored, a.Point); err != nil {
			failed = errors.Join(failed, fmt.Errorf("delete the manifest of %s in %s (it has left the catalog; the next apply tries again): %w", a.Point, store, err))
			res.deletes = append(res.deletes, state.Left{Store: store, Address: stored})
		}
	}
	return res, failed
}

// forget takes a point out of the catalog, and notes with the run what must be deleted now. It does not when the point is
// to stay after all, or has come to a store that was not opened.
func (w *walker) forget(ctx context.Context, a plan.Action, opened map[string]Repository, unopened []state.Left) (freed int64, allowed bool, err error) {
	err = w.book.update(ctx, func(c *state.Catalog) error {
		freed, allowed = 0, len(w.StillExpires(c, w.Now(), []plan.Action{a})) == 1
		i := slices.IndexFunc(c.Points[a.Address], func(p state.RestorePoint) bool { return p.ID == a.Point })
		if i < 0 || !allowed || slices.ContainsFunc(c.Points[a.Address][i].Copies, func(q state.Copy) bool { return opened[q.Store] == nil }) {
			allowed = false
			return nil
		}
		point := c.Points[a.Address][i]
		for _, copied := range point.Copies {
			freed += copied.Stored
			left(c, copied)
		}
		deletes := slices.Clone(unopened)
		for _, store := range slices.Sorted(maps.Keys(opened)) {
			deletes = append(deletes, state.Left{Store: store, Address: point.Stored(a.Address)})
		}
		c.Points[a.Address] = slices.Delete(slices.Clone(c.Points[a.Address]), i, i+1)
		if run := runOf(c, w.RunID); run != nil {
			run.Actions[w.index[a.ID]].Deletes = deletes // for whoever finishes this, should we die
		}
		return nil
	})
	return freed, allowed, err
}

func storesOf(p state.RestorePoint) (stores []string) {
	for _, c := range p.Copies {
		stores = append(stores, c.Store)
	}
	return stores
}

// begunCopies returns the declared stores that a point may have been brought to by a run that ended before it could say so.
func (w *walker) begunCopies(point string) []string {
	w.begunOnce.Do(func() {
		w.begun = map[string][]string{}
		w.book.read(func(c *state.Catalog) {
			for _, run := range c.Runs {
				for _, ra := range run.Actions {
					store, declared := w.storeNow(ra.Store)
					if ra.Kind == string(plan.Copy) && (ra.Status == state.RunInterrupted || ra.Status == state.RunPending) && declared {
						w.begun[ra.Point] = append(w.begun[ra.Point], store)
					}
				}
			}
		})
	})
	return w.begun[point]
}
