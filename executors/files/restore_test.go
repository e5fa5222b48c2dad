package files

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
)

func dirItem(path string) *executortest.Item {
	return &executortest.Item{Entry: executors.Entry{Path: path, Type: executors.TypeDir, Mode: 0o755, UID: os.Getuid(), GID: os.Getgid()}}
}

func linkItem(typ executors.EntryType, path, target string) *executortest.Item {
	return &executortest.Item{Entry: executors.Entry{Path: path, Type: typ, Target: target, UID: os.Getuid(), GID: os.Getgid()}}
}

// listing renders a tree: one line an item, with content.
func listing(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		switch {
		case d.IsDir():
			rel += "/"
		case d.Type()&os.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			rel += " -> " + target
		default:
			data, _ := os.ReadFile(p)
			rel += "=" + string(data)
		}
		out = append(out, rel)
		return nil
	}))
	return out
}

func restoreItems(t *testing.T, root string, only []string, replace bool, items ...*executortest.Item) (executors.Result, error) {
	t.Helper()
	req := executors.RestoreRequest{Target: executors.Target{Root: root}, Only: only, Replace: replace}
	supply := executortest.NewSupply(items...)
	pre, perr := New().Preview(t.Context(), req, supply)
	res, err := New().Restore(t.Context(), req, supply)
	if err == nil && perr != nil {
		t.Errorf("preview refuses what restore does: %v", perr)
	}
	if err == nil && (pre.Items != res.Items || pre.Bytes != res.Bytes) {
		t.Errorf("preview tells %d items, %d bytes; restore did %d, %d", pre.Items, pre.Bytes, res.Items, res.Bytes)
	}
	return res, err
}

func TestHostilePointsNeverLeaveTheTarget(t *testing.T) {
	const notOurs = "; the restore point is not one that holdfast wrote"
	leaves := func(p string) string {
		return fmt.Sprintf("entry %q: the path leaves the root or is not clean", p) + notOurs
	}
	raw := fileItem("fine", []byte("x"))
	raw.Entry.Attrs = map[string]string{attrPath: "Li4vZXZpbA=="} // ../evil
	short := fileItem("short", []byte("x"))
	short.Entry.Size = 2
	for _, c := range []struct {
		name  string
		items []*executortest.Item
		want  string // in the error; empty: restored inside
		tree  []string
	}{
		{"absolute", []*executortest.Item{fileItem("/evil", nil)}, leaves("/evil"), nil},
		{"above", []*executortest.Item{fileItem("../evil", nil)}, leaves("../evil"), nil},
		{"above from below", []*executortest.Item{fileItem("a/../../evil", nil)}, leaves("a/../../evil"), nil},
		{"not clean", []*executortest.Item{fileItem("a//b", nil)}, leaves("a//b"), nil},
		{"empty", []*executortest.Item{fileItem("", nil)}, leaves(""), nil},
		{"zero byte", []*executortest.Item{fileItem("a\x00b", nil)}, leaves("a\x00b"), nil},
		{"above, in the exact bytes", []*executortest.Item{raw}, leaves("fine"), nil},
		{"the root as a file", []*executortest.Item{fileItem(".", nil)}, `entry ".": the root can only be a directory` + notOurs, nil},
		{
			"hard link to the outside",
			[]*executortest.Item{linkItem(executors.TypeHardlink, "a", "../../etc/passwd")},
			`entry "a": the path leaves the root or is not clean`, nil,
		},
		{"unknown type", []*executortest.Item{{Entry: executors.Entry{Path: "a", Type: "device"}}}, `its type "device" is not one of files`, nil},
		{"a dump among files", []*executortest.Item{{Entry: executors.Entry{Path: "a", Type: executors.TypeStream}}}, `its type "stream"`, nil},
		{
			"through a symlink",
			[]*executortest.Item{linkItem(executors.TypeSymlink, "a", "OUTSIDE"), fileItem("a/evil", []byte("x"))},
			"make a: file exists", nil,
		},
		{"a symlink below a symlink", []*executortest.Item{
			linkItem(executors.TypeSymlink, "a", "OUTSIDE"), linkItem(executors.TypeSymlink, "a/evil", "x"),
		}, "make a: file exists", nil},
		{"a path twice", []*executortest.Item{fileItem("a", []byte("1")), fileItem("a", []byte("2"))}, "write a: file exists", nil},
		{"a file as a folder", []*executortest.Item{fileItem("a", []byte("1")), fileItem("a/b", []byte("2"))}, "a: ", nil},
		{"less content than it says", []*executortest.Item{short}, "the restore point holds 1 bytes of content and says 2", nil},
		{
			"a symlink to the outside is only a symlink",
			[]*executortest.Item{linkItem(executors.TypeSymlink, "a", "/etc/passwd")},
			"",
			[]string{"a -> /etc/passwd"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			outside := filepath.Join(dir, "outside")
			must(t, os.Mkdir(outside, 0o755))
			for _, it := range c.items {
				it.Entry.Target = strings.ReplaceAll(it.Entry.Target, "OUTSIDE", outside)
			}
			for _, existing := range []bool{false, true} {
				target := filepath.Join(dir, fmt.Sprint("target-", existing))
				if existing {
					must(t, os.Mkdir(target, 0o755))
				}
				before := listing(t, dir)
				_, err := restoreItems(t, target, nil, false, c.items...)
				if c.want == "" {
					must(t, err)
					if d := cmp.Diff(c.tree, listing(t, target)); d != "" {
						t.Errorf("target (-want +got):\n%s", d)
					}
					continue
				}
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error: got %v, want one with %q", err, c.want)
				}
				if d := cmp.Diff(before, listing(t, dir)); d != "" {
					t.Errorf("something was written (-before +after):\n%s", d)
				}
			}
		})
	}
}

