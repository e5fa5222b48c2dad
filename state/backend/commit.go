package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/statefile"
)

// Update loads the catalog, lets fn change it and commits it without a lease, again and again while others commit in
// between. It is for small facts such as proofs; fn may be called more than once. An error of fn ends it unchanged.
func (b *Backend) Update(ctx context.Context, fn func(*state.Catalog) error) error {
	cat, err := b.Load(ctx)
	if err != nil {
		return err
	}
	return b.update(ctx, cat, "", nobody, fn)
}

// nobody is the check of a commit that needs no lease.
func nobody() error { return nil }

func (b *Backend) update(ctx context.Context, cat *state.Catalog, run string, held func() error, fn func(*state.Catalog) error) error {
	for try := 1; ; try++ {
		if err := fn(cat); err != nil {
			return err
		}
		err := b.commit(ctx, cat, run, held)
		if !errors.Is(err, state.ErrStale) || try == b.margin.retries {
			return err
		}
		if err := b.Refresh(ctx, cat); err != nil {
			return err
		}
	}
}

// commit writes next as serial next.Serial+1. The order makes it safe: segments, read back; then the head, created if
// absent; then a look at whether that head is the one that counts.
func (b *Backend) commit(ctx context.Context, next *state.Catalog, run string, held func() error) error {
	if err := held(); err != nil {
		return fmt.Errorf("commit state: %w", err)
	}
	heads, err := b.list(ctx, headsDir)
	if err != nil {
		return err
	}
	if newest(heads) != next.Serial {
		return staleAt(newest(heads), next.Serial)
	}
	head := statefile.Head{
		Lineage: next.Lineage, Serial: next.Serial + 1, Commit: randomID(), Run: run,
		CommittedAt: b.o.Clock.Now().UTC(), Version: b.o.Version, Segments: map[string]statefile.Ref{},
	}
	var parent statefile.Head
	if next.Serial > 0 {
		var data []byte
		if parent, data, err = b.head(ctx, next.Serial, heads); errors.Is(err, errMoved) {
			return staleAt(next.Serial+1, next.Serial)
		} else if err != nil {
			return err
		}
		head.Parent = statefile.HeadSum(data)
	}
	if head.Lineage == "" && next.Serial == 0 {
		head.Lineage = randomID()
	}
	if next.Serial > 0 && parent.Lineage != next.Lineage {
		return fmt.Errorf("commit state serial %d: %w: expected %q, found %q", head.Serial, state.ErrLineage, next.Lineage, parent.Lineage)
	}
	normalize(next)
	changed, err := b.writeSegments(ctx, next, parent.Segments, &head)
	if err != nil {
		return fmt.Errorf("commit state serial %d: %w", head.Serial, err)
	}
	if !changed && next.Serial > 0 {
		return nil
	}
	if err := held(); err != nil {
		return fmt.Errorf("commit state serial %d: %w", head.Serial, err)
	}
	if err := b.createHead(ctx, head); err != nil {
		return err
	}
	next.Lineage, next.Serial = head.Lineage, head.Serial
	return nil
}

func staleAt(found, expected uint64) error {
	return fmt.Errorf("commit state: %w (serial %d expected, %d found)", state.ErrStale, expected, found)
}

