// Package dir keeps objects as files of one local folder: the object "packs/ab/abc" is the file ROOT/packs/ab/abc.
//
// It is not a cache and keeps no index: what List finds is what is there. Its invariant: a file under its final name is
// complete and on stable storage, whatever crashes. Data is written to a temporary file, flushed, given its name in one
// step (link for Create, rename for Put), and then the folder is flushed. Nothing outside the folder is ever touched,
// not through symbolic links either.
//
// The folder must be one file system; the temporary files live in ROOT/.tmp~, a name no object can have. docs/stores.md
// says what the file system has to offer.
package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// lostAndFound appears by itself at the top of ext file systems and is readable by root only.
const lostAndFound = "lost+found"

// Bucket is a folder. Safe for concurrent use, also by several processes.
type Bucket struct {
	root *os.Root

	prepare func() error // makes the folder of temporary files, once, before the first write
	flush   flusher

	mu    sync.Mutex
	known map[string]bool // folders whose own names are on stable storage
}

var _ blob.Bucket = (*Bucket)(nil)

// Options changes how a folder is opened.
type Options struct {
	// Create makes the folder, and those above it, when it is absent. Without it an absent folder is blob.ErrNotFound.
	Create bool
}

// Open opens the folder root. It writes nothing unless o.Create is set and the folder is absent; a relative root is
// taken from the working directory of this moment.
func Open(root string, o Options) (*Bucket, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", root, err)
	}
	info, err := os.Stat(abs)
	if errors.Is(err, fs.ErrNotExist) && o.Create {
		if err = makeRoot(abs); err == nil {
			info, err = os.Stat(abs)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open folder %s: it does not exist: %w", abs, blob.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("open folder %s: %w", abs, classify(err))
	case !info.IsDir():
		return nil, fmt.Errorf("open folder %s: it is not a folder", abs)
	}
	r, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", abs, classify(err))
	}
	b := &Bucket{root: r, known: map[string]bool{".": true}}
	b.flush.sync = b.syncFolder
	b.prepare = sync.OnceValue(b.prepareTemp)
	return b, nil
}

// makeRoot makes the folder and its missing parents, each of them durable before the next is made in it.
func makeRoot(abs string) error {
	parent := filepath.Dir(abs)
	if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) && parent != abs {
		if err := makeRoot(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(abs, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(parent)
	if err != nil {
		return err
	}
	defer d.Close()
	return ignoreUnsupported(d.Sync())
}

// Close releases the folder. Temporary files of unfinished writes go with those writes.
func (b *Bucket) Close() error { return b.root.Close() }

// checkName adds what only a folder refuses to the rule for all buckets.
func checkName(name string) error {
	if err := blob.CheckName(name); err != nil {
		return err
	}
	if name == lostAndFound || strings.HasPrefix(name, lostAndFound+"/") {
		return fmt.Errorf("object name %q: %s belongs to the file system", name, lostAndFound)
	}
	return nil
}

// Get reads the whole file.
func (b *Bucket) Get(ctx context.Context, name string) ([]byte, error) {
	f, size, err := b.open(ctx, name)
	if err != nil {
		return nil, fail("get", name, err)
	}
	defer f.Close()
	return read(f, name, 0, size)
}

// GetRange reads length bytes from offset.
func (b *Bucket) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	f, size, err := b.open(ctx, name)
	if err != nil {
		return nil, fail("get", name, err)
	}
	defer f.Close()
	if offset < 0 || length < 0 || offset > size || length > size-offset {
		return nil, fail("get", name, fmt.Errorf("range of %d bytes from %d is outside the object's %d bytes", length, offset, size))
	}
	return read(f, name, offset, length)
}

func read(f *os.File, name string, offset, length int64) ([]byte, error) {
	data := make([]byte, length)
	n, err := f.ReadAt(data, offset)
	if int64(n) == length {
		return data, nil // ReadAt may say io.EOF beside a full answer
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return nil, fail("get", name, fmt.Errorf("read %d of %d bytes: %w", n, length, err))
}

// open returns the open file and its size in bytes. O_NONBLOCK keeps a pipe that somebody put into the store from
// blocking us for ever; it means nothing for a file.
func (b *Bucket) open(ctx context.Context, name string) (*os.File, int64, error) {
	if err := begin(ctx, name); err != nil {
		return nil, 0, err
	}
	f, err := b.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = notAnObject(info)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// notAnObject says why what stands under an object's name is none. A folder is plainly an absent object.
func notAnObject(info fs.FileInfo) error {
	if info.IsDir() {
		return blob.ErrNotFound
	}
	return fmt.Errorf("%s is not a regular file (%s)", info.Name(), info.Mode().Type())
}

// Stat tells size and time of the file.
func (b *Bucket) Stat(ctx context.Context, name string) (blob.Info, error) {
	if err := begin(ctx, name); err != nil {
		return blob.Info{}, fail("stat", name, err)
	}
	info, err := b.root.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = notAnObject(info)
	}
	if err != nil {
		return blob.Info{}, fail("stat", name, err)
	}
	return blob.Info{Name: name, Size: info.Size(), ModTime: info.ModTime().UTC()}, nil
}

// Delete removes the file and flushes its folder, so that deletions reach stable storage in the order they were asked
// for. Folders that become empty stay.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	if err := begin(ctx, name); err != nil {
		return fail("delete", name, err)
	}
	info, err := b.root.Lstat(name)
	if err == nil && info.IsDir() {
		return nil // Remove would take away an empty folder
	}
	if err == nil {
		err = b.root.Remove(name)
	}
	if isAbsent(err) {
		// Whoever removed it may have died before the flush, and our caller relies on the order.
		if _, err := b.root.Stat(parent(name)); err != nil {
			return nil
		}
		err = nil
	}
	if err == nil {
		err = b.flush.folder(parent(name))
	}
	if err != nil {
		return fail("delete", name, err)
	}
	return nil
}

// begin is what every operation on one object checks first.
func begin(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return context.Cause(ctx)
}
