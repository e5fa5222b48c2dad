package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/frame"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
	"github.com/holdfast-io/holdfast/internal/repo/pack"
)

// repackShare is the share of dead bytes from which a pack is rewritten.
const repackShare = 0.5

// maxReplaces bounds how many earlier summaries one names.
const maxReplaces = 64

// repack stores anew what points need of packs that are mostly dead, and lets the summaries name the new packs instead. The old
// ones are then needed by nobody and condemned like any other: nothing is deleted here, so that a crash between any two
// requests leaves every point whole.
//
// It needs a reading key, and no writer at work: whoever else may write summaries holds a lease.
func (p *pruner) repack(ctx context.Context) error {
	if p.r.needRead() != nil || !p.oldest.IsZero() {
		return nil
	}
	loaded, err := p.r.loadIndex(ctx, p.marked)
	if err != nil {
		return err
	}
	err = p.markLive(ctx, loaded)
	if isDamage(err) || isOtherKey(err) {
		return nil // what is alive cannot be told; verification names the damage
	}
	if err != nil {
		return err
	}
	sparse, err := p.sparse(ctx, loaded)
	if err != nil || len(sparse) == 0 {
		return err
	}
	moved, err := p.rewrite(ctx, loaded, sparse)
	if err != nil || len(moved) == 0 {
		return err
	}
	if err := p.lease.renew(ctx); err != nil {
		return err
	}
	if err := p.rename(ctx, moved); err != nil {
		return err
	}
	return p.learn(ctx)
}

// markLive marks every chunk that a point refers to.
func (p *pruner) markLive(ctx context.Context, loaded *loaded) error {
	refs, err := p.r.Points(ctx)
	if err != nil {
		return err
	}
	decoder, err := frame.NewDecoder()
	if err != nil {
		return err
	}
	packs := newPackReader(p.r)
	chunks := make(chan []manifest.Ref, pruneWorkers)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, p.r.concurrency))
	marked := make(chan struct{})
	go func() { // the index is not safe for several to change, and Lookup does not see marks
		defer close(marked)
		for refs := range chunks {
			for _, ref := range refs {
				loaded.index.Mark(ref.ID)
			}
		}
	}()
	for _, ref := range refs {
		if !ref.Manifest {
			continue
		}
		g.Go(func() error {
			rd := &Reader{name: manifestName(ref.Address, ref.ID)}
			raw, err := p.r.bucket.Get(gctx, rd.name)
			if errors.Is(err, blob.ErrNotFound) {
				return nil // deleted since it was listed
			}
			if err != nil {
				return fmt.Errorf("read manifest: %w", err)
			}
			if err := rd.decode(p.r, ref.Address, ref.ID, raw); err != nil {
				return err
			}
			rd.src = &source{r: p.r, loaded: loaded, packs: packs, decoder: decoder, absent: rd.absent}
			return rd.refs(gctx, func(refs []manifest.Ref) { chunks <- refs })
		})
	}
	err = g.Wait()
	close(chunks)
	<-marked
	return err
}

// refs calls each for all that the point refers to, the chunks of its entry list included.
func (rd *Reader) refs(ctx context.Context, each func([]manifest.Ref)) error {
	if rd.header.Entries != manifest.EntriesInline {
		list := &lineReader{name: rd.name, decoder: manifest.NewDecoder(strings.NewReader(string(rd.body)))}
		if err := list.refs(each); err != nil {
			return err
		}
	}
	lines, done := rd.lines(ctx)
	defer done()
	return lines.refs(each)
}

func (l *lineReader) refs(each func([]manifest.Ref)) error {
	for {
		line, err := l.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(line.Refs) > 0 {
			each(line.Refs)
		}
	}
}

