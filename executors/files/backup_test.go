package files

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
)

// backup runs one backup and returns its point.
func backup(t testing.TB, x *Executor, src policy.Source, store *executortest.Store, f executortest.Faults) (*executortest.Sink, executors.Result) {
	t.Helper()
	sink := store.Sink("p", f)
	res, err := x.Backup(t.Context(), executors.BackupRequest{Source: src}, sink)
	store.Commit(sink, res)
	must(t, err)
	return sink, res
}

// paths renders a point: one line an entry.
func paths(sink *executortest.Sink) []string {
	var out []string
	for _, it := range sink.Items() {
		out = append(out, fmt.Sprintf("%s %s", it.Entry.Type, it.Entry.Path))
	}
	return out
}

// told renders problems: one line each.
func told(list []executors.Problem) []string {
	var out []string
	for _, p := range list {
		kind := "notice"
		if p.Missing {
			kind = "missing"
		}
		out = append(out, fmt.Sprintf("%s %s: %v", kind, p.Path, p.Err))
	}
	return out
}

func TestWhatBelongsToABackup(t *testing.T) {
	root := t.TempDir()
	for _, f := range []string{"a.yaml", "b.tmp", "conf/a.yaml", "conf/cache/x", "conf/deep/er/c.yaml", "conf-x/d", "logs/e.log"} {
		write(t, root, f, "x")
	}
	must(t, os.Mkdir(filepath.Join(root, "none"), 0o755))
	for _, c := range []struct {
		name             string
		include, exclude []string
		want             []string
	}{
		{"everything, parents first, names in byte order", nil, nil, []string{
			"dir .", "file a.yaml", "file b.tmp", "dir conf", "file conf/a.yaml", "dir conf/cache", "file conf/cache/x",
			"dir conf/deep", "dir conf/deep/er", "file conf/deep/er/c.yaml", "dir conf-x", "file conf-x/d", "dir logs",
			"file logs/e.log", "dir none",
		}},
		{"an excluded folder is not entered", nil, []string{"conf", "none/"}, []string{
			"dir .", "file a.yaml", "file b.tmp", "dir conf-x", "file conf-x/d", "dir logs", "file logs/e.log",
		}},
		{"includes bring the folders above them and no others", []string{"**/*.yaml"}, nil, []string{
			"dir .", "file a.yaml", "dir conf", "file conf/a.yaml", "dir conf/deep", "dir conf/deep/er", "file conf/deep/er/c.yaml",
		}},
		{"a folder includes all below", []string{"conf/deep", "/logs/"}, nil, []string{
			"dir .", "dir conf", "dir conf/deep", "dir conf/deep/er", "file conf/deep/er/c.yaml", "dir logs", "file logs/e.log",
		}},
		{"exclude wins", []string{"conf/**"}, []string{"conf/cache/**", "**/er/*"}, []string{
			"dir .", "dir conf", "file conf/a.yaml", "dir conf/deep", "dir conf/deep/er",
		}},
		{"nothing matches", []string{"absent/**"}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := sourceOf(root)
			src.Files.Include, src.Files.Exclude = c.include, c.exclude
			sink, res := backup(t, New(), src, executortest.NewStore(), executortest.Faults{})
			if d := cmp.Diff(c.want, paths(sink)); d != "" {
				t.Errorf("entries (-want +got):\n%s", d)
			}
			if d := cmp.Diff(int64(len(c.want)), res.Items); d != "" {
				t.Errorf("items (-want +got):\n%s", d)
			}
		})
	}
}

func TestRootsAndPatternsThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "file", "")
	for _, c := range []struct {
		root    string
		include []string
		want    string
	}{
		{filepath.Join(dir, "absent"), nil, "open root of source.files.test: open " + dir + "/absent: no such file or directory"},
		{filepath.Join(dir, "file"), nil, "open root of source.files.test: open " + dir + "/file: not a directory"},
		{dir, []string{"[a"}, `pattern "[a": not a glob below the root; write for example "conf/**" or "**/*.yaml"`},
		{dir, []string{"../x"}, `pattern "../x": not a glob below the root; write for example "conf/**" or "**/*.yaml"`},
	} {
		src := sourceOf(c.root)
		src.Files.Include = c.include
		_, err := New().Backup(t.Context(), executors.BackupRequest{Source: src}, executortest.NewStore().Sink("p", executortest.Faults{}))
		if d := cmp.Diff(c.want, fmt.Sprint(err)); d != "" {
			t.Errorf("error (-want +got):\n%s", d)
		}
	}
}

func TestUnchangedFilesAreNotReadAgain(t *testing.T) {
	root, store, x := t.TempDir(), executortest.NewStore(), patient()
	write(t, root, "same", "same")
	write(t, root, "edited", "v1")
	write(t, root, "touched", "t")
	wait := func() { time.Sleep(2 * x.margins.racy) } // the file system's clock is real
	wait()
	backup(t, x, sourceOf(root), store, executortest.Faults{})
	write(t, root, "edited", "v2")
	must(t, os.Chtimes(filepath.Join(root, "edited"), time.Time{}, time.Unix(1, 0)))
	wait()
	sink, res := backup(t, x, sourceOf(root), store, executortest.Faults{})
	got := map[string]bool{}
	for _, it := range sink.Items() {
		if it.Entry.Type == executors.TypeFile {
			got[it.Entry.Path+"="+string(it.Data)] = it.Reused
		}
	}
	if d := cmp.Diff(map[string]bool{"same=same": true, "edited=v2": false, "touched=t": true}, got); d != "" {
		t.Errorf("reused (-want +got):\n%s", d)
	}
	if d := cmp.Diff(int64(2), res.Bytes); d != "" {
		t.Errorf("bytes read (-want +got):\n%s", d)
	}
}

func TestFingerprint(t *testing.T) {
	now := time.Unix(1000, 0)
	st := unix.Stat_t{Dev: 1, Ino: 2, Size: 3, Mtim: unix.Timespec{Sec: 990}, Ctim: unix.Timespec{Sec: 990}}
	base := fingerprint(&st, now, 2*time.Second)
	if base == nil {
		t.Fatal("an old file has no fingerprint")
	}
	for name, change := range map[string]func(*unix.Stat_t){
		"device": func(s *unix.Stat_t) { s.Dev++ }, "inode": func(s *unix.Stat_t) { s.Ino++ },
		"size": func(s *unix.Stat_t) { s.Size++ }, "mtime": func(s *unix.Stat_t) { s.Mtim.Nsec++ }, "ctime": func(s *unix.Stat_t) { s.Ctim.Nsec++ },
	} {
		other := st
		change(&other)
		if cmp.Equal(base, fingerprint(&other, now, 2*time.Second)) {
			t.Errorf("another %s gives the same fingerprint", name)
		}
	}
	for name, ctime := range map[string]int64{"within the margin": 999, "in the future": 2000} {
		racy := st
		racy.Ctim.Sec = ctime
		if fingerprint(&racy, now, 2*time.Second) != nil {
			t.Errorf("a file changed %s has a fingerprint", name)
		}
	}
}

