package cli

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/redact"
	"github.com/holdfast-io/holdfast/policy"
)

// TestRestoreRequest: what the command line says, as the executor of each kind is asked.
func TestRestoreRequest(t *testing.T) {
	type asked struct {
		Root, URL string
		Options   map[string]string
	}
	none := map[string]string{}
	for _, tc := range []struct {
		name string
		kind policy.SourceKind
		args string // separated by spaces; the first is the target
		key  string // QDRANT_API_KEY
		want asked
		err  string
	}{
		{name: "a folder", kind: policy.KindFiles, args: "/tmp/x", want: asked{Root: "/tmp/x", Options: none}},
		{name: "a folder by URL", kind: policy.KindFiles, args: "postgres://db/app", err: "is a folder, not a URL"},
		{name: "files with a flag of databases", kind: policy.KindFiles, args: "/tmp/x -globals", err: "-globals is for postgres restores"},
		{name: "files with a flag of collections", kind: policy.KindFiles, args: "/tmp/x -via=url", err: "-via is for qdrant restores"},
		{
			name: "a database", kind: policy.KindPostgres, args: "postgres://me:hunter2@db/app -globals -no-owner -jobs=4",
			want: asked{URL: "postgres://me:hunter2@db/app", Options: map[string]string{"globals": "true", "no_owner": "true", "jobs": "4"}},
		},
		{name: "flags that say what is usual", kind: policy.KindPostgres, args: "postgresql://db/app -globals=false -jobs=0 -via=auto", want: asked{URL: "postgresql://db/app", Options: none}},
		{name: "a database by name", kind: policy.KindPostgres, args: "app", err: "is a database URL"},
		{name: "databases with a flag of collections", kind: policy.KindPostgres, args: "postgres://db/app -aliases", err: "-aliases is for qdrant restores"},
		{
			name: "a collection by name", kind: policy.KindQdrant, args: `docs_restored -aliases -via=upload -serve=10.0.0.9:8099 -filter={"must":[]}`,
			want: asked{Root: "docs_restored", Options: map[string]string{"aliases": "true", "via": "upload", "serve": "10.0.0.9:8099", "filter": `{"must":[]}`}},
		},
		{name: "collections by pattern", kind: policy.KindQdrant, args: "restored-*", key: "unused", want: asked{Root: "restored-*", Options: none}},
		{name: "other servers", kind: policy.KindQdrant, args: "http://a:6333/,https://b", want: asked{URL: "http://a:6333,https://b", Options: none}},
		{
			name: "other servers and a name", kind: policy.KindQdrant, args: "http://a:6333,http://:hunter2@b:6333/old-*,x", key: "hunter/3,4",
			want: asked{Root: "old-*,x", URL: "http://:hunter%2F3%2C4@a:6333,http://:hunter2@b:6333", Options: none},
		},
		{name: "two names", kind: policy.KindQdrant, args: "http://a:6333/x,http://b:6333/y", err: "is a name"},
		{name: "a name of two words", kind: policy.KindQdrant, args: "http://a:6333/collections/x", err: "is a name"},
		{name: "a host alone", kind: policy.KindQdrant, args: "localhost:6333", err: "is a name"},
		{name: "another scheme", kind: policy.KindQdrant, args: "grpc://:hunter2@a:6334", err: "is a name"},
		{name: "a query", kind: policy.KindQdrant, args: "http://a:6333?x", err: "is a name"},
		{name: "no filter", kind: policy.KindQdrant, args: "x -filter=[]", err: "-filter takes"},
		{name: "an empty filter", kind: policy.KindQdrant, args: "x -filter={}", err: "-filter takes"},
		{name: "no address", kind: policy.KindQdrant, args: "x -serve=8099", err: "-serve takes"},
		{name: "collections with a flag of databases", kind: policy.KindQdrant, args: "x -jobs=2", err: "-jobs is for postgres restores"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFlags("restore")
			c := &restoring{only: new([]string), replace: new(bool), options: restoreOptions(f)}
			args := strings.Fields(tc.args)
			c.target = &args[0]
			if _, err := f.parse(args[1:]); err != nil {
				t.Fatal(err)
			}
			redactor := &redact.Redactor{}
			s := &session{app: &app{redactor: redactor}}
			s.Env = func(name string) (string, bool) { return tc.key, name == "QDRANT_API_KEY" && tc.key != "" }
			s.policy.Sources = map[string]policy.Source{"source.x": {Kind: tc.kind, Qdrant: &policy.QdrantSource{}}}
			req, err := s.restoreRequest("backup.x", "source.x", tc.kind, c)
			if err != nil || tc.err != "" {
				if err == nil || tc.err == "" || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "hunter") {
					t.Errorf("got %v, want %q", err, tc.err)
				}
				return
			}
			got := asked{Root: req.Target.Root, Options: req.Options}
			if req.Target.URL != nil {
				got.URL, _ = req.Target.URL.Reveal()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			if shown := redactor.String(got.URL); strings.Contains(shown, "hunter") {
				t.Errorf("a secret is shown: %s", shown)
			}
			if req.Source.Kind != tc.kind {
				t.Errorf("source: %+v", req.Source)
			}
		})
	}
	if kinds, targets := slices.Sorted(maps.Keys(executorMap())), slices.Sorted(maps.Keys(restoreTargets)); !slices.Equal(kinds, targets) {
		t.Errorf("restored are %v, read are %v", targets, kinds)
	}
}

// A restore point whose source is not declared any more goes only where a URL says.
func TestRestoreWithoutSource(t *testing.T) {
	c := &restoring{only: new([]string), replace: new(bool), target: new(string)}
	s := &session{app: &app{redactor: &redact.Redactor{}}}
	s.Env = func(string) (string, bool) { return "", false }
	*c.target = "docs"
	if _, err := s.restoreRequest("backup.x", "source.qdrant.gone", policy.KindQdrant, c); err == nil || !strings.Contains(err.Error(), "name the servers in -target") {
		t.Errorf("got %v", err)
	}
	*c.target = "http://a:6333/docs"
	if req, err := s.restoreRequest("backup.x", "source.qdrant.gone", policy.KindQdrant, c); err != nil || req.Target.Root != "docs" {
		t.Errorf("got %+v, %v", req, err)
	}
}
