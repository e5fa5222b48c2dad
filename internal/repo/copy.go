package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/index"
)

// copyWorkers is how many packs are on their way at once; each is held in memory.
const copyWorkers = 4

// Copier brings restore points from one repository to another. It remembers what their indexes list, so that many points
// cost little more than one. Not safe for concurrent use.
type Copier struct {
	to, from *Repository

	read   map[string]bool        // index objects of the destination that were read
	listed map[index.PackID]int64 // what they list, and in which size
	source *records               // what the source's packs hold
	have   map[index.PackID]int64 // packs at the destination, as of the copy that is under way
}

// CopyOptions say what to copy and how.
type CopyOptions struct {
	Manifest, Summary string                    // SHA-256 of the stored objects in the source, where the caller knows them
	Compression       string                    // for points that are sealed anew
	Progress          func(bytes, stored int64) // handled so far, and added; one call at a time; may be nil
}

// NewCopier makes a copier.
func NewCopier(to, from *Repository) *Copier {
	to, from = to.borrow(from), from.borrow(to)
	return &Copier{to: to, from: from, source: newRecords(from)}
}

// Copy brings one point over. Where both repositories share keys and recipients it goes as stored, byte for byte: no key that
// reads it is needed, one that writes is. Otherwise it is read and sealed anew, which needs a key that reads the source. A
// point that is whole there already is left alone; what an interrupted copy brought is not brought again.
//
// Errors: ErrNoPoint, KeyError, LeaseHeldError, ErrLeaseLost, DamagedError (of an object of the source, unless it says
// otherwise), those of the buckets. With any of them nothing is published.
func (c *Copier) Copy(ctx context.Context, address, id string, o CopyOptions) (Receipt, error) {
	if err := checkPoint(address, id); err != nil {
		return Receipt{}, err
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	want := PointCheck{Address: address, ID: id, ManifestSHA: o.Manifest, SummarySHA: o.Summary}
	if err := c.to.needWrite(); err != nil {
		return Receipt{}, err
	}
	if !c.to.sharesKeys(c.from) {
		return c.reseal(ctx, want, o)
	}
	docs, err := c.from.pointDocs(ctx, want)
	if err != nil {
		return Receipt{}, fmt.Errorf("copy from repository %s: %w", c.from.ID(), err)
	}
	if receipt, done, err := c.there(ctx, address, id, docs.summary.ManifestSHA256); done || err != nil {
		return receipt, err
	}
	held, err := c.to.writerLease(ctx)
	if err != nil {
		return Receipt{}, err
	}
	p := &passage{Copier: c, docs: docs, lease: held, progress: o.Progress}
	receipt, err := p.run(held.ctx)
	if cause := context.Cause(held.ctx); err != nil && cause != nil {
		err = errors.Join(cause, err)
	}
	if rerr := held.release(ctx); rerr != nil && err == nil {
		receipt.Warnings = append(receipt.Warnings, rerr.Error())
	}
	return receipt, err
}

// there tells whether a point is whole at the destination, as far as names and sizes tell. Another manifest in its place,
// one that belongs to nothing whole, is damage; an empty want accepts any.
func (c *Copier) there(ctx context.Context, address, id, want string) (Receipt, bool, error) {
	sum, there, err := c.to.HasManifest(ctx, address, id)
	if err != nil || !there {
		return Receipt{}, false, err
	}
	docs, err := c.to.pointDocs(ctx, PointCheck{Address: address, ID: id})
	if err != nil && !isDamage(err) {
		return Receipt{}, false, err
	}
	if err == nil {
		lack, err := c.lacking(ctx, docs.packs)
		if err != nil || len(lack) == 0 {
			return docs.receipt(0), err == nil, err
		}
	}
	if sum != want {
		return Receipt{}, false, c.otherManifest(address, id)
	}
	return Receipt{}, false, nil
}

func (c *Copier) otherManifest(address, id string) error {
	return fmt.Errorf("copy to repository %s: %w", c.to.ID(), damaged(manifestName(address, id), "it is there already, and it is not the manifest of a whole copy; repair it"))
}

// sharesKeys tells whether what one store holds may be brought to the other as it is: they share their keys and seal to the same
// people.
func (r *Repository) sharesKeys(other *Repository) bool {
	a, b := r.config, other.config
	return a.family() == b.family() && a.Encryption == b.Encryption && a.MetadataRecipient == b.MetadataRecipient &&
		slices.Equal(sortedSet(a.Recipients), sortedSet(b.Recipients))
}

// borrow returns the repository with the other's keys, where it lacks them and both share theirs: their writers may differ.
func (r *Repository) borrow(other *Repository) *Repository {
	if r.CanWrite() || !other.CanWrite() || !r.sharesKeys(other) {
		return r
	}
	keyed := *r
	keyed.meta, keyed.keys, keyed.document = other.meta, other.keys, other.document
	return &keyed
}

// lacking returns those of the packs that the destination does not have, or has condemned, in another size than an index
// says, or in no readable index. It looks anew at every call: without a lease a pruner may delete what was seen before.
func (c *Copier) lacking(ctx context.Context, packs []index.PackID) ([]index.PackID, error) {
	c.have = map[index.PackID]int64{}
	err := c.to.bucket.List(ctx, packsPrefix, func(i blob.Info) error {
		if id, ok := parsePackName(i.Name); ok {
			c.have[id] = i.Size
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list packs: %w", err)
	}
	marked, err := c.to.condemned(ctx)
	if err != nil {
		return nil, err
	}
	for id := range marked {
		delete(c.have, id)
	}
	if err := c.readLists(ctx); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(packs), func(id index.PackID) bool {
		size, here := c.have[id]
		said, ok := c.listed[id]
		return here && ok && size == said
	}), nil
}

// readLists learns what the destination's indexes list. Those that were read before are not read again, unless some are
// gone: what they listed may not be listed by others.
func (c *Copier) readLists(ctx context.Context) error {
	now := map[string]bool{}
	err := c.to.bucket.List(ctx, indexPrefix, func(i blob.Info) error {
		now[i.Name] = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("list indexes: %w", err)
	}
	for name := range c.read {
		if !now[name] {
			c.read = nil
			break
		}
	}
	if c.read == nil {
		c.read, c.listed = map[string]bool{}, map[index.PackID]int64{}
	}
	maps.DeleteFunc(now, func(name string, _ bool) bool { return c.read[name] })
	return c.to.eachIndexed(ctx, slices.Collect(maps.Keys(now)), func(name string, packs []index.Pack) {
		c.read[name] = true
		for _, p := range packs {
			c.listed[p.ID] = p.Size
		}
	})
}

// eachIndexed reads index objects and hands out what each lists, one at a time. Those that are damaged list nothing.
func (r *Repository) eachIndexed(ctx context.Context, names []string, each func(name string, packs []index.Pack)) error {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(4, r.concurrency))
	for _, name := range names {
		g.Go(func() error {
			plain, err := r.readIndex(gctx, name)
			if isDamage(err) {
				return nil // what it lists is found by other means
			}
			if err != nil || plain == nil {
				return err
			}
			var packs []index.Pack
			if index.Decode(plain, func(p index.Pack) error { packs = append(packs, p); return nil }) != nil {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			each(name, packs)
			return nil
		})
	}
	return g.Wait()
}

// passage brings one point over as it is stored.
type passage struct {
	*Copier
	docs     pointDocs
	lease    *lease
	progress func(bytes, stored int64)

	stored  atomic.Int64
	mu      sync.Mutex // guards handled and calls of progress
	handled int64
}

// run keeps the order of every write: packs, index, summary, manifest.
func (p *passage) run(ctx context.Context) (Receipt, error) {
	if err := p.to.claim(ctx, p.lease, p.docs.packs); err != nil {
		return Receipt{}, err
	}
	lack, err := p.lacking(ctx, p.docs.packs)
	if err != nil {
		return Receipt{}, err
	}
	if err := p.bring(ctx, lack); err != nil {
		return Receipt{}, err
	}
	return p.publish(ctx)
}

// bring stores the packs that are lacking, and lists them.
func (p *passage) bring(ctx context.Context, lack []index.PackID) error {
	for _, id := range p.docs.packs {
		p.handled += p.have[id]
	}
	for _, id := range lack {
		p.handled -= p.have[id]
	}
	entries, err := p.source.of(ctx, lack)
	if err != nil {
		return fmt.Errorf("copy from repository %s: %w", p.from.ID(), err)
	}
	u := &uploader{r: p.to, stored: &p.stored}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(copyWorkers)
	for _, entry := range entries {
		g.Go(func() error {
			if p.have[entry.ID] != entry.Size {
				if err := p.pack(gctx, entry); err != nil {
					return err
				}
			}
			p.done(entry.Size)
			return u.note(gctx, entry)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return u.flush(ctx)
}

// pack brings one pack over.
func (p *passage) pack(ctx context.Context, entry index.Pack) error {
	data, err := p.from.soundPack(ctx, entry.ID)
	if err == nil && int64(len(data)) != entry.Size {
		err = damaged(packName(entry.ID.String()), "it has %d bytes, and its index says %d", len(data), entry.Size)
	}
	if err != nil {
		return fmt.Errorf("copy from repository %s: %w", p.from.ID(), err)
	}
	if err := p.to.putPack(ctx, entry.ID, data); err != nil {
		return err
	}
	p.stored.Add(entry.Size)
	return nil
}

// publish writes summary and manifest. A manifest that is here must be the same.
func (p *passage) publish(ctx context.Context) (Receipt, error) {
	address, id := p.docs.summary.Address, p.docs.summary.Point
	if err := putVerified(ctx, p.to.bucket, summaryName(address, id), p.docs.summaryRaw); err != nil {
		return Receipt{}, err
	}
	if err := p.lease.stillNeeds(ctx, p.docs.packs); err != nil {
		return Receipt{}, err
	}
	err := createVerified(ctx, p.to.bucket, manifestName(address, id), p.docs.manifestRaw)
	if errors.Is(err, blob.ErrExists) {
		sum, _, err := p.to.HasManifest(ctx, address, id)
		if err == nil && sum != p.docs.summary.ManifestSHA256 {
			err = p.otherManifest(address, id)
		}
		return p.docs.receipt(p.stored.Load()), err
	}
	if err != nil {
		return Receipt{}, err
	}
	p.stored.Add(int64(len(p.docs.summaryRaw) + len(p.docs.manifestRaw)))
	return p.docs.receipt(p.stored.Load()), p.lease.publish(ctx, address, id, p.docs.packs)
}

func (p *passage) done(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handled += bytes
	p.progress(p.handled, p.stored.Load())
}
