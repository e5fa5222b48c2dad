package scratch

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestMain(m *testing.M) {
	if place := os.Getenv("SCRATCH_TEST_PLACE"); place != "" {
		f, err := New(place, nil)
		if err != nil {
			os.Exit(3)
		}
		if err := os.WriteFile(filepath.Join(f.Path, "secret"), []byte("plain"), 0o600); err != nil {
			os.Exit(4)
		}
		os.Stdout.WriteString(f.Path + "\n")
		select {} // until killed
	}
	os.Exit(m.Run())
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func newFolder(t *testing.T, place string) *Folder {
	t.Helper()
	f, err := New(place, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFolder(t *testing.T) {
	place := t.TempDir()
	if err := os.WriteFile(filepath.Join(place, "holdfast-scratch-mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a, b := newFolder(t, place), newFolder(t, place)
	for _, f := range []*Folder{a, b} {
		info, err := os.Stat(f.Path)
		if err != nil {
			t.Fatalf("a living maker's folder: %v", err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("mode %v, want 0700", info.Mode())
		}
	}
	closed := filepath.Join(a.Path, "closed")
	if err := os.MkdirAll(filepath.Join(closed, "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*Folder{a, b} {
		if err := f.Remove(); err != nil {
			t.Error(err)
		}
	}
	if got := names(t, place); len(got) != 1 || got[0] != "holdfast-scratch-mine" {
		t.Errorf("left %v, want only the file that is not ours", got)
	}
	if _, err := New(filepath.Join(place, "nowhere"), nil); err == nil {
		t.Error("a folder was made in a place that does not exist")
	}
}

func TestKilledMakersAreSweptAndLivingOnesSpared(t *testing.T) {
	place := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SCRATCH_TEST_PLACE="+place)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 4096)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	theirs := strings.TrimSpace(string(line[:n]))

	if err := newFolder(t, place).Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(theirs, "secret")); err != nil {
		t.Errorf("a living maker's file is gone: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	mine := newFolder(t, place)
	if _, err := os.Stat(theirs); !os.IsNotExist(err) {
		t.Errorf("a killed maker's folder is still there: %v", err)
	}
	if err := mine.Remove(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, place); len(got) != 0 {
		t.Errorf("left %v", got)
	}
}

func TestMakersAtOnce(t *testing.T) {
	place := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				f, err := New(place, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(filepath.Join(f.Path, "x"), nil, 0o600); err != nil {
					t.Errorf("somebody removed a living folder: %v", err)
				}
				if err := f.Remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := names(t, place); len(got) != 0 {
		t.Errorf("left %v", got)
	}
}
