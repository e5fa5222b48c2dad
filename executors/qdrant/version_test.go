package qdrant

import (
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for _, c := range []struct {
		text string
		want version
		ok   bool
	}{
		{"1.18.3", version{1, 18, 3, "1.18.3"}, true},
		{"1.19.0-dev", version{1, 19, 0, "1.19.0-dev"}, true},
		{"2.0.10", version{2, 0, 10, "2.0.10"}, true},
		{"", version{}, false},
		{"1.18", version{}, false},
		{"1.18.3.1", version{}, false},
		{"v1.18.3", version{}, false},
		{"1.x.3", version{}, false},
		{"1.-1.3", version{}, false},
		{"7.17.0 (OpenSearch)", version{}, false},
	} {
		got, err := parseVersion(c.text)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("parse %q: got %+v, %v", c.text, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "is this a Qdrant server?") {
			t.Errorf("parse %q: %v", c.text, err)
		}
	}
}

func TestVersionFits(t *testing.T) {
	for _, c := range []struct{ made, server, want string }{
		{"1.18.3", "1.18.3", ""},
		{"1.18.3", "1.18.9", ""},
		{"1.18.3", "1.18.0", ""}, // an older patch: a note, see restorePlan.gate
		{"1.18.3", "1.19.0", ""},
		{"1.18.3", "1.19.7-dev", ""},
		{"1.18.3", "1.20.0", "snapshots go one minor version up at most. Restore to a server of version 1.18 or 1.19 and upgrade that, restore from a backup made by export, or try it with -any-version"},
		{"1.18.3", "2.0.0", "Restore to a server of version 1.18 or 1.19"},
		{"1.18.3", "1.17.9", "an older server must not load them. Upgrade it to 1.18 first, or restore from a backup made by export"},
		{"2.0.0", "1.18.0", "Upgrade it to 2.0 first"},
	} {
		made, err := parseVersion(c.made)
		if err != nil {
			t.Fatal(err)
		}
		server, err := parseVersion(c.server)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := server.fits(made); err != nil {
			got = err.Error()
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("made by %s, server %s: got %q, want %q", c.made, c.server, got, c.want)
		}
	}
}
