package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/policy"
)

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Duration
		text string
	}{
		{"36h", 36 * time.Hour, "36h"},
		{"24h", 24 * time.Hour, "1d"},
		{"7d", 7 * 24 * time.Hour, "7d"},
		{"2w", 14 * 24 * time.Hour, "14d"},
		{"1w2d3h", (9*24 + 3) * time.Hour, "219h"},
		{"1.5d", 36 * time.Hour, "36h"},
		{"90m", 90 * time.Minute, "90m"},
		{"1h30m10s", 5410 * time.Second, "5410s"},
		{"1500ms", 1500 * time.Millisecond, "1.5s"},
		{"0s", 0, "0s"},
		{"100w", 700 * 24 * time.Hour, "700d"},
	} {
		d, err := policy.ParseDuration(c.in)
		if err != nil || d.Std() != c.want || d.String() != c.text {
			t.Errorf("%s: got %v (%s), %v; want %v (%s)", c.in, d.Std(), d, err, c.want, c.text)
		}
	}
	for _, in := range []string{"", "d", "5", "-1h", "1d-2h", "1dd", "one day", "1.2.3d", "99999w", "40000d", "1000000h", "99d99999d", "9e9d", "2h1d", "1y"} {
		if d, err := policy.ParseDuration(in); err == nil {
			t.Errorf("%q: got %v, want an error", in, d)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"36h", "1w2d", "1.5s", "0", "100000d", "1h1h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := policy.ParseDuration(s)
		if err != nil {
			return
		}
		if again, err := policy.ParseDuration(d.String()); err != nil || again != d || d < 0 {
			t.Fatalf("%q is %v, written %s, read %v, %v", s, d.Std(), d, again.Std(), err)
		}
	})
}

