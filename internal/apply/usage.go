package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// usage edits what the catalog knows of how full a store is. A store without a record was never looked at: its record
// begins with what the catalog's points and WAL added to it.
func usage(c *state.Catalog, store string, edit func(u *state.Usage)) {
	o, ok := c.Objects[store]
	if !ok {
		return
	}
	u := state.Usage{}
	if o.Usage != nil {
		u = *o.Usage
	} else {
		u.Bytes = storedBytes(c, store)
	}
	edit(&u)
	o.Usage = &u
	c.Objects[store] = o
}

func storedBytes(c *state.Catalog, store string) int64 {
	sum := c.StoredWAL()[store]
	for _, points := range c.Points {
		for i := range points {
			if copied, ok := points[i].In(store); ok {
				sum += copied.Stored
			}
		}
	}
	return sum
}

// grow counts what was stored since the store was last looked at. The point that did it enters the catalog after it.
func grow(c *state.Catalog, store string, bytes int64) {
	usage(c, store, func(u *state.Usage) { u.Bytes += bytes })
}

// left counts a point that left the catalog: the next prune has something to do.
func left(c *state.Catalog, copied state.Copy) {
	usage(c, copied.Store, func(u *state.Usage) {
		u.Points++
		u.Expired += copied.Stored
	})
}

// Restored books copies whose objects are others now: a prune stored what they need in other packs, or they were sealed
// anew. freed is about what a prune may free by it. That this was not booked is no harm to a copy: a summary names the hashes
// of what it replaced.
func Restored(c *state.Catalog, store string, changed []PointCopy, freed int64) {
	if len(changed) == 0 {
		return
	}
	now := map[[2]string]PointCopy{}
	for _, p := range changed {
		now[[2]string{p.Address, p.Point}] = p
	}
	for address, points := range c.Points {
		points = slices.Clone(points)
		for i := range points {
			p, ok := now[[2]string{points[i].Stored(address), points[i].ID}]
			if !ok {
				continue
			}
			points[i].Copies = slices.Clone(points[i].Copies)
			for j := range points[i].Copies {
				if points[i].Copies[j].Store == store {
					points[i].Copies[j].Summary, points[i].Copies[j].Manifest = p.Summary, p.Manifest
				}
			}
		}
		c.Points[address] = points
	}
	if freed > 0 {
		usage(c, store, func(u *state.Usage) {
			u.Points += int64(len(changed))
			u.Expired += freed
		})
	}
}

// prune reclaims what nothing needs any more, and books what it left.
func (w *walker) prune(ctx context.Context, a plan.Action) (result, error) {
	repository, err := w.Repositories.Open(ctx, a.Store)
	if err != nil {
		return result{}, err
	}
	pruned, err := repository.Prune(ctx, w.Policy.Stores[a.Store].Grace())
	if errors.Is(err, ErrBusy) {
		return result{skipped: err.Error()}, nil // what it leaves is for the next plan
	}
	if err != nil {
		return result{}, fmt.Errorf("prune %s: %w", a.Store, err)
	}
	var due time.Time
	if pruned.Missing > 0 {
		w.Events.ActionNote(a, fmt.Sprintf("%d packs are lost that restore points need: nothing is taken away until those are repaired, or gone", pruned.Missing))
	}
	if pruned.Deleted > 0 {
		w.Events.ActionNote(a, fmt.Sprintf("%d packs deleted (%s)", pruned.Deleted, policy.FormatBytes(pruned.DeletedBytes)))
	}
	if pruned.Rewritten > 0 {
		w.Events.ActionNote(a, fmt.Sprintf("%d packs were mostly dead (%s); what is needed of them was stored anew", pruned.Rewritten, policy.FormatBytes(pruned.RewrittenBytes)))
	}
	if pruned.Condemned > 0 {
		due = w.Now().UTC().Add(pruned.DueIn)
		w.Events.ActionNote(a, fmt.Sprintf("%d packs are condemned (%s); the first may be deleted at %s", pruned.Condemned,
			policy.FormatBytes(pruned.CondemnedBytes), due.Format("2006-01-02 15:04:05 UTC")))
	}
	err = w.book.update(ctx, func(c *state.Catalog) error {
		Restored(c, a.Store, pruned.Summaries, 0)
		usage(c, a.Store, func(u *state.Usage) {
			*u = state.Usage{
				At: w.Now().UTC(), Bytes: pruned.Bytes, Objects: pruned.Objects, Condemned: pruned.CondemnedBytes, Due: due,
			}
		})
		return nil
	})
	return result{stored: pruned.DeletedBytes}, err
}
