package lang

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/holdfast-io/holdfast/internal/diag"
)

var update = flag.Bool("update", false, "rewrite golden files")

// settings are the options of a case, read from its "options.json".
type settings struct {
	Env     map[string]string
	Vars    map[string]string
	Files   map[string]string // for file(), by name relative to the policy
	Version string
	Static  bool
}

func (s settings) options() Options {
	return Options{
		Vars: s.Vars, Version: s.Version, Static: s.Static,
		Env: func(name string) (string, bool) { v, ok := s.Env[name]; return v, ok },
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := s.Files[filepath.ToSlash(name)]; ok {
				return []byte(text), nil
			}
			return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
		},
	}
}

// loadArchive loads the files of an archive as if they stood in one folder.
func loadArchive(t *testing.T, a *txtar.Archive) (*Result, diag.List) {
	t.Helper()
	var s settings
	var found sources
	for _, f := range a.Files {
		switch {
		case f.Name == "options.json":
			if err := json.Unmarshal(f.Data, &s); err != nil {
				t.Fatal(err)
			}
		case f.Name == "want":
		case strings.HasSuffix(f.Name, ".hfvars"):
			found.variables = append(found.variables, file{f.Name, f.Data})
		default:
			found.policies = append(found.policies, file{f.Name, f.Data})
		}
	}
	return load("", found, s.options())
}

// render writes diagnostics with everything they carry.
func render(list diag.List) string {
	var b strings.Builder
	for _, d := range list {
		fmt.Fprintf(&b, "%s[%s]: %s\n", d.Severity, d.Code, d.Summary)
		if d.Range != nil {
			fmt.Fprintf(&b, "  at %s:%d,%d-%d,%d", d.Range.Filename, d.Range.Start.Line, d.Range.Start.Column, d.Range.End.Line, d.Range.End.Column)
			if d.Address != "" {
				fmt.Fprintf(&b, " (%s)", d.Address)
			}
			b.WriteByte('\n')
		}
		if s := d.Snippet; s != nil {
			if s.Context != "" {
				fmt.Fprintf(&b, "  in %s\n", s.Context)
			}
			code := s.Code[:s.HighlightStart] + "«" + s.Code[s.HighlightStart:s.HighlightEnd] + "»" + s.Code[s.HighlightEnd:]
			for i, l := range strings.Split(code, "\n") {
				fmt.Fprintf(&b, "  %3d | %s\n", s.StartLine+i, l)
			}
			for _, v := range s.Values {
				fmt.Fprintf(&b, "        %s %s\n", v.Traversal, v.Statement)
			}
		}
		fmt.Fprintf(&b, "  %s\n\n", strings.ReplaceAll(d.Detail, "\n", "\n  "))
	}
	return b.String()
}

// Each archive in testdata/diagnostics is one configuration and, under "want", everything that is said of it.
func TestDiagnostics(t *testing.T) {
	names, err := filepath.Glob("testdata/diagnostics/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			a := txtar.Parse(src)
			_, list := loadArchive(t, a)
			got := render(list)
			if strings.Contains(got, "hunter2") || strings.Contains(got, "AGE-SECRET-KEY-1") {
				t.Errorf("a secret is shown:\n%s", got)
			}
			if *update {
				setWant(a, got)
				if err := os.WriteFile(name, txtar.Format(a), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want(a), got); diff != "" {
				t.Errorf("diagnostics (-want +got):\n%s", diff)
			}
		})
	}
}

func want(a *txtar.Archive) string {
	for _, f := range a.Files {
		if f.Name == "want" {
			return string(f.Data)
		}
	}
	return ""
}

func setWant(a *txtar.Archive, text string) {
	for i := range a.Files {
		if a.Files[i].Name == "want" {
			a.Files[i].Data = []byte(text)
			return
		}
	}
	a.Files = append(a.Files, txtar.File{Name: "want", Data: bytes.TrimLeft([]byte(text), "\n")})
}
