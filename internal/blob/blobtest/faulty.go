package blobtest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// ErrPowerCut is what every call answers after the power went out.
var ErrPowerCut = errors.New("power cut")

// Fault is something that goes wrong with certain calls. The zero values of its conditions match everything.
type Fault struct {
	// Which calls: of this operation, on names with this prefix.
	Op     Op
	Prefix string
	Skip   int // lets this many matching calls pass first
	Times  int // strikes this many calls; 0 is once, negative for ever

	// What happens, in this order.
	Delay  time.Duration       // waits, or fails with the context
	Err    error               // the call fails without reaching the store; nil goes on
	After  error               // the call is done, then its answer is lost: this error is returned
	Mangle func([]byte) []byte // changes what a read returns: shorter, or other bytes. It may change its argument.
}

type armed struct {
	Fault
	seen, struck int
}

// Faulty makes the calls of a bucket go wrong by a script. Safe for concurrent use.
type Faulty struct {
	inner blob.Bucket

	mu     sync.Mutex
	faults []*armed
	writes int
	cutAt  int // negative: never
	dead   bool
}

var _ blob.Bucket = (*Faulty)(nil)

// NewFaulty wraps inner. Without faults it changes nothing.
func NewFaulty(inner blob.Bucket) *Faulty { return &Faulty{inner: inner, cutAt: -1} }

// Add arms faults. Of several that match one call, the first armed strikes.
func (f *Faulty) Add(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range faults {
		if x.Times == 0 {
			x.Times = 1
		}
		f.faults = append(f.faults, &armed{Fault: x})
	}
}

// CutPower lets n more writes reach the store; the next write and everything after it fails with ErrPowerCut.
func (f *Faulty) CutPower(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutAt, f.dead = f.writes+n, false
}

// RestorePower lets calls through again.
func (f *Faulty) RestorePower() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutAt, f.dead = -1, false
}

// Writes counts the writes that reached the store.
func (f *Faulty) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// CheckUsed fails the test for every fault that never struck: it proved nothing.
func (f *Faulty) CheckUsed(t testing.TB) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.faults {
		if a.struck == 0 {
			t.Errorf("fault on %s %s* never struck (%d calls matched, skip %d)", a.Op, a.Prefix, a.seen, a.Skip)
		}
	}
}

// Short returns a function for Fault.Mangle that keeps the first n bytes.
func Short(n int) func([]byte) []byte {
	return func(b []byte) []byte { return b[:min(n, len(b))] }
}

// FlipBit returns a function for Fault.Mangle that flips one bit of the byte at position at, counted from the end if negative.
func FlipBit(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		i := at
		if i < 0 {
			i += len(b)
		}
		if i >= 0 && i < len(b) {
			b[i] ^= 1
		}
		return b
	}
}

// strike decides what happens to a call.
func (f *Faulty) strike(op Op, name string) (Fault, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead || f.cutAt >= 0 && op.Writes() && f.writes >= f.cutAt {
		f.dead = true
		return Fault{}, ErrPowerCut
	}
	var hit Fault
	for _, a := range f.faults {
		if a.Op != "" && a.Op != op || !strings.HasPrefix(name, a.Prefix) || a.Times >= 0 && a.struck >= a.Times {
			continue
		}
		a.seen++
		if a.seen > a.Skip {
			a.struck++
			hit = a.Fault
			break
		}
	}
	if op.Writes() && hit.Err == nil {
		f.writes++
	}
	return hit, nil
}

// call runs one operation through the script.
func (f *Faulty) call(ctx context.Context, op Op, name string, do func() error) (Fault, error) {
	hit, err := f.strike(op, name)
	if err == nil && hit.Delay > 0 {
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-time.After(hit.Delay):
		}
	}
	if err == nil {
		err = hit.Err
	}
	if err != nil {
		return hit, &blob.Error{Op: string(op), Name: name, Err: err}
	}
	if err := do(); err != nil || hit.After == nil {
		return hit, err
	}
	return hit, &blob.Error{Op: string(op), Name: name, Err: hit.After}
}

func (f *Faulty) read(ctx context.Context, name string, do func() ([]byte, error)) ([]byte, error) {
	var data []byte
	hit, err := f.call(ctx, Get, name, func() (err error) {
		data, err = do()
		return err
	})
	if err != nil {
		return nil, err
	}
	if hit.Mangle != nil {
		data = hit.Mangle(data)
	}
	return data, nil
}

// Put goes through the script.
func (f *Faulty) Put(ctx context.Context, name string, data []byte) error {
	_, err := f.call(ctx, Put, name, func() error { return f.inner.Put(ctx, name, data) })
	return err
}

// Create goes through the script.
func (f *Faulty) Create(ctx context.Context, name string, data []byte) error {
	_, err := f.call(ctx, Create, name, func() error { return f.inner.Create(ctx, name, data) })
	return err
}

// Get goes through the script.
func (f *Faulty) Get(ctx context.Context, name string) ([]byte, error) {
	return f.read(ctx, name, func() ([]byte, error) { return f.inner.Get(ctx, name) })
}

// GetRange goes through the script.
func (f *Faulty) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	return f.read(ctx, name, func() ([]byte, error) { return f.inner.GetRange(ctx, name, offset, length) })
}

// Stat goes through the script.
func (f *Faulty) Stat(ctx context.Context, name string) (info blob.Info, err error) {
	_, err = f.call(ctx, Stat, name, func() (err error) {
		info, err = f.inner.Stat(ctx, name)
		return err
	})
	return info, err
}

// List goes through the script once, whatever it visits.
func (f *Faulty) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	_, err := f.call(ctx, List, prefix, func() error { return f.inner.List(ctx, prefix, fn) })
	return err
}

// Delete goes through the script.
func (f *Faulty) Delete(ctx context.Context, name string) error {
	_, err := f.call(ctx, Delete, name, func() error { return f.inner.Delete(ctx, name) })
	return err
}

// Close closes the bucket inside.
func (f *Faulty) Close() error { return f.inner.Close() }
