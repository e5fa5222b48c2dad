// Package retry makes a bucket that tries again when an error may go away by itself.
//
// It is not a rate limit and does not guess: only errors that answer true to blob.IsRetryable are tried again, between
// attempts it waits a random part of a growing span (so that many hosts do not return together), and an ended context
// ends it at once. Its invariant: what a caller is told about Create stays true, although an attempt whose answer was lost
// may have made the object.
package retry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// The spans between attempts. Six attempts wait about eight seconds on average and sixteen at most: longer than a server
// needs to hand over to another, short enough for a person who waits.
const (
	attempts = 6
	first    = 500 * time.Millisecond // the most that is waited before the second attempt
	longest  = 10 * time.Second
	patience = time.Minute // the most that is waited because a server asked for it
)

// Bucket tries again. Safe for concurrent use when the bucket inside is.
type Bucket struct{ inner blob.Bucket }

var _ interface {
	blob.Bucket
	blob.Guarded
} = (*Bucket)(nil)

// New wraps inner. Closing the result closes inner.
func New(inner blob.Bucket) *Bucket { return &Bucket{inner: inner} }

// Open opens a bucket by f, trying again like the bucket's own operations, and wraps it.
func Open(ctx context.Context, f func() (blob.Bucket, error)) (*Bucket, error) {
	inner, err := value(ctx, f)
	if err != nil {
		return nil, err
	}
	return New(inner), nil
}

// Put tries again as it is: the same bytes replace themselves.
func (b *Bucket) Put(ctx context.Context, name string, data []byte) error {
	return do(ctx, func(int) error { return b.inner.Put(ctx, name, data) })
}

// Create tries again, and when a later attempt finds the name taken it reads the object: if it holds our bytes, an
// earlier attempt had succeeded and only its answer was lost. Two writers of the same bytes can therefore both be told
// that they created an object, if the connection of one failed; who needs to know which of them did must write something
// of his own.
func (b *Bucket) Create(ctx context.Context, name string, data []byte) error {
	return do(ctx, func(attempt int) error {
		err := b.inner.Create(ctx, name, data)
		if attempt == 1 || !errors.Is(err, blob.ErrExists) {
			return err
		}
		there, gerr := b.inner.Get(ctx, name)
		switch {
		case errors.Is(gerr, blob.ErrNotFound):
			return blob.Retryable(err) // deleted meanwhile: the name is free again
		case gerr != nil:
			return fmt.Errorf("create object %s: an earlier attempt may have made it: %w", name, gerr)
		case bytes.Equal(there, data):
			return nil
		}
		return err
	})
}

// Get tries again.
func (b *Bucket) Get(ctx context.Context, name string) ([]byte, error) {
	return value(ctx, func() ([]byte, error) { return b.inner.Get(ctx, name) })
}

// GetRange tries again.
func (b *Bucket) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	return value(ctx, func() ([]byte, error) { return b.inner.GetRange(ctx, name, offset, length) })
}

// Stat tries again.
func (b *Bucket) Stat(ctx context.Context, name string) (blob.Info, error) {
	return value(ctx, func() (blob.Info, error) { return b.inner.Stat(ctx, name) })
}

// List goes on behind the last name it delivered, so that fn still sees each name once. Errors of fn end it unchanged,
// even if they look retryable.
func (b *Bucket) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	var last string
	var stopped error
	err := do(ctx, func(int) error {
		err := b.inner.List(ctx, prefix, func(i blob.Info) error {
			if last != "" && i.Name <= last {
				return nil
			}
			last = i.Name
			stopped = fn(i)
			return stopped
		})
		if stopped != nil {
			return nil // not a failure of the store
		}
		return err
	})
	if stopped != nil {
		return stopped
	}
	return err
}

// Delete tries again as it is.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	return do(ctx, func(int) error { return b.inner.Delete(ctx, name) })
}

// Guards tries again.
func (b *Bucket) Guards(ctx context.Context) (blob.Guards, error) {
	return value(ctx, func() (blob.Guards, error) { return blob.GuardsOf(ctx, b.inner) })
}

// Close closes the bucket inside.
func (b *Bucket) Close() error { return b.inner.Close() }

func value[T any](ctx context.Context, f func() (T, error)) (T, error) {
	var v T
	err := do(ctx, func(int) error {
		var err error
		v, err = f()
		return err
	})
	return v, err
}

// do calls f until it succeeds, fails for good, or the attempts are used up. Attempts count from 1. When the context ends
// during a wait, the error is the last one of f: it says more than "context canceled", which is there too.
func do(ctx context.Context, f func(attempt int) error) error {
	for n := 1; ; n++ {
		err := f(n)
		if err == nil || !blob.IsRetryable(err) || ctx.Err() != nil {
			return err
		}
		if n == attempts {
			return fmt.Errorf("%w (gave up after %d attempts)", err, attempts)
		}
		if werr := wait(ctx, n, blob.RetryAfter(err)); werr != nil {
			return fmt.Errorf("%w (stopped after %d attempts: %w)", err, n, werr)
		}
	}
}

// wait waits a random span that is at most first × 2^(n-1), on top of what the server asked for, or returns why the context
// ended.
func wait(ctx context.Context, n int, asked time.Duration) error {
	most := min(first<<(n-1), longest)
	t := time.NewTimer(min(asked, patience) + rand.N(most) + 1)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
