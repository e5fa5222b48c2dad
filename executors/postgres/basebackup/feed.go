package basebackup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/holdfast-io/holdfast/executors"
)

// feed hands the members of a stream to a sink, which reads several items at a time and later than they are added. Small ones
// wait in memory; a large one is read by the sink straight from the stream, which stands still until that is done.
type feed struct {
	ctx   context.Context
	sink  executors.Sink
	room  *semaphore.Weighted
	items int64
	bytes int64
}

// Limits of a feed.
const (
	small     = 4 << 20  // larger members are not kept in memory
	inMemory  = 32 << 20 // bytes of small members that wait
	lookAfter = 200 * time.Millisecond
)

func newFeed(ctx context.Context, sink executors.Sink) *feed {
	return &feed{ctx: ctx, sink: sink, room: semaphore.NewWeighted(inMemory)}
}

// unknown is the size of what ends where its reader says so.
const unknown = -1

// add hands one file over. r is not used any more when it returns.
func (f *feed) add(e executors.Entry, size int64, r io.Reader) error {
	f.items++
	if size > small || size == unknown {
		return f.addLarge(e, size, r)
	}
	f.bytes += size
	if err := f.acquire(size); err != nil {
		return err
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return err
	}
	var once sync.Once
	release := func() { once.Do(func() { f.room.Release(size) }) }
	return f.sink.Add(f.ctx, e, executors.Content{SizeHint: size, Open: func() (io.ReadCloser, error) {
		return &held{Reader: bytes.NewReader(data), release: release}, nil
	}})
}

// held is a small member in memory.
type held struct {
	io.Reader
	release func()
}

// Close gives the memory back.
func (h *held) Close() error {
	h.release()
	return nil
}

// acquire waits for room in memory.
func (f *feed) acquire(size int64) error {
	for {
		ctx, cancel := context.WithTimeout(f.ctx, lookAfter)
		err := f.room.Acquire(ctx, size)
		cancel()
		if err == nil {
			return nil
		}
		if err := f.alive(); err != nil {
			return err
		}
	}
}

// alive tells why the sink will not read any more, nil when it will.
func (f *feed) alive() error {
	if f.ctx.Err() != nil {
		return context.Cause(f.ctx)
	}
	return f.sink.Err()
}

var errReadTwice = errors.New("what a server streams can be read once")

// passing is a large member on its way to the sink.
type passing struct {
	r    io.Reader
	size int64
	mu   sync.Mutex
	open bool
	over bool // the stream moved on
	done chan struct{}
	n    int64
	err  error
}

// addLarge lets the sink read from the stream, and waits until it has.
func (f *feed) addLarge(e executors.Entry, size int64, r io.Reader) error {
	p := &passing{r: r, size: size, done: make(chan struct{})}
	if err := f.sink.Add(f.ctx, e, executors.Content{SizeHint: max(size, 0), Open: p.begin}); err != nil {
		return err
	}
	tick := time.NewTicker(lookAfter)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			f.bytes += p.n
			err := p.result()
			if errors.Is(err, io.ErrUnexpectedEOF) { // the sink knows why it stopped
				err = cmp.Or(f.sink.Flush(f.ctx), err)
			}
			return err
		case <-tick.C:
			if err := f.alive(); err != nil {
				p.end()
				return err
			}
		case <-f.ctx.Done():
			p.end()
			return context.Cause(f.ctx)
		}
	}
}

func (p *passing) begin() (io.ReadCloser, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open || p.over {
		return nil, errReadTwice
	}
	p.open = true
	return p, nil
}

// Read gives the member's bytes.
func (p *passing) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return 0, errReadTwice
	}
	n, err := p.r.Read(b)
	p.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		p.err = err
	}
	return n, err
}

// Close lets the stream move on.
func (p *passing) Close() error {
	p.end()
	return nil
}

// end waits for a read that is under way, after which the stream's reader is nobody's but the caller's.
func (p *passing) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.over = true
		close(p.done)
	}
}

func (p *passing) result() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil && p.size != unknown && p.n != p.size {
		return io.ErrUnexpectedEOF
	}
	return p.err
}
