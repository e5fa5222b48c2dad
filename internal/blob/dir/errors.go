package dir

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// fail says what was done to which object and sorts the cause into the kinds of package blob.
func fail(op, name string, err error) error {
	kind, cause := sort(err)
	if kind == cause {
		cause = nil // the kind came from our own code and says everything
	}
	return &blob.Error{Op: op, Name: name, Kind: kind, Err: cause}
}

// classify is fail for what has no object: the error with its kind in front.
func classify(err error) error {
	kind, cause := sort(err)
	if kind == nil {
		return cause
	}
	return &blob.Error{Op: "open", Kind: kind, Err: cause}
}

// sort returns the kind of err, which may be nil, and the cause, marked as retryable where waiting may help.
func sort(err error) (kind, cause error) {
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return blob.ErrNotFound, blob.ErrNotFound
	case errors.Is(err, blob.ErrExists):
		return blob.ErrExists, blob.ErrExists
	case isAbsent(err):
		return blob.ErrNotFound, err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return blob.ErrNoSpace, err
	case errors.Is(err, syscall.EROFS):
		return blob.ErrReadOnly, err
	case errors.Is(err, fs.ErrPermission): // EACCES and EPERM
		return blob.ErrDenied, err
	case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.ESTALE), errors.Is(err, syscall.ETIMEDOUT):
		return nil, blob.Retryable(err) // what network file systems answer while their server is away
	}
	return nil, err
}

// isAbsent also knows the case of "a/b" where a is an object: then there is no a/b.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// ignoreUnsupported forgives file systems that have no flush for folders; they write names through or offer nothing
// better.
func ignoreUnsupported(err error) error {
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// parent is the folder of an object, "." for the root itself.
func parent(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return "."
}