func TestFilesThatChangeWhileBeingRead(t *testing.T) {
	const size = 64 << 10
	for _, c := range []struct {
		name   string
		times  int // how many reads are disturbed
		change func(f *os.File)
		want   []string
		length int // stored
	}{
		{"rewritten once", 1, func(f *os.File) { f.WriteAt([]byte("new"), 0) }, nil, size},
		{"truncated once", 1, func(f *os.File) { f.Truncate(10) }, nil, 10},
		{"grown once", 1, func(f *os.File) { f.WriteAt([]byte("more"), size) }, nil, size + 4},
		{
			"always rewritten", 9, func(f *os.File) { f.WriteAt([]byte("new"), 0) },
			[]string{"notice f: changed during each of 3 reads; what was stored may mix old and new content"},
			size,
		},
		{
			"always growing", 9, func(f *os.File) { f.Seek(0, 2); f.Write([]byte("more")) },
			[]string{"notice f: changed during each of 3 reads; what was stored may mix old and new content"},
			size + 8,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, reads := t.TempDir(), 0
			write(t, root, "f", strings.Repeat("x", size))
			f, err := os.OpenFile(filepath.Join(root, "f"), os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			sink, res := backup(t, New(), sourceOf(root), executortest.NewStore(), executortest.Faults{
				ReadInBlocks: 1000,
				AfterRead: func(_ executors.Entry, n int64) {
					if n == 1000 { // once a read
						if reads++; reads <= c.times {
							time.Sleep(10 * time.Millisecond) // past the kernel's tick, so that the time stamps move
							c.change(f)
						}
					}
				},
			})
			if d := cmp.Diff(c.want, told(res.Problems)); d != "" {
				t.Errorf("problems (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.length, len(sink.Items()[1].Data)); d != "" {
				t.Errorf("length (-want +got):\n%s", d)
			}
		})
	}
}

func TestFilesThatVanishOrAreSwapped(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, "secret", "outside")
	const before = "notice f: vanished while the tree was being read: "
	for _, c := range []struct {
		name string
		swap func(root, f string)
		want []string
	}{
		{"removed", func(_, f string) { must(t, os.Remove(f)) }, []string{before + "no such file or directory"}},
		{"a symlink to the outside", func(_, f string) {
			must(t, os.Remove(f))
			must(t, os.Symlink(filepath.Join(outside, "secret"), f))
		}, []string{before + "too many levels of symbolic links"}},
		{"a FIFO, which must not hang", func(_, f string) {
			must(t, os.Remove(f))
			must(t, unix.Mkfifo(f, 0o644))
		}, []string{before + "it is no longer a regular file"}},
		{"a directory", func(_, f string) {
			must(t, os.Remove(f))
			must(t, os.Mkdir(f, 0o755))
		}, []string{before + "it is no longer a regular file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, "f", "inside")
			sink, res := backup(t, New(), sourceOf(root), executortest.NewStore(), executortest.Faults{
				BeforeOpen: func(executors.Entry) { c.swap(root, filepath.Join(root, "f")) },
			})
			if d := cmp.Diff(c.want, told(res.Problems)); d != "" {
				t.Errorf("problems (-want +got):\n%s", d)
			}
			if d := cmp.Diff([]string{"dir ."}, paths(sink)); d != "" {
				t.Errorf("entries (-want +got):\n%s", d)
			}
			if d := cmp.Diff(int64(1), res.Items); d != "" {
				t.Errorf("items (-want +got):\n%s", d)
			}
		})
	}
}

func TestAFolderSwappedForASymlinkIsNotFollowed(t *testing.T) {
	outside, root := t.TempDir(), t.TempDir()
	write(t, outside, "f", "outside")
	write(t, root, "d/f", "inside")
	_, res := backup(t, New(), sourceOf(root), executortest.NewStore(), executortest.Faults{
		BeforeOpen: func(executors.Entry) {
			must(t, os.Rename(filepath.Join(root, "d"), filepath.Join(root, "moved")))
			must(t, os.Symlink(outside, filepath.Join(root, "d")))
		},
	})
	if d := cmp.Diff([]string{"notice d/f: vanished while the tree was being read: not a directory"}, told(res.Problems)); d != "" {
		t.Errorf("problems (-want +got):\n%s", d)
	}
}

