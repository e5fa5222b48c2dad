// Package cli is the command line: one file per command, each options → run → view.
//
// It wires the rooms together (stores, repositories, executors, state) and decides nothing that planner or apply could
// decide. It owns the exit codes; only main exits.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/connect"
	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/internal/clock"
	"github.com/holdfast-io/holdfast/internal/redact"
)

// Process is what the command line may touch of the process it runs in.
type Process struct {
	Args    []string // without the program's name
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Env     func(string) (string, bool)
	Now     func() time.Time
	Version string

	// For who runs commands in a world of its own. Nil: connect.Open, and the machine's clock.
	Open  func(ctx context.Context, url string, o connect.Options) (blob.Bucket, error)
	Clock clock.Clock // of leases and heartbeats
}

// app is one invocation.
type app struct {
	Process
	dir      string // of the policy
	redactor *redact.Redactor
	out      *view.Terminal // stdout: results
	err      *view.Terminal // stderr: prompts, progress, logs
	log      *slog.Logger
	json     bool
}

// Run executes one command and returns the process's exit code.
func Run(ctx context.Context, p Process) (code int) {
	if servesRecovery(p.Args) {
		defer func() {
			if v := recover(); v != nil {
				fmt.Fprintln(p.Stderr, "panic:", v)
				code = codeNotServed
			}
		}()
	}
	if p.Open == nil {
		p.Open = connect.Open
	}
	r := &redact.Redactor{}
	a := &app{Process: p, dir: ".", redactor: r}
	a.out = view.NewTerminal(p.Stdout, r.Writer(p.Stdout), a.getenv)
	a.err = view.NewTerminal(p.Stderr, r.Writer(p.Stderr), a.getenv)
	a.log = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: logLevel(a.getenv("HOLDFAST_LOG"))}))
	err := a.dispatch(ctx, p.Args)
	if err != nil && ctx.Err() != nil {
		err = exit(codeInterrupted, errors.Join(errInterrupted, err))
	}
	if code := a.fail(err); err == nil || !servesRecovery(p.Args) || absent(err) {
		return code
	}
	return codeNotServed
}

var errInterrupted = errors.New("interrupted")

func (a *app) getenv(key string) string {
	v, _ := a.Env(key)
	return v
}

func logLevel(name string) slog.Level {
	var level slog.Level
	if name == "" || level.UnmarshalText([]byte(name)) != nil {
		return slog.LevelError
	}
	return level
}

// command is one verb.
type command struct {
	name     string
	group    string
	summary  string
	usage    string // after "holdfast NAME"
	examples string
	define   func(a *app, f *flags) func(ctx context.Context, args []string) error
}

func (a *app) dispatch(ctx context.Context, args []string) error {
	args, err := a.global(args)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		a.help(a.err)
		return exitQuiet(codeError)
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		return a.helpFor(rest)
	case "-version", "--version", "-v":
		name = "version"
	}
	c, rest, err := find(name, rest)
	if err != nil {
		return err
	}
	return a.runCommand(ctx, c, rest)
}

// global takes the options that may stand before the command.
func (a *app) global(args []string) ([]string, error) {
	for len(args) > 0 {
		name, value, ok := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
		if !strings.HasPrefix(args[0], "-") || name != "chdir" {
			break
		}
		if !ok {
			return nil, usageError("-chdir needs a folder: -chdir=DIR")
		}
		a.dir = value
		args = args[1:]
	}
	return args, nil
}

func (a *app) runCommand(ctx context.Context, c *command, args []string) error {
	f := newFlags(c.name)
	a.commonFlags(f)
	run := c.define(a, f)
	positional, err := f.parse(args)
	if errors.Is(err, errHelp) {
		a.commandHelp(a.out, c, f)
		return nil
	}
	if err != nil {
		return usageError("%s\n\nUsage: holdfast %s %s\nRun `holdfast help %s` for options and examples.", err, c.name, c.usage, c.name)
	}
	if info, err := os.Stat(a.dir); err != nil || !info.IsDir() {
		return usageError("-chdir: %s is not a folder", a.dir)
	}
	return run(ctx, positional)
}

// commonFlags are accepted by every command.
func (a *app) commonFlags(f *flags) {
	f.boolFunc("no-color", "print without colours (NO_COLOR does the same)", func(v bool) {
		if v {
			a.out.Plain()
			a.err.Plain()
		}
	})
	f.stringFunc("chdir", "DIR", "work on the policy in DIR (may also stand before the command)", func(v string) { a.dir = v })
	f.BoolVar(&a.json, "json", false, "print JSON")
}

// path makes a path given in a policy or by default absolute, relative to the policy's folder.
func (a *app) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(a.dir, p)
}

// fail prints what ended the command and maps it to an exit code.
func (a *app) fail(err error) int {
	if err == nil {
		return 0
	}
	code, reason := classify(err)
	var silent *exitError
	if errors.As(err, &silent) && silent.err == nil {
		return code
	}
	if a.json {
		a.out.JSON(map[string]any{"type": "error", "format_version": "1.0", "reason": reason, "exit_code": code, "message": a.redactor.String(err.Error())})
		return code
	}
	a.err.Error(err.Error())
	if hint := hintFor(err); hint != "" {
		fmt.Fprintf(a.err, "\n%s\n", hint)
	}
	return code
}
