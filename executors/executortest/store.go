// Package executortest proves the executor contract: an in-memory Sink and Supply, and the suite Run that every executor runs.
//
// It is not a repository: nothing is chunked, encrypted or kept. It does keep the documented semantics to the letter
// (order of Add, ErrReread, ErrSkip, fingerprints, content read on another goroutine), and fails loudly when an executor
// breaks its side: Add from two goroutines at once, a path twice, a path that is not clean.
package executortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"sync"

	"github.com/holdfast-io/holdfast/executors"
)

// Item is one entry with its content.
type Item struct {
	Entry       executors.Entry
	Data        []byte
	Fingerprint []byte
	Reused      bool // the content came from the previous point; Open was not called
}

// Store holds restore points in memory. Safe for concurrent use.
type Store struct {
	mu     sync.Mutex
	points map[string]*Sink
	last   string // the newest committed point
}

// NewStore makes an empty store.
func NewStore() *Store { return &Store{points: map[string]*Sink{}} }

// Faults are what a Sink does wrong, set before the first Add.
type Faults struct {
	FailAdd      int   // the n-th Add (from 1) fails; 0 never
	FailContent  int64 // reading content fails after this many bytes of the whole point; 0 never
	Err          error // what it fails with
	BeforeOpen   func(executors.Entry)
	AfterRead    func(e executors.Entry, n int64) // after each block of content, on the reading goroutine; n bytes of the entry so far
	ReadInBlocks int                              // size of those blocks; 0 means 32 KiB
}

// Sink begins a restore point.
func (s *Store) Sink(point string, faults Faults) *Sink {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := &Sink{point: point, faults: faults, seen: map[string]bool{}, queue: make(chan *pending, 4)}
	if k.faults.ReadInBlocks == 0 {
		k.faults.ReadInBlocks = 32 << 10
	}
	if prev := s.points[s.last]; prev != nil {
		k.previous = map[string]*Item{}
		for _, it := range prev.items {
			k.previous[it.Entry.Path] = it
		}
	}
	return k
}

// Commit ends the sink's goroutine and makes its point readable and the previous one of the next Sink.
func (s *Store) Commit(k *Sink, res executors.Result) {
	k.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	k.meta = map[string]string{"version": res.Version, "position": res.Position}
	maps.Copy(k.meta, res.Meta)
	s.points[k.point] = k
	s.last = k.point
}

// Sink is one restore point in the making.
type Sink struct {
	point    string
	faults   Faults
	previous map[string]*Item
	meta     map[string]string

	adding sync.Mutex // held during Add: TryLock finds executors that call it twice at once
	start  sync.Once
	end    sync.Once
	done   sync.WaitGroup
	queue  chan *pending
	adds   int
	seen   map[string]bool

	mu    sync.Mutex
	items []*Item
	read  int64
	err   error
}

var _ executors.Sink = (*Sink)(nil)

type pending struct {
	item    *Item
	content executors.Content
	flushed chan struct{} // set: no item, closed when everything before it is done
}

// Add implements executors.Sink.
func (k *Sink) Add(ctx context.Context, e executors.Entry, c executors.Content) error {
	if !k.adding.TryLock() {
		return k.fail(errors.New("sink: Add was called from two goroutines at once"))
	}
	defer k.adding.Unlock()
	if err := k.Err(); err != nil {
		return err
	}
	k.adds++
	switch {
	case ctx.Err() != nil:
		return k.fail(context.Cause(ctx))
	case k.faults.FailAdd == k.adds:
		return k.fail(k.faults.Err)
	case !fs.ValidPath(e.Path):
		return k.fail(fmt.Errorf("sink: path %q is not clean and relative", e.Path))
	case k.sees(e.Path):
		return k.fail(fmt.Errorf("sink: path %q was added twice", e.Path))
	}
	it := &Item{Entry: e, Fingerprint: c.Fingerprint}
	k.mu.Lock()
	k.items = append(k.items, it)
	k.mu.Unlock()
	if c.Open == nil {
		return nil
	}
	if p := k.previous[e.Path]; p != nil && len(c.Fingerprint) > 0 && bytes.Equal(p.Fingerprint, c.Fingerprint) {
		it.Data, it.Reused = p.Data, true
		it.Entry.Size = int64(len(p.Data))
		return nil
	}
	return k.enqueue(ctx, &pending{item: it, content: c})
}

// sees notes a path and tells whether it is in the point already.
func (k *Sink) sees(path string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	twice := k.seen[path]
	k.seen[path] = true
	return twice
}

// Flush implements executors.Sink.
func (k *Sink) Flush(ctx context.Context) error {
	f := &pending{flushed: make(chan struct{})}
	if err := k.enqueue(ctx, f); err != nil {
		return err
	}
	select {
	case <-f.flushed:
		return k.Err()
	case <-ctx.Done():
		return k.fail(context.Cause(ctx))
	}
}

// Items returns what the point holds, in order. Call it after Commit.
func (k *Sink) Items() []*Item { return k.items }

// Err returns the error that ended the point, if any.
func (k *Sink) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

func (k *Sink) fail(err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		k.err = err
	}
	return k.err
}

func (k *Sink) enqueue(ctx context.Context, p *pending) error {
	k.start.Do(func() { k.done.Go(k.work) })
	select {
	case k.queue <- p:
		return nil
	case <-ctx.Done():
		return k.fail(context.Cause(ctx))
	}
}

func (k *Sink) stop() {
	k.end.Do(func() { close(k.queue) })
	k.done.Wait()
}

func (k *Sink) work() {
	for p := range k.queue {
		if p.flushed != nil {
			close(p.flushed)
			continue
		}
		if k.Err() != nil {
			continue // drain: the first error ended the point
		}
		k.store(p)
	}
}

func (k *Sink) store(p *pending) {
	for {
		data, err := k.readOnce(p)
		switch {
		case errors.Is(err, executors.ErrReread):
			continue
		case errors.Is(err, executors.ErrSkip):
			k.drop(p.item)
		case err != nil:
			k.fail(err)
		default:
			p.item.Data, p.item.Entry.Size = data, int64(len(data))
		}
		return
	}
}

func (k *Sink) readOnce(p *pending) ([]byte, error) {
	if k.faults.BeforeOpen != nil {
		k.faults.BeforeOpen(p.item.Entry)
	}
	r, err := p.content.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var data []byte
	block := make([]byte, k.faults.ReadInBlocks)
	for {
		n, err := r.Read(block)
		data = append(data, block[:n]...)
		k.read += int64(n)
		if k.faults.FailContent > 0 && k.read >= k.faults.FailContent {
			return nil, k.faults.Err
		}
		if k.faults.AfterRead != nil && n > 0 {
			k.faults.AfterRead(p.item.Entry, int64(len(data)))
		}
		if err == io.EOF {
			return data, nil
		}
		if err != nil && !errors.Is(err, executors.ErrCut) {
			return nil, err
		}
	}
}

func (k *Sink) drop(gone *Item) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.seen, gone.Entry.Path)
	for i, it := range k.items {
		if it == gone {
			k.items = append(k.items[:i], k.items[i+1:]...)
			return
		}
	}
}
