package backend

import (
	"errors"
	"fmt"

	"github.com/holdfast-io/holdfast/state"
)

var (
	// ErrLeaseLost is the cause of a Leased's context when its lease could not be renewed or was taken over.
	ErrLeaseLost = errors.New("the lease on the state was lost")
	// ErrReleased is the cause of a Leased's context after Release.
	ErrReleased = errors.New("the lease on the state was released")
)

// DamageError names a state object that is damaged or gone, and what a person can do. It answers true to
// errors.Is(err, state.ErrCorrupt).
type DamageError struct {
	Object string // name in the bucket
	Head   string // the newest head, which cannot be read whole
	Older  string // the head before it, when there is one; never used by itself
	Err    error
}

// Error says what is damaged and what to do.
func (e *DamageError) Error() string {
	text := fmt.Sprintf("read state object %s: %v; nothing was changed; bring the object back from the bucket's version history or from a copy", e.Object, e.Err)
	if e.Older != "" {
		text += fmt.Sprintf(", or move %s away to go back to %s, which forgets what was committed after it", e.Head, e.Older)
	}
	return text
}

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Err }

// damage wraps errors that come from the object's content; what a newer holdfast wrote is not damaged.
func damage(object string, heads []numbered, err error) error {
	if !errors.Is(err, state.ErrCorrupt) {
		return err
	}
	d := &DamageError{Object: object, Err: err, Head: headName(newest(heads))}
	if n := len(heads); n > 1 {
		d.Older = headName(heads[n-2].number)
	}
	return d
}
