package files

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
)

func asNobody() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

// TestAnyTreeComesBackEqual: backup and restore of any tree gives the same tree, bytes and metadata.
func TestAnyTreeComesBackEqual(t *testing.T) {
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm") // each restore waits for its file system; the conformance suite does so on a real one
	}
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		root := filepath.Join(base, fmt.Sprint(n), "tree")
		must(t, os.MkdirAll(root, 0o755))
		growTree(t, rt, root)
		store := executortest.NewStore()
		_, res := backup(t, New(), sourceOf(root), store, executortest.Faults{})
		if len(res.Problems) > 0 {
			rt.Fatalf("problems: %v", told(res.Problems))
		}
		to := executors.Target{Root: filepath.Join(base, fmt.Sprint(n), "out")}
		if _, err := New().Restore(t.Context(), executors.RestoreRequest{Target: to}, store.Supply("p")); err != nil {
			rt.Fatal(err)
		}
		if d := cmp.Diff(image(t, root), image(t, to.Root)); d != "" {
			rt.Fatalf("tree (-want +got):\n%s", d)
		}
		// Once more over itself: replacing changes nothing.
		if _, err := New().Restore(t.Context(), executors.RestoreRequest{Target: to, Replace: true}, store.Supply("p")); err != nil {
			rt.Fatal(err)
		}
		if d := cmp.Diff(image(t, root), image(t, to.Root)); d != "" {
			rt.Fatalf("tree after replace (-want +got):\n%s", d)
		}
		must(t, os.RemoveAll(filepath.Join(base, fmt.Sprint(n))))
	})
}

