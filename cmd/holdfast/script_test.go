package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-io/holdfast/internal/blob/connect"
	"github.com/holdfast-io/holdfast/internal/cli"
	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/backend"
)

// TestMain makes this binary the holdfast of the scripts. Only here does a clock come from the environment:
// HOLDFAST_TEST_NOW=RFC3339.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"holdfast": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			context.AfterFunc(ctx, stop)
			os.Exit(cli.Run(ctx, cli.Process{
				Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.LookupEnv, Now: testNow, Version: "0.1.0",
			}))
		},
	})
}

func testNow() time.Time {
	if t, err := time.Parse(time.RFC3339, os.Getenv("HOLDFAST_TEST_NOW")); err == nil {
		return t
	}
	return time.Now()
}

// TestScripts is what a user sees: commands, output, exit codes.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("NO_COLOR", "1")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":   exits,
			"flip":    flip,
			"lock":    lock,
			"since":   since,
			"absent":  absent,
			"swap":    swap,
			"envfile": envfile,
		},
	})
}

// exits CODE COMMAND ARGS… runs a command and checks its exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("run %v: %v", args[1:], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%v exited %d, want %d", args[1:], got, want)
	}
}

func match(ts *testscript.TestScript, pattern string) []string {
	found, err := filepath.Glob(ts.MkAbs(pattern))
	ts.Check(err)
	slices.Sort(found)
	return found
}

// flip GLOB changes one bit in the middle of the last file that matches; flipping again restores it.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	found := match(ts, args[0])
	if len(found) == 0 {
		ts.Fatalf("nothing matches %s", args[0])
	}
	name := found[len(found)-1]
	data, err := os.ReadFile(name)
	ts.Check(err)
	data[len(data)/2] ^= 1
	ts.Check(os.WriteFile(name, data, 0o600))
}

// absent GLOB checks that nothing matches.
func absent(ts *testscript.TestScript, _ bool, args []string) {
	if found := match(ts, args[0]); len(found) > 0 {
		ts.Fatalf("%v is there", found)
	}
}

// swap A B exchanges two files or folders.
func swap(ts *testscript.TestScript, _ bool, args []string) {
	a, b := ts.MkAbs(args[0]), ts.MkAbs(args[1])
	ts.Check(os.Rename(a, a+".swap"))
	ts.Check(os.Rename(b, a))
	ts.Check(os.Rename(a+".swap", b))
}

// envfile NAME FILE sets a variable to the first line of a file.
func envfile(ts *testscript.TestScript, _ bool, args []string) {
	line, _, _ := strings.Cut(ts.ReadFile(args[1]), "\n")
	ts.Setenv(args[0], line)
}

// lock FOLDER takes the lease of the state in FOLDER until the script ends.
func lock(ts *testscript.TestScript, _ bool, args []string) {
	b, err := connect.Open(context.Background(), "file://"+ts.MkAbs(args[0]), connect.Options{Create: true})
	ts.Check(err)
	lease, err := backend.New(b, backend.Options{Holder: "alice@elsewhere"}).Lease(context.Background(), state.LeaseInfo{Operation: "apply", Run: "run-of-alice"}, 0)
	ts.Check(err)
	ts.Defer(func() { lease.Release(context.Background()) })
}

// since TIME is the clock of the commands that follow.
func since(ts *testscript.TestScript, _ bool, args []string) {
	if _, err := time.Parse(time.RFC3339, args[0]); err != nil {
		ts.Fatalf("since: %v", err)
	}
	ts.Setenv("HOLDFAST_TEST_NOW", args[0])
}
