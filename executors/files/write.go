package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	blockSize = 256 << 10 // stays in the processor's cache between decoding and writing
	blocks    = 64        // 16 MiB under way at most
	// kick is how often the kernel is asked to start writing a large file out, so that the disk works during the restore
	// and the final sync is short.
	kick = 8 << 20
)

// writers write files on a few goroutines while the next content is being decoded. write is for one goroutine.
type writers struct {
	ctx   context.Context // ends with the first error
	group *errgroup.Group
	jobs  chan job
	free  chan []byte
	meta  *meta
	last  *folderRef
}

// job is one file: its first block and, for a large file, a channel with the others.
type job struct {
	dir   *folderRef
	item  item
	first []byte
	rest  chan []byte // nil for small files
}

// folderRef keeps a directory open until the last job in it is done. Files come in the order of the tree, so the writers
// remember one.
type folderRef struct {
	file  *os.File
	raw   string
	users atomic.Int32
}

func (f *folderRef) release() {
	if f != nil && f.users.Add(-1) == 0 {
		f.file.Close()
	}
}

func startWriters(ctx context.Context, m *meta) *writers {
	g, ctx := errgroup.WithContext(ctx)
	w := &writers{ctx: ctx, group: g, jobs: make(chan job, blocks), free: make(chan []byte, blocks), meta: m}
	for range blocks {
		w.free <- nil // made when first used
	}
	for range max(2, min(8, runtime.GOMAXPROCS(0))) {
		g.Go(w.work)
	}
	return w
}

// wait ends the workers and returns the first error of any.
func (w *writers) wait() error {
	close(w.jobs)
	w.last.release()
	err := w.group.Wait()
	for j := range w.jobs { // left over after an error
		j.dir.release()
	}
	return err
}

func (w *writers) work() error {
	for j := range w.jobs {
		err := context.Cause(w.ctx)
		if err == nil {
			err = w.file(j)
		}
		j.dir.release()
		if err != nil {
			return fmt.Errorf("write %s: %w", j.item.entry.Path, err)
		}
	}
	return nil
}

// write hands one file's content to a worker and returns how much there was. The file is complete only after wait.
func (w *writers) write(root *os.Root, it item, content io.Reader) (n int64, err error) {
	dir, err := w.folder(root, parent(it.raw))
	if err != nil {
		return 0, err
	}
	first, more, err := w.block(content)
	if err != nil {
		return 0, err
	}
	n = int64(len(first))
	j := job{dir: dir, item: it, first: first}
	if more {
		j.rest = make(chan []byte, blocks/4)
		defer close(j.rest)
	}
	dir.users.Add(1)
	select {
	case w.jobs <- j:
	case <-w.ctx.Done():
		dir.release()
		return n, context.Cause(w.ctx)
	}
	for more {
		var b []byte
		if b, more, err = w.block(content); err != nil {
			return n, err
		}
		n += int64(len(b))
		select {
		case j.rest <- b:
		case <-w.ctx.Done():
			return n, context.Cause(w.ctx)
		}
	}
	if n != it.entry.Size {
		return n, fmt.Errorf("the restore point holds %d bytes of content and says %d", n, it.entry.Size)
	}
	return n, nil
}

// block fills a block; more is false at the end of the content.
func (w *writers) block(content io.Reader) (b []byte, more bool, err error) {
	select {
	case b = <-w.free:
	case <-w.ctx.Done():
		return nil, false, context.Cause(w.ctx)
	}
	if b == nil {
		b = make([]byte, blockSize)
	}
	n, err := io.ReadFull(content, b[:blockSize])
	switch {
	case err == nil:
		return b[:n], true, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return b[:n], false, nil
	}
	return nil, false, err
}

// folder opens a directory of the stage, or returns the one that is open.
func (w *writers) folder(root *os.Root, raw string) (*folderRef, error) {
	if w.last != nil && w.last.raw == raw {
		return w.last, nil
	}
	f, err := root.OpenFile(raw, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	w.last.release()
	w.last = &folderRef{file: f, raw: raw}
	w.last.users.Store(1) // ours
	return w.last, nil
}

// file writes one file under its own name: the stage is private, so nobody sees it half-way.
func (w *writers) file(j job) (err error) {
	dir, name := int(j.dir.file.Fd()), path.Base(j.item.raw)
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := unix.Close(fd); err == nil {
			err = cerr
		}
	}()
	out := output{fd: fd, sparse: j.item.entry.Sparse}
	if err := out.write(j.first); err != nil {
		return err
	}
	w.free <- j.first
	if j.rest != nil {
		for b := range j.rest {
			if err := out.write(b); err != nil {
				return err
			}
			w.free <- b
		}
	}
	if out.sparse {
		if err := unix.Ftruncate(fd, out.size); err != nil {
			return err
		}
	}
	return w.meta.apply(node{dir: dir, name: name, fd: fd}, &j.item.entry)
}

// output writes one file in order, leaving holes where a sparse file holds zeros.
type output struct {
	fd      int
	sparse  bool
	size    int64
	started int64 // bytes whose write-out the kernel was asked to start
}

// hole is the unit in which file systems keep holes.
const hole = 4096

var zeros [hole]byte

func (o *output) write(b []byte) error {
	if !o.sparse {
		return o.put(b)
	}
	for len(b) > 0 {
		n := dataRun(b)
		if err := o.put(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		n = zeroRun(b)
		o.size += int64(n)
		b = b[n:]
	}
	return nil
}

// dataRun returns the length of the leading part of b that is not all zero, in whole units.
func dataRun(b []byte) int {
	for i := 0; i < len(b); i += hole {
		if isZero(b[i:min(i+hole, len(b))]) {
			return i
		}
	}
	return len(b)
}

func zeroRun(b []byte) int {
	for i := 0; i < len(b); i += hole {
		if !isZero(b[i:min(i+hole, len(b))]) {
			return i
		}
	}
	return len(b)
}

func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

func (o *output) put(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(o.fd, b, o.size)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b, o.size = b[n:], o.size+int64(n)
	}
	if o.size-o.started >= kick {
		// Advice only: the sync at the end is what counts and what reports errors.
		_ = unix.SyncFileRange(o.fd, o.started, o.size-o.started, unix.SYNC_FILE_RANGE_WRITE)
		o.started = o.size
	}
	return nil
}
