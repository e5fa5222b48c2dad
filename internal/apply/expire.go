package apply

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// expire takes a point out of the catalog, then deletes its manifest: a crash in between leaves an object that the next
// run deletes, never a catalogued point without data.
func (w *walker) expire(ctx context.Context, a plan.Action) (result, error) {
	repository, err := w.Repositories.Open(ctx, a.Store)
	if err != nil {
		return result{}, err
	}
	var size, stored int64
	allowed := false
	err = w.book.update(ctx, func(c *state.Catalog) error {
		allowed = len(w.StillExpires(c, w.Now(), []plan.Action{a})) == 1
		if !allowed {
			return nil
		}
		if err := elsewhere(c, a, repository.ID()); err != nil {
			return err
		}
		c.Points[a.Address] = slices.DeleteFunc(slices.Clone(c.Points[a.Address]), func(p state.RestorePoint) bool {
			if p.ID == a.Point {
				size = p.Size
				for _, copied := range p.Copies {
					stored += copied.Stored
				}
			}
			return p.ID == a.Point
		})
		return nil
	})
	if err != nil {
		return result{}, fmt.Errorf("expire %s of %s: %w", a.Point, a.Address, err)
	}
	if !allowed {
		return result{skipped: "retention keeps the restore point now"}, nil
	}
	if err := repository.DeletePoint(ctx, a.Address, a.Point); err != nil {
		return result{unfinished: true}, fmt.Errorf("delete the manifest of %s (it has left the catalog; the next apply tries again): %w", a.Point, err)
	}
	return result{bytes: size, stored: stored}, nil
}

// elsewhere refuses to delete by name in a repository that does not hold the copy.
func elsewhere(c *state.Catalog, a plan.Action, repository string) error {
	for _, p := range c.Points[a.Address] {
		for _, copied := range p.Copies {
			if p.ID == a.Point && copied.Store == a.Store && copied.Repository != repository {
				return fmt.Errorf("%s holds repository %s, the copy is in %s: the store was swapped for another", a.Store, repository, copied.Repository)
			}
		}
	}
	return nil
}
