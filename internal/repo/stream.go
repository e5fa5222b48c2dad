package repo

import (
	"context"
	"errors"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/frame"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// Limits of a batch. Batches in flight times their size bound the memory of a restore.
const (
	batchStored = 8 << 20
	batchPlain  = 16 << 20
	batchEvents = 8192
	maxBatches  = 4
	// gap is how many unwanted bytes between two chunks are read along rather than asked for separately.
	gap = 128 << 10
)

// event is the beginning of an entry (entry set) or the next piece of its content.
type event struct {
	entry *manifest.Entry
	ref   manifest.Ref
	loc   index.Location
	data  []byte // pooled; set by the worker
	err   error  // of this chunk
}

// feed returns the next entry or reference; io.EOF after the last.
type feed func() (*manifest.Entry, manifest.Ref, error)

// batch is a run of events that is fetched together.
type batch struct {
	events []event
	err    error // of the feed, after the events
	ready  chan struct{}
}

// stream fetches what a feed asks for, ahead of the one who reads it, in bounded batches and in order.
type stream struct {
	src     *source
	batches chan *batch
	cancel  context.CancelFunc
	group   *errgroup.Group

	cur *batch
	pos int
}

// source is where chunks come from.
type source struct {
	r       *Repository
	loaded  *loaded
	packs   *packReader
	decoder *frame.Decoder
	absent  func(manifest.Ref) error // why a chunk is in no index
}

func (s *source) stream(ctx context.Context, next feed) *stream {
	ctx, cancel := context.WithCancel(ctx)
	ahead := max(2, min(s.r.concurrency, maxBatches))
	st := &stream{src: s, batches: make(chan *batch, ahead-1), cancel: cancel, group: &errgroup.Group{}}
	workers := &errgroup.Group{}
	workers.SetLimit(ahead)
	st.group.Go(func() error {
		defer close(st.batches)
		defer workers.Wait() //nolint:errcheck // workers put their errors into events
		for {
			b := s.plan(next)
			select {
			case st.batches <- b:
			case <-ctx.Done():
				return nil
			}
			workers.Go(func() error {
				defer close(b.ready)
				s.fetch(ctx, b)
				return nil
			})
			if b.err != nil {
				return nil
			}
		}
	})
	return st
}

// close ends the stream and waits until nothing is under way.
func (st *stream) close() {
	st.cancel()
	for b := range st.batches {
		<-b.ready
	}
	_ = st.group.Wait() // its only function returns nil
}

// next returns the next event, or the feed's error (io.EOF at the end). The caller gives data back to the pools.
func (st *stream) next(ctx context.Context) (*event, error) {
	for st.cur == nil || st.pos == len(st.cur.events) {
		if st.cur != nil && st.cur.err != nil {
			return nil, st.cur.err
		}
		b, ok := <-st.batches
		if !ok {
			return nil, context.Cause(ctx)
		}
		select {
		case <-b.ready:
		case <-ctx.Done():
			<-b.ready // ends soon, since its context does
			return nil, context.Cause(ctx)
		}
		st.cur, st.pos = b, 0
	}
	st.pos++
	return &st.cur.events[st.pos-1], nil
}

func (s *source) plan(next feed) *batch {
	b := &batch{ready: make(chan struct{})}
	var stored, plain int64
	for stored < batchStored && plain < batchPlain && len(b.events) < batchEvents {
		entry, ref, err := next()
		if err != nil {
			b.err = err
			break
		}
		ev := event{entry: entry, ref: ref}
		if entry == nil {
			loc, ok := s.loaded.index.Lookup(ref.ID)
			if !ok {
				ev.err = s.absent(ref)
			}
			ev.loc = loc
			stored += int64(loc.Stored)
			plain += int64(ref.Size)
		}
		b.events = append(b.events, ev)
	}
	return b
}

// fetch reads, decodes and checks the chunks of a batch. Neighbours in a pack are read at once.
func (s *source) fetch(ctx context.Context, b *batch) {
	var want []*event
	for i := range b.events {
		if ev := &b.events[i]; ev.entry == nil && ev.err == nil {
			want = append(want, ev)
		}
	}
	slices.SortFunc(want, func(a, b *event) int {
		if a.loc.Pack != b.loc.Pack {
			return int(int64(a.loc.Pack) - int64(b.loc.Pack))
		}
		return int(int64(a.loc.Offset) - int64(b.loc.Offset))
	})
	hasher := s.r.keys.NewHasher()
	for len(want) > 0 {
		n, end := 1, ends(want[0].loc)
		for n < len(want) && want[n].loc.Pack == want[0].loc.Pack && int64(want[n].loc.Offset) <= end+gap {
			end = max(end, ends(want[n].loc))
			n++
		}
		s.fetchRun(ctx, hasher, want[:n], end)
		want = want[n:]
	}
}

func ends(l index.Location) int64 { return int64(l.Offset) + int64(l.Stored) }

// fetchRun handles chunks of one pack that stand close together.
func (s *source) fetchRun(ctx context.Context, hasher chunk.Hasher, run []*event, end int64) {
	info, from := s.loaded.index.Pack(run[0].loc.Pack), int64(run[0].loc.Offset)
	raw, err := s.packs.read(ctx, info, from, end-from)
	var d *DamagedError
	if errors.As(err, &d) && len(run) > 1 {
		for _, ev := range run { // one bad block must not take its neighbours along
			s.fetchRun(ctx, hasher, []*event{ev}, ends(ev.loc))
		}
		return
	}
	for _, ev := range run {
		if ev.err = err; err == nil {
			at := int64(ev.loc.Offset) - from
			ev.data, ev.err = s.decode(hasher, info, ev, raw[at:at+int64(ev.loc.Stored)])
		}
	}
	if err == nil {
		giveBuffer(raw)
	}
}

func (s *source) decode(hasher chunk.Hasher, info index.PackInfo, ev *event, raw []byte) ([]byte, error) {
	name := packName(info.ID.String())
	data, err := s.decoder.Decode(takeBuffer(int(ev.ref.Size)), raw, int(ev.ref.Size))
	if err != nil {
		return nil, damaged(name, "chunk %s: %v", ev.ref.ID, err)
	}
	if hasher.Sum(data) != ev.ref.ID {
		giveBuffer(data)
		return nil, damaged(name, "chunk %s: its content has another id", ev.ref.ID)
	}
	return data, nil
}

// chunks is an io.Reader over the content of references alone.
type chunks struct {
	ctx  context.Context
	st   *stream
	rest []byte
	held []byte
}

func (c *chunks) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.held != nil {
			giveBuffer(c.held)
			c.held = nil
		}
		ev, err := c.st.next(c.ctx)
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err == nil {
			err = ev.err
		}
		if err != nil {
			return 0, readError{err}
		}
		c.held, c.rest = ev.data, ev.data
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
