package apply

import (
	"context"
	"errors"
	"sync"

	"github.com/holdfast-io/holdfast/state"
)

// book is the catalog while a run writes in it: one commit at a time, repeated on a fresh catalog when somebody else
// (a proof, a hold) committed in between.
type book struct {
	lease  Lease
	reload func(ctx context.Context) (*state.Catalog, error)

	mu      sync.Mutex
	catalog *state.Catalog
	doubt   bool // a commit failed: memory may hold what the state does not
}

// staleRetries bounds how often one edit is repeated on a catalog that others keep changing.
const staleRetries = 20

// update edits the catalog and commits it. edit may run more than once and must depend on its argument alone.
func (b *book) update(ctx context.Context, edit func(c *state.Catalog) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	for range staleRetries {
		if b.doubt {
			if err := b.refresh(ctx); err != nil {
				return err
			}
		}
		if err = edit(b.catalog); err != nil {
			b.doubt = true
			return err
		}
		if err = b.lease.Commit(ctx, b.catalog); err == nil {
			return nil
		}
		b.doubt = true
		if !errors.Is(err, state.ErrStale) {
			return err
		}
	}
	return err
}

// refresh replaces the catalog in memory by the committed one.
func (b *book) refresh(ctx context.Context) error {
	fresh, err := b.reload(ctx)
	if err != nil {
		return err
	}
	if b.catalog.Lineage != "" && fresh.Lineage != b.catalog.Lineage {
		return state.ErrLineage
	}
	b.catalog, b.doubt = fresh, false
	return nil
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
