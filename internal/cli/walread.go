package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	pgwal "github.com/holdfast-io/holdfast/executors/postgres/wal"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
	"github.com/holdfast-io/holdfast/state"
)

// histories tells where timelines left their parents: what is known already, or is read where this host can.
func (l *walLook) histories(ctx context.Context, r *repository, w *storedWAL) map[uint32]wal.Switch {
	switches := map[uint32]wal.Switch{}
	for _, f := range w.files {
		if f.Kind != wal.History {
			continue
		}
		if h, ok := w.knownHistory(f.Timeline); ok {
			switches[f.Timeline] = h
		} else if h, err := readHistory(ctx, r, f.File); err == nil {
			switches[f.Timeline] = h
		} else {
			l.s.log.Warn("read the history of a timeline", "store", w.store, "file", f.Name(), "err", err)
		}
	}
	return switches
}

// knownHistory is what was read before: here, or in the store that a copy comes from. A history never changes.
func (s *storedWAL) knownHistory(timeline uint32) (wal.Switch, bool) {
	if s.before != nil {
		if t := s.before.Timeline(timeline); t != nil && t.Parent != 0 {
			return wal.Switch{Timeline: t.ID, Parent: t.Parent, At: uint64(t.Switch)}, true
		}
	}
	if s.origin != nil {
		h, ok := s.origin.histories[timeline]
		return h, ok
	}
	return wal.Switch{}, false
}

func readHistory(ctx context.Context, r *repository, f wal.File) (wal.Switch, error) {
	var text limitedBuffer
	if _, err := r.FetchWAL(ctx, f, 0, &text); err != nil {
		return wal.Switch{}, err
	}
	h, err := pgwal.ParseHistory(pgwal.Timeline(f.Timeline), text.data)
	if err != nil {
		return wal.Switch{}, err
	}
	parent, ok := h.Parent()
	if !ok {
		return wal.Switch{}, fmt.Errorf("%s names no parent", f.Name())
	}
	return wal.Switch{Timeline: f.Timeline, Parent: uint32(parent.Timeline), At: uint64(parent.At)}, nil
}

// limitedBuffer holds a small text, and refuses one that is not.
type limitedBuffer struct{ data []byte }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if len(b.data)+len(p) > wal.MaxText {
		return 0, fmt.Errorf("it has more than %d bytes", wal.MaxText)
	}
	b.data = append(b.data, p...)
	return len(p), nil
}

// lookBack is how many segments are read in search of a commit.
const lookBack = 2

// commits reads the newest commit of each range that has grown, where this host can read.
func (l *walLook) commits(ctx context.Context, r *repository, w *storedWAL) {
	if !r.CanRead() {
		return
	}
	c, err := wal.Follow(w.files, w.size, nil)
	if err != nil {
		return // log tells it
	}
	for _, g := range c.Ranges {
		to := state.LSN(g.To)
		grown := !slices.ContainsFunc(rangesOf(w.before, g.Timeline), func(o state.Range) bool { return o.To == to && !o.Until.IsZero() })
		if !grown {
			continue
		}
		at, err := w.newestCommit(ctx, r, g)
		if err != nil {
			l.s.log.Warn("read the newest WAL for its last commit", "store", w.store, "segment", g.Last, "err", err)
		} else if !at.IsZero() {
			w.commits[position{g.Timeline, to}] = at
		}
	}
}

// newestCommit is when the newest transaction of a range was committed; zero when its last segments hold none.
func (s *storedWAL) newestCommit(ctx context.Context, r *repository, g wal.Range) (time.Time, error) {
	size := uint64(s.size)
	for n, begin := 0, (g.To-1)-(g.To-1)%size; n < lookBack && begin >= g.From && begin < g.To; n, begin = n+1, begin-size {
		id, err := wal.ParseSystem(s.system)
		if err != nil {
			return time.Time{}, err
		}
		f := wal.File{System: id, Timeline: g.Timeline, Kind: wal.Segment, Log: uint32(begin >> 32), Seg: uint32(begin % (1 << 32) / size)}
		sum, err := summarise(ctx, r, f, s.size)
		if err != nil || !sum.NewestCommit.IsZero() {
			return sum.NewestCommit, err
		}
	}
	return time.Time{}, nil
}

func summarise(ctx context.Context, r *repository, f wal.File, size int64) (pgwal.Summary, error) {
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := r.FetchWAL(ctx, f, size, pw)
		pw.CloseWithError(err)
		done <- err
	}()
	reader, err := pgwal.NewReader(pr)
	var sum pgwal.Summary
	if err == nil {
		sum, err = pgwal.Summarise(reader)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, pr) // what the end of WAL has left of the segment: only a file that was read whole is what was pushed
	}
	pr.CloseWithError(io.ErrClosedPipe)
	if ferr := <-done; err == nil {
		err = ferr
	}
	return sum, err
}
