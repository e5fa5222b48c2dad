package cli

import (
	"errors"
	"fmt"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/state"
)

// Exit codes. They are a public interface; `holdfast help` and docs/plan.md list them.
const (
	codeOK          = 0
	codeError       = 1
	codeChanges     = 2
	codeUnformatted = 3
	codeLocked      = 10
	codeStale       = 11
	codeApproval    = 12
	codeBlocked     = 13
	codeFailures    = 14
	codeInterrupted = 130
)

// reasons are the same facts as words, in JSON.
var reasons = map[int]string{
	codeError: "error", codeChanges: "changes", codeUnformatted: "unformatted", codeLocked: "locked", codeStale: "stale",
	codeApproval: "approval", codeBlocked: "blocked", codeFailures: "failures", codeInterrupted: "interrupted",
}

// exitError carries an exit code; without err everything was said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return reasons[e.code]
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func exit(code int, err error) error { return &exitError{code, err} }

// exitQuiet ends with a code after everything was printed.
func exitQuiet(code int) error { return &exitError{code: code} }

func usageError(format string, args ...any) error { return fmt.Errorf(format, args...) }

func classify(err error) (code int, reason string) {
	var e *exitError
	var locked *state.LockedError
	switch {
	case errors.As(err, &e):
		code = e.code
	case errors.As(err, &locked):
		code = codeLocked
	case errors.Is(err, state.ErrStale), errors.Is(err, state.ErrLineage):
		code = codeStale
	default:
		code = codeError
	}
	return code, reasons[code]
}

// hintFor tells what to do next where the error itself cannot know it.
func hintFor(err error) string {
	var locked *state.LockedError
	switch {
	case errors.As(err, &locked):
		return "Wait for it to finish, or pass -lock-timeout=10m to wait here. Nothing needs to be unlocked by hand."
	case errors.Is(err, repo.ErrNoRepository):
		return "Run `holdfast init` to create the repositories that the policy declares."
	case errors.Is(err, executors.ErrTargetExists):
		return "Pass -replace to overwrite what is there, or choose another -target."
	case errors.Is(err, blob.ErrDenied):
		return "Check the credentials this process runs with; docs/stores.md lists the rights each command needs."
	case errors.Is(err, blob.ErrNoSpace):
		return "Free some space or point the store elsewhere, then run the same command again: it goes on where it stopped."
	case errors.Is(err, state.ErrCorrupt):
		return "docs/troubleshooting.md says how to look at a damaged state; the restore points in the stores are not affected."
	default:
		return ""
	}
}
