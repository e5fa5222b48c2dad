package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/index"
)

// records finds what packs hold. Indexes are read from the newest on, as far as needed, and each once.
type records struct {
	r      *Repository
	known  map[index.PackID]index.Pack
	seen   map[string]bool // index objects that are read or waiting in unread
	unread []blob.Info     // the next to be read last
}

func newRecords(r *Repository) *records {
	return &records{r: r, known: map[index.PackID]index.Pack{}, seen: map[string]bool{}}
}

// of returns what packs hold, in the same order. What no readable index lists the packs tell themselves, which takes a
// reading key. A DamagedError names the first pack of which it cannot be told.
func (k *records) of(ctx context.Context, packs []index.PackID) ([]index.Pack, error) {
	if err := k.read(ctx, packs); err != nil {
		return nil, err
	}
	out := make([]index.Pack, 0, len(packs))
	reader := newPackReader(k.r)
	for _, id := range packs {
		p, ok := k.known[id]
		if !ok {
			var err error
			if p, err = k.inside(ctx, reader, id); err != nil {
				return nil, err
			}
		}
		delete(k.known, id) // it is needed once: from now on the other store lists it too
		out = append(out, p)
	}
	return out, nil
}

// read reads indexes until all packs are known.
func (k *records) read(ctx context.Context, packs []index.PackID) error {
	missing := map[index.PackID]bool{}
	for _, id := range packs {
		if _, ok := k.known[id]; !ok {
			missing[id] = true
		}
	}
	if len(missing) == 0 {
		return nil
	}
	err := k.r.bucket.List(ctx, indexPrefix, func(i blob.Info) error {
		if !k.seen[i.Name] {
			k.unread, k.seen[i.Name] = append(k.unread, i), true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list indexes: %w", err)
	}
	slices.SortFunc(k.unread, func(a, b blob.Info) int { return a.ModTime.Compare(b.ModTime) })
	for len(missing) > 0 && len(k.unread) > 0 {
		var names []string
		for n := min(len(k.unread), max(4, k.r.concurrency)); n > 0; n-- {
			names = append(names, k.unread[len(k.unread)-1].Name)
			k.unread = k.unread[:len(k.unread)-1]
		}
		err := k.r.eachIndexed(ctx, names, func(_ string, packs []index.Pack) {
			for _, p := range packs {
				k.known[p.ID] = p
				delete(missing, p.ID)
			}
		})
		if err != nil {
			k.seen = map[string]bool{} // some were not read: begin anew
			k.unread = nil
			return err
		}
	}
	return nil
}

// inside asks a pack itself.
func (k *records) inside(ctx context.Context, reader *packReader, id index.PackID) (index.Pack, error) {
	name := packName(id.String())
	info, err := k.r.bucket.Stat(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		return index.Pack{}, damaged(name, "it is missing from the store")
	}
	if err != nil {
		return index.Pack{}, fmt.Errorf("look at %s: %w", name, err)
	}
	if err := k.r.needRead(); err != nil {
		return index.Pack{}, fmt.Errorf("%w; what it holds can be told with a reading key: %w", damaged(name, "no readable index lists it"), err)
	}
	found, err := reader.directory(ctx, index.PackInfo{ID: id, Size: info.Size})
	return index.Pack{ID: id, Size: info.Size, Records: found}, err
}
