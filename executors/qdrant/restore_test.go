package qdrant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

// request is a request to restore to the run's own source.
func (r *run) request(root string) executors.RestoreRequest {
	return executors.RestoreRequest{Source: r.src, Backup: r.backup, Target: executors.Target{Root: root}, Options: map[string]string{}, Log: r.log()}
}

// both asks Preview and Restore for the same, which must agree in what they refuse.
func (r *run) both(req executors.RestoreRequest, from executors.Supply) (executors.Preview, executors.Result, error) {
	r.t.Helper()
	pre, perr := r.x.Preview(r.t.Context(), req, from)
	res, err := r.x.Restore(r.t.Context(), req, from)
	if perr != nil && (err == nil || errors.Is(perr, executors.ErrTargetExists) != errors.Is(err, executors.ErrTargetExists)) {
		r.t.Errorf("preview says %v, restore %v", perr, err)
	}
	return pre, res, err
}

// imagesOf are the images of all collections with a prefix.
func imagesOf(t testing.TB, s *qdranttest.Server, prefix string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range collectionsAt(t, s, prefix) {
		out[name] = s.Image(t, name)
	}
	return out
}

func TestRestoreNames(t *testing.T) {
	s := qdranttest.Shared(t)
	p := s.Name(t, "names")
	one, two, other := p+"one", p+"two", p+"other"
	s.Fill(t, one, nil, 30, 4)
	s.Fill(t, two, nil, 40, 8)
	r := newRun(t, sourceOf(s, one, two), snapshots(policy.SnapshotAuto))
	from := r.make("p1")
	s.Fill(t, other, nil, 5, 2)
	addAliases(t, s, other, p+"alias")
	for _, c := range []struct {
		name    string
		root    string
		only    []string
		replace bool
		creates []string // beside what there is
		exists  bool
		err     string
	}{
		{"all by a pattern", "*_new", nil, false, []string{one + "_new", two + "_new"}, false, ""},
		{"one by a pattern", "copy_*", []string{one}, false, nil, false, ""}, // created beyond the prefix: looked at below
		{"one by name", p + "single", []string{one}, false, []string{p + "single"}, false, ""},
		{"globs", "*-g", []string{p + "t*", p + "tw?"}, false, []string{two + "-g"}, false, ""},
		{"replace where nothing is", p + "single", []string{two}, true, []string{p + "single"}, false, ""},
		{"the same names", "", nil, false, nil, true, "the target already exists: collection \"" + one + "\"; restore under another name (-target=NAME), or replace it with -replace"},
		{"one of two is there", "*", []string{two}, false, nil, true, two},
		{"another one is there", other, []string{one}, false, nil, true, other},
		{"two to one name", p + "both", nil, false, nil, false, `more than one collection would be restored as "` + p + `both": put a * into the target's name`},
		{"an alias", p + "alias", []string{one}, false, nil, false, `is an alias of the collection "` + other + `": restoring to it would write into that`},
		{"an alias, replaced", p + "alias", []string{one}, true, nil, false, `is an alias of the collection "` + other + `"`},
		{"unknown", "*_new", []string{p + "three"}, false, nil, false, `the restore point holds no collection "` + p + `three"; it holds ` + one + ", " + two},
		{"one unknown", "*_new", []string{one, "x*"}, false, nil, false, `holds no collection "x*"`},
		{"not a glob", "*_new", []string{"[z-a]"}, false, nil, false, "[z-a]"},
		{"a slash", "a/b", []string{one}, false, nil, false, `"a/b" cannot be the name of a restored collection`},
		{"a colon", "a:b", []string{one}, false, nil, false, "cannot be the name"},
		{"NUL", "a\x00b", []string{one}, false, nil, false, "cannot be the name"},
		{"a dot", ".", []string{one}, false, nil, false, "cannot be the name"},
		{"two dots", "..", []string{one}, false, nil, false, "cannot be the name"},
		{"too long", strings.Repeat("x", 256), []string{one}, false, nil, false, "cannot be the name"},
		{"too long by the pattern", "*" + strings.Repeat("x", 250), []string{one}, false, nil, false, "cannot be the name"},
		{"a scratch name", "hf_drill_x", []string{one}, false, nil, false, "begin names of holdfast's own"},
		{"a stage's name", "hf_restore_*", nil, false, nil, false, "begin names of holdfast's own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &run{t: t, x: quick(), src: r.src, backup: r.backup}
			before := imagesOf(t, s, p)
			t.Cleanup(func() {
				for _, name := range append(collectionsAt(t, s, p), "copy_"+one) {
					if before[name] == "" {
						_, _, _ = s.Try("DELETE", path("collections", name), nil)
					}
				}
			})
			req := r.request(c.root)
			req.Only, req.Replace = c.only, c.replace
			pre, res, err := r.both(req, from)
			switch {
			case c.err == "" && err != nil:
				t.Fatal(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Fatalf("got %v, want %q", err, c.err)
			case errors.Is(err, executors.ErrTargetExists) != c.exists:
				t.Errorf("%v: wraps ErrTargetExists: %t, want %t", err, !c.exists, c.exists)
			}
			after := imagesOf(t, s, p)
			var made []string
			for name := range after {
				if before[name] == "" {
					made = append(made, name)
				}
			}
			slices.Sort(made)
			if d := cmp.Diff(c.creates, made); d != "" {
				t.Errorf("collections made (-want +got):\n%s", d)
			}
			for name, image := range before {
				if after[name] != image {
					t.Errorf("%s was changed", name)
				}
			}
			if c.err != "" {
				return
			}
			if len(pre.Replaces) > 0 || pre.Items != res.Items || pre.Bytes != res.Bytes || pre.Bytes == 0 {
				t.Errorf("preview %+v, result %+v", pre, res)
			}
			for _, name := range pre.Creates {
				source := one
				if strings.HasPrefix(name, two) || slices.Contains(c.only, two) {
					source = two
				}
				wantSame(t, s, source, name)
			}
		})
	}
	noLeftovers(t, s)
}

