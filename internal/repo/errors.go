package repo

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrExists says that the place holds a repository already.
	ErrExists = errors.New("a repository exists here already")
	// ErrForeign says that the place holds objects that are not ours.
	ErrForeign = errors.New("the place is not empty and holds no holdfast repository; use an empty bucket or prefix")
	// ErrNoRepository says that the place holds no repository.
	ErrNoRepository = errors.New("no holdfast repository here; holdfast init creates one")
	// ErrNoPoint says that a restore point has no manifest (or no summary) here.
	ErrNoPoint = errors.New("no such restore point in the repository")
)

// WrongRepositoryError says that the place holds another repository than expected.
type WrongRepositoryError struct{ Want, Got string }

func (e *WrongRepositoryError) Error() string {
	return fmt.Sprintf("repository %s found where %s was expected; the store's URL or the policy points to somebody else's repository", e.Got, e.Want)
}

// DamagedError names an object whose bytes are not what was stored.
type DamagedError struct{ Object, Problem string }

func (e *DamagedError) Error() string {
	return fmt.Sprintf("object %s is damaged: %s", e.Object, e.Problem)
}

// KeyError says that no identity at hand can do what was asked, and which keys could.
type KeyError struct {
	Need       string   // "write" or "read"
	Recipients []string // of the repository
	Writers    []string
}

func (e *KeyError) Error() string {
	who := e.Recipients
	verb := "read from"
	if e.Need == "write" {
		who = append(append([]string(nil), e.Recipients...), e.Writers...)
		verb = "write to"
	}
	return fmt.Sprintf("no identity at hand can %s this repository; it needs the secret key of one of: %s", verb, strings.Join(who, ", "))
}

// OtherKeyError names an object whose bytes are what was stored, and that no key at hand opens.
type OtherKeyError struct{ Object string }

func (e *OtherKeyError) Error() string {
	return fmt.Sprintf("object %s is intact, but no key at hand opens it: it was sealed to other recipients, before a key rotation. Use one of their keys, or let `holdfast key rotate -reseal` seal it anew where there is one", e.Object)
}

func isOtherKey(err error) bool {
	var e *OtherKeyError
	return errors.As(err, &e)
}

func damaged(object, format string, args ...any) error {
	return &DamagedError{Object: object, Problem: fmt.Sprintf(format, args...)}
}
