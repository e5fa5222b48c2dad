package repo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/index"
)

// loaded is an index together with what was found wrong on the way.
type loaded struct {
	index   *index.Index
	damaged []*DamagedError        // index objects that could not be used
	broken  []index.Pack           // packs that an index lists and the store lacks or holds in another size
	stored  map[index.PackID]int64 // packs in the store and their sizes
}

// loadIndex reads all index objects and keeps only chunks whose pack is in the store with the size it should have: trusting
// more would let a backup refer to content that is gone.
//
// Packs in without are left out: a writer must not build on what is condemned.
func (r *Repository) loadIndex(ctx context.Context, without map[index.PackID]time.Time) (*loaded, error) {
	var names []string
	stored := map[index.PackID]int64{}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return r.bucket.List(gctx, packsPrefix, func(i blob.Info) error {
			if id, ok := parsePackName(i.Name); ok {
				stored[id] = i.Size
			}
			return nil
		})
	})
	g.Go(func() error {
		return r.bucket.List(gctx, indexPrefix, func(i blob.Info) error {
			names = append(names, i.Name)
			return nil
		})
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("list packs and indexes: %w", err)
	}
	out := &loaded{index: index.New(), stored: stored}
	var mu sync.Mutex
	add := func(p index.Pack) error {
		if _, condemned := without[p.ID]; condemned {
			return nil
		}
		if size, ok := stored[p.ID]; !ok || size != p.Size {
			out.broken = append(out.broken, p)
			return nil
		}
		out.index.Add(p)
		return nil
	}
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(max(4, r.concurrency))
	for _, name := range names {
		g.Go(func() error {
			plain, err := r.readIndex(gctx, name)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				err = wrapDamaged(name, index.Decode(plain, add))
			}
			var d *DamagedError
			if errors.As(err, &d) {
				out.damaged = append(out.damaged, d)
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	sort.Slice(out.damaged, func(i, j int) bool { return out.damaged[i].Object < out.damaged[j].Object })
	return out, nil
}

// readIndex returns the plain table of an index object, after checking that it hashes to its name.
func (r *Repository) readIndex(ctx context.Context, name string) ([]byte, error) {
	raw, err := r.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, nil // deleted since it was listed; whoever did that wrote its successor first
	}
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	if got := hashOf(raw); indexName(got) != name {
		return nil, damaged(name, "its bytes hash to %s", got)
	}
	return r.openMetadata(name, raw)
}

func wrapDamaged(object string, err error) error {
	if err == nil {
		return nil
	}
	return damaged(object, "%v", err)
}

func parsePackName(name string) (index.PackID, bool) {
	sum := name[strings.LastIndexByte(name, '/')+1:]
	id, ok := parsePackID(sum)
	return id, ok && packName(sum) == name
}

func parsePackID(sum string) (index.PackID, bool) {
	var id index.PackID
	if !isHash(sum) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(sum))
	return id, err == nil
}
