package repo

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
)

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"format":"holdfast-repository","version":1,"id":"0123456789abcdef0123456789abcdef","encryption":"none","chunking":{"method":"gear-1","average":262144}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := DecodeConfig(data)
		if err != nil {
			return
		}
		raw, err := c.Encode()
		if err != nil {
			return // a time that JSON cannot hold
		}
		again, err := DecodeConfig(raw)
		if diff := cmp.Diff(c, again); err != nil || diff != "" {
			t.Errorf("encoded again: %v (-want +got):\n%s", err, diff)
		}
	})
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{`backup.app["eu"]`, "..", ".", "a=b", "\x00\xff", "ü/ä", "a__0x41"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" || len(escape(s)) > maxSegment {
			return
		}
		if got, ok := unescape(escape(s)); !ok || got != s {
			t.Errorf("%q became %q, and %q again (%v)", s, escape(s), got, ok)
		}
		if err := blob.CheckName(summaryName(s, s)); err != nil {
			t.Error(err)
		}
		if plain, ok := unescape(s); ok && escape(plain) != s {
			t.Errorf("%q is a second spelling of %q", s, plain)
		}
		if a, id, suffix, ok := parsePointName(manifestName(s, s)); !ok || a != s || id != s || suffix != manifestSuffix {
			t.Errorf("%q is read back as %q %q %q %v", manifestName(s, s), a, id, suffix, ok)
		}
	})
}
