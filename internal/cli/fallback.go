package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/state"
)

// fallback is a restore point as a Supply that reads from one copy and goes on with the next when that one fails, in the
// middle of a file too: copies of a point hold the same entries in the same order, and every byte was checked.
type fallback struct {
	copies []state.Copy // in the order to try
	open   func(ctx context.Context, c state.Copy) (executors.Supply, error)
	warn   func(string)

	mu     sync.Mutex
	at     int // the copy in use
	supply executors.Supply
	failed map[string]error // why a copy gave way, by store
}

var _ executors.Supply = (*fallback)(nil)

// first opens the first copy that can be opened.
func (f *fallback) first(ctx context.Context) error {
	if len(f.copies) == 0 {
		return errors.New("the restore point has no copy")
	}
	f.at = -1
	_, err := f.next(ctx, nil, nil)
	return err
}

// current is the copy in use.
func (f *fallback) current() (state.Copy, executors.Supply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.copies[f.at], f.supply
}

// next returns the copy to go on with after failed failed for a cause. The error is the cause, with those of the copies
// that could not be opened instead.
func (f *fallback) next(ctx context.Context, failed executors.Supply, cause error) (executors.Supply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.supply != failed {
		return f.supply, nil // another reader went on already
	}
	if f.at >= 0 && cause != nil {
		f.gaveWay(f.copies[f.at].Store, cause)
	}
	for i := f.at + 1; i < len(f.copies); i++ {
		if ctx.Err() != nil {
			return nil, errors.Join(cause, ctx.Err())
		}
		if cause != nil {
			f.warn(fmt.Sprintf("%v; trying the copy in %s", cause, f.copies[i].Store))
		}
		supply, err := f.open(ctx, f.copies[i])
		if err == nil {
			f.at, f.supply = i, supply
			return supply, nil
		}
		f.gaveWay(f.copies[i].Store, err)
		cause = err
	}
	return nil, cause
}

// gaveWay remembers why a copy could not be read, with mu held.
func (f *fallback) gaveWay(store string, cause error) {
	if f.failed == nil {
		f.failed = map[string]error{}
	}
	f.failed[store] = cause
}

// damaged tells which copies were found damaged, by store: evidence that a restore must not forget.
func (f *fallback) damaged() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := map[string]string{}
	for store, cause := range f.failed {
		var d *repo.DamagedError
		if errors.As(cause, &d) {
			found[store] = d.Error()
		}
	}
	return found
}

// through calls fn with the copy in use, and again with the next one when it was the copy that failed, not the caller.
func (f *fallback) through(ctx context.Context, fn func(from executors.Supply) (callers bool, err error)) error {
	_, from := f.current()
	for {
		callers, err := fn(from)
		if err == nil || callers || ctx.Err() != nil {
			return err
		}
		if from, err = f.next(ctx, from, err); err != nil {
			return err
		}
	}
}

// place is how far a caller came through the entries, so that another copy can go on from there.
type place struct {
	done int    // entries that were handed out
	last string // path of the last of them
}

// skip tells whether the n-th entry of a copy was handed out before. A copy with other entries is refused.
func (p place) skip(n int, path string) (bool, error) {
	if n == p.done && path != p.last {
		return true, fmt.Errorf("entry %d is %s in one copy and %s in another: they are not copies of one restore point", n, p.last, path)
	}
	return n <= p.done, nil
}

// Entries implements executors.Supply.
func (f *fallback) Entries(ctx context.Context, each func(executors.Entry) error) error {
	var at place
	return f.through(ctx, func(from executors.Supply) (callers bool, err error) {
		n, before := 0, at
		err = from.Entries(ctx, func(e executors.Entry) error {
			n++
			if skip, err := before.skip(n, e.Path); skip {
				return err
			}
			at = place{n, e.Path}
			err := each(e)
			callers = err != nil
			return err
		})
		return callers, err
	})
}

// Read implements executors.Supply.
func (f *fallback) Read(ctx context.Context, want func(executors.Entry) bool, each func(executors.Entry, io.Reader) error) error {
	var at place
	return f.through(ctx, func(from executors.Supply) (callers bool, err error) {
		n, before := 0, at // n counts what want accepts: it is called once for each entry, in order
		var strange error
		err = from.Read(ctx, func(e executors.Entry) bool {
			if want != nil && !want(e) {
				return false
			}
			n++
			skip, err := before.skip(n, e.Path)
			strange = errors.Join(strange, err)
			return !skip
		}, func(e executors.Entry, r io.Reader) error {
			at = place{at.done + 1, e.Path}
			c := &survivor{f: f, ctx: ctx, from: from, entry: e, r: r}
			defer c.close()
			err := each(e, c)
			callers = err != nil
			return err
		})
		if strange != nil {
			return true, strange
		}
		return callers, err
	})
}

// Meta implements executors.Supply.
func (f *fallback) Meta() map[string]string {
	_, from := f.current()
	return from.Meta()
}

// survivor is the content of one entry, from as many copies as it takes.
type survivor struct {
	f      *fallback
	ctx    context.Context
	from   executors.Supply
	entry  executors.Entry
	r      io.Reader
	offset int64
	stop   func() // ends the goroutine that reads from another copy
}

// Read implements io.Reader.
func (c *survivor) Read(p []byte) (int, error) {
	for {
		n, err := c.r.Read(p)
		c.offset += int64(n)
		if n > 0 && err != nil && !errors.Is(err, io.EOF) {
			return n, nil // the error comes again
		}
		if err == nil || errors.Is(err, io.EOF) || c.ctx.Err() != nil {
			return n, err
		}
		from, err := c.f.next(c.ctx, c.from, err)
		if err != nil {
			return n, err
		}
		c.from = from
		c.resume()
	}
}

// resume reads the rest of the entry from another copy. Supplies hand content to a callback, hence the pipe.
func (c *survivor) resume() {
	c.close()
	ctx, cancel := context.WithCancel(c.ctx)
	reader, writer := io.Pipe()
	done := make(chan struct{})
	from, path, offset := c.from, c.entry.Path, c.offset
	go func() {
		defer close(done)
		found := false
		err := from.Read(ctx, func(e executors.Entry) bool { return e.Path == path }, func(_ executors.Entry, r io.Reader) error {
			found = true
			if _, err := io.CopyN(io.Discard, r, offset); err != nil {
				return err
			}
			_, err := io.Copy(writer, r)
			return err
		})
		if err == nil && !found {
			err = fmt.Errorf("%s is not in the copy", path)
		}
		writer.CloseWithError(err) // nil is io.EOF
	}()
	c.r = reader
	c.stop = func() {
		cancel()
		reader.Close()
		<-done
	}
}

func (c *survivor) close() {
	if c.stop != nil {
		c.stop()
		c.stop = nil
	}
}