func TestAnotherNameServesWhenTheFirstIsGone(t *testing.T) {
	for name, spoil := range map[string]func(root string){
		"vanished": func(root string) { must(t, os.Remove(filepath.Join(root, "a"))) },
		"replaced": func(root string) {
			write(t, root, "new", "other")
			must(t, os.Rename(filepath.Join(root, "new"), filepath.Join(root, "a")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			root, added := t.TempDir(), 0
			write(t, root, "a", "content")
			must(t, os.Link(filepath.Join(root, "a"), filepath.Join(root, "b")))
			store := executortest.NewStore()
			sink := &waiting{Sink: store.Sink("p", executortest.Faults{}), before: func() {
				if added++; added == 3 { // "a" and "b" are known and not yet opened
					spoil(root)
				}
			}}
			res, err := New().Backup(t.Context(), executors.BackupRequest{Source: sourceOf(root)}, sink)
			must(t, err)
			store.Commit(sink.Sink, res)
			if d := cmp.Diff([]string(nil), told(res.Problems)); d != "" {
				t.Errorf("problems (-want +got):\n%s", d)
			}
			if d := cmp.Diff("content", string(sink.Items()[1].Data)); d != "" {
				t.Errorf("content (-want +got):\n%s", d)
			}
		})
	}
}

func TestNoNameIsLeft(t *testing.T) {
	root, added := t.TempDir(), 0
	write(t, root, "a", "content")
	must(t, os.Link(filepath.Join(root, "a"), filepath.Join(root, "b")))
	sink := &waiting{Sink: executortest.NewStore().Sink("p", executortest.Faults{}), before: func() {
		if added++; added == 3 {
			must(t, os.Remove(filepath.Join(root, "a")))
			must(t, os.Remove(filepath.Join(root, "b")))
		}
	}}
	res, err := New().Backup(t.Context(), executors.BackupRequest{Source: sourceOf(root)}, sink)
	must(t, err)
	want := []string{
		"notice a: vanished while the tree was being read: no such file or directory",
		"notice b: vanished while the tree was being read: no such file or directory",
	}
	if d := cmp.Diff(want, told(res.Problems)); d != "" {
		t.Errorf("problems (-want +got):\n%s", d)
	}
}

// waiting hands contents on only at Flush, as a sink with a long queue may.
type waiting struct {
	*executortest.Sink
	before func()
	held   []func() error
}

func (w *waiting) Add(ctx ctx, e executors.Entry, c executors.Content) error {
	w.before()
	w.held = append(w.held, func() error { return w.Sink.Add(ctx, e, c) })
	return nil
}

func (w *waiting) Flush(ctx ctx) error {
	for _, add := range w.held {
		if err := add(); err != nil {
			return err
		}
	}
	return w.Sink.Flush(ctx)
}

func TestSocketsAndDevices(t *testing.T) {
	root, err := os.MkdirTemp("", "hf") // a socket's path must be short
	must(t, err)
	defer os.RemoveAll(root)
	l, err := net.Listen("unix", filepath.Join(root, "sock"))
	must(t, err)
	defer l.Close()
	want := []string{"notice sock: skipped: a socket holds no data"}
	if err := unix.Mknod(filepath.Join(root, "null"), unix.S_IFCHR|0o666, 1<<8|3); err == nil {
		want = append([]string{"missing null: skipped: devices are not backed up; exclude it to say that it is not needed"}, want...)
	} else {
		t.Logf("devices are not tested: %v", err)
	}
	sink, res := backup(t, New(), sourceOf(root), executortest.NewStore(), executortest.Faults{})
	if d := cmp.Diff(want, told(res.Problems)); d != "" {
		t.Errorf("problems (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"dir ."}, paths(sink)); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
}

func TestReadErrorsAreNotSwallowed(t *testing.T) {
	p := &problems{}
	reportUnread(p, "f", &os.PathError{Op: "read", Path: "/x/f", Err: unix.EIO})
	if d := cmp.Diff([]string{"missing f: not readable: input/output error; grant the right to read it, or exclude it"}, told(p.list)); d != "" {
		t.Errorf("problems (-want +got):\n%s", d)
	}
	if !errors.Is(p.list[0].Err, unix.EIO) {
		t.Error("the cause is lost")
	}
}

type ctx = context.Context
