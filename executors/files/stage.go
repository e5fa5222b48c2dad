package files

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stage is a private folder beside the target's content, in the same file system, in which a restore is built before any
// of it is put in place by renames. For a target that does not exist it becomes the target; otherwise it lies inside it.
type stage struct {
	top  *os.Root  // the folder that holds the stage
	name string    // of the stage in top
	root *os.Root  // the stage
	dir  *os.File  // the stage, open since before the first write: the kernel tells it of every write error since then
	base string    // the target's name in top when the stage becomes it; empty when the target exists
	made []string  // folders made above the target, topmost first
	was  time.Time // mtime of an existing target before the stage was made in it
}

// openStage makes the stage. On any error nothing is left.
func openStage(d destination) (s *stage, err error) {
	s = &stage{}
	defer func() {
		if err != nil {
			s.discard()
			err = fmt.Errorf("prepare restore to %s: %w", d.path, err)
		}
	}()
	if s.top, err = s.openTop(d); err != nil {
		return s, err
	}
	if st, err := s.top.Stat("."); err == nil {
		s.was = st.ModTime()
	}
	name := ".holdfast-restore-" + strings.ToLower(rand.Text()[:12])
	if err := s.top.Mkdir(name, 0o700); err != nil {
		return s, err
	}
	s.name = name
	if s.root, err = s.top.OpenRoot(name); err != nil {
		return s, err
	}
	if s.dir, err = s.root.Open("."); err != nil {
		return s, err
	}
	return s, s.dropDefaultACL()
}

func (s *stage) openTop(d destination) (*os.Root, error) {
	if d.root != nil {
		return d.root.OpenRoot(".") // the folder that was checked, whatever its name stands for by now
	}
	s.base = filepath.Base(d.path)
	if err := s.makeParents(filepath.Dir(d.path)); err != nil {
		return nil, err
	}
	return os.OpenRoot(filepath.Dir(d.path))
}

func (s *stage) makeParents(dir string) error {
	var missing []string
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append([]string{dir}, missing...)
	}
	for _, m := range missing {
		if err := os.Mkdir(m, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		s.made = append(s.made, m)
	}
	return nil
}

// dropDefaultACL keeps a default ACL of the target's folder from spreading over what is restored.
func (s *stage) dropDefaultACL() error {
	err := unix.Fremovexattr(int(s.dir.Fd()), "system.posix_acl_default")
	if err == unix.ENODATA || err == unix.ENOTSUP {
		return nil
	}
	return err
}

// discard removes the stage and what was made for it. It is safe after commit, where nothing is left to remove.
func (s *stage) discard() {
	if s.dir != nil {
		s.dir.Close()
	}
	if s.root != nil {
		s.root.Close()
	}
	if s.top != nil {
		s.undo()
		s.top.Close()
	}
	for i := len(s.made) - 1; i >= 0; i-- {
		_ = os.Remove(s.made[i]) // fails when something else was put there
	}
}

// undo makes a target look as if no restore had been tried. Best effort: the restore has failed already, and a leftover
// bears our name.
func (s *stage) undo() {
	if s.name == "" {
		return
	}
	if s.remove() == nil && s.base == "" && !s.was.IsZero() {
		_ = s.top.Chtimes(".", time.Time{}, s.was)
	}
}

// remove removes the stage's folder and what is left in it.
func (s *stage) remove() error {
	if s.name == "" {
		return nil
	}
	name := s.name
	s.name = ""
	return s.top.RemoveAll(name)
}

// commit puts everything in place. For a new target that is one rename; in an existing one each file is replaced by one
// rename, and whole directories move where the target has none.
func (s *stage) commit() error {
	if s.base != "" {
		if err := s.top.Rename(s.name, s.base); err != nil {
			return fmt.Errorf("put in place: %w", err)
		}
		s.name, s.made = "", nil
		return nil
	}
	return s.merge(".")
}

func (s *stage) merge(dir string) error {
	names, err := readNames(s.root, dir)
	if err != nil {
		return fmt.Errorf("put in place: %w", err)
	}
	for _, n := range names {
		at := join(dir, n)
		both, err := s.inBoth(at)
		if err == nil && both {
			err = s.merge(at)
		} else if err == nil {
			err = s.top.Rename(path.Join(s.name, at), at)
		}
		if err != nil {
			return fmt.Errorf("put %s in place (files before it already are; run the restore again): %w", escapeName(at), reason(err))
		}
	}
	return nil
}

// inBoth tells whether at is a directory in the stage and in the target.
func (s *stage) inBoth(at string) (bool, error) {
	mine, err := s.root.Lstat(at)
	if err != nil || !mine.IsDir() {
		return false, err
	}
	theirs, err := s.top.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && theirs.IsDir(), err
}

// sync makes everything on the stage's file system durable (docs/decisions/0060).
func (s *stage) sync() error {
	if err := unix.Syncfs(int(s.dir.Fd())); err != nil {
		return fmt.Errorf("make the data durable: %w", err)
	}
	return nil
}

// syncName makes the rename of a new target durable.
func (s *stage) syncName() error {
	f, err := s.top.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func readNames(root *os.Root, dir string) ([]string, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func statOf(info fs.FileInfo) (*syscall.Stat_t, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, errors.New("the system does not tell the file's device")
	}
	return st, nil
}
