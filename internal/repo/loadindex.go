package repo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
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
	aside   []index.Pack           // sound packs that were to be left out
}

// loadIndex reads all index objects and keeps only chunks whose pack is in the store with the size it should have: trusting
// more would let a backup refer to content that is gone.
//
// Packs in without are set aside: a writer must not build on what is condemned. A prune that works meanwhile replaces
// index objects: when one is gone, its successor is looked for.
func (r *Repository) loadIndex(ctx context.Context, without map[index.PackID]time.Time) (*loaded, error) {
	stored := map[index.PackID]int64{}
	out := &loaded{index: index.New(), stored: stored}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return r.bucket.List(gctx, packsPrefix, func(i blob.Info) error {
			if id, ok := parsePackName(i.Name); ok {
				stored[id] = i.Size
			}
			return nil
		})
	})
	seen := map[string]bool{}
	var names []string
	g.Go(func() (err error) {
		names, err = r.newIndexes(gctx, seen)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("list packs and indexes: %w", err)
	}
	for range indexRounds {
		vanished, err := r.readIndexes(ctx, names, without, out)
		if err != nil {
			return nil, err
		}
		if !vanished {
			break
		}
		if names, err = r.newIndexes(ctx, seen); err != nil {
			return nil, fmt.Errorf("list indexes: %w", err)
		}
	}
	sort.Slice(out.damaged, func(i, j int) bool { return out.damaged[i].Object < out.damaged[j].Object })
	return out, nil
}

// indexRounds is how often indexes are listed at most. One prune replaces each index once; what is missed costs time only.
const indexRounds = 3

// newIndexes lists the index objects that are not in seen, and puts them there. The newest come first: a chunk that is in
// several packs is read from the one that was stored last, which is sealed to today's recipients.
func (r *Repository) newIndexes(ctx context.Context, seen map[string]bool) (names []string, err error) {
	var found []blob.Info
	err = r.bucket.List(ctx, indexPrefix, func(i blob.Info) error {
		if !seen[i.Name] {
			seen[i.Name] = true
			found = append(found, i)
		}
		return nil
	})
	slices.SortStableFunc(found, func(a, b blob.Info) int { return b.ModTime.Compare(a.ModTime) })
	for _, i := range found {
		names = append(names, i.Name)
	}
	return names, err
}

// readIndexes adds what index objects list to out, in the order of names; vanished tells whether one was deleted meanwhile.
func (r *Repository) readIndexes(ctx context.Context, names []string, without map[index.PackID]time.Time, out *loaded) (vanished bool, err error) {
	add := func(p index.Pack) error {
		_, condemned := without[p.ID]
		switch size, ok := out.stored[p.ID]; {
		case !ok || size != p.Size:
			out.broken = append(out.broken, p)
		case condemned:
			out.aside = append(out.aside, p)
		default:
			out.index.Add(p)
		}
		return nil
	}
	var mu sync.Mutex
	next, turn := 0, sync.NewCond(&mu)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(4, r.concurrency))
	for i, name := range names {
		g.Go(func() error {
			plain, err := r.knownIndex(gctx, name)
			mu.Lock()
			defer mu.Unlock()
			for next != i { // those before were begun before
				turn.Wait()
			}
			next++
			turn.Broadcast()
			if err == nil && plain == nil {
				vanished = true
				return nil
			}
			if err == nil {
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
	err = g.Wait()
	return vanished, err
}

// maxKnown bounds the tables that are kept in memory, in bytes.
const maxKnown = 64 << 20

// known keeps the tables of index objects. They never change: their name is the hash of their bytes. Without it each of
// many backups in one run would read again what those before it had read.
type known struct {
	mu     sync.Mutex
	tables map[string][]byte
	size   int
}

// knownIndex is readIndex from memory where it can be. Not for those who want to know whether the store still has the
// object as it was.
func (r *Repository) knownIndex(ctx context.Context, name string) ([]byte, error) {
	k := r.known
	k.mu.Lock()
	plain, ok := k.tables[name]
	k.mu.Unlock()
	if ok {
		return plain, nil
	}
	plain, err := r.readIndex(ctx, name)
	if err != nil || plain == nil {
		return plain, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.size += len(plain); k.size > maxKnown {
		k.tables, k.size = nil, len(plain) // begin anew rather than choose
	}
	if k.tables == nil {
		k.tables = map[string][]byte{}
	}
	k.tables[name] = plain
	return plain, nil
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
