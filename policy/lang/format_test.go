package lang

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/holdfast-io/holdfast/policy"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"blank", "\n\n", ""},
		{"no newline at the end", `a {}`, "a {}\n"},
		{"newlines at the end", "a {}\n\n\n", "a {}\n"},
		{"blank lines at the beginning", "\n\n a {}\n", "a {}\n"},
		{"aligned", "a {\n x=1\n  long =  2 # two\n}\n", "a {\n  x    = 1\n  long = 2 # two\n}\n"},
		{"blank lines between", "a {}\n\n\n\nb {}\n", "a {}\n\nb {}\n"},
		{"windows", "a {\r\n  x = 1\r\n}\r\n", "a {\n  x = 1\n}\n"},
		{"byte order mark", "\xef\xbb\xbfa {}\n", "a {}\n"},
		{"comments", "# one  \n\n\n// two\n/* three\n\n\n */\na {}\n", "# one\n\n// two\n/* three\n\n\n */\na {}\n"},
		{"comment at the end", "a {} # x", "a {} # x\n"},
		{"heredoc", "a {\n  x = <<EOT\none\n\n\n\ntwo  \nEOT\n\n\n  y = 1\n}\n", "a {\n  x = <<EOT\none\n\n\n\ntwo  \nEOT\n\n  y = 1\n}\n"},
		{"template", "a {\n  x = \"a${ var.b }c\"\n}\n", "a {\n  x = \"a${var.b}c\"\n}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, list := Format([]byte(c.in), "x.hf.hcl")
			if len(list) > 0 {
				t.Fatal(render(list))
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			again, _ := Format(got, "x.hf.hcl")
			if diff := cmp.Diff(string(got), string(again)); diff != "" {
				t.Errorf("second pass (-first +second):\n%s", diff)
			}
		})
	}
}

func TestFormatLeavesWhatItCannotRead(t *testing.T) {
	src := []byte("a {\n\n\n")
	if got, list := Format(src, "x.hf.hcl"); !bytes.Equal(got, src) || !list.HasErrors() || list[0].Snippet == nil {
		t.Errorf("got %q, %+v", got, list)
	}
	src = []byte("{ \"a\" :1}")
	if got, list := Format(src, "x.hf.json"); !bytes.Equal(got, src) || len(list) > 0 {
		t.Errorf("got %q, %+v", got, list)
	}
}

// meaning is what must not change: every token that is neither white space nor a comment.
func meaning(src []byte) []string {
	tokens, _ := hclsyntax.LexConfig(bytes.TrimPrefix(src, []byte("\xef\xbb\xbf")), "", hcl.InitialPos)
	var out []string
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenNewline, hclsyntax.TokenComment, hclsyntax.TokenEOF:
		default:
			out = append(out, string(t.Bytes))
		}
	}
	return out
}

func FuzzFormat(f *testing.F) {
	seedPolicies(f, func(src []byte) { f.Add(src) })
	f.Fuzz(func(t *testing.T, src []byte) {
		once, list := Format(src, "x.hf.hcl")
		if list.HasErrors() {
			return
		}
		if diff := cmp.Diff(meaning(src), meaning(once)); diff != "" {
			t.Fatalf("formatting changed the meaning of %q (-before +after):\n%s", src, diff)
		}
		twice, list := Format(once, "x.hf.hcl")
		if len(list) > 0 || !bytes.Equal(once, twice) {
			t.Fatalf("formatting %q twice: %q, then %q, %s", src, once, twice, render(list))
		}
	})
}

func FuzzLoad(f *testing.F) {
	seedPolicies(f, func(src []byte) { f.Add(src, false); f.Add(src, true) })
	f.Add([]byte(`{"store": {"a": [{"url": "${1}"}, null]}, "locals": null}`), true)
	f.Fuzz(func(t *testing.T, src []byte, json bool) {
		name := "x.hf.hcl"
		if json {
			name = "x.hf.json"
		}
		for _, static := range []bool{false, true} {
			s := settings{Static: static, Env: map[string]string{"PW": "hunter2"}, Version: "1.0.0"}
			res, list := load("", sources{policies: []file{{name, src}}}, s.options())
			for _, d := range list {
				if bytes.Contains([]byte(d.Detail), []byte("panic in function")) {
					t.Fatalf("%q: %s", src, d.Detail)
				}
				if sn := d.Snippet; sn != nil && (sn.HighlightStart < 0 || sn.HighlightStart > sn.HighlightEnd || sn.HighlightEnd > len(sn.Code)) {
					t.Fatalf("%q: highlight outside of the snippet: %+v", src, sn)
				}
			}
			if list.HasErrors() {
				continue
			}
			for a, b := range res.Set.Backups {
				if res.Set.Sources[b.Source].Address == "" && !static || b.Address != a {
					t.Fatalf("%q: %s refers to nothing: %+v", src, a, b)
				}
				askAnything(b)
			}
			for _, why := range promises(res.Set, !bytes.Contains(src, []byte("nonsensitive"))) {
				t.Fatalf("%q: %s", src, why)
			}
		}
	})
}

// askAnything computes every expectation of a backup for odd answers; an error is fine, a panic is not.
func askAnything(b policy.Backup) {
	if b.Verify.Restore == nil {
		return
	}
	for _, c := range b.Verify.Restore.Checks {
		for _, v := range []any{nil, "", "x", int64(-1), 1e300, math.NaN(), math.Inf(1), true, struct{}{}} {
			_, _ = c.Expect.Holds(map[string]any{"value": v, "rows": v, "count": v, "bytes": v})
		}
	}
}

// promises tells what does not hold of a configuration without errors.
func promises(set policy.Set, secretive bool) (broken []string) {
	declared := func(a string) bool {
		_, store := set.Stores[a]
		_, source := set.Sources[a]
		_, retention := set.Retentions[a]
		_, backup := set.Backups[a]
		return store || source || retention || backup
	}
	gone := map[string]bool{}
	for _, m := range set.Moved {
		if declared(m.From) || !declared(m.To) || gone[m.From] {
			broken = append(broken, fmt.Sprintf("moved from %s to %s", m.From, m.To))
		}
		gone[m.From] = true
	}
	for _, r := range set.Removed {
		if declared(r.From) || gone[r.From] {
			broken = append(broken, "removed "+r.From)
		}
		gone[r.From] = true
	}
	for _, c := range set.Checks {
		known := slices.Contains([]string{"pass", "fail", "error"}, c.Status) && slices.Contains([]string{"error", "warning"}, c.Severity)
		if !known || (c.Status == "pass") != (c.Message == "") || secretive && strings.Contains(c.Message, "hunter2") {
			broken = append(broken, fmt.Sprintf("check %+v", c))
		}
	}
	for a, s := range set.Stores {
		if s.Capacity < 0 || s.MaxRate < 0 || s.MaxRate > 0 && s.MaxRate < policy.MinRate || s.PruneGrace > 0 && s.Grace() < time.Hour {
			broken = append(broken, fmt.Sprintf("%s: %+v", a, s))
		}
	}
	return broken
}

// seedPolicies hands out every policy of the tests and examples.
func seedPolicies(f *testing.F, add func([]byte)) {
	f.Helper()
	add([]byte(everything))
	add([]byte(secretPolicy))
	for _, pattern := range []string{"testdata/diagnostics/*.txtar", "../../examples/*/*.hf.hcl", "../../examples/*/*.hf.json"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, n := range names {
			src, err := os.ReadFile(n)
			if err != nil {
				f.Fatal(err)
			}
			add(src)
		}
	}
}