func TestSymlinksInTheTargetAreNotFollowed(t *testing.T) {
	for _, c := range []struct {
		name string
		prep func(t *testing.T, root, outside string)
		want string
		tree []string
	}{
		{"a folder that is a symlink to the outside", func(t *testing.T, root, outside string) {
			must(t, os.Symlink(outside, filepath.Join(root, "d")))
		}, "d is a directory in the restore point, but not in the target", nil},
		{"a folder that is a symlink to the inside", func(t *testing.T, root, _ string) {
			must(t, os.Mkdir(filepath.Join(root, "real"), 0o755))
			must(t, os.Symlink("real", filepath.Join(root, "d")))
		}, "d is a directory in the restore point, but not in the target", nil},
		{"a file that is a symlink is replaced itself", func(t *testing.T, root, outside string) {
			write(t, outside, "f", "outside")
			must(t, os.Mkdir(filepath.Join(root, "d"), 0o755))
			must(t, os.Symlink(filepath.Join(outside, "f"), filepath.Join(root, "d/f")))
		}, "", []string{"outside/", "outside/f=outside", "root/", "root/d/", "root/d/f=new"}},
		{"a file that is a folder", func(t *testing.T, root, _ string) {
			must(t, os.MkdirAll(filepath.Join(root, "d/f"), 0o755))
		}, "d/f is a directory in the target, but not in the restore point", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			root, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
			must(t, os.Mkdir(root, 0o755))
			must(t, os.Mkdir(outside, 0o755))
			c.prep(t, root, outside)
			want := c.tree
			if want == nil {
				want = listing(t, dir)
			}
			_, err := restoreItems(t, root, nil, true, dirItem("d"), fileItem("d/f", []byte("new")))
			if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error: got %v, want %q", err, c.want)
			}
			if d := cmp.Diff(want, listing(t, dir)); d != "" {
				t.Errorf("tree (-want +got):\n%s", d)
			}
		})
	}
}

func TestOnly(t *testing.T) {
	items := []*executortest.Item{
		dirItem("."), dirItem("a"), fileItem("a/one", []byte("1")), fileItem("a/two", []byte("2")), dirItem("b"), dirItem("b/c"),
		linkItem(executors.TypeHardlink, "b/c/also-two", "a/two"), linkItem(executors.TypeHardlink, "b/c/third", "a/two"),
		fileItem("b/x.yaml", []byte("x")), fileItem("top", []byte("t")),
	}
	for _, c := range []struct {
		only []string
		want []string
		err  string
	}{
		{[]string{"a"}, []string{"a/", "a/one=1", "a/two=2"}, ""},
		{[]string{"**/*.yaml", "top"}, []string{"b/", "b/x.yaml=x", "top=t"}, ""},
		{[]string{"b/c/*"}, []string{"b/", "b/c/", "b/c/also-two=2", "b/c/third=2"}, ""},
		{[]string{"b/c/third", "a/two"}, []string{"a/", "a/two=2", "b/", "b/c/", "b/c/third=2"}, ""},
		{[]string{"a", "tpo"}, nil, `nothing in the restore point matches "tpo"`},
		{[]string{"[a"}, nil, `pattern "[a": not a glob below the root; write for example "conf/**" or "**/*.yaml"`},
	} {
		t.Run(strings.Join(c.only, " "), func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "new")
			_, err := restoreItems(t, root, c.only, false, items...)
			if c.err != "" {
				if err == nil || !strings.HasSuffix(err.Error(), c.err) {
					t.Errorf("error: got %v, want %q", err, c.err)
				}
				return
			}
			must(t, err)
			if d := cmp.Diff(c.want, listing(t, root)); d != "" {
				t.Errorf("tree (-want +got):\n%s", d)
			}
		})
	}
}

