package dir_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/internal/blob/dir"
)

// racerEnv makes the test binary a process that races for objects instead of running tests.
const racerEnv = "HOLDFAST_TEST_DIR_RACER"

func TestMain(m *testing.M) {
	if root := os.Getenv(racerEnv); root != "" {
		if err := race(root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func open(t *testing.T, root string) *dir.Bucket {
	t.Helper()
	b, err := dir.Open(root, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func TestConformance(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Bucket { return open(t, t.TempDir()) })
}

const raceRounds = 100

// race waits for a line on standard input, then tries to create every object and prints the names that it created.
func race(root string) error {
	b, err := dir.Open(root, dir.Options{})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	for i := range raceRounds {
		name := fmt.Sprintf("heads/%d/%d", i%10, i)
		err := b.Create(context.Background(), name, fmt.Appendf(nil, "%d\n", os.Getpid()))
		switch {
		case err == nil:
			fmt.Println(name)
		case !errors.Is(err, blob.ErrExists):
			return err
		}
	}
	return nil
}

func TestCreateIsAtomicBetweenProcesses(t *testing.T) {
	root := t.TempDir()
	type racer struct {
		cmd   *exec.Cmd
		out   *bufio.Scanner
		start func()
	}
	var racers []racer
	for range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), racerEnv+"="+root)
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r := racer{cmd, bufio.NewScanner(out), func() { fmt.Fprintln(in, "go") }}
		if !r.out.Scan() || r.out.Text() != "ready" {
			t.Fatalf("racer said %q", r.out.Text())
		}
		racers = append(racers, r)
	}
	for _, r := range racers {
		r.start()
	}
	winner := map[string]string{}
	for _, r := range racers {
		pid := fmt.Sprint(r.cmd.Process.Pid)
		for r.out.Scan() {
			name := r.out.Text()
			if other := winner[name]; other != "" {
				t.Errorf("%s was created by both %s and %s", name, other, pid)
			}
			winner[name] = pid
		}
		if err := r.cmd.Wait(); err != nil {
			t.Errorf("racer: %v", err)
		}
	}
	if len(winner) != raceRounds {
		t.Errorf("%d objects were created, want %d", len(winner), raceRounds)
	}
	b := open(t, root)
	for name, pid := range winner {
		got, err := b.Get(t.Context(), name)
		if err != nil || string(got) != pid+"\n" {
			t.Errorf("%s holds %q (%v), want the winner %s", name, got, err, pid)
		}
	}
	if left := files(t, root, ".tmp~"); len(left) != 0 {
		t.Errorf("temporary files are left: %q", left)
	}
}

// files lists the files of a folder below root.
func files(t *testing.T, root, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestOpen(t *testing.T) {
	base := t.TempDir()
	absent := filepath.Join(base, "a", "b")
	_, err := dir.Open(absent, dir.Options{})
	if !errors.Is(err, blob.ErrNotFound) || !strings.Contains(err.Error(), absent) {
		t.Errorf("open of an absent folder: %v", err)
	}
	if got := files(t, base, "."); len(got) != 0 {
		t.Errorf("open of an absent folder made %q", got)
	}
	b, err := dir.Open(absent, dir.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got := files(t, absent, "."); len(got) != 0 {
		t.Errorf("open wrote %q before anybody asked for a write", got)
	}
	if err := b.Put(t.Context(), "x/y", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{
		filepath.Join(base, "a"): 0o700, absent: 0o700, filepath.Join(absent, "x"): 0o700, filepath.Join(absent, "x/y"): 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
	if _, err := dir.Open(filepath.Join(absent, "x/y"), dir.Options{Create: true}); err == nil {
		t.Error("open of a file as a folder succeeded")
	}
}

func TestForeignEntries(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	b := open(t, root)
	if err := b.Put(t.Context(), "good/object", []byte("x")); err != nil {
		t.Fatal(err)
	}
	write := func(path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("foreign"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(root, "lost+found", "#123"))
	write(filepath.Join(root, "lost+found", "inode"))
	write(filepath.Join(root, "not ours", "file"))
	write(filepath.Join(root, ".tmp~", "half-written"))
	write(filepath.Join(outside, "secret"))
	var got []string
	visit := func(i blob.Info) error {
		got = append(got, i.Name)
		return nil
	}
	if err := b.List(t.Context(), "", visit); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"good/object"}, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if err := b.Put(t.Context(), "lost+found/x", nil); err == nil {
		t.Error("an object could be put into lost+found, where List does not look")
	}

	for name, target := range map[string]string{"out": outside, "up": "..", "file": filepath.Join(outside, "secret")} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"out/secret", "up/x/secret", "file", "out/new"} {
		if data, err := b.Get(t.Context(), name); err == nil {
			t.Errorf("get %s through a symbolic link: %q", name, data)
		}
		if err := b.Create(t.Context(), name, []byte("escaped")); err == nil {
			t.Errorf("create %s through a symbolic link succeeded", name)
		}
	}
	if err := b.Put(t.Context(), "out/new", []byte("escaped")); err == nil {
		t.Error("put through a symbolic link succeeded")
	}
	if err := b.Delete(t.Context(), "out/secret"); err == nil {
		t.Error("delete through a symbolic link succeeded")
	}
	if diff := cmp.Diff([]string{"secret"}, files(t, outside, ".")); diff != "" {
		t.Errorf("files outside the store (-want +got):\n%s", diff)
	}
	if err := b.List(t.Context(), "", visit); err == nil || !strings.Contains(err.Error(), "file is neither") {
		t.Errorf("list with a symbolic link in the store: %v, want an error that names it", err)
	}
}

func TestAbandonedTemporaryFiles(t *testing.T) {
	root := t.TempDir()
	temp := filepath.Join(root, ".tmp~")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"old": 25 * time.Hour, "young": 23 * time.Hour} {
		path := filepath.Join(temp, name)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, root)
	if _, err := b.Stat(t.Context(), "x"); !errors.Is(err, blob.ErrNotFound) {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"old", "young"}, files(t, root, ".tmp~")); diff != "" {
		t.Errorf("temporary files after a read (-want +got):\n%s", diff)
	}
	if err := b.Create(t.Context(), "x", nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"young"}, files(t, root, ".tmp~")); diff != "" {
		t.Errorf("temporary files after a write (-want +got):\n%s", diff)
	}
}

func TestNameIsFolderOfOthers(t *testing.T) {
	b := open(t, t.TempDir())
	if err := b.Put(t.Context(), "a/b", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), "a", nil); err == nil || errors.Is(err, blob.ErrExists) {
		t.Errorf("create of a folder's name: %v", err)
	}
	if err := b.Put(t.Context(), "a", nil); err == nil {
		t.Error("put of a folder's name succeeded")
	}
	if err := b.Put(t.Context(), "a/b/c", nil); err == nil || errors.Is(err, blob.ErrNotFound) {
		t.Errorf("put below an object: %v", err)
	}
}

func TestFolderRemovedMeanwhile(t *testing.T) {
	root := t.TempDir()
	b := open(t, root)
	if err := b.Put(t.Context(), "a/b/c", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "a")); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), "a/b/c", []byte("2")); err != nil {
		t.Errorf("create after somebody removed the folder: %v", err)
	}
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), "a/b/d", []byte("3")); err == nil || errors.Is(err, blob.ErrNotFound) {
		t.Errorf("create in a removed store: %v", err)
	}
}