// Servers that a test is repeated on: a single one, and a cluster.
var places = map[string]func(testing.TB) *qdranttest.Server{"single": qdranttest.Shared, "cluster": qdranttest.Cluster}

// reborn makes a collection anew, as different as it can be.
func reborn(t testing.TB, s *qdranttest.Server, name string) {
	t.Helper()
	s.Do(t, "DELETE", path("collections", name), nil)
	s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 24, "distance": "Euclid"}, "shard_number": 2, "metadata": map[string]any{"born": "again"}}, 45, 0)
	addIndex(t, s, name, "number", "integer")
	addIndex(t, s, name, "flag", "bool")
}

// tempDir makes the folder for temporary files one of the test's own, and demands that nothing is left in it.
func tempDir(t *testing.T) {
	t.Helper()
	qdranttest.Shared(t) // it has a folder for temporary files that outlives this test
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Cleanup(func() {
		left, err := os.ReadDir(tmp)
		if err != nil {
			t.Error(err)
		}
		for _, e := range left {
			t.Errorf("%s is left in the folder for temporary files", e.Name())
		}
	})
}

func TestReplace(t *testing.T) {
	for _, place := range sortedKeys(places) {
		for _, method := range methodNames {
			t.Run(place+" "+method, func(t *testing.T) {
				tempDir(t)
				s := places[place](t)
				name := s.Name(t, "replace")
				s.Fill(t, name, rich(), 150, 0)
				addIndex(t, s, name, "city", map[string]any{"type": "keyword", "is_tenant": true})
				addAliases(t, s, name, name+"-current")
				before := s.Image(t, name)
				r := newRun(t, sourceOf(s, name), methods[method])
				from := r.make("p1")

				reborn(t, s, name)
				addAliases(t, s, name, name+"-current", name+"-later")
				req := r.request("")
				req.Replace = true
				pre, res, err := r.both(req, from)
				if err != nil || missing(res) != "" {
					t.Fatalf("restore: %v %s", err, missing(res))
				}
				if d := cmp.Diff([]any{[]string{name}, 0, res.Items, res.Bytes}, []any{pre.Replaces, len(pre.Creates), pre.Items, pre.Bytes}); d != "" {
					t.Errorf("preview (-want +got):\n%s", d)
				}
				if d := cmp.Diff(before, s.Image(t, name)); d != "" {
					t.Errorf("the replaced collection (-want +got):\n%.3000s", d)
				}
				if d := cmp.Diff([]string{name + "-current -> " + name, name + "-later -> " + name}, aliasesAt(t, s, name)); d != "" {
					t.Errorf("aliases (-want +got):\n%s", d)
				}
				if got := doubtful(res); got != "" {
					t.Errorf("problems: %s", got)
				}
				noLeftovers(t, s, name)
			})
		}
	}
}

