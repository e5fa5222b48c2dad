// Package throttle makes a bucket that moves no more than so many bytes a second, to and from it together, whatever number
// of goroutines use it.
//
// It counts the content of objects, not headers and listings, and whole objects at a time: one object travels as fast as
// the line allows, and its bytes are waited for before it is written and, where its size is not known, after it was read.
// Its invariant: waiting is done in small steps, so that a small object (a lease that must be renewed) never waits for a
// large one that another goroutine is moving.
package throttle

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// Bucket is limited. Safe for concurrent use when the bucket inside is.
type Bucket struct {
	inner blob.Bucket
	limit *rate.Limiter
}

var _ interface {
	blob.Bucket
	blob.Guarded
} = (*Bucket)(nil)

// New wraps inner with a limit in bytes per second, which must be positive. Closing the result closes inner.
func New(inner blob.Bucket, perSecond int64) *Bucket {
	step := int(min(max(perSecond/10, 1), 1<<30)) // what may pass at once: a tenth of a second
	return &Bucket{inner: inner, limit: rate.NewLimiter(rate.Limit(perSecond), step)}
}

// wait returns when n bytes may have passed, or with the reason why the context ended. A context that ends before the
// bytes could pass is still waited for: its cause is what tells why.
func (b *Bucket) wait(ctx context.Context, op, name string, n int64) error {
	for n > 0 {
		step := min(n, int64(b.limit.Burst()))
		if err := b.limit.WaitN(ctx, int(step)); err != nil {
			if ctx.Err() == nil {
				<-ctx.Done() // the limiter has seen that its deadline comes first
			}
			return &blob.Error{Op: op, Name: name, Err: fmt.Errorf("wait for the store's max_rate: %w", context.Cause(ctx))}
		}
		n -= step
	}
	return nil
}

// Put waits, then puts.
func (b *Bucket) Put(ctx context.Context, name string, data []byte) error {
	if err := b.wait(ctx, "put", name, int64(len(data))); err != nil {
		return err
	}
	return b.inner.Put(ctx, name, data)
}

// Create waits, then creates.
func (b *Bucket) Create(ctx context.Context, name string, data []byte) error {
	if err := b.wait(ctx, "create", name, int64(len(data))); err != nil {
		return err
	}
	return b.inner.Create(ctx, name, data)
}

// Get gets, then waits.
func (b *Bucket) Get(ctx context.Context, name string) ([]byte, error) {
	data, err := b.inner.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := b.wait(ctx, "get", name, int64(len(data))); err != nil {
		return nil, err
	}
	return data, nil
}

// GetRange gets, then waits.
func (b *Bucket) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	data, err := b.inner.GetRange(ctx, name, offset, length)
	if err != nil {
		return nil, err
	}
	if err := b.wait(ctx, "get", name, int64(len(data))); err != nil {
		return nil, err
	}
	return data, nil
}

// Stat is not limited.
func (b *Bucket) Stat(ctx context.Context, name string) (blob.Info, error) {
	return b.inner.Stat(ctx, name)
}

// List is not limited.
func (b *Bucket) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	return b.inner.List(ctx, prefix, fn)
}

// Delete is not limited.
func (b *Bucket) Delete(ctx context.Context, name string) error { return b.inner.Delete(ctx, name) }

// Guards asks the bucket inside.
func (b *Bucket) Guards(ctx context.Context) (blob.Guards, error) { return blob.GuardsOf(ctx, b.inner) }

// Close closes the bucket inside.
func (b *Bucket) Close() error { return b.inner.Close() }
