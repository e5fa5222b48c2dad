package powercut

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/internal/blob/connect"
	"github.com/holdfast-io/holdfast/internal/blob/readonly"
	"github.com/holdfast-io/holdfast/internal/clock/clocktest"
)

// world is all that outlives a process: the objects of every store and of the state, and the time. Its power can be cut
// after a number of writes, wherever they go; what was written by then is what survives.
type world struct {
	clock *clocktest.Fake

	mu      sync.Mutex
	buckets map[string]map[string]object // by URL
	writes  int
	cutAt   int // negative: never
	dark    bool
}

type object struct {
	data []byte // never changed
	at   time.Time
}

func newWorld(now time.Time) *world {
	return &world{clock: clocktest.New(now), buckets: map[string]map[string]object{}, cutAt: -1}
}

// clone is another world that is the same up to now.
func (w *world) clone() *world {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := newWorld(w.clock.Now())
	for url, objects := range w.buckets {
		c.buckets[url] = maps.Clone(objects)
	}
	return c
}

// cut lets n more writes happen.
func (w *world) cut(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cutAt, w.dark = w.writes+n, false
}

// restorePower tells whether it had been cut.
func (w *world) restorePower() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.dark
	w.cutAt, w.dark = -1, false
	return was
}

// open is cli.Process.Open.
func (w *world) open(_ context.Context, url string, o connect.Options) (blob.Bucket, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if url == "mem://" {
		return &bucket{w: newWorld(w.clock.Now()), url: url}, nil // nobody else's
	}
	if w.dark {
		return nil, &blob.Error{Op: "open", Name: url, Err: blobtest.ErrPowerCut}
	}
	if w.buckets[url] == nil {
		if !o.Create || o.ReadOnly {
			return nil, &blob.Error{Op: "open", Name: url, Err: blob.ErrNotFound}
		}
		w.buckets[url] = map[string]object{}
	}
	if o.ReadOnly {
		return readonly.New(&bucket{w: w, url: url}), nil
	}
	return &bucket{w: w, url: url}, nil
}

// bucket is a blob.Bucket in memory.
type bucket struct {
	w      *world
	url    string
	closed bool // under w.mu
}

var _ blob.Bucket = (*bucket)(nil)

func (b *bucket) do(ctx context.Context, op, name string, write bool, fn func(objects map[string]object) error) error {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	err := context.Cause(ctx)
	if err == nil && b.closed {
		err = errors.New("the bucket is closed")
	}
	if err == nil && op != "list" {
		err = blob.CheckName(name)
	}
	if err == nil && (b.w.dark || write && b.w.cutAt >= 0 && b.w.writes >= b.w.cutAt) {
		b.w.dark, err = true, blobtest.ErrPowerCut
	}
	if err == nil {
		if b.w.buckets[b.url] == nil {
			b.w.buckets[b.url] = map[string]object{}
		}
		if write {
			b.w.writes++
		}
		err = fn(b.w.buckets[b.url])
	}
	if err != nil {
		return &blob.Error{Op: op, Name: name, Err: err}
	}
	return nil
}

func (b *bucket) Put(ctx context.Context, name string, data []byte) error {
	return b.do(ctx, "put", name, true, func(objects map[string]object) error {
		objects[name] = object{slices.Clone(data), b.w.clock.Now().UTC()}
		return nil
	})
}

func (b *bucket) Create(ctx context.Context, name string, data []byte) error {
	return b.do(ctx, "create", name, true, func(objects map[string]object) error {
		if _, ok := objects[name]; ok {
			return blob.ErrExists
		}
		objects[name] = object{slices.Clone(data), b.w.clock.Now().UTC()}
		return nil
	})
}

func (b *bucket) Get(ctx context.Context, name string) (data []byte, err error) {
	err = b.do(ctx, "get", name, false, func(objects map[string]object) error {
		o, ok := objects[name]
		if !ok {
			return blob.ErrNotFound
		}
		data = slices.Clone(o.data)
		return nil
	})
	return data, err
}

func (b *bucket) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	data, err := b.Get(ctx, name)
	if err == nil && (offset < 0 || length < 0 || offset > int64(len(data)) || length > int64(len(data))-offset) {
		err = &blob.Error{Op: "get", Name: name, Err: errors.New("the range ends past the end of the object")}
	}
	if err != nil {
		return nil, err
	}
	return data[offset : offset+length], nil
}

func (b *bucket) Stat(ctx context.Context, name string) (info blob.Info, err error) {
	err = b.do(ctx, "stat", name, false, func(objects map[string]object) error {
		o, ok := objects[name]
		if !ok {
			return blob.ErrNotFound
		}
		info = blob.Info{Name: name, Size: int64(len(o.data)), ModTime: o.at}
		return nil
	})
	return info, err
}

func (b *bucket) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	var found []blob.Info
	err := b.do(ctx, "list", prefix, false, func(objects map[string]object) error {
		for _, name := range slices.Sorted(maps.Keys(objects)) {
			if strings.HasPrefix(name, prefix) {
				found = append(found, blob.Info{Name: name, Size: int64(len(objects[name].data)), ModTime: objects[name].at})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, i := range found {
		if err := context.Cause(ctx); err != nil {
			return &blob.Error{Op: "list", Name: prefix, Err: err}
		}
		if err := fn(i); err != nil {
			return err
		}
	}
	return nil
}

func (b *bucket) Delete(ctx context.Context, name string) error {
	return b.do(ctx, "delete", name, true, func(objects map[string]object) error {
		delete(objects, name)
		return nil
	})
}

func (b *bucket) Close() error {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	b.closed = true
	return nil
}

// TestBucket: what the tests below find is worth nothing unless the bucket keeps the contract.
func TestBucket(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Bucket {
		b, err := newWorld(time.Now()).open(t.Context(), "mem://x", connect.Options{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}
