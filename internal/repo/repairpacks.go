package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/frame"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/pack"
)

// packs looks at the packs that may be damaged: those that the look named, or all when it could not tell which are needed.
func (m *mender) packs(ctx context.Context, needed []index.PackID, damage []Damage) error {
	suspect := map[index.PackID]bool{}
	summary := summaryName(m.check.Address, m.check.ID)
	if m.adopt || slices.ContainsFunc(damage, func(d Damage) bool { return d.Object == summary }) {
		for _, id := range needed {
			suspect[id] = true
		}
	}
	for _, d := range damage {
		if id, isPack := parsePackName(d.Object); isPack {
			suspect[id] = true
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(copyWorkers)
	for id := range suspect {
		g.Go(func() error { return m.pack(gctx, id) })
	}
	return g.Wait()
}

// pack makes sure that a pack is what it should be, or that nobody builds on it.
func (m *mender) pack(ctx context.Context, id index.PackID) error {
	name := packName(id.String())
	raw, err := m.get(ctx, m.r, name)
	if err != nil {
		return err
	}
	if raw != nil && hashOf(raw) == id.String() {
		return nil // only its index is damaged, or a read went wrong before
	}
	if m.sharesKeys() {
		good, err := m.get(ctx, m.from, name)
		if err != nil {
			return err
		}
		if good != nil && hashOf(good) == id.String() {
			if err := putVerified(ctx, m.r.bucket, name, good); err != nil {
				return err
			}
			m.replaced(name)
			return nil
		}
	}
	if raw != nil {
		// What goes is only what is certainly damaged: memory and the way to a store have faults of their own.
		again, err := m.get(ctx, m.r, name)
		if err != nil || hashOf(again) == id.String() {
			return err
		}
		if !bytes.Equal(again, raw) {
			return fmt.Errorf("%s: two readings give different bytes, so it is left as it is: this host's memory, or the way to the store, is not reliable", name)
		}
	}
	m.mu.Lock()
	m.gone[id] = true
	m.mu.Unlock()
	m.salvaging.Lock()
	defer m.salvaging.Unlock()
	if raw != nil {
		if err := m.salvage(ctx, id, raw); err != nil {
			return err
		}
		return m.setAside(ctx, name, raw)
	}
	if raw, err = m.get(ctx, m.r, quarantineName(name)); err != nil || raw == nil {
		return err
	}
	return m.salvage(ctx, id, raw) // set aside by a host that could not read it
}

// salvage stores the chunks anew that can still be read from a damaged pack and are nowhere else. It takes a reading key.
func (m *mender) salvage(ctx context.Context, id index.PackID, raw []byte) error {
	if !m.r.CanRead() {
		return nil
	}
	src, size, err := m.r.openDamaged(raw)
	if err != nil {
		return nil //nolint:nilerr // beyond any reading
	}
	held, err := m.held(ctx, id, src, size)
	if err != nil || len(held) == 0 {
		return err
	}
	loaded, err := m.r.loadIndex(ctx, map[index.PackID]time.Time{id: {}})
	if err != nil {
		return err
	}
	decoder, err := frame.NewDecoder()
	if err != nil {
		return err
	}
	hasher := m.r.keys.NewHasher()
	var frames []byte
	var kept []pack.Record
	var offset int64
	for _, rec := range held {
		at := offset
		offset += int64(rec.Stored)
		if _, elsewhere := loaded.index.Lookup(rec.ID); elsewhere {
			continue
		}
		part := make([]byte, rec.Stored)
		if n, err := src.ReadAt(part, at); n < len(part) || err != nil && err != io.EOF { //nolint:errorlint // as io.ReaderAt says
			continue
		}
		plain, err := decoder.Decode(make([]byte, 0, rec.Plain), part, int(rec.Plain))
		if err != nil || hasher.Sum(plain) != rec.ID {
			continue
		}
		frames, kept = append(frames, part...), append(kept, rec)
	}
	return m.storePack(ctx, frames, kept)
}

// openDamaged gives access to what can be read of a pack's inside. Blocks that are damaged fail alone.
func (r *Repository) openDamaged(raw []byte) (src io.ReaderAt, size int64, err error) {
	if r.data.Plain {
		return bytes.NewReader(raw), int64(len(raw)), nil
	}
	return age.DecryptReaderAt(bytes.NewReader(raw), int64(len(raw)), r.data.Identities...)
}

// held tells what a damaged pack held: it says so itself, or an index does. Without both nobody knows, and nothing is returned.
func (m *mender) held(ctx context.Context, id index.PackID, src io.ReaderAt, size int64) ([]pack.Record, error) {
	if size >= pack.TrailerSize {
		trailer := make([]byte, pack.TrailerSize)
		if n, _ := src.ReadAt(trailer, size-pack.TrailerSize); n == len(trailer) {
			if length, err := pack.FrameSize(trailer); err == nil && length <= size {
				raw := make([]byte, length)
				n, _ := src.ReadAt(raw, size-length)
				if found, err := pack.DecodeDirectory(raw[:n], size); err == nil {
					return found, nil
				}
			}
		}
	}
	for _, r := range []*Repository{m.r, m.from} {
		if r != m.r && !m.sharesKeys() {
			break
		}
		known := newRecords(r)
		if err := known.read(ctx, []index.PackID{id}); err != nil {
			return nil, err
		}
		if p, ok := known.known[id]; ok {
			return p.Records, nil
		}
	}
	return nil, nil
}

// storePack stores frames as a pack of their own and lists it.
func (m *mender) storePack(ctx context.Context, frames []byte, kept []pack.Record) error {
	if len(kept) == 0 {
		return nil
	}
	var sealed bytes.Buffer
	w, err := m.r.data.Writer(&sealed)
	if err != nil {
		return fmt.Errorf("begin pack: %w", err)
	}
	for _, part := range [][]byte{frames, pack.AppendDirectory(nil, kept)} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("seal pack: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("seal pack: %w", err)
	}
	id := index.PackID(sha256.Sum256(sealed.Bytes()))
	if err := m.r.putPack(ctx, id, sealed.Bytes()); err != nil {
		return err
	}
	u := newIndexer(m.r)
	if err := u.note(ctx, index.Pack{ID: id, Size: int64(sealed.Len()), Records: kept}); err != nil {
		return err
	}
	return u.flush(ctx)
}

func newIndexer(r *Repository) *uploader { return &uploader{r: r, stored: new(atomic.Int64)} }

// indexes lists packs again that no readable index lists, takes those off that are gone, and moves damaged index objects
// out of the way: nobody uses them.
func (m *mender) indexes(ctx context.Context) error {
	loaded, err := m.r.loadIndex(ctx, nil)
	if err != nil {
		return err
	}
	if err := m.relist(ctx, loaded); err != nil {
		return err
	}
	if err := m.unlist(ctx); err != nil {
		return err
	}
	for _, d := range loaded.damaged {
		raw, err := m.get(ctx, m.r, d.Object)
		if err != nil {
			return err
		}
		if raw == nil || indexName(hashOf(raw)) == d.Object {
			continue // gone, or as it was written: whoever wrote it knows more of it
		}
		if err := m.setAside(ctx, d.Object, raw); err != nil {
			return err
		}
	}
	return nil
}

// relist writes indexes of packs that none lists: from the good copy's, or from the packs themselves with a reading key.
func (m *mender) relist(ctx context.Context, loaded *loaded) error {
	known := map[index.PackID]bool{}
	for _, p := range loaded.broken {
		known[p.ID] = true
	}
	var unlisted []index.PackID
	for _, id := range sortedPacks(loaded.stored) {
		if !loaded.index.HasPack(id) && !known[id] {
			unlisted = append(unlisted, id)
		}
	}
	good := newRecords(m.r)
	if m.sharesKeys() && len(unlisted) > 0 {
		good = newRecords(m.from)
		if err := good.read(ctx, unlisted); err != nil {
			return err
		}
	}
	u, reader := newIndexer(m.r), newPackReader(m.r)
	for _, id := range unlisted {
		p, ok := good.known[id]
		if !ok || p.Size != loaded.stored[id] {
			var err error
			if p, err = newRecords(m.r).inside(ctx, reader, id); isDamage(err) {
				continue // nobody can tell; if the point needs it, the next look says so
			} else if err != nil {
				return err
			}
		}
		if err := u.note(ctx, p); err != nil {
			return err
		}
		m.replaced("index of " + packName(id.String()))
	}
	return u.flush(ctx)
}

// unlist takes packs that are gone off the indexes.
func (m *mender) unlist(ctx context.Context) error {
	if len(m.gone) == 0 {
		return nil
	}
	p := &pruner{r: m.r, packs: map[index.PackID]blob.Info{}}
	err := m.r.bucket.List(ctx, indexPrefix, func(i blob.Info) error {
		p.other = append(p.other, i)
		return nil
	})
	if err == nil { // after the indexes: what they list was stored before them
		err = m.r.bucket.List(ctx, packsPrefix, func(i blob.Info) error {
			if id, ok := parsePackName(i.Name); ok {
				p.packs[id] = i
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("list the store: %w", err)
	}
	gone := make([]index.PackID, 0, len(m.gone))
	for id := range m.gone {
		gone = append(gone, id)
	}
	return p.unindex(ctx, gone)
}
