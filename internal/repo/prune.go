package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/index"
)

// PruneOptions say how to prune.
type PruneOptions struct {
	// Grace is how long a pack stays condemned before it is deleted. It covers stores that list late and people who change
	// their minds; writers are safe without it.
	Grace time.Duration
}

// PruneReport tells what a prune did and what it left. Sizes are stored bytes.
type PruneReport struct {
	Deleted, DeletedBytes     int64         // packs
	Condemned, CondemnedBytes int64         // packs that wait for the end of their grace, newly condemned ones included
	Acquitted                 int64         // packs that are needed after all
	Rewritten, RewrittenBytes int64         // packs that were mostly dead: what points need of them was stored anew
	Bytes, Objects            int64         // everything in the store afterwards
	Missing                   int64         // packs that points need and that are lost; with any, nothing was taken away
	DueIn                     time.Duration // until the first condemned pack may be deleted
	// Summaries lists the points whose summary names other packs than before, with the new SHA-256.
	Summaries []PointCheck
}

// pruneWorkers is how many requests a prune has under way.
const pruneWorkers = 16

// Prune condemns packs that no restore point needs and deletes those that were condemned for at least the grace. It reads
// summaries, never content, so a writer's key is enough. Running it again, or after a crash at any moment, is safe.
//
// Errors: KeyError, LeaseHeldError, ErrLeaseLost, DamagedError (a summary that cannot be read: what its point needs cannot
// be told, so nothing is deleted), those of the bucket.
func (r *Repository) Prune(ctx context.Context, o PruneOptions) (PruneReport, error) {
	if err := r.needWrite(); err != nil {
		return PruneReport{}, err
	}
	held, err := r.prunerLease(ctx)
	if err != nil {
		return PruneReport{}, err
	}
	p := &pruner{r: r, o: o, lease: held}
	err = p.run(held.ctx)
	if cause := context.Cause(held.ctx); err != nil && cause != nil {
		err = errors.Join(cause, err)
	} else if err != nil && !errors.Is(err, ErrLeaseLost) && errors.Is(held.counts(ctx), ErrLeaseLost) {
		err = errors.Join(ErrLeaseLost, err) // it slept: what failed may be what others did meanwhile
	}
	return p.report, errors.Join(err, held.release(ctx))
}

// pruner is one prune at work.
type pruner struct {
	r      *Repository
	o      PruneOptions
	lease  *lease
	report PruneReport

	now     time.Time // by the store's clock
	oldest  time.Time // when the oldest live writer began; zero when there is none
	packs   map[index.PackID]blob.Info
	marked  map[index.PackID]time.Time
	points  map[string]bool // manifests that were judged
	needed  map[index.PackID]bool
	remains []blob.Info // summaries and hints of points that are gone
	other   []blob.Info // every other object
	size    int64       // of marks, indexes and remains: what was added less what was deleted
	objects int64       // likewise

	mu sync.Mutex // guards size and objects while index objects are replaced side by side
}

func (p *pruner) run(ctx context.Context) error {
	p.now = p.lease.storeTime()
	if err := p.look(ctx); err != nil {
		return err
	}
	if err := p.repack(ctx); err != nil {
		return err
	}
	doomed, err := p.judge(ctx)
	if err != nil {
		return err
	}
	if len(doomed) > 0 {
		// Points may have come since the look: what they need is needed.
		if err := p.readSummaries(ctx); err != nil {
			return err
		}
		doomed = slices.DeleteFunc(doomed, func(id index.PackID) bool { return p.needed[id] })
	}
	if err := p.delete(ctx, doomed); err != nil {
		return err
	}
	if err := p.sweep(ctx); err != nil {
		return err
	}
	p.count()
	return nil
}

