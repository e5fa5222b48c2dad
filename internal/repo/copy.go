package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

const (
	// copyWorkers is how many packs are on their way at once; each is held in memory.
	copyWorkers = 4
	// copyKnows is how long a copier trusts what it saw of the destination.
	copyKnows = 10 * time.Minute
	// smallContent is what is read into memory whole when a point is sealed anew; larger content is streamed.
	smallContent = 1 << 20
)

// Copier brings restore points from one repository to another. It remembers what both hold, so that many points cost one
// look. Not safe for concurrent use.
type Copier struct {
	to, from *Repository

	seen    time.Duration               // Mono of the last look at the destination
	have    map[index.PackID]int64      // packs at the destination and their sizes
	listed  map[index.PackID]bool       // packs that the destination's indexes list
	records map[index.PackID]index.Pack // of the source, as far as its indexes were read
	unread  []blob.Info                 // index objects of the source, the next to be read last
	looked  bool                        // unread was filled
}

// NewCopier makes a copier.
func NewCopier(to, from *Repository) *Copier {
	return &Copier{to: to, from: from, records: map[index.PackID]index.Pack{}}
}

// CopyOptions say what to copy and how.
type CopyOptions struct {
	Manifest, Summary string                    // SHA-256 of the stored objects in the source, where the caller knows them
	Compression       string                    // for points that are sealed anew
	Progress          func(bytes, stored int64) // bytes that went over, bytes added; one call at a time; may be nil
}

