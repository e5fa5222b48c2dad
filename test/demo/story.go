package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// story prints what happens: numbered steps, sentences, and the commands with what they said.
type story struct {
	w    io.Writer
	step int
}

func (s *story) heading(format string, args ...any) {
	s.step++
	fmt.Fprintf(s.w, "\n%d. %s\n", s.step, fmt.Sprintf(format, args...))
}

func (s *story) say(format string, args ...any) {
	fmt.Fprintf(s.w, "   %s\n", fmt.Sprintf(format, args...))
}

// quote prints output of a command, indented.
func (s *story) quote(text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(s.w, "   | %s\n", strings.TrimRight(line, "\n"))
	}
}

// result is how a command ended.
type result struct {
	code           int
	stdout, stderr string
}

// call is one call of holdfast.
type call struct {
	args   []string
	env    []string // beside what every call gets
	silent bool     // show the command alone
}

// holdfast runs the binary in the folder of the policy and shows the command and its output. An exit code other than
// want is an error that holds what was said.
func (d *demo) holdfast(ctx context.Context, want int, c call) (result, error) {
	d.out.say("$ holdfast %s", strings.Join(c.args, " "))
	cmd := exec.CommandContext(ctx, d.binary, c.args...)
	cmd.Dir = d.policyDir()
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + d.work, "TMPDIR=" + os.TempDir(), "NO_COLOR=1",
		"APP_DATABASE_URL=" + d.server.DSN("app"),
	}, c.env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 30 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		return result{}, fmt.Errorf("run holdfast: %w", err)
	}
	r := result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	if r.code != want {
		return r, fmt.Errorf("holdfast %s: exit code %d, expected %d\n%s%s", strings.Join(c.args, " "), r.code, want, r.stdout, r.stderr)
	}
	if !c.silent {
		d.out.quote(r.stdout)
	}
	return r, nil
}

// size writes bytes as people say them.
func size(n int64) string {
	const mib = 1 << 20
	switch {
	case n >= 10*mib:
		return fmt.Sprintf("%d MiB", n/mib)
	case n >= mib:
		return fmt.Sprintf("%.1f MiB", float64(n)/mib)
	default:
		return fmt.Sprintf("%d KiB", n>>10)
	}
}
