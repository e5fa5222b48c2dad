package blobtest

import (
	"context"
	"fmt"
	"sync"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// Op is an operation of a bucket; GetRange counts as Get, as it reads too.
type Op string

// The operations.
const (
	Put    Op = "put"
	Create Op = "create"
	Get    Op = "get"
	Stat   Op = "stat"
	List   Op = "list"
	Delete Op = "delete"
)

// Writes tells whether the operation changes the bucket.
func (o Op) Writes() bool { return o == Put || o == Create || o == Delete }

// Call is one operation that has ended.
type Call struct {
	Op   Op
	Name string // for a listing the prefix
	Size int    // bytes handed in or out
	Err  error
}

// String reads "create packs/ab/abc" or "get repo.json: object not found".
func (c Call) String() string {
	s := fmt.Sprintf("%s %s", c.Op, c.Name)
	if c.Err != nil {
		s += ": " + c.Err.Error()
	}
	return s
}

// Recorder logs every call in the order in which they ended. Safe for concurrent use.
type Recorder struct {
	inner blob.Bucket

	mu    sync.Mutex
	calls []Call
}

var _ blob.Bucket = (*Recorder)(nil)

// NewRecorder wraps inner.
func NewRecorder(inner blob.Bucket) *Recorder { return &Recorder{inner: inner} }

// Calls returns what was called since the beginning or the last Reset; with operations given, only those.
func (r *Recorder) Calls(ops ...Op) []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Call
	for _, c := range r.calls {
		keep := len(ops) == 0
		for _, o := range ops {
			keep = keep || c.Op == o
		}
		if keep {
			out = append(out, c)
		}
	}
	return out
}

// Strings is Calls as text, for comparison in tests.
func (r *Recorder) Strings(ops ...Op) []string {
	var out []string
	for _, c := range r.Calls(ops...) {
		out = append(out, c.String())
	}
	return out
}

// Reset forgets what was called.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = nil
}

func (r *Recorder) note(op Op, name string, size int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, Call{op, name, size, err})
}

// Put records.
func (r *Recorder) Put(ctx context.Context, name string, data []byte) error {
	err := r.inner.Put(ctx, name, data)
	r.note(Put, name, len(data), err)
	return err
}

// Create records.
func (r *Recorder) Create(ctx context.Context, name string, data []byte) error {
	err := r.inner.Create(ctx, name, data)
	r.note(Create, name, len(data), err)
	return err
}

// Get records.
func (r *Recorder) Get(ctx context.Context, name string) ([]byte, error) {
	data, err := r.inner.Get(ctx, name)
	r.note(Get, name, len(data), err)
	return data, err
}

// GetRange records.
func (r *Recorder) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	data, err := r.inner.GetRange(ctx, name, offset, length)
	r.note(Get, name, len(data), err)
	return data, err
}

// Stat records.
func (r *Recorder) Stat(ctx context.Context, name string) (blob.Info, error) {
	info, err := r.inner.Stat(ctx, name)
	r.note(Stat, name, 0, err)
	return info, err
}

// List records one call, whatever it visits.
func (r *Recorder) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	err := r.inner.List(ctx, prefix, fn)
	r.note(List, prefix, 0, err)
	return err
}

// Delete records.
func (r *Recorder) Delete(ctx context.Context, name string) error {
	err := r.inner.Delete(ctx, name)
	r.note(Delete, name, 0, err)
	return err
}

// Close closes the bucket inside.
func (r *Recorder) Close() error { return r.inner.Close() }
