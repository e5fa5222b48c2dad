package apply

import (
	"context"
	"sync"

	"github.com/holdfast-io/holdfast/state"
)

// book is the catalog while a run writes in it: one commit at a time.
type book struct {
	lease   Lease
	refresh func(ctx context.Context, c *state.Catalog) error

	mu      sync.Mutex
	catalog *state.Catalog
	doubt   bool // a commit failed: memory may hold what the state does not
}

// update edits the catalog and commits it. edit runs again on a fresh catalog when somebody else (a proof, a hold)
// committed in between, so it must depend on its argument alone.
func (b *book) update(ctx context.Context, edit func(c *state.Catalog) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.doubt {
		if err := b.refresh(ctx, b.catalog); err != nil {
			return err
		}
	}
	err := b.lease.Update(ctx, b.catalog, edit)
	b.doubt = err != nil
	return err
}

// read gives the catalog to fn, which must not keep it.
func (b *book) read(fn func(c *state.Catalog)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn(b.catalog)
}

// runOf returns the run's record in c.
func runOf(c *state.Catalog, id string) *state.Run {
	for i := len(c.Runs) - 1; i >= 0; i-- {
		if c.Runs[i].ID == id {
			return &c.Runs[i]
		}
	}
	return nil
}
