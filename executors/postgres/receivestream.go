package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/holdfast-io/holdfast/executors/postgres/replication"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

func bytesReader(b []byte) io.Reader { return bytes.NewReader(b) }

// timeline receives one timeline from a place on. It returns where the next one begins, or nothing when the server has shut
// down or, with Once, when all up to target is durable.
func (r *receiver) timeline(ctx context.Context, c *replication.Conn, from place, slot string, target wal.LSN) (place, error) {
	from.LSN = r.size.Start(r.size.Number(from.LSN))
	streaming, stop := context.WithCancel(ctx)
	defer stop()
	st, err := c.Stream(streaming, replication.StreamOptions{Slot: slot, Start: from.LSN, Timeline: uint32(from.Timeline)})
	if err != nil {
		return place{}, err
	}
	defer st.Close() //nolint:errcheck // ended in order, or broken already
	r.log.Info("receiving WAL", "system", r.system, "timeline", from.Timeline, "from", from.LSN)
	r.status.Timeline = uint32(from.Timeline)
	s := newSegments(r, st, from)
	saved := make(chan error, 1)
	go func() { saved <- s.save(ctx) }()
	err = s.receive(streaming, stop, target)
	s.close()
	if serr := <-saved; serr != nil {
		return place{}, errors.Join(serr, ignoreStop(streaming, err))
	}
	if err = ignoreStop(streaming, err); err != nil {
		return place{}, err
	}
	if end := st.End(); end.NextTimeline != 0 {
		return place{wal.Timeline(end.NextTimeline), end.NextStart}, nil
	}
	return place{}, nil
}

// ignoreStop leaves out what only says that the stream was told to end.
func ignoreStop(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) || ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

// segments takes a stream in, cut into segments, while what is complete or has waited long enough is archived by another
// goroutine: the network never waits for the store until queued segments wait.
type segments struct {
	r   *receiver
	st  *replication.Stream
	at  place // of the next byte
	lag time.Duration

	mu    sync.Mutex
	moved sync.Cond
	queue []segment // complete, in order; the last one may be growing
	over  bool
	err   error
	since time.Time // when the oldest byte came that is not durable
	asked bool      // the server waits for a confirmation
}

// segment is WAL from the beginning of a segment on.
type segment struct {
	name  string
	start wal.LSN
	data  []byte
	whole bool
	sent  int // bytes that are durable, as pieces
}

// queued bounds the bytes of whole segments that wait in memory beside the growing one.
const queued = 48 << 20

func newSegments(r *receiver, st *replication.Stream, from place) *segments {
	lag := time.Duration(r.req.Backup.Physical.WAL.MaxLag)
	if lag <= 0 {
		lag = 30 * time.Second
	}
	s := &segments{r: r, st: st, at: from, lag: lag}
	s.moved.L = &s.mu
	return s
}

// receive reads the stream until it ends.
func (s *segments) receive(ctx context.Context, stop func(), target wal.LSN) error {
	if s.r.req.Once && s.at.LSN >= target {
		stop()
	}
	for {
		m, err := s.st.Next()
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.r.status.Source, s.r.status.Heard = m.ServerEnd.String(), time.Now()
		s.take(m.Data)
		for len(s.queue) > 1+queued/int(s.r.size) && s.err == nil && ctx.Err() == nil {
			s.moved.Wait()
		}
		failed := s.err
		s.asked = s.asked || m.Confirm
		at := s.at.LSN
		s.moved.Broadcast()
		s.mu.Unlock()
		if failed != nil {
			return nil // save tells it
		}
		s.st.SetWritten(at)
		if s.r.req.Once && at >= target {
			stop()
		}
	}
}

