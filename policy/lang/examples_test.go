package lang

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every example is valid without an environment, formatted, and declares what it says.
func TestExamples(t *testing.T) {
	want := map[string][]string{
		"json":         {`backup.folder["etc"]`, `backup.folder["www"]`},
		"minimal":      {"backup.config"},
		"multi-tenant": {`backup.database["acme"]`, `backup.database["globex"]`, `backup.uploads["acme"]`},
		"offsite":      {"backup.shop", "backup.uploads"},
		"pitr":         {"backup.app"},
		"postgres":     {"backup.app"},
		"qdrant":       {"backup.portable", "backup.snapshots"},
		"rag":          {"backup.app_dump", "backup.app_pitr", "backup.config", "backup.vectors"},
	}
	got := map[string][]string{}
	entries, err := os.ReadDir("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		dir := filepath.Join("../../examples", entry.Name())
		for _, static := range []bool{true, false} {
			res := mustLoad(t, dir, Options{Static: static, Version: "0.1.0-dev"})
			got[entry.Name()] = sortedKeys(res.Set.Backups)
			for _, c := range res.Set.Checks {
				if c.Status != "pass" {
					t.Errorf("%s: %+v", entry.Name(), c)
				}
			}
			for _, name := range res.Files {
				src, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if formatted, list := Format(src, name); len(list) > 0 || !bytes.Equal(src, formatted) {
					t.Errorf("%s is not formatted:\n%s", name, cmp.Diff(string(src), string(formatted)))
				}
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("backups of the examples (-want +got):\n%s", diff)
	}
}

// The examples in the reference are formatted, and each is understood but for the names it refers to.
func TestReferenceExamples(t *testing.T) {
	for _, b := range registry {
		if b.Example == "" {
			if !b.Unavailable {
				t.Errorf("%s has no example", headerWords(&b))
			}
			continue
		}
		src := []byte(b.Example + "\n")
		formatted, _ := Format(src, "example.hf.hcl")
		if diff := cmp.Diff(string(src), string(formatted)); diff != "" {
			t.Errorf("example of %s (-is +formatted):\n%s", headerWords(&b), diff)
		}
		_, list := load("", sources{policies: []file{{"example.hf.hcl", src}}}, settings{}.options())
		for _, d := range list {
			if d.Code != "unknown_reference" {
				t.Errorf("example of %s:\n%s", headerWords(&b), render(list))
			}
		}
	}
}
