package blob

import (
	"errors"
	"time"
)

// Error is what buckets return: which operation failed on which object, what kind of failure it is, and the cause.
// errors.Is finds both the kind and the cause.
type Error struct {
	Op   string // put, create, get, stat, list, delete, open
	Name string // the object, or the prefix of a listing; empty for the bucket itself
	Kind error  // ErrNotFound, ErrExists, ErrReadOnly, ErrNoSpace, ErrDenied, or nil when none of them fits
	Err  error  // the cause; nil when the kind says everything
}

// Error reads "create object packs/ab/abc: no space left in store: write: no space left on device".
func (e *Error) Error() string {
	s := e.Op
	switch {
	case e.Op == "list":
		s += " objects " + e.Name + "*"
	case e.Name != "":
		s += " object " + e.Name
	default:
		s += " store"
	}
	if e.Kind != nil {
		s += ": " + e.Kind.Error()
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the kind and the cause, whichever are set.
func (e *Error) Unwrap() []error {
	var all []error
	if e.Kind != nil {
		all = append(all, e.Kind)
	}
	if e.Err != nil {
		all = append(all, e.Err)
	}
	return all
}

// retryable marks an error as worth another attempt without changing its text.
type retryable struct {
	error
	after time.Duration
}

func (r retryable) Retryable() bool           { return true }
func (r retryable) RetryAfter() time.Duration { return r.after }
func (r retryable) Unwrap() error             { return r.error }

// Retryable marks err as one that may go away by itself: a lost connection, an overloaded server. Nil stays nil.
func Retryable(err error) error { return RetryableAfter(err, 0) }

// RetryableAfter is Retryable for an error of a server that said how long it wants to be left alone.
func RetryableAfter(err error, after time.Duration) error {
	if err == nil {
		return nil
	}
	return retryable{err, after}
}

// IsRetryable tells whether another attempt makes sense. It asks err, or what it wraps, for the behaviour
// `Retryable() bool`; the outermost answer counts. Whether the caller still wants an attempt is the caller's to know: look
// at the context as well.
func IsRetryable(err error) bool {
	var r interface{ Retryable() bool }
	return errors.As(err, &r) && r.Retryable()
}

// RetryAfter is how long the server wants to be left alone, 0 when it did not say.
func RetryAfter(err error) time.Duration {
	var r interface{ RetryAfter() time.Duration }
	if errors.As(err, &r) {
		return r.RetryAfter()
	}
	return 0
}
