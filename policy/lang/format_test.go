package lang

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
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
			}
		}
	})
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