// buffers hold plain segments while they are encoded.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// writeSegments fills head.Segments, storing what parent does not have. It tells whether anything differs from parent.
func (b *Backend) writeSegments(ctx context.Context, next *state.Catalog, parent map[string]statefile.Ref, head *statefile.Head) (bool, error) {
	parts := split(next)
	refs := make([]statefile.Ref, len(parts))
	encoding := make(chan struct{}, b.margin.encoders)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(b.margin.fetches)
	for i, p := range parts {
		g.Go(func() error {
			if err := gctx.Err(); err != nil {
				return err
			}
			encoding <- struct{}{}
			ref, stored, err := encodePart(p, parent[p.name], head.Serial)
			<-encoding
			refs[i] = ref
			if err != nil || stored == nil {
				return err
			}
			return b.store(gctx, segmentName(ref), stored)
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	changed := len(parts) != len(parent)
	for i, p := range parts {
		head.Segments[p.name] = refs[i]
		changed = changed || parent[p.name] != refs[i]
	}
	return changed, nil
}

// encodePart returns the reference of a part, and its stored bytes unless parent is the same content.
func encodePart(p part, parent statefile.Ref, serial uint64) (statefile.Ref, []byte, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	plain, err := p.encode((*buf)[:0])
	if err != nil {
		return statefile.Ref{}, nil, err
	}
	*buf = plain
	ref := statefile.NewRef(serial, plain)
	if parent.Serial > 0 && parent.Sum == ref.Sum {
		return parent, nil, nil
	}
	stored, err := statefile.Pack(plain)
	return ref, stored, err
}

// store puts an object and reads it back, since a head that names it must not exist otherwise.
func (b *Backend) store(ctx context.Context, name string, data []byte) error {
	if err := b.bucket.Put(ctx, name, data); err != nil {
		return fmt.Errorf("write state segment: %w", err)
	}
	got, err := b.bucket.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("read back state segment: %w", err)
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("read back %s: %w: the bucket returned other bytes than were written", name, state.ErrCorrupt)
	}
	return nil
}

// createHead is the commit.
func (b *Backend) createHead(ctx context.Context, head statefile.Head) error {
	data, err := statefile.EncodeHead(head)
	if err != nil {
		return err
	}
	name := headName(head.Serial)
	if err := b.bucket.Create(ctx, name, data); err != nil {
		// The answer to a creation that worked can be lost, and a retry then finds our own object.
		got, getErr := b.bucket.Get(ctx, name)
		switch {
		case getErr == nil && bytes.Equal(got, data):
		case errors.Is(err, blob.ErrExists):
			return staleAt(head.Serial, head.Serial-1)
		default:
			return fmt.Errorf("commit state serial %d: %w", head.Serial, err)
		}
	}
	return b.confirm(ctx, head.Serial, data)
}

// confirm makes sure that the head just created is part of the history. It is not when we slept so long between our
// look and the creation that others committed the same serial and trimmed it away. Then newer heads exist, and the next
// one, if it still does, has another parent.
func (b *Backend) confirm(ctx context.Context, serial uint64, data []byte) error {
	heads, err := b.list(ctx, headsDir)
	if err != nil {
		return fmt.Errorf("confirm commit of state serial %d: %w", serial, err)
	}
	if newest(heads) == serial {
		return nil
	}
	if newest(heads) < serial {
		return fmt.Errorf("confirm commit of state serial %d: the bucket does not list the head that was created", serial)
	}
	next, _, err := b.head(ctx, serial+1, heads)
	if errors.Is(err, errMoved) || (err == nil && next.Parent != statefile.HeadSum(data)) {
		return staleAt(newest(heads), serial-1)
	}
	return err
}

// reuse hands the parts of old that head has too to into, and returns the segments that must be read.
func (b *Backend) reuse(ctx context.Context, old *state.Catalog, head statefile.Head, into *merger) (map[string]statefile.Ref, error) {
	if old.Lineage != head.Lineage {
		return nil, fmt.Errorf("refresh state: %w: expected %q, found %q", state.ErrLineage, old.Lineage, head.Lineage)
	}
	have := map[string]part{}
	for _, p := range split(old) {
		have[p.name] = p
	}
	toRead := map[string]statefile.Ref{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(b.margin.encoders)
	for name, ref := range head.Segments {
		g.Go(func() error {
			p, ok := have[name]
			same := ok && p.is(ref)
			into.mu.Lock()
			defer into.mu.Unlock()
			if same {
				p.share(into.cat)
			} else {
				toRead[name] = ref
			}
			return ctx.Err()
		})
	}
	return toRead, g.Wait()
}

// is tells whether the part has the content that ref names. One that cannot be encoded has not.
func (p part) is(ref statefile.Ref) bool {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	plain, err := p.encode((*buf)[:0])
	if err != nil {
		return false
	}
	*buf = plain
	return statefile.NewRef(ref.Serial, plain) == ref
}