func growTree(t *testing.T, rt *rapid.T, root string) {
	dirs, files := []string{root}, []string(nil)
	name := rapid.StringMatching(`[a-c\x{e9}\\ ~.-]{1,6}`).Filter(func(s string) bool { return s != "." && s != ".." })
	for range rapid.IntRange(0, 25).Draw(rt, "items") {
		s := name.Draw(rt, "name")
		if rapid.IntRange(0, 4).Draw(rt, "latin1") == 0 {
			s = strings.ReplaceAll(s, "é", "\xe9")
		}
		p := filepath.Join(rapid.SampledFrom(dirs).Draw(rt, "dir"), s)
		if _, err := os.Lstat(p); err == nil {
			continue
		}
		mode := uint32(rapid.IntRange(0, 0o7777).Draw(rt, "mode"))
		switch kind := rapid.IntRange(0, 9).Draw(rt, "kind"); {
		case kind < 3:
			must(t, os.Mkdir(p, 0o755))
			dirs = append(dirs, p)
			must(t, unix.Chmod(p, mode|0o700))
		case kind < 7:
			must(t, os.WriteFile(p, content(rt), 0o600))
			must(t, unix.Chmod(p, mode|0o400))
			files = append(files, p)
		case kind == 7:
			must(t, os.Symlink(rapid.SampledFrom([]string{"a", "..", "/", "b\xff", "../../x"}).Draw(rt, "target"), p))
		case kind == 8 && len(files) > 0:
			must(t, os.Link(rapid.SampledFrom(files).Draw(rt, "link"), p))
		default:
			must(t, unix.Mkfifo(p, 0o600))
			must(t, unix.Chmod(p, mode))
		}
	}
	sec := rapid.Int64Range(-1<<31, 1<<33).Draw(rt, "seconds")
	must(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		sec++
		ts := unix.Timespec{Sec: sec, Nsec: sec & 0x1fffffff}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// content is bytes of any length around the sizes that matter, with runs of zeros.
func content(rt *rapid.T) []byte {
	size := rapid.SampledFrom([]int{0, 1, hole - 1, hole, blockSize - 1, blockSize, blockSize + 1, 3*blockSize + 5}).Draw(rt, "size")
	b := bytes.Repeat([]byte{byte(rapid.IntRange(0, 255).Draw(rt, "byte"))}, size)
	if size > 2*hole && rapid.Bool().Draw(rt, "hole") {
		clear(b[hole : size-hole])
	}
	return b
}

func TestSparseFilesComeBackSparse(t *testing.T) {
	for _, size := range []int64{0, 1, hole, 3 * hole, blockSize + hole + 17, 4 << 20} {
		for _, data := range [][2]int64{{0, 0}, {0, 100}, {hole, 2 * hole}, {blockSize - 10, blockSize + 10}} {
			want := make([]byte, size)
			for i := data[0]; i < min(data[1], size); i++ {
				want[i] = 1
			}
			it := fileItem("f", want)
			it.Entry.Sparse = true
			root := filepath.Join(t.TempDir(), "out")
			_, err := restoreItems(t, root, nil, false, it)
			must(t, err)
			got, err := os.ReadFile(filepath.Join(root, "f"))
			must(t, err)
			if !bytes.Equal(want, got) {
				t.Errorf("size %d, data %v: content differs", size, data)
			}
			var st unix.Stat_t
			must(t, unix.Stat(filepath.Join(root, "f"), &st))
			if size == 4<<20 && st.Blocks*512 > 64<<10 {
				t.Errorf("data %v: %d bytes are allocated", data, st.Blocks*512)
			}
		}
	}
}

func FuzzPathsStayInside(f *testing.F) {
	for _, s := range []string{"a", "../a", "/a", "a/../../b", "a\x00", ".", "..", "a/./b", "\xff/..", strings.Repeat("x", 300), "a/" + strings.Repeat("../", 9)} {
		f.Add(s, s, byte(0))
	}
	f.Fuzz(func(t *testing.T, path, target string, kind byte) {
		types := []executors.EntryType{executors.TypeFile, executors.TypeDir, executors.TypeSymlink, executors.TypeHardlink, executors.TypeFIFO}
		dir := t.TempDir()
		write(t, dir, "outside", "untouched")
		e := executors.Entry{Type: types[int(kind)%len(types)], Mode: 0o644, UID: os.Getuid(), GID: os.Getgid()}
		e.Path, e.Target = escapeName(path), escapeName(target)
		setRaw(&e, attrPath, path, e.Path)
		setRaw(&e, attrTarget, target, e.Target)
		if e.Type == executors.TypeFile {
			e.Size = 3
		}
		items := []*executortest.Item{
			linkItem(executors.TypeSymlink, "s", ".."), {Entry: e, Data: []byte("abc")}, fileItem("s2", []byte("x")),
		}
		req := executors.RestoreRequest{Target: executors.Target{Root: filepath.Join(dir, "in/root")}}
		_, err := New().Restore(t.Context(), req, executortest.NewSupply(items...))
		got, readErr := os.ReadFile(filepath.Join(dir, "outside"))
		names, _ := os.ReadDir(dir)
		if readErr != nil || string(got) != "untouched" || len(names) > 2 {
			t.Fatalf("restoring %q left the root: %v, %v", path, names, readErr)
		}
		in, listErr := os.ReadDir(filepath.Join(dir, "in"))
		switch {
		case err != nil && !errors.Is(listErr, fs.ErrNotExist):
			t.Fatalf("a failed restore left %v (%v)", in, err)
		case err == nil && len(in) != 1:
			t.Fatalf("beside the target lies %v", in)
		}
	})
}

func TestNamesThatAreNotText(t *testing.T) {
	names := []string{"\xff", `\xff`, "\xff" + `\xfe`, `\xff` + "\xfe", "plain", "é"}
	got := map[string]bool{}
	odd := shownNames(names)
	for _, n := range names {
		s, ok := odd[n]
		if !ok {
			s = n
		}
		if !utf8.ValidString(s) || got[s] {
			t.Errorf("%q is shown as %q, which is not text or taken", n, s)
		}
		got[s] = true
		e := executors.Entry{Path: s, Type: executors.TypeFile}
		setRaw(&e, attrPath, n, s)
		if back, err := rawPath(e); err != nil || back != n {
			t.Errorf("%q comes back as %q (%v)", n, back, err)
		}
	}
}
