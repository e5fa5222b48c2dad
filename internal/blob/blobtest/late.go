package blobtest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// Late is a bucket that lists late: for a while after a write its listings show what was there before. Everything else sees
// writes at once. It breaks the contract of blob.Bucket on purpose. Safe for concurrent use.
type Late struct {
	blob.Bucket
	lag time.Duration
	now func() time.Time

	mu      sync.Mutex
	changes []change
}

// change is a write that listings do not show yet.
type change struct {
	name   string
	at     time.Time
	before *blob.Info // nil when the object was absent
}

// NewLate wraps inner; listings are lag behind the time that now tells.
func NewLate(inner blob.Bucket, lag time.Duration, now func() time.Time) *Late {
	return &Late{Bucket: inner, lag: lag, now: now}
}

func (l *Late) write(ctx context.Context, name string, do func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := change{name: name, at: l.now()}
	if info, err := l.Bucket.Stat(ctx, name); err == nil {
		c.before = &info
	}
	err := do()
	if err == nil {
		l.changes = append(l.changes, c)
	}
	return err
}

// Put is listed late.
func (l *Late) Put(ctx context.Context, name string, data []byte) error {
	return l.write(ctx, name, func() error { return l.Bucket.Put(ctx, name, data) })
}

// Create is listed late.
func (l *Late) Create(ctx context.Context, name string, data []byte) error {
	return l.write(ctx, name, func() error { return l.Bucket.Create(ctx, name, data) })
}

// Delete is listed late: the object is still shown.
func (l *Late) Delete(ctx context.Context, name string) error {
	return l.write(ctx, name, func() error { return l.Bucket.Delete(ctx, name) })
}

// List shows what was there a while ago.
func (l *Late) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	shown, err := l.then(ctx, prefix)
	if err != nil {
		return err
	}
	for _, info := range shown {
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

func (l *Late) then(ctx context.Context, prefix string) ([]blob.Info, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes = slices.DeleteFunc(l.changes, func(c change) bool { return l.now().Sub(c.at) >= l.lag })
	now := map[string]blob.Info{}
	err := l.Bucket.List(ctx, prefix, func(i blob.Info) error {
		now[i.Name] = i
		return nil
	})
	for _, c := range slices.Backward(l.changes) { // the oldest change has the last word
		switch {
		case !strings.HasPrefix(c.name, prefix):
		case c.before == nil:
			delete(now, c.name)
		default:
			now[c.name] = *c.before
		}
	}
	var out []blob.Info
	for _, info := range now {
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b blob.Info) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}