func TestReplaceLeavesOtherFilesAndTellsOfThem(t *testing.T) {
	root := t.TempDir()
	write(t, root, "d/keep", "kept")
	write(t, root, "d/f", "old")
	write(t, root, "own/deep/file", "kept too")
	res, err := restoreItems(t, root, nil, true, dirItem("d"), fileItem("d/f", []byte("new")), dirItem("d/n"), fileItem("d/n/g", []byte("n")))
	must(t, err)
	if d := cmp.Diff([]string{"d/", "d/f=new", "d/keep=kept", "d/n/", "d/n/g=n", "own/", "own/deep/", "own/deep/file=kept too"}, listing(t, root)); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
	want := []string{"notice " + root + ": 2 existing items are not in the restore point and stay: d/keep, own"}
	if d := cmp.Diff(want, told(res.Problems)); d != "" {
		t.Errorf("problems (-want +got):\n%s", d)
	}
}

func TestPreviewCountsExactlyAndNamesTheFirstTen(t *testing.T) {
	root := t.TempDir()
	items := []*executortest.Item{}
	for i := range 25 {
		items = append(items, fileItem(fmt.Sprintf("f%02d", i), []byte("xyz")))
		if i%2 == 0 {
			write(t, root, fmt.Sprintf("f%02d", i), "")
		}
	}
	pre, err := New().Preview(t.Context(), executors.RestoreRequest{Target: executors.Target{Root: root}, Replace: true}, executortest.NewSupply(items...))
	must(t, err)
	want := executors.Preview{
		Target: root, Items: 25, Bytes: 75, Notes: []string{"replaces 13 existing files"},
		Creates:  []string{"f01", "f03", "f05", "f07", "f09", "f11", "f13", "f15", "f17", "f19"},
		Replaces: []string{"f00", "f02", "f04", "f06", "f08", "f10", "f12", "f14", "f16", "f18"},
	}
	if d := cmp.Diff(want, pre); d != "" {
		t.Errorf("preview (-want +got):\n%s", d)
	}
}

func TestTargetsThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "file", "x")
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	for _, root := range []string{"", filepath.Join(dir, "file"), filepath.Join(dir, "dangling"), filepath.Join(dir, "file/below"), dir} {
		if _, err := restoreItems(t, root, nil, false, fileItem("f", nil)); err == nil {
			t.Errorf("restore to %q is not refused", root)
		}
	}
	huge := fileItem("f", nil)
	huge.Entry.Size = 1 << 60
	_, err := restoreItems(t, filepath.Join(dir, "new"), nil, false, huge)
	if err == nil || !strings.Contains(err.Error(), "1152921504606846976 bytes are needed") {
		t.Errorf("a restore that cannot fit: got %v", err)
	}
	if d := cmp.Diff([]string{"dangling -> nowhere", "file=x"}, listing(t, dir)); d != "" {
		t.Errorf("something was written (-want +got):\n%s", d)
	}
}

func TestAHardLinkWithoutItsContentIsReported(t *testing.T) {
	root := filepath.Join(t.TempDir(), "new")
	req := executors.RestoreRequest{Target: executors.Target{Root: root}}
	res, err := New().Restore(t.Context(), req, executortest.NewSupply(fileItem("a", []byte("1")), linkItem(executors.TypeHardlink, "b", "gone")))
	must(t, err)
	want := []string{"missing b: not restored: the file it is another name of, gone, is not in the restore point"}
	if d := cmp.Diff(want, told(res.Problems)); d != "" {
		t.Errorf("problems (-want +got):\n%s", d)
	}
	if d := cmp.Diff(int64(1), res.Items); d != "" {
		t.Errorf("items (-want +got):\n%s", d)
	}
}

