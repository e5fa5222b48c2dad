package files

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
)

func TestConformance(t *testing.T) {
	executortest.Run(t, executortest.Harness{
		Executor:    New(),
		Source:      func(t *testing.T) (policy.Source, policy.Backup) { return sourceOf(richTree(t)), policy.Backup{} },
		Target:      func(t *testing.T) executors.Target { return executors.Target{Root: filepath.Join(t.TempDir(), "new")} },
		Occupy:      func(t *testing.T, at executors.Target) { write(t, at.Root, "conf/a.yaml", "old") },
		SourceImage: func(t *testing.T, src policy.Source) string { return image(t, src.Files.Root) },
		TargetImage: func(t *testing.T, at executors.Target) string { return image(t, at.Root) },
		Checks: func(policy.Source) (holds, fails, broken policy.Check) {
			return check("all yaml", "conf/*.yaml", "count", int64(2)), check("too many", "conf/**", "count", int64(99)), check("bad glob", "[", "count", int64(0))
		},
	})
}

func sourceOf(root string) policy.Source {
	return policy.Source{Address: "source.files.test", Kind: policy.KindFiles, Files: &policy.FilesSource{Root: root}}
}

// richTree holds one of everything that a backup keeps.
func richTree(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "tree")
	write(t, root, "conf/a.yaml", "a: 1\n")
	write(t, root, "conf/b.yaml", "")
	write(t, root, "conf-x", "sorts between conf and its files, as bytes")
	write(t, root, "bin/tool", "#!/bin/sh\n")
	write(t, root, "big", string(bytes.Repeat([]byte("0123456789abcdef"), 64<<10)))
	write(t, root, "caf\xe9/na\xefve", "not UTF-8")
	write(t, root, "line\nbreak \\x00 \"quoted\"", "odd")
	must(t, os.Link(filepath.Join(root, "big"), filepath.Join(root, "conf/big-too")))
	must(t, os.Link(filepath.Join(root, "caf\xe9/na\xefve"), filepath.Join(root, "zz")))
	must(t, os.Symlink("a.yaml", filepath.Join(root, "conf/link")))
	must(t, os.Symlink("/etc/\xff", filepath.Join(root, "out")))
	must(t, os.Symlink("../..", filepath.Join(root, "conf/up")))
	must(t, os.Mkdir(filepath.Join(root, "empty"), 0o700))
	must(t, unix.Mkfifo(filepath.Join(root, "pipe"), 0o640))
	must(t, unix.Chmod(filepath.Join(root, "bin/tool"), 0o4751))
	must(t, unix.Chmod(filepath.Join(root, "bin"), 0o3775))
	must(t, unix.Chmod(filepath.Join(root, "conf/b.yaml"), 0o400))
	sparse(t, filepath.Join(root, "sparse"))
	if err := unix.Setxattr(filepath.Join(root, "conf/b.yaml"), "user.note", []byte("kept\x00"), 0); err == nil {
		must(t, unix.Setxattr(filepath.Join(root, "conf"), "user.empty", nil, 0))
	} else {
		t.Logf("extended attributes are not tested: %v", err)
	}
	if os.Geteuid() == 0 {
		must(t, os.Lchown(filepath.Join(root, "conf/link"), 65534, 65534))
		must(t, os.Lchown(filepath.Join(root, "conf/b.yaml"), 1, 31337))
	}
	old := []unix.Timespec{{Sec: 1_000_000_000, Nsec: 1}, {Sec: 1_700_000_000, Nsec: 123456789}}
	for _, p := range []string{"conf/a.yaml", "conf/link", "pipe", "bin/tool", "conf", "."} {
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(root, p), old, unix.AT_SYMLINK_NOFOLLOW))
	}
	return root
}

func write(t *testing.T, root, name, data string) {
	t.Helper()
	p := filepath.Join(root, name)
	must(t, os.MkdirAll(filepath.Dir(p), 0o755))
	must(t, os.WriteFile(p, []byte(data), 0o644))
}

// sparse makes a file of a hole, some data, and a hole that is not a whole block.
func sparse(t *testing.T, p string) {
	t.Helper()
	f, err := os.Create(p)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(bytes.Repeat([]byte{7}, 10_000), 1<<20)
	must(t, err)
	must(t, f.Truncate(3<<20+17))
}

// patient is an executor whose racy margin a test can wait out.
func patient() *Executor {
	x := New()
	x.margins.racy = 20 * time.Millisecond
	return x
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// check expects a field of self to have a value.
func check(name, path, field string, want any) policy.Check {
	return policy.Check{Name: name, Path: path, Expect: policy.NewCondition(fmt.Sprintf("self.%s == %v", field, want), func(self map[string]any) (bool, error) {
		return self[field] == want, nil
	})}
}