// take appends bytes to the growing segment, and begins the next where it is full.
func (s *segments) take(data []byte) {
	size := int(s.r.size)
	for len(data) > 0 {
		if n := len(s.queue); n == 0 || s.queue[n-1].whole {
			name := wal.Segment{Timeline: s.at.Timeline, Number: s.r.size.Number(s.at.LSN)}.Name(s.r.size)
			s.queue = append(s.queue, segment{name: name, start: s.at.LSN})
			if s.since.IsZero() {
				s.since = time.Now()
			}
		}
		g := &s.queue[len(s.queue)-1]
		if len(g.data) == g.sent && s.since.IsZero() {
			s.since = time.Now()
		}
		n := min(len(data), size-len(g.data))
		g.data = append(g.data, data[:n]...)
		g.whole = len(g.data) == size
		data = data[n:]
		s.at.LSN += wal.LSN(n)
	}
}

func (s *segments) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.moved.Broadcast()
}

// save archives what is due until the stream is over and everything that came is durable.
func (s *segments) save(ctx context.Context) error {
	wake := func() {
		s.mu.Lock()
		s.moved.Broadcast()
		s.mu.Unlock()
	}
	for {
		g, part, ok := s.due(wake)
		if !ok {
			return nil
		}
		// What came is archived also when the receiver is told to end.
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(finalFlush, s.lag))
		if ctx.Err() == nil {
			cancel()
			late, cancel = context.WithCancel(ctx)
		}
		err := s.archive(late, g, part)
		cancel()
		if err != nil && ctx.Err() != nil {
			// It was ended in the middle: once more, with time.
			late, cancel = context.WithTimeout(context.WithoutCancel(ctx), finalFlush)
			err = s.archive(late, g, part)
			cancel()
		}
		if err != nil {
			s.mu.Lock()
			s.err = err
			s.moved.Broadcast()
			s.mu.Unlock()
			return err
		}
	}
}

// due waits for the next thing to archive: a whole segment, or the bytes of the growing one that have waited. part is the
// segment's bytes that are to be archived as a piece; nil for a whole one.
func (s *segments) due(wake func()) (g segment, part []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if len(s.queue) > 0 {
			first := s.queue[0]
			switch waited := time.Since(s.since); {
			case first.whole:
				return first, nil, true
			case len(first.data) > first.sent && (s.over || s.asked || !s.since.IsZero() && waited >= s.lag/2):
				return first, first.data[first.sent:len(first.data):len(first.data)], true
			case len(first.data) > first.sent:
				timer := time.AfterFunc(s.lag/2-waited, wake)
				s.moved.Wait()
				timer.Stop()
				continue
			}
		}
		if s.over {
			return segment{}, nil, false
		}
		s.asked = false
		s.moved.Wait()
	}
}

// archive stores a segment or a piece of it, and tells the server that it is durable.
func (s *segments) archive(ctx context.Context, g segment, part []byte) error {
	name, content := g.name, g.data
	if part != nil {
		name, content = fmt.Sprintf("%s.%08X-%08X", g.name, g.sent, g.sent+len(part)), part
	}
	begun := time.Now()
	if err := s.r.push(ctx, name, content); err != nil {
		return fmt.Errorf("archive %s: %w", name, err)
	}
	if part == nil && g.sent > 0 {
		if err := s.r.to.DropPieces(ctx, s.r.system, g.name); err != nil {
			s.r.log.Warn("pieces of a segment that is archived whole are left", "segment", g.name, "err", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	durable := g.start + wal.LSN(len(g.data))
	if part == nil {
		s.queue = s.queue[1:]
	} else {
		s.queue[0].sent = g.sent + len(part)
	}
	s.since = time.Time{}
	if len(s.queue) > 0 && len(s.queue[0].data) > s.queue[0].sent {
		s.since = begun // at the latest then the oldest of what is left came
	}
	s.st.SetFlushed(durable)
	s.r.progressed = true
	s.r.status.Durable, s.r.status.Received = durable.String(), s.at.LSN.String()
	s.r.tell(nil)
	s.moved.Broadcast()
	return nil
}
