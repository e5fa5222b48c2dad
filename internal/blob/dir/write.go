package dir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
)

const (
	// tempFolder holds files that have no name yet. "~" is not allowed in object names, so nothing can collide with it.
	tempFolder = ".tmp~"
	// abandonedAfter is the age at which a temporary file has no living writer: a write takes seconds, a clock that is
	// wrong or differs between hosts is rarely wrong by a day.
	abandonedAfter = 24 * time.Hour
	// writeStep is how much is written between two looks at the context, in bytes.
	writeStep = 4 << 20
)

// Put writes the object and renames it into place.
func (b *Bucket) Put(ctx context.Context, name string, data []byte) error {
	return b.write(ctx, "put", name, data, b.root.Rename)
}

// Create writes the object and links it into place, which the file system refuses when the name is taken.
func (b *Bucket) Create(ctx context.Context, name string, data []byte) error {
	if err := begin(ctx, name); err != nil {
		return fail("create", name, err)
	}
	// A look first spares writing 32 MiB for a name that is taken; link has the last word.
	if info, err := b.root.Lstat(name); err == nil && !info.IsDir() {
		return fail("create", name, blob.ErrExists)
	}
	return b.write(ctx, "create", name, data, b.link)
}

// write makes a durable temporary file, lets place give it its name, and makes the name durable.
func (b *Bucket) write(ctx context.Context, op, name string, data []byte, place func(temp, name string) error) error {
	if err := begin(ctx, name); err != nil {
		return fail(op, name, err)
	}
	if err := b.prepare(); err != nil {
		return fail(op, name, err)
	}
	temp, err := b.writeTemp(ctx, data)
	if err != nil {
		return fail(op, name, err)
	}
	err = b.place(temp, name, place)
	if err != nil || op == "create" {
		// After a link the temporary name is a second name of the object. Failing to remove it harms nobody: it is
		// swept when it is a day old.
		_ = b.root.Remove(temp)
	}
	if err != nil {
		return fail(op, name, err)
	}
	if err := b.flush.folder(parent(name)); err != nil {
		return fail(op, name, err)
	}
	return nil
}

// writeTemp returns the name of a complete, flushed temporary file, or nothing is left.
func (b *Bucket) writeTemp(ctx context.Context, data []byte) (string, error) {
	temp := tempFolder + "/" + rand.Text()
	f, err := b.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", hideAbsence(err)
	}
	err = fill(ctx, f, data)
	if cerr := f.Close(); err == nil {
		err = cerr // some file systems tell of a full disk only here
	}
	if err != nil {
		_ = b.root.Remove(temp)
		return "", err
	}
	return temp, nil
}

func fill(ctx context.Context, f *os.File, data []byte) error {
	for len(data) > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := f.Write(data[:min(len(data), writeStep)])
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return f.Sync()
}

// place makes the folders above name and gives the temporary file its name. Somebody may remove an empty folder between
// the two, hence the second attempt.
func (b *Bucket) place(temp, name string, how func(temp, name string) error) error {
	for attempt := 0; ; attempt++ {
		if err := b.makeFolders(parent(name)); err != nil {
			return hideAbsence(err)
		}
		err := how(temp, name)
		if attempt > 0 || !errors.Is(err, fs.ErrNotExist) {
			return hideAbsence(err)
		}
		b.forget(parent(name))
	}
}

// hideAbsence keeps a vanished folder or temporary file from reading as "the object is absent", which for a caller is
// an answer and not a failure.
func hideAbsence(err error) error {
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("a part of the name is an object itself: %s", err)
	case !isAbsent(err):
		return err
	}
	return fmt.Errorf("the folder of the store is damaged or was removed: %s", err)
}

// link gives the temporary file its name unless the name is taken. An answer lost on the way to a network file system
// makes the client ask again and hear "exists" about its own success, so the two are compared.
func (b *Bucket) link(temp, name string) error {
	err := b.root.Link(temp, name)
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOSYS):
		return fmt.Errorf("the file system has no hard links, without which nothing can be created safely: %s", err)
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	ours, oerr := b.root.Lstat(temp)
	theirs, terr := b.root.Lstat(name)
	if oerr == nil && terr == nil && os.SameFile(ours, theirs) {
		return nil
	}
	if terr == nil && theirs.IsDir() {
		return errors.New("the name is the folder of other objects")
	}
	return blob.ErrExists
}

// makeFolders makes every folder of the path, each durable before anything is made in it. A folder that another process
// made a moment ago may not be durable yet, so each is flushed once by each process that relies on it.
func (b *Bucket) makeFolders(path string) error {
	if b.isKnown(path) {
		return nil
	}
	up := parent(path)
	if err := b.makeFolders(up); err != nil {
		return err
	}
	if err := b.root.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := b.flush.folder(up); err != nil {
		return err
	}
	b.mu.Lock()
	b.known[path] = true
	b.mu.Unlock()
	return nil
}

func (b *Bucket) isKnown(path string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known[path]
}

// forget drops the path and everything above it from the known folders.
func (b *Bucket) forget(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ; path != "."; path = parent(path) {
		delete(b.known, path)
	}
}

// prepareTemp makes the folder of temporary files and sweeps what dead processes left there. It runs before the first
// write rather than in Open, so that a bucket that only reads never writes.
func (b *Bucket) prepareTemp() error {
	if err := b.root.Mkdir(tempFolder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return hideAbsence(err)
	}
	f, err := b.root.Open(tempFolder)
	if err != nil {
		return err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < abandonedAfter {
			continue // vanished, or somebody may still be writing it
		}
		_ = b.root.Remove(tempFolder + "/" + e.Name()) // what cannot be swept only takes space
	}
	return nil
}
