package files

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
)

// meta brings metadata back. What the system refuses (owners without root, attributes that a file system does not know) is
// noted once with a count and never fails a restore. Safe for concurrent use.
type meta struct {
	asRoot bool

	mu     sync.Mutex
	users  map[string]int
	groups map[string]int
	notes  map[string]*executors.Problem
	counts map[string]int
}

func newMeta() *meta {
	return &meta{
		asRoot: os.Geteuid() == 0, users: map[string]int{}, groups: map[string]int{},
		notes: map[string]*executors.Problem{}, counts: map[string]int{},
	}
}

// node is a thing whose metadata is set: by descriptor where it can be opened, otherwise by its name in an open directory.
type node struct {
	dir  int
	name string
	fd   int // -1: by name
}

// apply sets owner, attributes, mode and time, in this order: a new owner clears setuid and capabilities, attributes need a
// writable mode, and all of them move the time.
func (m *meta) apply(n node, e *executors.Entry) error {
	mode := e.Mode & 0o7777
	if !m.own(n, e) {
		mode &^= unix.S_ISUID | unix.S_ISGID // never lend a program's power to whoever restores it
	}
	for _, name := range sortedKeys(e.Xattrs) {
		if err := m.setXattr(n, name, e.Xattrs[name]); err != nil {
			m.note("extended attribute "+name+" was not restored", e.Path, err)
		}
	}
	var err error
	switch {
	case e.Type == executors.TypeSymlink: // has no mode of its own
	case n.fd >= 0:
		err = unix.Fchmod(n.fd, mode)
	default:
		err = unix.Fchmodat(n.dir, n.name, mode, 0)
	}
	if err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	if e.ModTime.IsZero() {
		return nil
	}
	ts, err := unix.TimeToTimespec(e.ModTime)
	if err == nil {
		err = unix.UtimesNanoAt(n.dir, n.name, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, ts}, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return fmt.Errorf("set modification time: %w", err)
	}
	return nil
}

// own sets the owner and tells whether the item now belongs to whom it should.
func (m *meta) own(n node, e *executors.Entry) bool {
	uid, gid := m.id(m.users, e.User, e.UID, lookupUser), m.id(m.groups, e.Group, e.GID, lookupGroup)
	if !m.asRoot {
		if uid == os.Geteuid() && gid == os.Getegid() {
			return true
		}
		m.note(ownersNote, e.Path, nil)
		return false
	}
	if err := unix.Fchownat(n.dir, n.name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		m.note("the owner was not restored", e.Path, err)
		return false
	}
	return true
}

func (m *meta) setXattr(n node, name string, value []byte) error {
	if n.fd >= 0 {
		return unix.Fsetxattr(n.fd, name, value, 0)
	}
	return unix.Lsetxattr("/proc/self/fd/"+strconv.Itoa(n.dir)+"/"+n.name, name, value, 0)
}

// id prefers the name: the same service has another number on another host.
func (m *meta) id(known map[string]int, name string, number int, look func(string) (string, error)) int {
	if name == "" {
		return number
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	id, ok := known[name]
	if !ok {
		id = -1
		if s, err := look(name); err == nil {
			if n, err := strconv.Atoi(s); err == nil {
				id = n
			}
		}
		known[name] = id
	}
	if id < 0 {
		return number
	}
	return id
}

func lookupUser(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}

func lookupGroup(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}

// applyAt sets the metadata of a directory or a symlink below root.
func (m *meta) applyAt(root *os.Root, it item) error {
	if it.entry.Type == executors.TypeDir {
		f, err := root.OpenFile(it.raw, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		return m.apply(node{dir: int(f.Fd()), name: ".", fd: int(f.Fd())}, &it.entry)
	}
	dir, err := root.OpenFile(parent(it.raw), unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	return m.apply(node{dir: int(dir.Fd()), name: path.Base(it.raw), fd: -1}, &it.entry)
}

// note remembers a thing that could not be done as asked: the first path and how often.
func (m *meta) note(what, path string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		what += ": " + reason(err).Error()
	}
	if m.counts[what]++; m.counts[what] == 1 {
		m.notes[what] = &executors.Problem{Path: path}
	}
}

func (m *meta) problems() []executors.Problem {
	var out []executors.Problem
	for _, what := range sortedKeys(m.notes) {
		p := *m.notes[what]
		if n := m.counts[what]; n > 1 {
			p.Err = fmt.Errorf("%s (and %d more)", what, n-1)
		} else {
			p.Err = fmt.Errorf("%s", what)
		}
		out = append(out, p)
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func parent(raw string) string { return path.Dir(raw) }

func depth(raw string) int {
	if raw == "." {
		return 0
	}
	return 1 + strings.Count(raw, "/")
}

// fifo makes a FIFO and sets its metadata by name: opening one would wait for its other side.
func (r *restore) fifo(it item) error {
	dir, err := r.stage.root.OpenFile(parent(it.raw), unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Mkfifoat(int(dir.Fd()), path.Base(it.raw), 0o600); err != nil {
		return &fs.PathError{Op: "mkfifo", Path: it.entry.Path, Err: err}
	}
	return r.meta.apply(node{dir: int(dir.Fd()), name: path.Base(it.raw), fd: -1}, &it.entry)
}