// breaking is a supply that breaks in the middle of the n-th archive (or part) that is read of it, counted from 1.
type breaking struct {
	executors.Supply
	at    int
	how   func() error // what reading answers then
	reads int
}

func (b *breaking) Read(ctx context.Context, want func(executors.Entry) bool, each func(executors.Entry, io.Reader) error) error {
	return b.Supply.Read(ctx, want, func(e executors.Entry, r io.Reader) error {
		if isDocument(e.Path) {
			return each(e, r)
		}
		if b.reads++; b.reads != b.at {
			return each(e, r)
		}
		half := io.LimitReader(r, e.Size/2)
		return each(e, io.MultiReader(half, readerFunc(func([]byte) (int, error) { return 0, b.how() })))
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

var errStoreBroke = errors.New("the store broke off")

// Whatever goes wrong, and whenever: what was there before is there afterwards.
func TestFailureLeavesTheOld(t *testing.T) {
	for _, place := range sortedKeys(places) {
		for _, method := range methodNames {
			t.Run(place+" "+method, func(t *testing.T) {
				tempDir(t)
				s := places[place](t)
				p := s.Name(t, "broken")
				a, b := p+"a", p+"b"
				for _, name := range []string{a, b} {
					s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 16, "distance": "Cosine"}, "shard_number": 2}, 200, 0)
					addAliases(t, s, name, name+"-alias")
				}
				r := newRun(t, sourceOf(s, a, b), methods[method])
				from := r.make("p1")
				restored := s.Image(t, a)
				for _, name := range []string{a, b} {
					reborn(t, s, name)
					addAliases(t, s, name, name+"-alias", name+"-more")
				}
				before, aliases := imagesOf(t, s, p), aliasesAt(t, s, p)

				each := pick(method, "export", 1, 2) // archives of a collection
				for _, c := range []struct {
					name    string
					at      int
					cancel  bool
					aInPlce bool
				}{
					{"while the first is staged", 1, false, false},
					{"while the second is staged", each + 1, false, false},
					{"while the first takes its place", 2*each + 1, false, false},
					{"cancelled while staged", 2 * each, true, false},
					{"cancelled while the first takes its place", 3 * each, true, false},
					{"while the second takes its place", 3*each + 1, false, true}, // the last: it changes the first
				} {
					ctx, cancel := context.WithCancel(t.Context())
					want := errStoreBroke
					broken := &breaking{Supply: from, at: c.at, how: func() error { return errStoreBroke }}
					if c.cancel {
						want = context.Canceled
						broken.how = func() error {
							cancel()
							<-ctx.Done()
							return ctx.Err()
						}
					}
					req := r.request("")
					req.Replace = true
					_, err := r.x.Restore(ctx, req, broken)
					cancel()
					if !errors.Is(err, want) || broken.reads < c.at {
						t.Fatalf("%s: got %v after %d reads, want %v", c.name, err, broken.reads, want)
					}
					if c.aInPlce {
						if !strings.Contains(err.Error(), "already in place: "+a) {
							t.Errorf("%s: the error does not tell what is in place: %v", c.name, err)
						}
						before[a] = restored
					}
					after := imagesOf(t, s, p)
					for name := range after {
						if before[name] == "" {
							t.Errorf("%s: %s is left", c.name, name)
						}
					}
					for name, image := range before {
						if d := cmp.Diff(image, after[name]); d != "" {
							t.Errorf("%s: %s (-before +after):\n%.2000s", c.name, name, d)
						}
					}
					if d := cmp.Diff(aliases, aliasesAt(t, s, p)); d != "" {
						t.Errorf("%s: aliases (-before +after):\n%s", c.name, d)
					}
					noLeftovers(t, s, a, b)
				}
			})
		}
	}
}

func urlOf(s *qdranttest.Server, key string) *policy.Secret {
	var urls []string
	for _, u := range s.URLs {
		if key != "" {
			u = strings.Replace(u, "://", "://:"+key+"@", 1)
		}
		urls = append(urls, u)
	}
	return secret(strings.Join(urls, ","))
}

