package files

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// image renders a tree with everything a backup keeps, one line an item; "" when the tree does not exist. It reads the
// tree with the standard library, so that a mistake in the walker cannot hide itself.
func image(t *testing.T, root string) string {
	t.Helper()
	if _, err := os.Lstat(root); os.IsNotExist(err) {
		return ""
	}
	var out strings.Builder
	inodes := map[uint64]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&out, "%q %o uid=%d gid=%d mtime=%d", rel, st.Mode, st.Uid, st.Gid, info.ModTime().UnixNano())
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, " size=%d sha256=%x sparse=%v", st.Size, sha256.Sum256(data), st.Blocks*512 < st.Size)
			if st.Nlink > 1 {
				if inodes[st.Ino] == "" {
					inodes[st.Ino] = rel
				}
				fmt.Fprintf(&out, " links=%d same-as=%q", st.Nlink, inodes[st.Ino])
			}
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, " -> %q", target)
		}
		out.WriteString(xattrImage(p))
		out.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatalf("image of %s: %v", root, err)
	}
	return out.String()
}

func xattrImage(p string) string {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, buf)
	if err != nil || n == 0 {
		return ""
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	slices.Sort(names)
	var out strings.Builder
	for _, name := range names {
		v := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(p, name, v)
		if err != nil {
			return " xattr " + name + ": " + err.Error()
		}
		fmt.Fprintf(&out, " %s=%x", name, v[:n])
	}
	return out.String()
}
