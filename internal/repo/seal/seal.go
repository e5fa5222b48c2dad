// Package seal turns plain bytes into age files and back, and keeps the documents that hold a repository's keys.
//
// It contains no cryptography: everything is filippo.io/age. It does not store. Its invariant: what comes out of Open was
// authenticated as a whole, and every error is typed or says what does not fit.
package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// ErrNoIdentity says that the sealer cannot open: no matching identity is at hand.
var ErrNoIdentity = errors.New("no identity at hand opens it")

// Sealer seals to recipients and opens with identities. The zero Plain sealer passes bytes through. Safe for concurrent use.
type Sealer struct {
	Plain      bool // encryption none: bytes pass as they are
	Recipients []age.Recipient
	Identities []age.Identity
}

// Writer returns a writer that seals into dst. Close ends the age file and leaves dst open.
func (s Sealer) Writer(dst io.Writer) (io.WriteCloser, error) {
	if s.Plain {
		return nopCloser{dst}, nil
	}
	return age.Encrypt(dst, s.Recipients...)
}

// Seal returns plain as one age file.
func (s Sealer) Seal(plain []byte) ([]byte, error) {
	if s.Plain {
		return bytes.Clone(plain), nil
	}
	var out bytes.Buffer
	out.Grow(len(plain) + len(plain)/4096 + 4096)
	w, err := age.Encrypt(&out, s.Recipients...)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return out.Bytes(), nil
}

// Open returns the plain bytes of a sealed object, or ErrNoIdentity (wrapped) when no identity fits.
func (s Sealer) Open(sealed []byte) ([]byte, error) {
	if s.Plain {
		return sealed, nil
	}
	if len(s.Identities) == 0 {
		return nil, ErrNoIdentity
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), s.Identities...)
	if err != nil {
		return nil, openError(err)
	}
	out := bytes.NewBuffer(make([]byte, 0, len(sealed)))
	if _, err := out.ReadFrom(r); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	return out.Bytes(), nil
}

// CanOpen tells whether Open has anything to try.
func (s Sealer) CanOpen() bool { return s.Plain || len(s.Identities) > 0 }

func openError(err error) error {
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return fmt.Errorf("%w: %v", ErrNoIdentity, err)
	}
	return fmt.Errorf("open: %w", err)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