// look lists everything and reads every summary.
func (p *pruner) look(ctx context.Context) (err error) {
	// Writers first: one that begins later sees every mark, and does not build on what is marked.
	if p.oldest, err = p.r.writers(ctx, p.now); err != nil {
		return err
	}
	p.packs, p.marked = map[index.PackID]blob.Info{}, map[index.PackID]time.Time{}
	err = p.r.bucket.List(ctx, "", func(i blob.Info) error {
		id, isPack := parsePackName(i.Name)
		mark, isMark := parsePackID(strings.TrimPrefix(i.Name, condemnedPrefix))
		switch {
		case strings.HasPrefix(i.Name, packsPrefix) && isPack:
			p.packs[id] = i
		case strings.HasPrefix(i.Name, condemnedPrefix) && isMark:
			p.marked[mark] = i.ModTime
		default:
			p.other = append(p.other, i)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the store: %w", err)
	}
	return p.learn(ctx)
}

// learn reads every summary, whatever was read before.
func (p *pruner) learn(ctx context.Context) error {
	p.points, p.needed = map[string]bool{}, map[index.PackID]bool{}
	return p.readSummaries(ctx)
}

// readSummaries learns what the points need that were not judged yet.
func (p *pruner) readSummaries(ctx context.Context) error {
	refs, err := p.r.Points(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pruneWorkers)
	for _, ref := range refs {
		label := ref.Address + "/" + ref.ID
		if !ref.Manifest || p.points[label] {
			continue
		}
		p.points[label] = true
		g.Go(func() error {
			s, err := p.r.Summary(gctx, ref.Address, ref.ID)
			if errors.Is(err, ErrNoPoint) {
				// Deleted since it was listed, or the summary is lost: only the first may be passed over.
				if _, there, merr := p.r.HasManifest(gctx, ref.Address, ref.ID); merr == nil && !there {
					return nil
				}
				err = damaged(summaryName(ref.Address, ref.ID), "it is missing, so nobody can tell what restore point %s of %s needs; nothing is pruned until it is repaired", ref.ID, ref.Address)
			}
			if err != nil {
				return fmt.Errorf("prune: %w", err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, name := range s.Packs {
				if id, ok := parsePackID(name); ok {
					p.needed[id] = true
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// judge marks packs that nothing needs, acquits those that are needed, and returns those whose time is over.
func (p *pruner) judge(ctx context.Context) (doomed []index.PackID, err error) {
	var condemn, acquit []index.PackID
	for id, info := range p.packs {
		at, marked := p.marked[id]
		switch {
		case p.needed[id]:
			if marked {
				acquit = append(acquit, id)
			}
		case !marked && p.settled(info.ModTime):
			condemn = append(condemn, id)
		case marked && p.now.Sub(at) >= p.o.Grace && p.settled(at):
			doomed = append(doomed, id)
		}
	}
	// Where a pack is missing that a point needs, others may hold what was salvaged of it, and no summary says so yet: until
	// the point is repaired, or gone, nothing is taken away.
	if p.report.Missing = p.missing(); p.report.Missing > 0 {
		condemn, doomed = nil, nil
	}
	for id := range p.marked {
		if _, there := p.packs[id]; !there {
			acquit = append(acquit, id) // the mark of a pack that was deleted: a crash came before the mark went
		}
	}
	p.report.Acquitted = int64(len(acquit))
	for _, id := range acquit {
		delete(p.marked, id)
	}
	if err := p.each(ctx, acquit, func(ctx context.Context, id index.PackID) error {
		return p.r.bucket.Delete(ctx, condemnedName(id))
	}); err != nil {
		return nil, fmt.Errorf("acquit packs: %w", err)
	}
	if err := p.each(ctx, condemn, func(ctx context.Context, id index.PackID) error {
		mark := condemnedDocument{At: p.r.clock.Now().UTC(), Who: p.r.who, Size: p.packs[id].Size}.encode()
		if err := p.r.bucket.Create(ctx, condemnedName(id), mark); err != nil && !errors.Is(err, blob.ErrExists) {
			return err
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("condemn packs: %w", err)
	}
	for _, id := range condemn {
		p.marked[id] = p.now
	}
	slices.SortFunc(doomed, func(a, b index.PackID) int { return strings.Compare(a.String(), b.String()) })
	return doomed, nil
}

// missing counts the packs that points need and that are not there.
func (p *pruner) missing() (n int64) {
	for id := range p.needed {
		if _, there := p.packs[id]; !there {
			n++
		}
	}
	return n
}

// settled tells whether something of that age, by the store's clock, cannot be the work of a writer that is alive, and was
// seen by every one of them. Without writers everything is.
func (p *pruner) settled(at time.Time) bool {
	return p.oldest.IsZero() || at.Add(p.r.margins.late).Before(p.oldest)
}

// stillMarked tells whether a pack carries the mark that was listed. It asks for the object itself: a listing may be late, and
// what took the mark away, or marked the pack anew, came after it.
func (p *pruner) stillMarked(ctx context.Context, id index.PackID) (bool, error) {
	info, err := p.r.bucket.Stat(ctx, condemnedName(id))
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil
	}
	return err == nil && !info.ModTime.After(p.marked[id]), err
}

// confirm drops packs that were acquitted since they were listed.
func (p *pruner) confirm(ctx context.Context, doomed []index.PackID) ([]index.PackID, error) {
	var mu sync.Mutex
	var out []index.PackID
	err := p.each(ctx, doomed, func(ctx context.Context, id index.PackID) error {
		marked, err := p.stillMarked(ctx, id)
		mu.Lock()
		defer mu.Unlock()
		if marked {
			out = append(out, id)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at marks: %w", err)
	}
	return out, nil
}

// delete takes doomed packs out of the indexes, then deletes them, then their marks.
func (p *pruner) delete(ctx context.Context, doomed []index.PackID) error {
	doomed, err := p.confirm(ctx, doomed)
	if err != nil || len(doomed) == 0 {
		return err
	}
	if err := p.unindex(ctx, doomed); err != nil {
		return err
	}
	if err := p.lease.renew(ctx); err != nil {
		return err
	}
	var mu sync.Mutex
	err = p.each(ctx, doomed, func(ctx context.Context, id index.PackID) error {
		marked, err := p.stillMarked(ctx, id)
		if err != nil {
			return err
		}
		if !marked || !p.lease.fresh() {
			return ErrLeaseLost // only who took this process for dead touches the mark now
		}
		if err := p.r.bucket.Delete(ctx, packName(id.String())); err != nil {
			return err
		}
		mu.Lock()
		p.report.Deleted++
		p.report.DeletedBytes += p.packs[id].Size
		delete(p.packs, id)
		mu.Unlock()
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete packs: %w", err)
	}
	for _, id := range doomed {
		delete(p.marked, id)
	}
	if err := p.each(ctx, doomed, func(ctx context.Context, id index.PackID) error {
		return p.r.bucket.Delete(ctx, condemnedName(id))
	}); err != nil {
		return fmt.Errorf("delete marks: %w", err)
	}
	return nil
}

// unindex replaces the index objects that list doomed packs. The new ones are stored before the old ones go.
func (p *pruner) unindex(ctx context.Context, doomed []index.PackID) error {
	gone := make(map[index.PackID]bool, len(doomed))
	for _, id := range doomed {
		gone[id] = true
	}
	var mu sync.Mutex
	var batch indexBatch
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, p.r.concurrency))
	for _, info := range p.other {
		if !strings.HasPrefix(info.Name, indexPrefix) {
			continue
		}
		g.Go(func() error {
			kept, hit, err := p.readWithout(gctx, info.Name, gone)
			if err != nil || !hit {
				return err
			}
			mu.Lock()
			batch.old, batch.rest = append(batch.old, info), append(batch.rest, kept...)
			var full indexBatch
			if len(batch.rest) >= packsPerIndex {
				full, batch = batch, indexBatch{}
			}
			mu.Unlock()
			return p.replace(gctx, full)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return p.replace(ctx, batch)
}

// indexBatch is a number of index objects and what stays of them.
type indexBatch struct {
	old  []blob.Info
	rest []index.Pack
}

// replace stores one index in place of several.
func (p *pruner) replace(ctx context.Context, b indexBatch) error {
	if len(b.old) == 0 {
		return nil
	}
	var size, objects int64
	if len(b.rest) > 0 {
		sealed, err := p.r.sealMetadata(index.Encode(b.rest))
		if err != nil {
			return fmt.Errorf("encode index: %w", err)
		}
		if err := createContent(ctx, p.r.bucket, indexName(hashOf(sealed)), sealed); err != nil {
			return err
		}
		size, objects = int64(len(sealed)), 1
	}
	for _, info := range b.old {
		if err := p.r.bucket.Delete(ctx, info.Name); err != nil {
			return fmt.Errorf("delete index: %w", err)
		}
		size, objects = size-info.Size, objects-1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size, p.objects = p.size+size, p.objects+objects
	return nil
}

// readWithout returns what an index lists besides the packs that go; hit tells whether it lists any of those. A damaged
// index is left as it is: what it lists is found by other means.
func (p *pruner) readWithout(ctx context.Context, name string, gone map[index.PackID]bool) (kept []index.Pack, hit bool, err error) {
	plain, err := p.r.readIndex(ctx, name)
	if plain == nil || isDamage(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if !index.Lists(plain, gone) {
		return nil, false, nil
	}
	err = index.Decode(plain, func(pack index.Pack) error {
		if !gone[pack.ID] { // packs that are not listed too: the listing may be late
			kept = append(kept, pack)
		}
		return nil
	})
	return kept, true, wrapDamaged(name, err)
}

// sweep deletes what points that are gone left behind: summaries without a manifest, and hints.
func (p *pruner) sweep(ctx context.Context) error {
	for _, info := range p.other {
		address, id, suffix, isPoint := parsePointName(info.Name)
		hint := strings.HasPrefix(info.Name, hintsPrefix)
		switch {
		case isPoint && suffix == summarySuffix && p.points[address+"/"+id]:
			continue
		case hint && p.hintOfPoint(info.Name):
			continue
		case !hint && !(isPoint && suffix == summarySuffix):
			continue
		}
		if p.now.Sub(info.ModTime) >= p.o.Grace && p.settled(info.ModTime) {
			p.remains = append(p.remains, info)
		}
	}
	if len(p.remains) == 0 {
		return nil
	}
	if err := p.readSummaries(ctx); err != nil { // a point may have come since
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pruneWorkers)
	for _, info := range p.remains {
		if address, id, _, ok := parsePointName(info.Name); ok && p.points[address+"/"+id] || p.hintOfPoint(info.Name) {
			continue
		}
		p.size, p.objects = p.size-info.Size, p.objects-1
		g.Go(func() error {
			if !p.lease.fresh() {
				return ErrLeaseLost
			}
			if err := p.r.bucket.Delete(gctx, info.Name); err != nil {
				return fmt.Errorf("delete what is left of a point: %w", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// hintOfPoint tells whether hints belong to a point that is there.
func (p *pruner) hintOfPoint(name string) bool {
	rest, ok := strings.CutPrefix(name, hintsPrefix)
	if !ok {
		return false
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 3 {
		return true // not ours to judge
	}
	address, ok1 := unescape(parts[0])
	id, ok2 := unescape(parts[1])
	return !ok1 || !ok2 || p.points[address+"/"+id]
}

// count fills in what is left.
func (p *pruner) count() {
	var first time.Time
	for id, at := range p.marked {
		p.report.Condemned++
		p.report.CondemnedBytes += p.packs[id].Size
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if !first.IsZero() {
		p.report.DueIn = max(0, p.o.Grace-p.now.Sub(first))
	}
	for _, info := range p.packs {
		p.report.Bytes += info.Size
	}
	p.report.Objects = int64(len(p.packs)+len(p.marked)) + p.objects
	p.report.Bytes += p.size
	for _, info := range p.other {
		if !strings.HasPrefix(info.Name, leasesPrefix) {
			p.report.Objects++
			p.report.Bytes += info.Size
		}
	}
}

// each does one step for every pack, several at a time.
func (p *pruner) each(ctx context.Context, ids []index.PackID, step func(context.Context, index.PackID) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pruneWorkers)
	for _, id := range ids {
		g.Go(func() error { return step(gctx, id) })
	}
	return g.Wait()
}
