package backend_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/clock"
)

var _ blob.Bucket = (*bucket)(nil)

var errPower = errors.New("power cut")

// bucket is a bucket in memory whose power can be cut and whose requests can be watched.
type bucket struct {
	clock clock.Clock

	mu      sync.Mutex
	objects map[string]object
	hook    func(op, name string) error // called without the lock before each request; its error is the answer
	after   func(op, name string) error // called after the request was carried out
}

type object struct {
	data []byte
	at   time.Time
}

func newBucket(c clock.Clock) *bucket { return &bucket{clock: c, objects: map[string]object{}} }

// cutAfter lets n more writes through and fails everything that follows.
func (b *bucket) cutAfter(n int) {
	var mu sync.Mutex
	b.setHook(func(op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		if op == "put" || op == "create" || op == "delete" {
			n--
		}
		if n < 0 {
			return fmt.Errorf("%s %s: %w", op, name, errPower)
		}
		return nil
	})
}

func (b *bucket) setHook(f func(op, name string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hook = f
}

func (b *bucket) setAfter(f func(op, name string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.after = f
}

func (b *bucket) do(ctx context.Context, op, name string, f func() error) error {
	b.mu.Lock()
	hook, after := b.hook, b.after
	b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if hook != nil {
		if err := hook(op, name); err != nil {
			return err
		}
	}
	b.mu.Lock()
	err := f()
	b.mu.Unlock()
	if err == nil && after != nil {
		err = after(op, name)
	}
	return err
}

func (b *bucket) Put(ctx context.Context, name string, data []byte) error {
	return b.do(ctx, "put", name, func() error {
		b.objects[name] = object{slices.Clone(data), b.clock.Now()}
		return nil
	})
}

func (b *bucket) Create(ctx context.Context, name string, data []byte) error {
	return b.do(ctx, "create", name, func() error {
		if _, ok := b.objects[name]; ok {
			return fmt.Errorf("create %s: %w", name, blob.ErrExists)
		}
		b.objects[name] = object{slices.Clone(data), b.clock.Now()}
		return nil
	})
}

func (b *bucket) Get(ctx context.Context, name string) (data []byte, err error) {
	err = b.do(ctx, "get", name, func() error {
		o, ok := b.objects[name]
		if !ok {
			return fmt.Errorf("get %s: %w", name, blob.ErrNotFound)
		}
		data = slices.Clone(o.data)
		return nil
	})
	return data, err
}

func (b *bucket) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	data, err := b.Get(ctx, name)
	if err == nil && offset+length > int64(len(data)) {
		return nil, fmt.Errorf("get %s: range ends past the object", name)
	}
	if err != nil {
		return nil, err
	}
	return data[offset : offset+length], nil
}

func (b *bucket) Stat(ctx context.Context, name string) (blob.Info, error) {
	data, err := b.Get(ctx, name)
	return blob.Info{Name: name, Size: int64(len(data))}, err
}

func (b *bucket) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	var infos []blob.Info
	err := b.do(ctx, "list", prefix, func() error {
		for _, name := range slices.Sorted(maps.Keys(b.objects)) {
			if strings.HasPrefix(name, prefix) {
				o := b.objects[name]
				infos = append(infos, blob.Info{Name: name, Size: int64(len(o.data)), ModTime: o.at})
			}
		}
		return nil
	})
	for _, info := range infos {
		if err := fn(info); err != nil {
			return err
		}
	}
	return err
}

func (b *bucket) Delete(ctx context.Context, name string) error {
	return b.do(ctx, "delete", name, func() error {
		delete(b.objects, name)
		return nil
	})
}

func (b *bucket) Close() error { return nil }

// names lists what is under prefix, whatever the hook says.
func (b *bucket) names(prefix string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for name := range b.objects {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// damage changes the stored bytes of one object.
func (b *bucket) damage(name string, f func([]byte) []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.objects[name]
	b.objects[name] = object{f(slices.Clone(o.data)), o.at}
}