func TestRestoreElsewhere(t *testing.T) {
	const key = "a-key-that-nobody-guesses"
	source := qdranttest.Start(t, qdrantserver.Options{}) // of the same kind as the other one: archives are the server's own
	name := source.Name(t, "elsewhere")
	source.Fill(t, name, rich(), 90, 0)
	r := newRun(t, sourceOf(source, name), snapshots(policy.SnapshotAuto))
	from := r.make("p1")
	there := qdranttest.Start(t, qdrantserver.Options{APIKey: key, ReadOnlyKey: "only-to-read-with-it"})
	for _, c := range []struct {
		name string
		url  *policy.Secret
		src  policy.Source
		at   *qdranttest.Server
		root string
		err  string
	}{
		{"by URL with a key", urlOf(there, key), r.src, there, "*", ""},
		{"by URL, the source not declared any more", urlOf(there, key), policy.Source{}, there, "again", ""},
		{"the same server by URL", urlOf(source, ""), r.src, source, "*-by-url", ""},
		{"another source", nil, sourceOf(there), there, "third", ""},
		{"no place at all", nil, policy.Source{}, there, "*", "name the server in the target"},
		{"no key", urlOf(there, ""), r.src, there, "fourth", "401"},
		{"the wrong key", urlOf(there, key+"x"), r.src, there, "fourth", "is not the server's"},
		{"a key to read with", urlOf(there, "only-to-read-with-it"), r.src, there, "fourth", "may not do this"},
		{"not a URL", secret("localhost:6333"), r.src, there, "fourth", "http://host:6333"},
		{"nobody there", secret("http://:" + key + "@127.0.0.1:1"), r.src, there, "fourth", "does not answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &run{t: t, x: quick(), src: c.src, backup: r.backup}
			req := r.request(c.root)
			req.Target.URL = c.url
			pre, _, err := r.both(req, from)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), key) {
					t.Errorf("got %v, want %q and no key", err, c.err)
				}
				if got := there.Image(t, "fourth"); got != "" {
					t.Errorf("it was written all the same")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(source.Image(t, name), c.at.Image(t, strings.ReplaceAll(c.root, "*", name))); d != "" {
				t.Errorf("restored collection (-want +got):\n%.3000s", d)
			}
			if strings.Contains(pre.Target, key) {
				t.Errorf("the preview tells the key: %s", pre.Target)
			}
		})
	}
	// A node that the policy knows has its gRPC where the policy says, also when a URL names it.
	points := newRun(t, r.src, exports())
	req := points.request("*-points")
	req.Target.URL = urlOf(source, "")
	if _, err := r.x.Restore(t.Context(), req, points.make("p2")); err != nil {
		t.Fatal(err)
	}
	wantSame(t, source, name, name+"-points")
	noLeftovers(t, source, name)
}

// Servers of our own, since the version is what matters.
func TestVersionGate(t *testing.T) {
	source := qdranttest.Start(t, qdrantserver.Options{Version: "1.18.3"})
	source.Fill(t, "docs", nil, 30, 4)
	for _, c := range []struct {
		version string
		export  bool
		any     bool
		note    string
		err     string
	}{
		{"1.18.3", false, false, "", ""},
		{"1.18.7", false, false, "", ""},
		{"1.18.0", false, false, "an older patch of the same version", ""},
		{"1.19.2", false, false, "", ""},
		{"1.19.0-dev", false, false, "", ""},
		{"1.20.0", false, false, "", "snapshots go one minor version up at most. Restore to a server of version 1.18 or 1.19"},
		{"1.20.0", false, true, "which is not said to work", ""},
		{"2.0.0", false, false, "", "one minor version up at most"},
		{"1.17.9", false, false, "", "an older server must not load them. Upgrade it to 1.18 first, or restore from a backup made by export"},
		{"1.17.9", false, true, "", "an older server must not load them"},
		{"1.17.9", true, false, "", ""},
		{"1.20.0", true, false, "", ""},
		{"2.1.0", true, false, "", ""},
	} {
		t.Run(fmt.Sprintf("%s export=%t any=%t", c.version, c.export, c.any), func(t *testing.T) {
			r := newRun(t, sourceOf(source, "docs"), snapshots(policy.SnapshotAuto))
			if c.export {
				r.backup = exports()
			}
			from := r.make("p1")
			there := qdranttest.Start(t, qdrantserver.Options{Version: c.version})
			r.src = sourceOf(there)
			req := r.request("")
			if c.any {
				req.Options["any_version"] = "true"
			}
			pre, res, err := r.both(req, from)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				if got := collectionsAt(t, there, ""); len(got) > 0 {
					t.Errorf("made all the same: %v", got)
				}
				return
			}
			if err != nil || res.Version != c.version {
				t.Fatalf("restore to %s: %v", res.Version, err)
			}
			if got := strings.Join(pre.Notes, "\n"); !strings.Contains(got, c.note) || c.note == "" && strings.Contains(got, "version") {
				t.Errorf("notes %q, want %q", got, c.note)
			}
			if d := cmp.Diff(source.Image(t, "docs"), there.Image(t, "docs")); d != "" {
				t.Errorf("restored (-want +got):\n%.2000s", d)
			}
		})
	}
}

