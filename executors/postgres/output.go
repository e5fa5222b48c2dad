package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// programOutput is a program's standard output as a reader that ends with io.EOF only when the program ended with
// success and said something. Whoever reads to io.EOF has everything.
type programOutput struct {
	ctx   context.Context // of the backup, which outlives the reader
	child *child
	magic string // what the output must begin with; empty for anything

	mu      sync.Mutex // held while reading, which the sink does on a goroutine of its own
	out     io.Reader
	started bool
	waited  bool
	head    []byte

	// The outcome, to be asked for while a Read waits for output.
	err   atomic.Pointer[error] // sticky
	whole atomic.Bool
	n     atomic.Int64
}

// open starts the program. A second time is an error: a dump cannot be repeated in the same snapshot's stream.
func (o *programOutput) open() (io.ReadCloser, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.started {
		return nil, fmt.Errorf("run %s: its output can be read only once", o.child.name())
	}
	pipe, err := o.child.cmd.StdoutPipe()
	if err == nil {
		err = o.child.cmd.Start()
	}
	if err != nil {
		return nil, o.fail(fmt.Errorf("run %s: %w", o.child.name(), err))
	}
	o.out, o.started = pipe, true
	return o, nil
}

// Read implements io.Reader.
func (o *programOutput) Read(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.failure(); err != nil {
		return 0, err
	}
	if o.complete() {
		return 0, io.EOF
	}
	n, err := o.out.Read(p)
	o.n.Add(int64(n))
	if missing := len(o.magic) - len(o.head); missing > 0 {
		o.head = append(o.head, p[:min(n, missing)]...)
	}
	if err == nil {
		return n, nil
	}
	if err := o.finish(err); err != nil {
		return n, o.fail(err)
	}
	o.whole.Store(true)
	return n, io.EOF
}

// finish waits for the program after its output ended with readErr and judges both.
func (o *programOutput) finish(readErr error) error {
	o.waited = true
	if err := o.child.wait(o.ctx); err != nil {
		return err
	}
	switch {
	case !errors.Is(readErr, io.EOF):
		return fmt.Errorf("read output of %s: %w", o.child.name(), readErr)
	case o.read() == 0:
		return fmt.Errorf("run %s: it ended with success but wrote nothing", o.child.name())
	case string(o.head) != o.magic:
		return fmt.Errorf("run %s: it ended with success but its output is no dump", o.child.name())
	}
	return nil
}

// Close ends a program that still runs and waits for it. It may be called more than once.
func (o *programOutput) Close() error {
	o.child.cancel() // before the lock: it ends a Read that waits for output
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.started && !o.waited {
		o.waited = true
		_ = o.child.wait(o.ctx) // it was told to end; complete() tells whether it was read whole
	}
	return nil
}

func (o *programOutput) fail(err error) error {
	o.err.Store(&err)
	return err
}

func (o *programOutput) failure() error {
	if p := o.err.Load(); p != nil {
		return *p
	}
	return nil
}

func (o *programOutput) complete() bool { return o.whole.Load() }

func (o *programOutput) read() int64 { return o.n.Load() }
