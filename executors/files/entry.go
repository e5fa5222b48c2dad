package files

import (
	"encoding/binary"
	"fmt"
	"os/user"
	"strconv"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
)

// fingerprint identifies the content of a file that st describes, as long as nobody sets the clock back: any write moves
// ctime, which no program can set. It is nil when the file changed so recently before now that a later change could bear
// the same time stamps.
func fingerprint(st *unix.Stat_t, now time.Time, margin time.Duration) []byte {
	newest := max(st.Mtim.Nano(), st.Ctim.Nano())
	if now.UnixNano()-newest < int64(margin) {
		return nil
	}
	b := make([]byte, 0, 40)
	for _, v := range []uint64{st.Dev, st.Ino, uint64(st.Size), uint64(st.Mtim.Nano()), uint64(st.Ctim.Nano())} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

// sameContent tells whether two stats of one open file show no write between them.
func sameContent(a, b *unix.Stat_t) bool {
	return a.Size == b.Size && a.Mtim == b.Mtim && a.Ctim == b.Ctim
}

// modTime is the stat's mtime, or false when no manifest can hold it (years past 9999).
func modTime(st *unix.Stat_t) (time.Time, bool) {
	t := time.Unix(st.Mtim.Unix()).UTC()
	return t, t.Year() >= 1 && t.Year() <= 9999
}

// entryType names the kind of a mode; empty for kinds that a backup does not hold.
func entryType(mode uint32) executors.EntryType {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return executors.TypeFile
	case unix.S_IFDIR:
		return executors.TypeDir
	case unix.S_IFLNK:
		return executors.TypeSymlink
	case unix.S_IFIFO:
		return executors.TypeFIFO
	}
	return ""
}

// names remembers users and groups, whose lookup reads a file or asks a server. For one goroutine.
type names struct {
	users, groups map[uint32]string
}

func newNames() *names {
	return &names{users: map[uint32]string{}, groups: map[uint32]string{}}
}

func (n *names) user(id uint32) string {
	return remember(n.users, id, func(s string) (string, error) {
		u, err := user.LookupId(s)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

func (n *names) group(id uint32) string {
	return remember(n.groups, id, func(s string) (string, error) {
		g, err := user.LookupGroupId(s)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

// remember keeps failures too: an id without a name is ordinary, the number is stored beside it.
func remember(known map[uint32]string, id uint32, look func(string) (string, error)) string {
	name, ok := known[id]
	if !ok {
		name, _ = look(strconv.FormatUint(uint64(id), 10))
		known[id] = name
	}
	return name
}

// readXattrs returns the extended attributes that list and get give. File systems without any, and attributes that only
// others may read, are ordinary; an attribute that no manifest can hold is an error beside the rest.
func readXattrs(list func([]byte) (int, error), get func(string, []byte) (int, error)) (map[string][]byte, error) {
	var small [1024]byte
	n, err := list(small[:])
	buf := small[:max(n, 0)]
	if err == unix.ERANGE {
		if buf, err = grow(list); err != nil {
			return nil, fmt.Errorf("list extended attributes: %w", err)
		}
	} else if err != nil || n == 0 {
		return nil, nil // ENOTSUP, EPERM, or gone: whoever reads the content reports that
	}
	var odd error
	attrs := map[string][]byte{}
	for _, name := range splitZero(buf) {
		if !utf8.ValidString(name) {
			odd = fmt.Errorf("extended attribute %q is left out: its name is not UTF-8", name)
			continue
		}
		v, err := grow(func(b []byte) (int, error) { return get(name, b) })
		if err == nil {
			attrs[name] = v
		} else if err != unix.ENODATA && err != unix.EPERM && err != unix.EACCES && err != unix.ENOTSUP {
			odd = fmt.Errorf("extended attribute %s is left out: %w", name, err)
		}
	}
	if len(attrs) == 0 {
		return nil, odd
	}
	return attrs, odd
}

// grow calls a two-step system call: once for the size, once for the data, again when it grew between the two.
func grow(call func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := call(nil)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return []byte{}, nil
		}
		b := make([]byte, n)
		if n, err = call(b); err == nil {
			return b[:n], nil
		} else if err != unix.ERANGE {
			return nil, err
		}
	}
}

func splitZero(b []byte) []string {
	var out []string
	start := 0
	for i, c := range b {
		if c == 0 {
			out = append(out, string(b[start:i]))
			start = i + 1
		}
	}
	return out
}
