package basebackup

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
)

// Target is where a data directory comes to be.
type Target struct {
	Dir     string            // absolute
	Spaces  map[string]string // new absolute location of tablespaces, by OID or by the old location; others keep theirs
	Replace bool              // Dir may hold something, which is kept beside it
}

// place is one folder that is written.
type place struct {
	oid   string // empty: the data directory
	final string
	dir   string // where it is written: a folder beside final, or final itself where that is there and empty
	kept  string // where what final holds is kept; empty when there is nothing
	made  bool   // dir is a new folder, made by begin
	begun bool   // dir is being written
	done  bool   // dir has become final
}

// places decides where everything goes, and refuses what would overwrite something unasked.
func (t Target) places(doc *Document) ([]*place, error) {
	used := map[string]bool{}
	root, err := t.place("", t.Dir)
	if err != nil {
		return nil, err
	}
	out := []*place{root}
	for _, s := range doc.Tablespaces {
		oid := strconv.FormatUint(uint64(s.OID), 10)
		at := s.Location
		for _, key := range []string{s.Location, oid} {
			if to, ok := t.Spaces[key]; ok {
				at = to
				used[key] = true
			}
		}
		p, err := t.place(oid, at)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	for key := range t.Spaces {
		if !used[key] {
			return nil, fmt.Errorf("the restore point has no tablespace %s; it has %s", key, executors.ListSome(doc.locations(), 10))
		}
	}
	for i, a := range out {
		for _, b := range out[i+1:] {
			if within(a.final, b.final) || within(b.final, a.final) {
				return nil, fmt.Errorf("%s and %s are within each other: give each folder a place of its own (-target=data_dir=DIR,OID=DIR)", a.final, b.final)
			}
		}
	}
	return out, nil
}

func (d *Document) locations() []string {
	var out []string
	for _, s := range d.Tablespaces {
		out = append(out, fmt.Sprintf("%d (%s)", s.OID, s.Location))
	}
	return out
}

func within(a, b string) bool {
	return a == b || strings.HasPrefix(b, strings.TrimSuffix(a, "/")+"/")
}

func (t Target) place(oid, at string) (*place, error) {
	if !filepath.IsAbs(at) {
		return nil, fmt.Errorf("%q is no absolute path", at)
	}
	at = filepath.Clean(at)
	p := &place{oid: oid, final: at, dir: at}
	entries, err := os.ReadDir(at)
	switch {
	case errors.Is(err, os.ErrNotExist):
		p.made = true
		return p, nil
	case err != nil:
		return nil, err
	case len(entries) == 0:
		return p, nil
	case oid != "":
		return nil, fmt.Errorf("%w: %s, where the tablespace %s belongs, is not empty; empty it yourself, or put the tablespace elsewhere: -target=data_dir=%s,%s=/new/folder", executors.ErrTargetExists, at, oid, t.Dir, oid)
	case !t.Replace:
		return nil, fmt.Errorf("%w: %s is not empty; restore to another folder, or with -replace, which keeps what is there beside it", executors.ErrTargetExists, at)
	}
	if pid := running(at); pid != 0 {
		return nil, fmt.Errorf("a server runs on %s (process %d): stop it first", at, pid)
	}
	p.made, p.kept = true, at+".holdfast-old"
	for n := 2; exists(p.kept); n++ {
		p.kept = fmt.Sprintf("%s.holdfast-old-%d", at, n)
	}
	return p, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}

// running is the process that a data directory says it is used by, 0 when that is gone.
func running(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 0 || errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return 0
	}
	return pid
}

// owner is whom the files shall belong to, when this process may give them away: the owner of what is there, or the account
// that runs servers. ok is false when they stay with this process.
func (p *place) owner() (uid, gid int, ok bool) {
	if os.Geteuid() != 0 {
		return 0, 0, false
	}
	if info, err := os.Stat(p.final); err == nil {
		if st, is := info.Sys().(*syscall.Stat_t); is && st.Uid != 0 {
			return int(st.Uid), int(st.Gid), true
		}
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, false
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return uid, gid, err1 == nil && err2 == nil
}

// begin makes the folder that is written.
func (p *place) begin(token string) error {
	if p.made {
		parent := filepath.Dir(p.final)
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return err
		}
		dir := filepath.Join(parent, "."+filepath.Base(p.final)+".holdfast-"+token)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		p.dir = dir
	}
	p.begun = true
	return os.Chmod(p.dir, 0o700)
}

// undo removes what was written, and puts back what was there.
func (p *place) undo() error {
	switch {
	case !p.begun:
		return nil
	case p.made:
		err := os.RemoveAll(p.dir)
		if p.done && p.kept != "" && err == nil {
			err = os.Rename(p.kept, p.final)
		}
		return err
	}
	entries, err := os.ReadDir(p.dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(p.dir, e.Name())))
	}
	return err
}

// finish puts the folder in its place.
func (p *place) finish() error {
	if !p.made {
		return nil
	}
	if p.kept != "" {
		if err := os.Rename(p.final, p.kept); err != nil {
			return fmt.Errorf("put what is there aside: %w", err)
		}
	}
	if err := os.Rename(p.dir, p.final); err != nil {
		if p.kept != "" {
			err = errors.Join(err, os.Rename(p.kept, p.final))
		}
		return fmt.Errorf("put the data directory in its place: %w", err)
	}
	p.dir, p.done = p.final, true
	return syncDir(filepath.Dir(p.final))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncAll makes everything on the folder's file system durable.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(syncFS(f), f.Close())
}

// room refuses a file system that is too small. Sizes are those of the data alone.
func room(places []*place, sizes map[string]int64) error {
	type disk struct {
		free, need int64
		names      []string
	}
	disks := map[uint64]*disk{}
	for _, p := range places {
		dir := p.final
		for !exists(dir) {
			dir = filepath.Dir(dir)
		}
		var fs unix.Statfs_t
		var st unix.Stat_t
		if unix.Statfs(dir, &fs) != nil || unix.Stat(dir, &st) != nil {
			continue // writing will tell
		}
		d := disks[uint64(st.Dev)]
		if d == nil {
			d = &disk{free: int64(fs.Bavail) * int64(fs.Bsize)}
			disks[uint64(st.Dev)] = d
		}
		d.need += sizes[p.oid]
		d.names = append(d.names, p.final)
	}
	for _, d := range disks {
		if d.need > d.free {
			slices.Sort(d.names)
			return fmt.Errorf("%d bytes are needed for %s, and %d are free", d.need, strings.Join(d.names, " and "), d.free)
		}
	}
	return nil
}
