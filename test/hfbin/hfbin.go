// Package hfbin builds the holdfast binary once per test process and runs it in folders of its own.
//
// It is for tests that must see what a user sees: the process, its output, its exit code.
package hfbin

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	_ "github.com/holdfast-io/holdfast/internal/cli" // what is run is built from it: go test must not answer from its cache when it changes
)

// build compiles the binary into a folder that outlives single tests; the operating system's temporary cleaning removes it
// when Cleanup was not called.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "holdfast-bin-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "holdfast")
	c := exec.Command("go", "build", "-o", path, "github.com/holdfast-io/holdfast/cmd/holdfast")
	if out, err := c.CombinedOutput(); err != nil {
		return "", errors.New("build holdfast: " + err.Error() + "\n" + string(out))
	}
	return path, nil
})

var built string

// Main runs the tests of a package that uses this one, and removes the binary afterwards.
func Main(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// Site is a folder with a policy, and the environment its commands run in.
type Site struct {
	T         testing.TB
	Dir       string
	Env       []string // beside the process's own
	Recipient string   // public half of Dir/key, which HOLDFAST_IDENTITY_FILE names
	binary    string
}

// New makes a site with a key and no policy.
func New(t testing.TB) *Site {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	s := &Site{T: t, Dir: t.TempDir(), binary: binary}
	s.Env = []string{"HOLDFAST_IDENTITY_FILE=" + filepath.Join(s.Dir, "key"), "NO_COLOR=1"}
	var key struct{ Recipient string }
	s.JSON(&key, "key", "generate", "-out=key", "-json")
	s.Recipient = key.Recipient
	return s
}

// Write makes a file below the site's folder.
func (s *Site) Write(name, text string) {
	s.T.Helper()
	path := filepath.Join(s.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.T.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.T.Fatal(err)
	}
}

// Binary is the path of what was built. It opens the ways to it and to the site's folder to other accounts.
func (s *Site) Binary() string {
	s.T.Helper()
	for _, dir := range []string{filepath.Dir(s.binary), filepath.Dir(s.Dir), s.Dir} {
		if err := os.Chmod(dir, 0o755); err != nil {
			s.T.Fatal(err)
		}
	}
	return s.binary
}

// Command prepares a process in the site's folder; it dies with the test.
func (s *Site) Command(args ...string) *exec.Cmd {
	c := exec.Command(s.binary, args...)
	c.Dir, c.Env = s.Dir, append(os.Environ(), s.Env...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Both is everything that was printed.
func (r Result) Both() string { return r.Stdout + r.Stderr }

// Run runs a command to its end, whatever its exit code.
func (s *Site) Run(args ...string) Result {
	s.T.Helper()
	c := s.Command(args...)
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.T.Fatalf("run holdfast: %v", err)
	}
	return Result{out.String(), errOut.String(), c.ProcessState.ExitCode()}
}

// Must runs a command that has to succeed.
func (s *Site) Must(args ...string) Result {
	s.T.Helper()
	return s.Exits(0, args...)
}

// Exits runs a command that has to end with the code.
func (s *Site) Exits(code int, args ...string) Result {
	s.T.Helper()
	r := s.Run(args...)
	if r.Code != code {
		s.T.Fatalf("holdfast %s exited %d, want %d\n%s", strings.Join(args, " "), r.Code, code, r.Both())
	}
	return r
}

// Prints checks that everything in wants was printed.
func (s *Site) Prints(r Result, wants ...string) {
	s.T.Helper()
	for _, want := range wants {
		if !strings.Contains(r.Both(), want) {
			s.T.Errorf("%q was not printed:\n%s", want, r.Both())
		}
	}
}

// JSON decodes what a command that has to succeed prints on stdout.
func (s *Site) JSON(into any, args ...string) {
	s.T.Helper()
	r := s.Must(args...)
	if err := json.Unmarshal([]byte(r.Stdout), into); err != nil {
		s.T.Fatalf("holdfast %s: %v\n%s", strings.Join(args, " "), err, r.Stdout)
	}
}

// Point is a restore point as `points -json` lists it.
type Point struct {
	Address, ID, Version, Position string
	Size, Stored                   int64
	Verified, Incomplete           bool
}

// Points lists the restore points.
func (s *Site) Points() []Point {
	s.T.Helper()
	var listed struct{ Points []Point }
	s.JSON(&listed, "points", "-json")
	return listed.Points
}
