package blob_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"

	"github.com/holdfast-io/holdfast/internal/blob"
)

func TestErrorText(t *testing.T) {
	cases := []struct {
		err  *blob.Error
		want string
	}{
		{&blob.Error{Op: "create", Name: "packs/ab", Kind: blob.ErrNoSpace, Err: syscall.ENOSPC}, "create object packs/ab: no space left in store: no space left on device"},
		{&blob.Error{Op: "get", Name: "a", Kind: blob.ErrNotFound}, "get object a: object not found"},
		{&blob.Error{Op: "get", Name: "a", Err: io.ErrUnexpectedEOF}, "get object a: unexpected EOF"},
		{&blob.Error{Op: "list", Name: "packs/", Kind: blob.ErrDenied}, "list objects packs/*: access to store denied"},
		{&blob.Error{Op: "open", Kind: blob.ErrDenied}, "open store: access to store denied"},
	}
	for _, c := range cases {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
		for _, is := range c.err.Unwrap() {
			if !errors.Is(c.err, is) {
				t.Errorf("%v is not %v", c.err, is)
			}
		}
	}
}

// final answers the behaviour with no.
type final struct{ error }

func (final) Retryable() bool { return false }
func (f final) Unwrap() error { return f.error }

func TestIsRetryable(t *testing.T) {
	lost := blob.Retryable(syscall.ECONNRESET)
	if !errors.Is(lost, syscall.ECONNRESET) || lost.Error() != syscall.ECONNRESET.Error() {
		t.Errorf("Retryable changes the error: %v", lost)
	}
	cases := []struct {
		name string
		err  error
		want bool
	}{
		{"nil", blob.Retryable(nil), false},
		{"plain", io.EOF, false},
		{"marked", lost, true},
		{"wrapped", fmt.Errorf("read index: %w", &blob.Error{Op: "get", Name: "x", Err: lost}), true},
		{"outermost answer counts", final{lost}, false},
		{"canceled", context.Canceled, false},
	}
	for _, c := range cases {
		if got := blob.IsRetryable(c.err); got != c.want {
			t.Errorf("%s: IsRetryable = %v, want %v", c.name, got, c.want)
		}
	}
}
