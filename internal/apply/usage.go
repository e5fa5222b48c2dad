package apply

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// usage edits what the catalog knows of how full a store is. A store without a record was never looked at: it gets one at
// its first prune.
func usage(c *state.Catalog, store string, edit func(u *state.Usage)) {
	o, ok := c.Objects[store]
	if !ok {
		return
	}
	u := state.Usage{}
	if o.Usage != nil {
		u = *o.Usage
	}
	edit(&u)
	o.Usage = &u
	c.Objects[store] = o
}

// grow counts what was stored since the store was last looked at.
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

// prune reclaims what nothing needs any more, and books what it left.
func (w *walker) prune(ctx context.Context, a plan.Action) (result, error) {
	repository, err := w.Repositories.Open(ctx, a.Store)
	if err != nil {
		return result{}, err
	}
	pruned, err := repository.Prune(ctx, w.Policy.Stores[a.Store].Grace())
	if err != nil {
		return result{}, fmt.Errorf("prune %s: %w", a.Store, err)
	}
	var due time.Time
	if pruned.Deleted > 0 {
		w.Events.ActionNote(a, fmt.Sprintf("%d packs deleted (%s)", pruned.Deleted, plan.FormatBytes(pruned.DeletedBytes)))
	}
	if pruned.Condemned > 0 {
		due = w.Now().UTC().Add(pruned.DueIn)
		w.Events.ActionNote(a, fmt.Sprintf("%d packs are condemned (%s); the first may be deleted at %s", pruned.Condemned,
			plan.FormatBytes(pruned.CondemnedBytes), due.Format("2006-01-02 15:04:05 UTC")))
	}
	err = w.book.update(ctx, func(c *state.Catalog) error {
		usage(c, a.Store, func(u *state.Usage) {
			*u = state.Usage{
				At: w.Now().UTC(), Bytes: pruned.Bytes, Objects: pruned.Objects, Condemned: pruned.CondemnedBytes, Due: due,
			}
		})
		return nil
	})
	return result{stored: pruned.DeletedBytes}, err
}
