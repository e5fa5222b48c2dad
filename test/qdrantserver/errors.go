package qdrantserver

import (
	"fmt"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// failure is an error as a client sees it. Each kind has a prefix, a REST status and a gRPC code.
type failure struct {
	kind       kind
	text       string
	retryAfter time.Duration
}

type kind struct {
	prefix string
	status int
	code   codes.Code
}

var (
	kindInput     = kind{"Wrong input: ", http.StatusBadRequest, codes.InvalidArgument}
	kindRequest   = kind{"Bad request: ", http.StatusBadRequest, codes.InvalidArgument}
	kindExists    = kind{"Wrong input: ", http.StatusConflict, codes.AlreadyExists}
	kindNotFound  = kind{"Not found: ", http.StatusNotFound, codes.NotFound}
	kindInternal  = kind{"Service internal error: ", http.StatusInternalServerError, codes.Internal}
	kindForbidden = kind{"Forbidden: ", http.StatusForbidden, codes.PermissionDenied}
	kindChecksum  = kind{"Checksum mismatch: ", http.StatusBadRequest, codes.DataLoss}
	kindRate      = kind{"Rate limiting exceeded: ", http.StatusTooManyRequests, codes.ResourceExhausted}
	kindInvalid   = kind{"", http.StatusUnprocessableEntity, codes.InvalidArgument}
	kindFormat    = kind{"", http.StatusBadRequest, codes.InvalidArgument}
)

func (f *failure) Error() string { return f.kind.prefix + f.text }

func fail(k kind, format string, args ...any) error {
	return &failure{kind: k, text: fmt.Sprintf(format, args...)}
}

func badInput(format string, args ...any) error   { return fail(kindInput, format, args...) }
func badRequest(format string, args ...any) error { return fail(kindRequest, format, args...) }
func notFound(format string, args ...any) error   { return fail(kindNotFound, format, args...) }
func internal(format string, args ...any) error   { return fail(kindInternal, format, args...) }
func forbidden(format string, args ...any) error  { return fail(kindForbidden, format, args...) }

// words are an error as Qdrant spells it, which is not how errors are spelt here.
type words string

func (w words) Error() string { return string(w) }

func says(format string, args ...any) error { return words(fmt.Sprintf(format, args...)) }

// asFailure gives every error a kind; what is not one of ours happened inside.
func asFailure(err error) *failure {
	if f, ok := err.(*failure); ok { //nolint:errorlint // failures are never wrapped
		return f
	}
	return &failure{kind: kindInternal, text: err.Error()}
}

func grpcError(err error) error {
	if err == nil {
		return nil
	}
	f := asFailure(err)
	return status.Error(f.kind.code, f.Error())
}