// tmpfs mounts a small file system, which only root may.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mounting a small file system is not possible here: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func TestAFullDiskLeavesTheTargetAsItWas(t *testing.T) {
	root := tmpfs(t, "size=1m")
	write(t, root, "f", "old")
	full := fileItem("f", make([]byte, 4<<20))
	full.Data[4<<20-1] = 1
	full.Entry.Sparse = true // sizes of sparse files are no reason to refuse, so that writing meets the full disk
	for i := range full.Data {
		full.Data[i] = 1
	}
	_, err := restoreItems(t, root, nil, true, full)
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error: got %v, want ENOSPC", err)
	}
	if d := cmp.Diff([]string{"f=old"}, listing(t, root)); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
}

func TestOneFileSystem(t *testing.T) {
	root := tmpfs(t, "size=1m")
	write(t, root, "f", "x")
	must(t, os.Mkdir(filepath.Join(root, "other"), 0o755))
	must(t, unix.Mount("tmpfs", filepath.Join(root, "other"), "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { must(t, unix.Unmount(filepath.Join(root, "other"), unix.MNT_DETACH)) })
	write(t, root, "other/g", "y")
	for one, want := range map[bool][]string{
		false: {"dir .", "file f", "dir other", "file other/g"},
		true:  {"dir .", "file f", "dir other"},
	} {
		src := sourceOf(root)
		src.Files.OneFileSystem = one
		sink, _ := backup(t, New(), src, executortest.NewStore(), executortest.Faults{})
		if d := cmp.Diff(want, paths(sink)); d != "" {
			t.Errorf("one_file_system = %v (-want +got):\n%s", one, d)
		}
	}
	_, err := restoreItems(t, root, nil, true, dirItem("other"), fileItem("other/g", []byte("z")))
	if err == nil || !strings.Contains(err.Error(), "other is on another file system") {
		t.Errorf("restore across file systems: got %v", err)
	}
}

// TestUnprivileged runs the tests below as nobody: root may read and set everything, so it cannot show what others see.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become nobody")
	}
	dir, err := os.MkdirTemp("", "holdfast-files")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o777))
	exe := filepath.Join(dir, "files.test")
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(exe, self, 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "src"), 0o755))
	for name, mode := range map[string]os.FileMode{"mine": 0o644, "secret": 0o600, "tool": 0o755} {
		write(t, filepath.Join(dir, "src"), name, name)
		must(t, os.Chmod(filepath.Join(dir, "src", name), mode))
	}
	must(t, unix.Chmod(filepath.Join(dir, "src/tool"), 0o4755))
	write(t, filepath.Join(dir, "src"), "closed/f", "x")
	must(t, os.Chmod(filepath.Join(dir, "src/closed"), 0o700))
	cmd := exec.Command(exe, "-test.run=^TestAsNobody$", "-test.v")
	cmd.Env = append(os.Environ(), "HOLDFAST_TEST_NOBODY="+dir, "TMPDIR="+dir)
	cmd.Dir = dir
	cmd.SysProcAttr = asNobody()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestAsNobody") {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
}

func TestAsNobody(t *testing.T) {
	dir := os.Getenv("HOLDFAST_TEST_NOBODY")
	if dir == "" {
		t.Skip("runs inside TestUnprivileged")
	}
	store := executortest.NewStore()
	sink, res := backup(t, New(), sourceOf(filepath.Join(dir, "src")), store, executortest.Faults{})
	if d := cmp.Diff([]string{
		"missing closed: not readable: permission denied; grant the right to read it, or exclude it",
		"missing secret: not readable: permission denied; grant the right to read it, or exclude it",
	}, told(res.Problems)); d != "" {
		t.Errorf("problems (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"dir .", "dir closed", "file mine", "file tool"}, paths(sink)); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
	out := filepath.Join(dir, "out")
	got, err := New().Restore(t.Context(), executors.RestoreRequest{Target: executors.Target{Root: out}}, store.Supply("p"))
	must(t, err)
	if d := cmp.Diff([]string{"notice closed: owners and groups are not restored: that takes root (and 3 more)"}, told(got.Problems)[:1]); d != "" {
		// Which file is named first depends on the workers; the count does not.
		if !strings.HasSuffix(told(got.Problems)[0], ": owners and groups are not restored: that takes root (and 3 more)") || len(got.Problems) != 1 {
			t.Errorf("problems (-want +got):\n%s", d)
		}
	}
	st, err := os.Stat(filepath.Join(out, "tool"))
	must(t, err)
	if d := cmp.Diff(os.FileMode(0o755), st.Mode()); d != "" {
		t.Errorf("setuid must not be lent to another owner (-want +got):\n%s", d)
	}
}
