package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// chainReader reads segments of a chain one after the other.
type chainReader struct {
	*wal.Reader
	pipe   *io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

// Close ends what still fetches and waits for it.
func (r *chainReader) Close() {
	r.cancel()
	_ = r.pipe.Close()
	<-r.done
}

// read reads the segments from a number up to another, without it. The caller calls Close.
func (c *walChain) read(ctx context.Context, from, to uint64) (*chainReader, error) {
	ctx, cancel := context.WithCancel(ctx)
	pipe, w := io.Pipe()
	r := &chainReader{pipe: pipe, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		w.CloseWithError(c.write(ctx, from, to, w))
	}()
	var err error
	if r.Reader, err = wal.NewReader(pipe); err == nil {
		err = c.check(r.Header(), from)
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("read WAL segment %s: %w", c.name(from), err)
	}
	return r, nil
}

// check proves that what was fetched is of this cluster.
func (c *walChain) check(h wal.Header, number uint64) error {
	id, err := strconv.ParseUint(c.doc.System, 10, 64)
	if err != nil {
		return fmt.Errorf("the base backup's system identifier %q is no number", c.doc.System)
	}
	return h.Check(c.segment(number), wal.Cluster{SystemID: id, SegmentSize: c.size})
}

func (c *walChain) write(ctx context.Context, from, to uint64, w io.Writer) error {
	for n := from; n < to; n++ {
		if err := c.fetch(ctx, n, w); err != nil {
			return err
		}
	}
	return nil
}

// fetch writes one segment, from where recovery will have it.
func (c *walChain) fetch(ctx context.Context, number uint64, w io.Writer) error {
	s := c.segment(number)
	if _, stored := c.stored[s]; stored {
		if _, err := c.archive.Fetch(ctx, c.doc.System, s.Name(c.size), int64(c.size), w); err != nil {
			return fmt.Errorf("fetch WAL segment %s: %w", s.Name(c.size), err)
		}
		return nil
	}
	path := basebackup.WALPrefix + s.Name(c.size)
	return c.from.Read(ctx, func(e executors.Entry) bool { return e.Path == path }, func(_ executors.Entry, r io.Reader) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// quietSegments is how many segments are read back for a commit; servers without work write some without any.
const quietSegments = 8

// tail reads how the stored WAL ends: the last segment, and as many before it as a record that goes over all of them needs. Of
// commits it knows those at the end alone.
func (c *walChain) tail(ctx context.Context) (wal.Summary, error) {
	var s wal.Summary
	var err error
	n := c.next
	for s.Records == 0 && n > c.first {
		n--
		if s, err = c.summarise(ctx, n, c.next); err != nil {
			return s, err
		}
	}
	for range quietSegments {
		if !s.NewestCommit.IsZero() || n == c.first {
			break
		}
		n--
		before, err := c.summarise(ctx, n, n+1)
		if err != nil {
			return s, err
		}
		s.NewestCommit = before.NewestCommit
		if s.Newest.IsZero() {
			s.Newest = before.Newest
		}
	}
	return s, nil
}

func (c *walChain) summarise(ctx context.Context, from, to uint64) (wal.Summary, error) {
	r, err := c.read(ctx, from, to)
	if err != nil {
		return wal.Summary{}, err
	}
	defer r.Close()
	return wal.Summarise(r.Reader)
}

// clockSlack is by how much commits may be out of order in the log: their times are taken before they are written, and clocks are
// set back at times.
const clockSlack = 10 * time.Minute

// segmentBefore finds a segment from which a time target is looked for: the last one that begins well before it.
func (c *walChain) segmentBefore(ctx context.Context, t time.Time) (uint64, error) {
	t = t.Add(-clockSlack)
	low, high := c.first, c.next-1
	for low < high {
		middle := low + (high-low+1)/2
		first, err := c.firstTime(ctx, middle)
		switch {
		case err != nil:
			return 0, err
		case first.IsZero() || first.After(t):
			high = middle - 1
		default:
			low = middle
		}
	}
	return low, nil
}

// firstTime is the time of the first commit or abort in a segment or behind it; zero when none follows.
func (c *walChain) firstTime(ctx context.Context, number uint64) (time.Time, error) {
	r, err := c.read(ctx, number, c.next)
	if err != nil {
		return time.Time{}, err
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return time.Time{}, nil
		}
		if err != nil {
			return time.Time{}, err
		}
		e, _, err := rec.Event()
		if err != nil {
			return time.Time{}, err
		}
		if e.Kind == wal.EventCommit || e.Kind == wal.EventAbort {
			return e.Time, nil
		}
	}
}

// servedChain is the archive as the server that recovers shall see it: the chain and nothing else. What lies on other timelines or
// behind a gap is absent, and what the chain holds is never absent: its loss is an error.
type servedChain struct {
	executors.WALArchive
	chain *walChain
}

// Fetch implements executors.WALArchive.
func (s servedChain) Fetch(ctx context.Context, system, name string, segmentSize int64, to io.Writer) (int64, error) {
	n := wal.ParseName(name)
	if n.Kind == wal.KindHistory && s.chain.archive != nil {
		return s.chain.archive.Fetch(ctx, system, name, segmentSize, to)
	}
	if n.Kind != wal.KindSegment {
		return 0, executors.ErrNoWAL
	}
	segment, err := n.Segment(s.chain.size)
	if err != nil {
		return 0, err
	}
	inside := segment.Number >= s.chain.first && segment.Number < s.chain.next && s.chain.segment(segment.Number) == segment
	if _, stored := s.chain.stored[segment]; !inside || !stored {
		return 0, executors.ErrNoWAL
	}
	real, err := s.chain.archive.Fetch(ctx, system, name, segmentSize, to)
	if errors.Is(err, executors.ErrNoWAL) {
		return 0, fmt.Errorf("WAL segment %s was in the archive, and is not any more", name)
	}
	return real, err
}