// What a server of another version does not keep of a configuration is told and no reason to leave the data away; from one of
// the same version it is a difference.
func TestConfigurationsOfOtherVersions(t *testing.T) {
	for _, c := range []struct {
		made, server string
		export       bool
		err          string
	}{
		{"1.18.3", "1.18.3", false, "its configuration differs: future.x is null, recorded is 1"},
		{"1.18.3", "1.18.4", true, "its configuration differs: future.x is null, recorded is 1"},
		{"1.18.3", "1.19.0", false, ""},
		{"1.18.3", "1.17.0", true, ""},
		{"1.18.3", "2.0.0", true, ""},
	} {
		s := qdranttest.Start(t, qdrantserver.Options{Version: c.made})
		s.Fill(t, "docs", nil, 20, 4)
		addIndex(t, s, "docs", "number", "integer")
		r := newRun(t, sourceOf(s, "docs"), snapshots(policy.SnapshotAuto))
		if c.export {
			r.backup = exports()
		}
		sink, _, err := r.try("p1")
		if err != nil {
			t.Fatal(err)
		}
		from := altered(sink, edit(func(rec *collectionRecord) {
			rec.Config = json.RawMessage(strings.Replace(string(rec.Config), "{", `{"future":{"x":1},`, 1))
			rec.PayloadSchema["number"] = json.RawMessage(strings.Replace(string(rec.PayloadSchema["number"]), "{", `{"later":{"x":1},`, 1))
		}))
		there := qdranttest.Start(t, qdrantserver.Options{Version: c.server})
		r.src = sourceOf(there)
		_, err = r.back(from, "", false)
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) || c.err == "" && err != nil {
			t.Errorf("%s to %s: got %v, want %q", c.made, c.server, err, c.err)
		}
		want := pointsIn(s.Image(t, "docs"))
		if c.err != "" {
			want = map[string]string{}
		}
		if d := cmp.Diff(want, pointsIn(there.Image(t, "docs"))); d != "" {
			t.Errorf("%s to %s: points (-want +got):\n%.1000s", c.made, c.server, d)
		}
	}
}

