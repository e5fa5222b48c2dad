package blob_test

import (
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/internal/blob"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{
		"a", "repo.json", "packs/ab/" + strings.Repeat("c", 64), "..a", "-", "a=b@c+d_e",
		strings.Repeat("n", blob.MaxSegment), strings.Repeat("n/", blob.MaxName/2-1) + "nn",
	} {
		if err := blob.CheckName(name); err != nil {
			t.Errorf("CheckName(%.60q): %v", name, err)
		}
	}
	bad := []struct{ name, want string }{
		{"", "object name is empty"},
		{"/a", `object name "/a": it has an empty segment`},
		{"a/", `object name "a/": it has an empty segment`},
		{"a//b", `object name "a//b": it has an empty segment`},
		{"a/../b", `object name "a/../b": segment ".." ends in a dot`},
		{".", `object name ".": segment "." ends in a dot`},
		{"a./b", `object name "a./b": segment "a." ends in a dot`},
		{"a__0x2f__b", `object name "a__0x2f__b": "__0x" is not allowed`},
		{"a b", `object name "a b": character ' ' at byte 1 is not allowed`},
		{"a\x00", `object name "a\x00": character '\x00' at byte 1 is not allowed`},
		{strings.Repeat("n/", 450) + "n", "object name \"" + strings.Repeat("n/", 20) + "\"… is 901 bytes long; at most 900 are allowed"},
	}
	for _, c := range bad {
		err := blob.CheckName(c.name)
		if err == nil || err.Error() != c.want {
			t.Errorf("CheckName(%.60q) = %v, want %s", c.name, err, c.want)
		}
	}
}

func TestCanBegin(t *testing.T) {
	for prefix, want := range map[string]bool{"": true, "packs/": true, "//": true, "../": true, "a b": false, "a\xff": false, "é": false} {
		if got := blob.CanBegin(prefix); got != want {
			t.Errorf("CanBegin(%q) = %v", prefix, got)
		}
	}
}

func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "a//b", "é", strings.Repeat("x", 1000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if blob.CheckName(name) != nil {
			return
		}
		for _, s := range strings.Split(name, "/") {
			if s == "" || s == "." || s == ".." || len(s) > blob.MaxSegment || strings.ContainsAny(s, "~\\: \x00") {
				t.Errorf("CheckName accepts %q", name)
			}
		}
	})
}
