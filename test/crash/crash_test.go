// Package crash ends a whole holdfast at bad moments: killed, interrupted, on a full disk. Afterwards every earlier restore
// point restores and the next apply converges.
package crash

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/holdfast-io/holdfast/internal/cli" // what is run is built from it: go test must not answer from its cache when it changes
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "holdfast-crash-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "holdfast")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/holdfast-io/holdfast/cmd/holdfast").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build holdfast: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// site is a policy, a folder of data and a store.
type site struct {
	t   *testing.T
	dir string
	env []string
}

const policyText = `
store "primary" {
  url = "file://%s"
  encryption {
    recipients = ["%s"]
  }
}

source "files" "data" {
  root = "data"
}

retention "last" {
  last = 2
}

backup "data" {
  source    = source.files.data
  store     = store.primary
  retention = retention.last
  schedule { every = "7d" } # no slot falls due while a test runs, but for one moment a week
}
`

func newSite(t *testing.T, store string) *site {
	s := &site{t: t, dir: t.TempDir()}
	s.env = append(os.Environ(), "HOLDFAST_IDENTITY_FILE="+filepath.Join(s.dir, "key"), "NO_COLOR=1")
	out := s.mustRun("key", "generate", "-out=key")
	recipient := strings.TrimSpace(lastLine(out))
	if store == "" {
		store = "./store"
	}
	s.write("main.hf.hcl", fmt.Appendf(nil, policyText, store, recipient))
	s.mustRun("init")
	return s
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func (s *site) write(name string, data []byte) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// fill writes n files of random bytes: nothing deduplicates, everything takes time.
func (s *site) fill(seed uint64, n, size int) {
	s.t.Helper()
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	data := make([]byte, size)
	for i := range n {
		r.Read(data)
		s.write(fmt.Sprintf("data/f%d", i), data)
	}
}

func (s *site) command(args ...string) *exec.Cmd {
	c := exec.Command(binary, args...)
	c.Dir, c.Env = s.dir, s.env
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

func (s *site) run(args ...string) (string, error) {
	out, err := s.command(args...).CombinedOutput()
	return string(out), err
}

func (s *site) mustRun(args ...string) string {
	s.t.Helper()
	out, err := s.run(args...)
	if err != nil {
		s.t.Fatalf("holdfast %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// converge applies once more: it must succeed, and every restore point must prove itself and the newest equal the data.
func (s *site) converge() {
	s.t.Helper()
	s.mustRun("apply", "-auto-approve", "-lock-timeout=5s")
	if out := s.mustRun("plan"); !strings.Contains(out, "No changes") {
		s.t.Errorf("the apply after the crash left something to do:\n%s", out)
	}
	s.mustRun("apply", "-auto-approve", "-force=backup.data")
	s.mustRun("verify", "-level=read")
	s.mustRun("verify")
	back := filepath.Join(s.t.TempDir(), "back")
	s.mustRun("restore", "backup.data", "-target="+back, "-auto-approve")
	sameTree(s.t, filepath.Join(s.dir, "data"), back)
	if out := s.mustRun("runs", "-json"); strings.Contains(out, `"pending"`) {
		s.t.Errorf("a run is still pending:\n%s", out)
	}
}

func sameTree(t *testing.T, want, got string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(want, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		rel, _ := filepath.Rel(want, path)
		a, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(filepath.Join(got, rel))
		if err != nil {
			return err
		}
		if !bytes.Equal(a, b) {
			return fmt.Errorf("%s differs", rel)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("compare %d restored files: %v", files, err)
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// TestKilled kills apply after ever longer times, while earlier restore points exist.
func TestKilled(t *testing.T) {
	s := newSite(t, "")
	s.fill(1, 4, 1<<20)
	s.mustRun("apply", "-auto-approve")
	// Waits grow until an apply comes to its end: in nine steps, or in fifty when there is time (HOLDFAST_LONG).
	finished, growth := false, 2.0
	if os.Getenv("HOLDFAST_LONG") != "" {
		growth = 1.1
	}
	for i, wait := 0, 5*time.Millisecond; !finished; i, wait = i+1, time.Duration(float64(wait)*growth) {
		s.fill(uint64(i+2), 6, 6<<20)
		c := s.command("apply", "-auto-approve", "-force=backup.data")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(wait, func() { c.Process.Kill() })
		finished = c.Wait() == nil
		timer.Stop()
		t.Logf("killed after %v: finished %v", wait, finished)
		s.converge()
	}
}

// TestInterrupted sends SIGINT: exit code 130, the run is booked, and the next apply converges.
func TestInterrupted(t *testing.T) {
	s := newSite(t, "")
	s.fill(1, 1, 1<<20)
	s.mustRun("apply", "-auto-approve")
	s.fill(2, 24, 8<<20)
	c := s.command("apply", "-auto-approve", "-force=backup.data")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitForPack(t, filepath.Join(s.dir, "store", "packs"))
	c.Process.Signal(os.Interrupt)
	if code := exitCode(c.Wait()); code != 130 {
		t.Errorf("exit code %d, want 130\n%s", code, out.String())
	}
	if runs := s.mustRun("runs", "-json", "-limit=1"); !strings.Contains(runs, `"interrupted"`) {
		t.Errorf("the run is not booked as interrupted:\n%s", runs)
	}
	s.converge()
}

// waitForPack returns once the running apply has stored its first pack.
func waitForPack(t *testing.T, packs string) {
	t.Helper()
	before := count(packs)
	for range 2000 {
		if count(packs) > before {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("no pack was written in ten seconds")
}

func count(dir string) (n int) {
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && len(d.Name()) == 64 {
			n++
		}
		return nil
	})
	return n
}

// TestFullDisk gives the store less room than it needs: a clear error, nothing counted, and success once there is room.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	store := t.TempDir()
	if err := syscall.Mount("tmpfs", store, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("this system does not let root mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(store, syscall.MNT_DETACH) })
	s := newSite(t, store)
	s.fill(1, 2, 1<<20)
	s.mustRun("apply", "-auto-approve")
	s.fill(2, 10, 6<<20)
	out, err := s.run("apply", "-auto-approve", "-force=backup.data")
	if exitCode(err) != 14 || !strings.Contains(out, "no space left") {
		t.Errorf("exit %d:\n%s", exitCode(err), out)
	}
	s.mustRun("verify", "-level=read")
	if err := syscall.Mount("tmpfs", store, "tmpfs", syscall.MS_REMOUNT, "size=256m"); err != nil {
		t.Fatal(err)
	}
	s.converge()
}

// TestTwoAtOnce starts two applies together: one works, the other is told so or finds nothing to do.
func TestTwoAtOnce(t *testing.T) {
	s := newSite(t, "")
	s.fill(1, 12, 4<<20)
	a, b := s.command("apply", "-auto-approve"), s.command("apply", "-auto-approve")
	var outA, outB bytes.Buffer
	a.Stdout, a.Stderr, b.Stdout, b.Stderr = &outA, &outA, &outB, &outB
	if err := errors.Join(a.Start(), b.Start()); err != nil {
		t.Fatal(err)
	}
	codes := map[int]int{exitCode(a.Wait()): 1}
	codes[exitCode(b.Wait())]++
	if codes[0] == 0 {
		t.Errorf("neither worked: %v\n%s\n%s", codes, outA.String(), outB.String())
	}
	for code := range codes {
		if code != 0 && code != 10 && code != 11 {
			t.Errorf("exit code %d, want 0, 10 or 11\n%s\n%s", code, outA.String(), outB.String())
		}
	}
	s.converge()
}
