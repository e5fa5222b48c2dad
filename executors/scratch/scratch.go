// Package scratch makes private folders for data that must not outlive its use, such as a rehearsed restore.
//
// It is not a cache: nothing in a scratch folder is found again. The invariant: a folder is removed by whoever made it, or,
// when its maker was killed, by the next maker in the same place; never while its maker lives. The lock that tells the two
// apart is held by the kernel, so that neither a reused process number nor a restart of the machine can confuse it.
package scratch

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Names in the place: a folder, and beside it the file whose lock says that the folder's maker lives.
const (
	prefix     = "holdfast-scratch-"
	lockSuffix = ".lock"
)

// Folder is a private folder, 0700.
type Folder struct {
	Path string
	lock *os.File
}

// New makes a folder in place, which must exist; empty means the folder for temporary files. It removes what killed makers
// left there first. The caller calls Remove.
func New(place string, log *slog.Logger) (*Folder, error) {
	if place == "" {
		place = os.TempDir()
	}
	place, err := filepath.Abs(place)
	if err != nil {
		return nil, fmt.Errorf("make a scratch folder: %w", err)
	}
	sweep(place, log)
	f := &Folder{Path: filepath.Join(place, prefix+strings.ToLower(rand.Text()[:10]))}
	if f.lock, err = lockNew(f.Path + lockSuffix); err != nil {
		return nil, fmt.Errorf("make a scratch folder: %w", err)
	}
	if err := os.Mkdir(f.Path, 0o700); err != nil {
		f.unlock()
		return nil, fmt.Errorf("make a scratch folder: %w", err)
	}
	return f, nil
}

// Remove removes the folder and all it holds. What cannot be removed now is left to the next New in the same place.
func (f *Folder) Remove() error {
	if err := removeAll(f.Path); err != nil {
		_ = f.lock.Close() // the file stays: it tells the next one what to remove
		return fmt.Errorf("remove the scratch folder %s: %w", f.Path, err)
	}
	f.unlock()
	return nil
}

func (f *Folder) unlock() {
	_ = os.Remove(f.lock.Name())
	_ = f.lock.Close()
}

// lockNew makes a file and locks it. Another maker's sweep may take a file that is not locked yet for a dead one's; the
// loop makes it again then.
func lockNew(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if isNamed(f, path) {
			return f, nil
		}
		_ = f.Close()
	}
}

// isNamed tells whether the open file is still the one of that name.
func isNamed(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(open, named)
}

// sweep removes what killed makers left. What it may not remove (another account's) is left alone: it is no reason to fail.
func sweep(place string, log *slog.Logger) {
	entries, _ := os.ReadDir(place) // New meets the same error and tells it
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), lockSuffix)
		if !ok || !strings.HasPrefix(name, prefix) || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(place, name)
		if err := sweepOne(path); err != nil && log != nil {
			log.Warn("what an earlier run left could not be removed", "path", path, "err", err)
		}
	}
}

func sweepOne(path string) error {
	f, err := os.OpenFile(path+lockSuffix, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || err == nil && !isNamed(f, path+lockSuffix) {
		return nil // its maker lives, or somebody else has just removed it
	}
	if err != nil {
		return err
	}
	if err := removeAll(path); err != nil {
		return err
	}
	return os.Remove(f.Name())
}

// removeAll removes a tree that may hold folders which their owner may not write to.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700) // before it is read: WalkDir calls for a folder, then opens it
		}
		return nil
	})
	return os.RemoveAll(path)
}
