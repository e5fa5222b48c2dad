package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// expire takes a point out of the catalog, then deletes its manifests in every store: a crash in between leaves objects
// that a later run deletes, never a catalogued point without data. Every store is opened first: one that is down keeps the
// point, so that no copy is left behind in it.
func (w *walker) expire(ctx context.Context, a plan.Action) (result, error) {
	point, ok := w.point(a.Address, a.Point)
	if !ok {
		return result{skipped: "restore point " + a.Point + " is not in the catalog"}, nil
	}
	repositories := map[string]Repository{}
	for _, copied := range point.Copies {
		repository, err := w.Repositories.Open(ctx, copied.Store)
		if err != nil {
			return result{}, fmt.Errorf("expire %s of %s: %w", a.Point, a.Address, err)
		}
		if copied.Repository != repository.ID() {
			return result{}, fmt.Errorf("expire %s of %s: %s holds repository %s, the copy is in %s: the store was swapped for another",
				a.Point, a.Address, copied.Store, repository.ID(), copied.Repository)
		}
		repositories[copied.Store] = repository
	}
	var stored int64
	allowed := false
	err := w.book.update(ctx, func(c *state.Catalog) error {
		stored, allowed = 0, len(w.StillExpires(c, w.Now(), []plan.Action{a})) == 1
		for _, p := range c.Points[a.Address] {
			if p.ID == a.Point && allowed {
				allowed = !slices.ContainsFunc(p.Copies, func(q state.Copy) bool { return repositories[q.Store] == nil })
			}
		}
		if !allowed {
			return nil
		}
		c.Points[a.Address] = slices.DeleteFunc(slices.Clone(c.Points[a.Address]), func(p state.RestorePoint) bool {
			if p.ID != a.Point {
				return false
			}
			for _, copied := range p.Copies {
				stored += copied.Stored
				left(c, copied)
			}
			return true
		})
		return nil
	})
	if err != nil {
		return result{}, fmt.Errorf("expire %s of %s: %w", a.Point, a.Address, err)
	}
	if !allowed {
		return result{skipped: "the restore point is kept now"}, nil
	}
	var failed error
	for store, repository := range repositories {
		if err := repository.DeletePoint(ctx, point.Stored(a.Address), a.Point); err != nil {
			failed = errors.Join(failed, fmt.Errorf("delete the manifest of %s in %s (it has left the catalog; the next apply tries again): %w", a.Point, store, err))
		}
	}
	if failed != nil {
		return result{unfinished: true}, failed
	}
	return result{bytes: point.Size, stored: stored}, nil
}