// Uploads and URLs work with every server; what each of them asks for shows on one of our own.
func TestVia(t *testing.T) {
	for _, c := range []struct {
		name   string
		via    string
		serve  string
		server qdrantserver.Options
		path   string // snapshots_path: own, or as written
		want   string // requests that hand the archives over
		err    string
	}{
		{"auto", "", "", qdrantserver.Options{}, "", "recover recover", ""},
		{"auto, said", "auto", "", qdrantserver.Options{}, "", "recover recover", ""},
		{"upload", "upload", "", qdrantserver.Options{}, "", "upload upload", ""},
		{"url", "url", "", qdrantserver.Options{}, "", "recover recover", ""},
		{"url at an address", "url", "127.0.0.1:0", qdrantserver.Options{}, "", "recover recover", ""},
		{"file", "file", "", qdrantserver.Options{}, "own", "recover recover", ""},
		{"file when at hand", "auto", "", qdrantserver.Options{}, "own", "recover recover", ""},
		{"auto, the folder is not there", "auto", "", qdrantserver.Options{NoURLRecovery: true}, "/nowhere/at/all", "recover upload upload", ""},
		{"auto, the folder is another's", "auto", "", qdrantserver.Options{NoURLRecovery: true}, "foreign", "recover recover upload upload", ""},
		{"file, another's folder", "file", "", qdrantserver.Options{}, "foreign", "", "which snapshots_path says is its storage.snapshots_path"},
		{"auto, URLs are switched off", "auto", "", qdrantserver.Options{NoURLRecovery: true}, "", "recover upload upload", ""},
		{"auto, an old server", "auto", "", qdrantserver.Options{Version: "1.16.3"}, "", "upload upload", ""},
		{"auto over TLS", "auto", "", qdrantserver.Options{TLS: true}, "", "upload upload", ""},
		{"url, switched off", "url", "", qdrantserver.Options{NoURLRecovery: true}, "", "", "disabled"},
		{"url, an old server", "url", "", qdrantserver.Options{Version: "1.16.3"}, "", "", "via=url needs Qdrant 1.17"},
		{"file, no folder", "file", "", qdrantserver.Options{}, "", "", "via=file needs snapshots_path"},
		{"file, not there", "file", "", qdrantserver.Options{}, "/nowhere/at/all", "", "no such file"},
		{"unknown", "pigeon", "", qdrantserver.Options{}, "", "", "via=pigeon is not known: auto, upload, url or file"},
		{"a bad address", "url", "here", qdrantserver.Options{}, "", "", "serve=here is not HOST:PORT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := qdranttest.Start(t, c.server)
			s.Fill(t, "docs", map[string]any{"vectors": map[string]any{"size": 4, "distance": "Dot"}, "shard_number": 2}, 50, 0)
			src, foreign := sourceOf(s, "docs"), t.TempDir()
			switch c.path {
			case "own":
				src.Qdrant.SnapshotsPath = s.Own.SnapshotsPath(0)
			case "foreign":
				src.Qdrant.SnapshotsPath = foreign
			default:
				src.Qdrant.SnapshotsPath = c.path
			}
			r := newRun(t, src, snapshots(policy.SnapshotAuto))
			from := r.make("p1")
			begun := len(s.Own.Requests())
			_, err := r.back(from, "copy", false, "via", c.via, "serve", c.serve)
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) || c.err == "" && err != nil {
				t.Errorf("got %v, want %q", err, c.err)
			}
			var got []string
			for _, line := range s.Own.Requests()[begun:] {
				for _, kind := range []string{"recover", "upload"} {
					if strings.Contains(line, "/snapshots/"+kind) {
						got = append(got, kind)
					}
				}
			}
			if c.err == "" {
				wantSame(t, s, "docs", "copy")
				if d := cmp.Diff(c.want, strings.Join(got, " ")); d != "" {
					t.Errorf("handed over (-want +got):\n%s", d)
				}
			}
			noLeftovers(t, s, collectionsAt(t, s, "")...)
			if d := cmp.Diff(pick(c.err, "", []string{"copy", "docs"}, []string{"docs"}), collectionsAt(t, s, "")); d != "" {
				t.Errorf("collections (-want +got):\n%s", d)
			}
			if left, err := os.ReadDir(foreign); err != nil || len(left) > 0 {
				t.Errorf("%v is left in another's folder (%v)", left, err)
			}
		})
	}
	for _, via := range []string{"upload", "url"} {
		t.Run("every server "+via, func(t *testing.T) {
			s := qdranttest.Shared(t)
			name := s.Name(t, "via")
			s.Fill(t, name, nil, 100, 8)
			r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotAuto))
			if _, err := r.back(r.make("p1"), name+"-copy", false, "via", via); err != nil {
				t.Fatal(err)
			}
			wantSame(t, s, name, name+"-copy")
			noLeftovers(t, s, name, name+"-copy")
		})
	}
}

// What is not whole in a restore point is not restored, nor is anything else of the same request.
func TestRestoreRefusesWhatIsNotWhole(t *testing.T) {
	s := qdranttest.Shared(t)
	p := s.Name(t, "notwhole")
	for _, name := range []string{p + "a", p + "b"} {
		s.Fill(t, name, nil, 20, 4)
	}
	r := newRun(t, sourceOf(s, p+"a", p+"b"), snapshots(policy.SnapshotAuto))
	sink, _, err := r.try("p1")
	if err != nil {
		t.Fatal(err)
	}
	items := slices.DeleteFunc(slices.Clone(sink.Items()), func(it *executortest.Item) bool { return strings.HasPrefix(it.Entry.Path, dirOf(p+"b")+"/shards/") })
	_, err = r.back(executortest.NewSupply(items...), "*-new", false)
	if err == nil || !strings.Contains(err.Error(), `collection "`+p+`b" is not whole in the restore point: `+dirOf(p+"b")+"/shards/0.snapshot is missing") {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff([]string{p + "a", p + "b"}, collectionsAt(t, s, p)); d != "" {
		t.Errorf("collections (-want +got):\n%s", d)
	}
	req := r.request("*-new")
	req.Only = []string{p + "a"}
	if _, err := r.x.Restore(t.Context(), req, executortest.NewSupply(items...)); err != nil {
		t.Errorf("the collection that is whole: %v", err)
	}
	wantSame(t, s, p+"a", p+"a-new")
}
