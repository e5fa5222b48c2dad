package main

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
	for line := range strings.Lines(strings.Trim(text, "\n")) {
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
	args []string
	key  string   // whose: hostKey, recoveryKey, or "" for a command without one
	env  []string // more of it
	show string   // which part of stdout: "" all, "end" from the last empty line, "none" nothing
}

// holdfast runs the binary in the folder of the policy and shows the command and its output. An exit code other than
// want is an error that holds what was said.
func (d *demo) holdfast(ctx context.Context, want int, c call) (result, error) {
	with := ""
	if c.key == recoveryKey {
		with = "   # with the recovery key"
	}
	d.out.say("$ holdfast %s%s", strings.Join(c.args, " "), with)
	cmd := exec.CommandContext(ctx, d.binary, c.args...)
	cmd.Dir = d.policyDir()
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + d.work, "TMPDIR=" + os.TempDir(), "NO_COLOR=1",
		"APP_DATABASE_URL=" + d.server.DSN("app"),
	}, c.env...)
	if c.key != "" {
		cmd.Env = append(cmd.Env, "HOLDFAST_IDENTITY_FILE="+filepath.Join(d.work, c.key))
	}
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
	switch c.show {
	case "":
		d.out.quote(r.stdout)
	case "end":
		text := strings.TrimSpace(r.stdout)
		d.out.quote(text[strings.LastIndex(text, "\n\n")+1:])
	}
	return r, nil
}

// size writes bytes as people say them.
func size(n int64) string {
	const mib = 1 << 20
	switch {
	case n >= mib:
		return fmt.Sprintf("%.1f MiB", float64(n)/mib)
	default:
		return fmt.Sprintf("%d KiB", n>>10)
	}
}