// Copy brings one point over. Where both repositories share their keys it goes as stored: no key that reads it is needed,
// one that writes to the source is. Otherwise it is read and sealed anew, which needs a key that reads the source. A point
// that is there already is not brought again.
//
// Errors: ErrNoPoint, KeyError, DamagedError (of an object of the source), ErrLeaseLost, those of the buckets.
func (c *Copier) Copy(ctx context.Context, address, id string, o CopyOptions) (Receipt, error) {
	s, err := c.from.Summary(ctx, address, id)
	if err != nil {
		return Receipt{}, err
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	if c.to.Family() != c.from.Family() {
		return c.reseal(ctx, s, o)
	}
	return c.asStored(ctx, s, o)
}

// object reads a small object of the source and compares it with the hash it should have.
func (c *Copier) object(ctx context.Context, name, want string) ([]byte, error) {
	raw, err := c.from.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, damaged(name, "it is missing from the store")
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if want != "" && hashOf(raw) != want {
		return nil, damaged(name, "its bytes hash to %s instead of %s", hashOf(raw), want)
	}
	return raw, nil
}

func (c *Copier) asStored(ctx context.Context, s manifest.Summary, o CopyOptions) (Receipt, error) {
	mname, sname := manifestName(s.Address, s.Point), summaryName(s.Address, s.Point)
	document, err := c.object(ctx, mname, s.ManifestSHA256)
	if err != nil {
		return Receipt{}, err
	}
	if o.Manifest != "" && o.Manifest != s.ManifestSHA256 {
		return Receipt{}, damaged(mname, "its bytes hash to %s instead of %s", s.ManifestSHA256, o.Manifest)
	}
	summary, err := c.object(ctx, sname, o.Summary)
	if err != nil {
		return Receipt{}, err
	}
	receipt := Receipt{Manifest: s.ManifestSHA256, Summary: hashOf(summary), Size: s.Size, Items: s.Items}
	if there, ok, err := c.to.HasManifest(ctx, s.Address, s.Point); err != nil || ok && there == receipt.Manifest {
		return receipt, err
	} else if ok {
		return Receipt{}, damaged(mname, "the destination has another manifest under this name")
	}
	held, err := c.to.writerLease(ctx)
	if err != nil {
		return Receipt{}, err
	}
	receipt.Stored, err = c.publish(held, s, summary, document, o)
	return receipt, errors.Join(err, held.release(ctx))
}

// publish brings over what the point needs, in the order of every write: packs, index, summary, manifest.
func (c *Copier) publish(held *lease, s manifest.Summary, summary, document []byte, o CopyOptions) (stored int64, err error) {
	ctx := held.ctx
	if err := c.look(ctx); err != nil {
		return 0, err
	}
	needed := make([]index.PackID, 0, len(s.Packs))
	for _, name := range s.Packs {
		if id, ok := parsePackID(name); ok {
			needed = append(needed, id)
		}
	}
	var count atomic.Int64
	if err := c.packs(ctx, needed, &count, o); err != nil {
		return 0, err
	}
	if err := c.index(ctx, needed, &count); err != nil {
		return 0, err
	}
	if err := putVerified(ctx, c.to.bucket, summaryName(s.Address, s.Point), summary); err != nil {
		return 0, err
	}
	if err := held.stillNeeds(ctx, needed); err != nil {
		return 0, err
	}
	if err := createVerified(ctx, c.to.bucket, manifestName(s.Address, s.Point), document); err != nil {
		return 0, err
	}
	return count.Load() + int64(len(summary)+len(document)), held.publish(ctx, s.Address, s.Point, needed)
}

// look learns what the destination has. What is condemned there counts as absent and is brought again.
func (c *Copier) look(ctx context.Context) error {
	if c.have != nil && c.to.clock.Mono()-c.seen < copyKnows {
		return nil
	}
	c.seen = c.to.clock.Mono()
	have, listed := map[index.PackID]int64{}, map[index.PackID]bool{}
	var names []string
	err := c.to.bucket.List(ctx, packsPrefix, func(i blob.Info) error {
		if id, ok := parsePackName(i.Name); ok {
			have[id] = i.Size
		}
		return nil
	})
	if err == nil {
		err = c.to.bucket.List(ctx, indexPrefix, func(i blob.Info) error {
			names = append(names, i.Name)
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("list the destination: %w", err)
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pruneWorkers)
	for _, name := range names {
		g.Go(func() error {
			plain, err := c.readIndex(gctx, c.to, name)
			if err != nil || plain == nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			return wrapDamaged(name, index.Decode(plain, func(p index.Pack) error {
				listed[p.ID] = true
				return nil
			}))
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	marked, err := c.to.condemned(ctx)
	if err != nil {
		return err
	}
	for id := range marked {
		delete(have, id)
	}
	c.have, c.listed = have, listed
	return nil
}

// readIndex reads an index of either repository: they share the metadata identity, and the source's is at hand. What
// is damaged lists nothing.
func (c *Copier) readIndex(ctx context.Context, r *Repository, name string) ([]byte, error) {
	raw, err := r.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) || err == nil && indexName(hashOf(raw)) != name {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	plain, err := c.from.openMetadata(name, raw)
	if isDamage(err) {
		return nil, nil
	}
	return plain, err
}

// packs brings missing packs over. Each is checked against its name on the way.
func (c *Copier) packs(ctx context.Context, needed []index.PackID, stored *atomic.Int64, o CopyOptions) error {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(copyWorkers)
	for _, id := range needed {
		mu.Lock()
		_, there := c.have[id]
		mu.Unlock()
		if there {
			continue
		}
		g.Go(func() error {
			size, err := c.pack(gctx, id)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			c.have[id] = size
			n := stored.Add(size)
			o.Progress(n, n)
			return nil
		})
	}
	return g.Wait()
}

func (c *Copier) pack(ctx context.Context, id index.PackID) (int64, error) {
	name := packName(id.String())
	raw, err := c.object(ctx, name, id.String())
	if err != nil {
		return 0, err
	}
	// A condemned pack is there, and may be about to go: writing it again and taking the mark off makes it ours.
	if err := c.to.bucket.Delete(ctx, condemnedName(id)); err != nil {
		return 0, fmt.Errorf("acquit pack %s: %w", id, err)
	}
	if err := c.to.bucket.Put(ctx, name, raw); err != nil {
		return 0, fmt.Errorf("write pack %s: %w", id, err)
	}
	info, err := c.to.bucket.Stat(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("look at written pack %s: %w", id, err)
	}
	if info.Size != int64(len(raw)) {
		return 0, damaged(name, "it has %d bytes right after %d were written; the store is not reliable", info.Size, len(raw))
	}
	return info.Size, nil
}

// index writes an index of the needed packs that no index of the destination lists.
func (c *Copier) index(ctx context.Context, needed []index.PackID, stored *atomic.Int64) error {
	var packs []index.Pack
	for _, id := range needed {
		if c.listed[id] {
			continue
		}
		p, err := c.record(ctx, id)
		if err != nil {
			return err
		}
		packs = append(packs, p)
	}
	for len(packs) > 0 {
		n := min(len(packs), packsPerIndex)
		sealed, err := c.from.sealMetadata(index.Encode(packs[:n]))
		if err != nil {
			return fmt.Errorf("encode index: %w", err)
		}
		if err := createContent(ctx, c.to.bucket, indexName(hashOf(sealed)), sealed); err != nil {
			return err
		}
		stored.Add(int64(len(sealed)))
		for _, p := range packs[:n] {
			c.listed[p.ID] = true
		}
		packs = packs[n:]
	}
	return nil
}

// record finds what a pack of the source holds. Its indexes are read from the newest on, as far as needed.
func (c *Copier) record(ctx context.Context, id index.PackID) (index.Pack, error) {
	if !c.looked {
		err := c.from.bucket.List(ctx, indexPrefix, func(i blob.Info) error {
			c.unread = append(c.unread, i)
			return nil
		})
		if err != nil {
			return index.Pack{}, fmt.Errorf("list indexes: %w", err)
		}
		slices.SortFunc(c.unread, func(a, b blob.Info) int { return a.ModTime.Compare(b.ModTime) })
		c.looked = true
	}
	for {
		if p, ok := c.records[id]; ok {
			return p, nil
		}
		if len(c.unread) == 0 {
			break
		}
		next := c.unread[len(c.unread)-1]
		c.unread = c.unread[:len(c.unread)-1]
		plain, err := c.readIndex(ctx, c.from, next.Name)
		if err != nil {
			return index.Pack{}, err
		}
		if plain == nil {
			continue
		}
		err = wrapDamaged(next.Name, index.Decode(plain, func(p index.Pack) error {
			c.records[p.ID] = p
			return nil
		}))
		if err != nil {
			return index.Pack{}, err
		}
	}
	c.looked = false // one may come meanwhile
	return index.Pack{}, damaged(packName(id.String()), "no readable index lists it; repair the source first")
}

// reseal reads the point and writes it anew, in constant memory.
func (c *Copier) reseal(ctx context.Context, s manifest.Summary, o CopyOptions) (Receipt, error) {
	if there, ok, err := c.to.HasManifest(ctx, s.Address, s.Point); err != nil {
		return Receipt{}, err
	} else if ok {
		mine, err := c.to.Summary(ctx, s.Address, s.Point)
		if err != nil {
			return Receipt{}, err
		}
		sum, _, err := c.to.HasSummary(ctx, s.Address, s.Point)
		return Receipt{Manifest: there, Summary: sum, Size: mine.Size, Items: mine.Items, Stored: mine.Stored}, err
	}
	return c.rewrite(ctx, s, o, false)
}

func (c *Copier) rewrite(ctx context.Context, s manifest.Summary, o CopyOptions, replace bool) (Receipt, error) {
	rd, err := c.from.OpenPoint(ctx, s.Address, s.Point)
	if err != nil {
		return Receipt{}, err
	}
	w, err := c.to.NewWriter(ctx, WriterOptions{
		Address: s.Address, Point: s.Point, Compression: o.Compression, SizeHint: s.Size, replace: replace,
		Progress: func(st WriterStats) { o.Progress(st.Bytes, st.Stored) },
	})
	if err != nil {
		return Receipt{}, err
	}
	defer w.Abort()
	err = rd.Read(ctx, nil, func(e manifest.Entry, content io.Reader) error { return pass(ctx, w, e, content) })
	if err != nil {
		return Receipt{}, err
	}
	return w.Commit(ctx, s.Info)
}

// pass hands one entry from a reader to a writer.
func pass(ctx context.Context, w *Writer, e manifest.Entry, content io.Reader) error {
	switch {
	case e.Size == 0:
		return w.Add(ctx, e, Content{})
	case e.Size <= smallContent:
		data, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		return w.Add(ctx, e, Content{SizeHint: e.Size, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }})
	}
	pr, pw := io.Pipe()
	if err := w.Add(ctx, e, Content{SizeHint: e.Size, Open: func() (io.ReadCloser, error) { return pr, nil }}); err != nil {
		return err
	}
	stop := context.AfterFunc(w.ctx, func() { pr.CloseWithError(w.err()) })
	defer stop()
	_, err := io.Copy(pw, content)
	pw.CloseWithError(err) // nil is io.EOF
	return err
}