// sparse returns the packs in use that are mostly dead, by what the indexes list.
func (p *pruner) sparse(ctx context.Context, loaded *loaded) ([]index.Pack, error) {
	var out []index.Pack
	seen := map[index.PackID]bool{}
	for _, info := range p.other {
		if !strings.HasPrefix(info.Name, indexPrefix) {
			continue
		}
		plain, err := p.r.readIndex(ctx, info.Name)
		if plain == nil && err == nil || isDamage(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = index.Decode(plain, func(x index.Pack) error {
			if _, marked := p.marked[x.ID]; marked || seen[x.ID] || !p.needed[x.ID] || p.packs[x.ID].Size != x.Size || !loaded.index.HasPack(x.ID) {
				return nil
			}
			seen[x.ID] = true
			var live, all int64
			for _, rec := range x.Records {
				all += int64(rec.Stored)
				if loaded.index.Marked(rec.ID) {
					live += int64(rec.Stored)
				}
			}
			if all > 0 && float64(all-live) > repackShare*float64(all) {
				out = append(out, x)
			}
			return nil
		})
		if err != nil {
			return nil, damaged(info.Name, "%v", err)
		}
	}
	return out, nil
}

// rewrite stores the live chunks of packs in new ones and lists those. It returns where each pack's chunks went; a pack that
// cannot be read whole is left alone.
func (p *pruner) rewrite(ctx context.Context, loaded *loaded, sparse []index.Pack) (map[index.PackID][]index.PackID, error) {
	g, gctx := errgroup.WithContext(ctx)
	w := newPackWriter(p, gctx)
	g.Go(w.upload)
	into := map[index.PackID][]uint32{} // numbers of the new packs
	g.Go(func() error {
		defer close(w.packer.full)
		for _, x := range sparse {
			numbers, err := w.move(gctx, loaded, x)
			if isDamage(err) {
				continue
			}
			if err != nil {
				return err
			}
			into[x.ID] = numbers
			p.report.Rewritten++
			p.report.RewrittenBytes += x.Size
		}
		return w.packer.finish()
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("rewrite packs: %w", err)
	}
	if err := w.uploader.flush(ctx); err != nil {
		return nil, fmt.Errorf("rewrite packs: %w", err)
	}
	out := map[index.PackID][]index.PackID{}
	for id, numbers := range into {
		out[id] = nil // also where nothing of it is needed
		for _, n := range numbers {
			out[id] = append(out[id], w.done[n].ID)
		}
	}
	for _, info := range w.done {
		p.packs[info.ID] = blob.Info{Name: packName(info.ID.String()), Size: info.Size, ModTime: p.now}
	}
	return out, nil
}

// packWriter makes packs out of frames of other packs.
type packWriter struct {
	r        *Repository
	ctx      context.Context
	packer   *packer
	uploader *uploader
	packs    *packReader
	decoder  *frame.Decoder
	hasher   chunk.Hasher
	next     uint32                    // number of the next pack; guarded by the packer's lock
	last     uint32                    // number of the pack that the last frame went into
	done     map[uint32]index.PackInfo // uploaded; belongs to upload until that has ended
	stored   atomic.Int64
}

func newPackWriter(p *pruner, ctx context.Context) *packWriter {
	w := &packWriter{r: p.r, ctx: ctx, packs: newPackReader(p.r), hasher: p.r.keys.NewHasher(), done: map[uint32]index.PackInfo{}}
	w.packer = newPacker(p.r.data, func() uint32 { w.next++; return w.next }, func(_ chunk.ID, loc index.Location) { w.last = loc.Pack })
	w.uploader = &uploader{r: p.r, lease: p.lease, stored: &w.stored, finish: func(n uint32, info index.PackInfo) { w.done[n] = info }}
	return w
}

func (w *packWriter) upload() error {
	for full := range w.packer.full {
		if err := w.uploader.upload(w.ctx, full); err != nil {
			return err
		}
		w.packer.free <- full.buf
	}
	return nil
}

// move reads the live chunks of a pack, checks them, and hands them on as they are stored.
func (w *packWriter) move(ctx context.Context, loaded *loaded, x index.Pack) (numbers []uint32, err error) {
	if w.decoder == nil {
		if w.decoder, err = frame.NewDecoder(); err != nil {
			return nil, err
		}
	}
	src := &source{r: w.r, packs: w.packs, decoder: w.decoder}
	info := index.PackInfo{ID: x.ID, Size: x.Size}
	var frames [][]byte
	var records []pack.Record
	var offset int64
	for _, rec := range x.Records {
		at := offset
		offset += int64(rec.Stored)
		if !loaded.index.Marked(rec.ID) {
			continue
		}
		raw, err := w.packs.read(ctx, info, at, int64(rec.Stored))
		if err != nil {
			return nil, err
		}
		data, err := src.decode(w.hasher, info, &event{ref: manifest.Ref{ID: rec.ID, Size: rec.Plain}}, raw)
		if err != nil {
			return nil, err
		}
		giveBuffer(data)
		frames, records = append(frames, raw), append(records, rec)
	}
	for i, raw := range frames { // only now: a damaged pack must leave nothing behind
		if err := w.packer.add(ctx, records[i].ID, raw, int(records[i].Plain)); err != nil {
			return nil, err
		}
		giveBuffer(raw)
		if !slices.Contains(numbers, w.last) {
			numbers = append(numbers, w.last)
		}
	}
	return numbers, nil
}

// rename lets summaries name the new packs instead of the old ones.
func (p *pruner) rename(ctx context.Context, moved map[index.PackID][]index.PackID) error {
	refs, err := p.r.Points(ctx)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if !ref.Manifest {
			continue
		}
		if err := p.renameIn(ctx, ref, moved); err != nil {
			return fmt.Errorf("rewrite summary of %s of %s: %w", ref.ID, ref.Address, err)
		}
	}
	return nil
}

func (p *pruner) renameIn(ctx context.Context, ref PointRef, moved map[index.PackID][]index.PackID) error {
	name := summaryName(ref.Address, ref.ID)
	raw, err := p.r.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		return nil // it was deleted since; were it lost, learn would tell
	}
	if err != nil {
		return err
	}
	s, err := p.r.decodeSummary(name, ref.Address, ref.ID, raw)
	if err != nil {
		return err
	}
	packs, changed := renamed(s.Packs, moved)
	if !changed {
		return nil
	}
	s.Packs, s.Replaces = packs, append(s.Replaces, hashOf(raw))
	s.Replaces = s.Replaces[max(0, len(s.Replaces)-maxReplaces):]
	plain, err := s.Encode()
	if err != nil {
		return err
	}
	sealed, err := p.r.sealMetadata(plain)
	if err != nil {
		return err
	}
	if !p.lease.fresh() {
		return ErrLeaseLost
	}
	err = putVerified(ctx, p.r.bucket, name, sealed)
	if errors.Is(err, blob.ErrNotFound) {
		return nil // the point was deleted meanwhile
	}
	if err != nil {
		return err
	}
	p.size += int64(len(sealed) - len(raw))
	p.report.Summaries = append(p.report.Summaries, PointCheck{Address: ref.Address, ID: ref.ID, ManifestSHA: s.ManifestSHA256, SummarySHA: hashOf(sealed)})
	return nil
}

// renamed replaces packs by those that hold their live chunks now.
func renamed(packs []string, moved map[index.PackID][]index.PackID) (out []string, changed bool) {
	for _, name := range packs {
		id, _ := parsePackID(name)
		into, ok := moved[id]
		if !ok {
			out = append(out, name)
			continue
		}
		changed = true
		for _, id := range into {
			out = append(out, id.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out), changed
}

// replaces tells whether a summary stands for the one that the caller knows.
func (r *Repository) replaces(name string, c PointCheck, raw []byte) bool {
	if !r.CanWrite() {
		return false
	}
	s, err := r.decodeSummary(name, c.Address, c.ID, raw)
	return err == nil && slices.Contains(s.Replaces, c.SummarySHA)
}
