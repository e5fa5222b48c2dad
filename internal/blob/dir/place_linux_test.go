package dir_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/dir"
)

// mount mounts a memory file system of 1 MiB for the length of the test.
func mount(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small file system to fill")
	}
	at := t.TempDir()
	if err := syscall.Mount("tmpfs", at, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
		t.Skipf("this environment forbids mounting a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(at, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return at
}

func TestFullDisk(t *testing.T) {
	root := mount(t)
	b := open(t, root)
	before := []byte("what was there before")
	if err := b.Put(t.Context(), "x/y", before); err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 128<<10) // 2 MiB
	for op, err := range map[string]error{
		"put": b.Put(t.Context(), "x/y", big), "create": b.Create(t.Context(), "x/z", big),
	} {
		if !errors.Is(err, blob.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) || blob.IsRetryable(err) {
			t.Errorf("%s on a full disk: %v, want a final ErrNoSpace", op, err)
		}
	}
	if got, err := b.Get(t.Context(), "x/y"); err != nil || !bytes.Equal(got, before) {
		t.Errorf("the old object is damaged: %d bytes, %v", len(got), err)
	}
	if _, err := b.Stat(t.Context(), "x/z"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("a part of the new object is there: %v", err)
	}
	// The space of the failed attempts must be free again, or a full disk stays full.
	if err := b.Create(t.Context(), "x/z", big[:900<<10]); err != nil {
		t.Errorf("create of what fits: %v", err)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	root := mount(t)
	if err := open(t, root).Put(t.Context(), "x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", root, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	b := open(t, root)
	if got, err := b.Get(t.Context(), "x"); err != nil || string(got) != "x" {
		t.Errorf("get: %q, %v", got, err)
	}
	for op, err := range map[string]error{
		"put": b.Put(t.Context(), "x", nil), "create": b.Create(t.Context(), "y", nil), "delete": b.Delete(t.Context(), "x"),
	} {
		if !errors.Is(err, blob.ErrReadOnly) {
			t.Errorf("%s: %v, want ErrReadOnly", op, err)
		}
	}
	_, err := dir.Open(filepath.Join(root, "new"), dir.Options{Create: true})
	if !errors.Is(err, blob.ErrReadOnly) {
		t.Errorf("open of a new folder: %v, want ErrReadOnly", err)
	}
}

func TestFolderWithoutPermission(t *testing.T) {
	if os.Getuid() == 0 {
		unprivileged(t) // to root permissions mean nothing
	}
	root := t.TempDir()
	b := open(t, root)
	if err := b.Put(t.Context(), "packs/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(root, "packs")
	if err := os.Chmod(folder, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(folder, 0o700) })
	for op, err := range map[string]error{
		"put": b.Put(t.Context(), "packs/x", nil), "create": b.Create(t.Context(), "packs/y", nil), "delete": b.Delete(t.Context(), "packs/x"),
	} {
		if !errors.Is(err, blob.ErrDenied) || !strings.Contains(err.Error(), "packs/") {
			t.Errorf("%s: %v, want ErrDenied", op, err)
		}
	}
	if got, err := b.Get(t.Context(), "packs/x"); err != nil || string(got) != "x" {
		t.Errorf("get: %q, %v", got, err)
	}
	if err := os.Chmod(folder, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), "packs/x"); !errors.Is(err, blob.ErrDenied) {
		t.Errorf("get: %v, want ErrDenied", err)
	}
	err := b.List(t.Context(), "", func(blob.Info) error { return nil })
	if !errors.Is(err, blob.ErrDenied) {
		t.Errorf("list: %v, want ErrDenied: what cannot be read must not look absent", err)
	}
}