func TestParseBytes(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "4096": 4096, "1B": 1, "10kB": 10_000, "1.5 MB": 1_500_000, "500GiB": 500 << 30, "2PiB": 2 << 50, "1KB": 1000} {
		if got, err := policy.ParseBytes(in); err != nil || got != want {
			t.Errorf("%s: got %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "GiB", "-1", "1 Gib", "1e3", "9999999999TB", "1..5MB"} {
		if got, err := policy.ParseBytes(in); err == nil {
			t.Errorf("%q: got %d, want an error", in, got)
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 812 << 10: "812 KiB", 1<<20 - 1: "1.0 MiB",
		1_300_000_000: "1.2 GiB", 412 << 30: "412 GiB", 5 << 50: "5.0 PiB",
	} {
		if got := policy.FormatBytes(n); got != want {
			t.Errorf("FormatBytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestParseRate(t *testing.T) {
	for in, want := range map[string]int64{"50MiB/s": 50 << 20, "1KiB/s": 1024, "1.5 MB/s": 1_500_000, "1GB /s": 1e9, "4096/s": 4096, "4096B/s": 4096} {
		if got, err := policy.ParseRate(in); err != nil || got != want {
			t.Errorf("%s: got %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "/s", "50MiB", "50MiB/m", "50MiB/s/s", "-1MB/s", "0B/s", "1023/s", "10Mbit/s", "1PB/S", "s", "9999999999TB/s"} {
		if got, err := policy.ParseRate(in); err == nil {
			t.Errorf("%q: got %d, want an error", in, got)
		}
	}
}

func FuzzRate(f *testing.F) {
	for _, s := range []string{"50MiB/s", "1.5 MB/s", "4096/s", "/s", "1e9B/s", "0.1/s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := policy.ParseRate(s)
		if err != nil {
			return
		}
		if again, err := policy.ParseRate(fmt.Sprintf("%d/s", n)); n < policy.MinRate || err != nil || again != n {
			t.Fatalf("%q is %d, read again %d, %v", s, n, again, err)
		}
	})
}

func TestSecretHidesItsValue(t *testing.T) {
	s := policy.NewSecret(`env("PW")`, func() (string, error) { return "hunter2", nil })
	src := policy.PostgresSource{Password: s}
	data, err := json.Marshal(src)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"password":{"sensitive":"env(\"PW\")"}}`, string(data)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "source", src)
	if all := fmt.Sprintf("%v %+v %#v %s %v", s, s, s, s, src) + log.String(); strings.Contains(all, "hunter2") {
		t.Errorf("shown: %s", all)
	}
	if got, err := s.Reveal(); got != "hunter2" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSecretWithoutValue(t *testing.T) {
	var none *policy.Secret
	if _, err := none.Reveal(); err == nil {
		t.Error("no secret was revealed without an error")
	}
	broken := errors.New("the vault is closed")
	if _, err := policy.NewSecret("x", func() (string, error) { return "", broken }).Reveal(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestFilesPath(t *testing.T) {
	for _, c := range []struct{ base, root, want string }{
		{"", "data", "data"}, {"", "/data", "/data"}, {"/etc/holdfast", "data", "/etc/holdfast/data"}, {"conf", "../data", "data"}, {"conf", "/data", "/data"},
	} {
		if got := (policy.FilesSource{Root: c.root, Base: c.base}).Path(); got != c.want {
			t.Errorf("%q under %q: got %q, want %q", c.root, c.base, got, c.want)
		}
		if got := (policy.TLSClient{Base: c.base}).Path(c.root); got != c.want {
			t.Errorf("%q under %q: got %q, want %q", c.root, c.base, got, c.want)
		}
	}
	if got := (policy.TLSClient{Base: "/etc/holdfast"}).Path(""); got != "" {
		t.Errorf("no file: got %q", got)
	}
}

func TestQdrantSource(t *testing.T) {
	for _, c := range []struct {
		globs []string
		name  string
		want  bool
	}{
		{nil, "docs", true},
		{[]string{"docs-*", "chat"}, "docs-a/b.c", true},
		{[]string{"docs-*", "chat"}, "chat", true},
		{[]string{"docs-*", "chat"}, "chats", false},
		{[]string{"doc?"}, "docs", true},
		{[]string{"[a-d]ocs"}, "docs", true},
		{[]string{"[docs"}, "docs", false},
	} {
		if got := (policy.QdrantSource{Collections: c.globs}).Covers(c.name); got != c.want {
			t.Errorf("%q of %q: got %t", c.name, c.globs, got)
		}
	}
	one, both, other := policy.QdrantSource{URLs: []string{"http://a"}}, policy.QdrantSource{URLs: []string{"http://b", "http://a"}}, policy.QdrantSource{URLs: []string{"http://c"}}
	if !one.SameServer(both) || !both.SameServer(one) || one.SameServer(other) || (policy.QdrantSource{}).SameServer(policy.QdrantSource{}) {
		t.Error("sources of one server, and of others")
	}
}

func TestMethodAndRank(t *testing.T) {
	for want, b := range map[string]policy.Backup{
		"files": {}, "logical": {Logical: &policy.Logical{}}, "physical": {Physical: &policy.Physical{}}, "snapshot": {Snapshot: &policy.Snapshot{}}, "export": {Export: &policy.Export{}},
	} {
		if got := b.Method(); got != want {
			t.Errorf("method: got %s, want %s", got, want)
		}
	}
	got := []int{policy.VerifyNone.Rank(), policy.VerifyAdded.Rank(), policy.VerifyStored.Rank(), policy.VerifyRead.Rank(), policy.VerifyRestore.Rank(), policy.VerifyLevel("x").Rank()}
	if diff := cmp.Diff([]int{0, 1, 2, 3, 4, -1}, got); diff != "" {
		t.Errorf("ranks (-want +got):\n%s", diff)
	}
}

// FuzzParseBytes: an amount that is accepted is not negative, and a whole number of bytes reads as itself.
func FuzzParseBytes(f *testing.F) {
	for _, text := range []string{"500GiB", "1.5 TB", "4096", "", ".", "9e9", "1..2", "99999999999PiB", "-1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := policy.ParseBytes(text)
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("%q is %d bytes", text, n)
		}
		if again, err := policy.ParseBytes(fmt.Sprint(n)); err != nil || n < 1<<53 && again != n {
			t.Errorf("%q is %d bytes, which reads as %d (%v)", text, n, again, err)
		}
	})
}
