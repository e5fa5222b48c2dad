package policy

import (
	"errors"
	"log/slog"
)

// Secret is a sensitive value that is known by reference. The reference (what was written, such as `env("X")`) may be shown;
// the value is computed only by Reveal, each time anew, and never encoded, printed or logged.
type Secret struct {
	ref    string
	reveal func() (string, error)
}

// NewSecret makes a secret from the expression as written and a function that computes its value.
func NewSecret(ref string, reveal func() (string, error)) *Secret {
	return &Secret{ref: ref, reveal: reveal}
}

// Ref returns the expression as written.
func (s *Secret) Ref() string { return s.ref }

// Reveal computes the value. Errors name the reference and what to do, never the value.
func (s *Secret) Reveal() (string, error) {
	if s == nil || s.reveal == nil {
		return "", errors.New("the secret has no value here")
	}
	return s.reveal()
}

// String hides the value from fmt.
func (s *Secret) String() string { return "(sensitive)" }

// GoString hides the value from %#v.
func (s *Secret) GoString() string { return "(sensitive)" }

// LogValue hides the value from slog.
func (s *Secret) LogValue() slog.Value { return slog.StringValue("(sensitive)") }

// MarshalJSON encodes the reference, so that a change of reference shows in plans.
func (s *Secret) MarshalJSON() ([]byte, error) { return marshalRef(s.ref) }
