package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// killDelay is how long a client program may take to end by itself: pg_dump uses it to cancel its query on the server.
const killDelay = 5 * time.Second

// toolEnv is the whole environment of a client program. Nothing else is inherited, so that a stray PG* variable cannot
// lead a dump elsewhere. The password stands here and on no command line: only root and the same account can read it, it
// needs no file, and nothing stays of it after a crash. LC_ALL makes messages readable for any log.
func toolEnv(password string) []string {
	env := []string{"LC_ALL=C"}
	for _, k := range []string{"PATH", "HOME", "TMPDIR", "KRB5CCNAME", "PGPASSFILE", "PGSERVICEFILE", "PGSYSCONFDIR"} {
		if v, ok := os.LookupEnv(k); ok {
			env = append(env, k+"="+v)
		}
	}
	if password != "" {
		env = append(env, "PGPASSWORD="+password)
	}
	return env
}

// child is one run of a client program in a process group of its own. Exactly one wait follows a start.
type child struct {
	cmd    *exec.Cmd
	stderr tail
	mask   func(string) string
	cancel context.CancelFunc
	early  bool // it ended with success before it had read its whole input

	mu   sync.Mutex
	hard *time.Timer // kills the group when it does not end by itself
	done bool
}

// newChild prepares a program. srv may be nil for programs that do not connect.
func newChild(ctx context.Context, srv *server, t tool, args ...string) *child {
	ctx, cancel := context.WithCancel(ctx)
	c := &child{cmd: exec.CommandContext(ctx, t.path, args...), cancel: cancel, mask: func(s string) string { return s }}
	password := ""
	if srv != nil {
		c.mask, password = srv.mask, srv.password
	}
	c.cmd.Env = toolEnv(password)
	c.cmd.Stderr = &c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(c.cmd.SysProcAttr, syscall.SIGTERM)
	c.cmd.Cancel = c.terminate
	c.cmd.WaitDelay = 2 * killDelay
	return c
}

// terminate asks the whole group to end and kills it later. It runs on the goroutine of exec.
func (c *child) terminate() error {
	group := -c.cmd.Process.Pid
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return os.ErrProcessDone
	}
	c.hard = time.AfterFunc(killDelay, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.done { // the number may belong to somebody else by now
			_ = syscall.Kill(group, syscall.SIGKILL)
		}
	})
	return syscall.Kill(group, syscall.SIGTERM)
}

// toolError says that a program ended with a failure of its own, in its own last words.
type toolError struct {
	text string
	err  error
}

func (e *toolError) Error() string { return e.text }
func (e *toolError) Unwrap() error { return e.err }

// wait waits for the end and turns a failure into an error with the program's last words.
func (c *child) wait(ctx context.Context) error {
	err := c.cmd.Wait()
	c.mu.Lock()
	c.done = true
	if c.hard != nil {
		c.hard.Stop()
	}
	c.mu.Unlock()
	c.cancel()
	if ctx.Err() != nil {
		return fmt.Errorf("run %s: %w", c.name(), context.Cause(ctx))
	}
	if err == nil {
		return nil
	}
	words := c.mask(c.stderr.String())
	if strings.Contains(words, "LOCK TABLE") && strings.Contains(words, "timeout") {
		words += "; somebody holds or waits for an exclusive lock on the table: see pg_locks, and back up when it is done"
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ProcessState.Sys().(syscall.WaitStatus).Signaled():
		return fmt.Errorf("run %s: it was killed by a signal (%w)%s", c.name(), err, after(words))
	case words == "":
		words = "it gave no message"
	}
	return &toolError{fmt.Sprintf("run %s: %v: %s", c.name(), err, words), err}
}

func after(words string) string {
	if words == "" {
		return ""
	}
	return ": " + words
}

func (c *child) name() string { return filepath.Base(c.cmd.Path) }

// feed runs the program with r as its standard input and waits. It returns the bytes read from r. A program that ends
// before its input does is judged by its exit status, not by the broken pipe.
func (c *child) feed(ctx context.Context, r io.Reader) (int64, error) {
	in, err := c.cmd.StdinPipe()
	if err != nil {
		c.cancel()
		return 0, fmt.Errorf("run %s: %w", c.name(), err)
	}
	if err := c.cmd.Start(); err != nil {
		c.cancel()
		return 0, fmt.Errorf("run %s: %w", c.name(), err)
	}
	counted := &countingReader{r: r}
	_, copyErr := io.Copy(in, counted)
	if counted.err != nil {
		c.cancel() // what it was given is not whole: it must not take its end for the end of the data
		_ = c.wait(ctx)
		return counted.n, counted.err
	}
	closeErr := in.Close()
	if err := c.wait(ctx); err != nil {
		return counted.n, err
	}
	if copyErr != nil || closeErr != nil {
		// The rest is read all the same, so that damage in it is found.
		c.early = true
		if _, err := io.Copy(io.Discard, counted); err != nil {
			return counted.n, err
		}
	}
	return counted.n, nil
}

// countingReader counts bytes and keeps the reader's own error apart from the writer's.
type countingReader struct {
	r   io.Reader
	n   int64
	err error
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// tail keeps the end of what a program says. Writes come from exec's goroutine; String is called after the wait.
type tail struct{ b []byte }

const tailSize = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*tailSize {
		t.b = append([]byte(nil), t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}

// String returns the last lines, joined.
func (t *tail) String() string {
	lines := bytes.Split(bytes.TrimSpace(t.b), []byte("\n"))
	return strings.TrimSpace(string(bytes.Join(lines[max(0, len(lines)-6):], []byte("; "))))
}
