package seal

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzDocument: what is taken for a key document comes back the same, and its keys are keys or refused.
func FuzzDocument(f *testing.F) {
	d, err := NewDocument("0123456789abcdef0123456789abcdef", []string{"age1x"}, true)
	if err != nil {
		f.Fatal(err)
	}
	next, err := d.Rotated([]string{"age1y"})
	if err != nil {
		f.Fatal(err)
	}
	for _, d := range []Document{d, next} {
		data, err := d.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"format":"holdfast-repository-key","version":1,"key":"zz"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := DecodeDocument(data)
		if err != nil {
			return
		}
		_, _, _ = d.Metadata()
		again, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeDocument(again)
		if err != nil || back.Key != d.Key || back.Repository != d.Repository || back.MetadataIdentity != d.MetadataIdentity ||
			!slices.Equal(back.Recipients, d.Recipients) || !slices.Equal(back.PastIdentities, d.PastIdentities) {
			t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(d, back))
		}
	})
}

// FuzzOpen: bytes that are no age file of ours are refused.
func FuzzOpen(f *testing.F) {
	d, err := NewDocument("0123456789abcdef0123456789abcdef", nil, true)
	if err != nil {
		f.Fatal(err)
	}
	s, _, err := d.Metadata()
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := s.Seal([]byte("plain"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte("age-encryption.org/v1\n-> X25519 "))
	f.Fuzz(func(t *testing.T, data []byte) {
		if plain, err := s.Open(data); err == nil && string(plain) != "plain" {
			t.Errorf("%q was opened", plain)
		}
	})
}

func TestRotatedOpensWhatWasSealedBefore(t *testing.T) {
	d, err := NewDocument("0123456789abcdef0123456789abcdef", []string{"a"}, true)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		old, public, err := d.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := old.Seal([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if d, err = d.Rotated([]string{"b"}); err != nil {
			t.Fatal(err)
		}
		fresh, next, err := d.Metadata()
		if err != nil || next == public {
			t.Fatalf("the identity did not change (%v)", err)
		}
		if plain, err := fresh.Open(sealed); err != nil || string(plain) != "x" {
			t.Errorf("%q, %v", plain, err)
		}
		sealed, err = fresh.Seal([]byte("y"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := old.Open(sealed); err == nil {
			t.Error("who was removed opens what came afterwards")
		}
	}
}
