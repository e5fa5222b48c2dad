package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
)

// walker visits a tree in order: a directory before what it holds, names in byte order. It opens every directory relative to
// the one above and never follows a symlink, so that nothing swapped in during the walk leads it out of the root.
// Memory is that of the names of the directories on the way down, and of files with several names.
type walker struct {
	ctx           context.Context
	filter        filter
	oneFileSystem bool
	lookOnly      bool // neither names nor extended attributes are wanted
	problems      *problems
	links         *links
	names         *names
	emit          func(found) error

	dev uint64 // of the root
}

// found is one item of the walk.
type found struct {
	entry executors.Entry
	raw   string
	stat  unix.Stat_t
	links *group    // for a file with several names
	at    time.Time // just before stat was read
}

// folder is a directory on the way down. Its entry is emitted when it is wanted itself, or with the first wanted thing in it.
type folder struct {
	above   *folder
	found   found
	emitted bool
}

func (w *walker) walk(root *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		return fmt.Errorf("stat root %s: %w", root.Name(), err)
	}
	w.dev = st.Dev
	f := &folder{found: found{raw: ".", stat: st, entry: w.entry(".", ".", &st)}}
	w.setFileXattrs(&f.found.entry, root)
	return w.folder(root, f, w.filter.included("."))
}

// folder walks one open directory.
func (w *walker) folder(dir *os.File, f *folder, wanted bool) error {
	if wanted {
		if err := w.emitFolder(f); err != nil {
			return err
		}
	}
	children, err := dir.Readdirnames(-1)
	if err != nil {
		w.problems.add(f.found.entry.Path, true, fmt.Errorf("list directory: %w", reason(err)))
	}
	slices.Sort(children)
	odd := shownNames(children)
	proc := "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/"
	for _, name := range children {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		shown := name
		if s, ok := odd[name]; ok {
			shown = s
		}
		c := child{dir: dir, name: name, proc: proc, raw: join(f.found.raw, name), shown: join(f.found.entry.Path, shown)}
		if w.filter.excluded(c.shown) {
			continue
		}
		if err := w.child(c, f, wanted || w.filter.included(c.shown)); err != nil {
			return err
		}
	}
	return nil
}

// child is a name in a directory.
type child struct {
	dir        *os.File
	name, proc string
	raw, shown string
	stat       unix.Stat_t
	at         time.Time // just before stat was read
}

func (w *walker) child(c child, above *folder, wanted bool) error {
	c.at = time.Now()
	if err := unix.Fstatat(int(c.dir.Fd()), c.name, &c.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if wanted {
			w.reportUnread(c.shown, err)
		}
		return nil
	}
	typ := entryType(c.stat.Mode)
	switch {
	case typ == executors.TypeDir:
		if !wanted && !w.filter.mayHold(c.shown) {
			return nil
		}
		return w.descend(c, above, wanted)
	case !wanted:
		return nil
	case typ == "":
		w.reportSpecial(c)
		return nil
	}
	f := found{raw: c.raw, stat: c.stat, at: c.at, entry: w.entry(c.raw, c.shown, &c.stat)}
	if !w.lookOnly {
		if err := w.complete(&f, c); err != nil {
			w.reportUnread(c.shown, err)
			return nil
		}
	}
	if err := w.emitFolder(above); err != nil {
		return err
	}
	return w.emit(f)
}

// complete adds what takes further system calls: extended attributes, the target of a symlink, other names of the file.
func (w *walker) complete(f *found, c child) error {
	path := c.proc + c.name
	w.setXattrs(&f.entry, func(b []byte) (int, error) { return unix.Llistxattr(path, b) },
		func(name string, b []byte) (int, error) { return unix.Lgetxattr(path, name, b) })
	switch f.entry.Type {
	case executors.TypeSymlink:
		target, err := readlink(c.dir, c.name)
		if err != nil {
			return err
		}
		f.entry.Target = escapeName(target)
		setRaw(&f.entry, attrTarget, target, f.entry.Target)
	case executors.TypeFile:
		if c.stat.Nlink < 2 {
			return nil
		}
		g, target := w.links.add(&c.stat, c.raw, c.shown)
		f.links = g
		if target != "" {
			// The inode's metadata stands with the first name; this one only points there.
			f.entry = executors.Entry{Path: c.shown, Type: executors.TypeHardlink, Target: target}
			setRaw(&f.entry, attrPath, c.raw, c.shown)
			setRaw(&f.entry, attrTarget, g.raw[0], target)
		}
	}
	return nil
}

func (w *walker) descend(c child, above *folder, wanted bool) error {
	f := &folder{above: above, found: found{raw: c.raw, stat: c.stat, entry: w.entry(c.raw, c.shown, &c.stat)}}
	dir, err := openDir(c.dir, c.name)
	if err != nil {
		if wanted && !gone(err) {
			// Its metadata is known and kept; what it holds is what is missing.
			if err := w.emitFolder(f); err != nil {
				return err
			}
		}
		w.reportUnread(c.shown, err)
		return nil
	}
	defer dir.Close()
	w.setFileXattrs(&f.found.entry, dir)
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return fmt.Errorf("stat %s: %w", c.shown, err)
	}
	// Directories only: on overlay file systems each file bears the device of the layer it lies in.
	if w.oneFileSystem && st.Dev != w.dev {
		if wanted {
			return w.emitFolder(f)
		}
		return nil
	}
	return w.folder(dir, f, wanted)
}

// emitFolder emits a directory and those above it, once.
func (w *walker) emitFolder(f *folder) error {
	if f == nil || f.emitted {
		return nil
	}
	if err := w.emitFolder(f.above); err != nil {
		return err
	}
	f.emitted = true
	return w.emit(f.found)
}

func (w *walker) entry(raw, shown string, st *unix.Stat_t) executors.Entry {
	e := executors.Entry{Path: shown, Type: entryType(st.Mode)}
	if w.lookOnly {
		return e
	}
	e.Mode = st.Mode & 0o7777
	e.UID, e.GID = int(st.Uid), int(st.Gid)
	e.User, e.Group = w.names.user(st.Uid), w.names.group(st.Gid)
	if e.Type == executors.TypeFile {
		e.Size, e.Sparse = st.Size, st.Blocks*512 < st.Size
	}
	t, ok := modTime(st)
	if ok {
		e.ModTime = t
	} else {
		w.problems.add(shown, false, errors.New("its modification time is out of range and was not kept"))
	}
	setRaw(&e, attrPath, raw, shown)
	return e
}

func (w *walker) setFileXattrs(e *executors.Entry, f *os.File) {
	if w.lookOnly {
		return
	}
	fd := int(f.Fd())
	w.setXattrs(e, func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
}

func (w *walker) setXattrs(e *executors.Entry, list func([]byte) (int, error), get func(string, []byte) (int, error)) {
	var err error
	if e.Xattrs, err = readXattrs(list, get); err != nil {
		w.problems.add(e.Path, false, err)
	}
}

func (w *walker) reportUnread(path string, err error) { reportUnread(w.problems, path, err) }

// reportSpecial names what a backup does not hold. A socket comes back with the server that made it; a device does not.
func (w *walker) reportSpecial(c child) {
	if c.stat.Mode&unix.S_IFMT == unix.S_IFSOCK {
		w.problems.add(c.shown, false, errors.New("skipped: a socket holds no data"))
		return
	}
	w.problems.add(c.shown, true, errors.New("skipped: devices are not backed up; exclude it to say that it is not needed"))
}

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}
