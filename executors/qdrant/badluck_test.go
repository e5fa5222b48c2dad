package qdrant

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

// small starts a server with one collection.
func small(t *testing.T, o qdrantserver.Options) (s *qdranttest.Server, name string) {
	t.Helper()
	s = qdranttest.Start(t, o)
	name = s.Name(t, "docs")
	s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 32, "distance": "Cosine"}, "replication_factor": max(o.Nodes-1, 1)}, 300, 0)
	return s, name
}

// The paths of requests that faults are about.
const (
	atCreate   = `/shards/\d+/snapshots$`
	atDownload = `/shards/\d+/snapshots/[^/]+$`
	atStream   = `/shards/\d+/snapshot$`
	atUpload   = `/shards/\d+/snapshots/upload$`
)

// TestBadLuckWhileReading: what goes wrong while a backup reads, and what it comes to. Whatever it is, nothing of ours stays on
// the server, and what is missing is no success.
func TestBadLuckWhileReading(t *testing.T) {
	for _, c := range []struct {
		name    string
		backup  policy.Backup
		options qdrantserver.Options
		faults  []qdrantserver.Fault
		missing string // empty: the point is whole and comes back
		told    string // a note
	}{
		{"download cut with status 200", snapshots(policy.SnapshotFile), qdrantserver.Options{}, []qdrantserver.Fault{{Method: "GET", Path: atDownload, Times: 2, CutAfter: 50_000, Clean: true}}, "", ""},
		{"download breaks", snapshots(policy.SnapshotFile), qdrantserver.Options{}, []qdrantserver.Fault{{Method: "GET", Path: atDownload, Times: 3, CutAfter: 40_000}}, "", ""},
		{"download breaks where no ranges are given", snapshots(policy.SnapshotFile), qdrantserver.Options{S3Snapshots: true}, []qdrantserver.Fault{{Method: "GET", Path: atDownload, Times: 2, CutAfter: 40_000}}, "", "gives no checksum"},
		{"a changed byte", snapshots(policy.SnapshotFile), qdrantserver.Options{}, []qdrantserver.Fault{{Method: "GET", Path: atDownload, Times: 1, Corrupt: 70_000}}, "", ""},
		{"always a changed byte", snapshots(policy.SnapshotFile), qdrantserver.Options{}, []qdrantserver.Fault{{Method: "GET", Path: atDownload, Corrupt: 70_000}}, "checksum is", ""},
		{"stream ends early as if it were whole", snapshots(policy.SnapshotStream), qdrantserver.Options{}, []qdrantserver.Fault{{Path: atStream, Times: 1, CutAfter: 60_000, Clean: true}}, "", ""},
		{"stream always ends early", snapshots(policy.SnapshotStream), qdrantserver.Options{}, []qdrantserver.Fault{{Path: atStream, CutAfter: 60_000, Clean: true}}, "was cut short", ""},
		{"stream breaks", snapshots(policy.SnapshotStream), qdrantserver.Options{}, []qdrantserver.Fault{{Path: atStream, Times: 1, CutAfter: 60_000}}, "", ""},
		{"creation lost, the snapshot appears later", snapshots(policy.SnapshotFile), qdrantserver.Options{}, []qdrantserver.Fault{{Method: "POST", Path: atCreate, Times: 1, DropAnswer: true, Late: 200 * time.Millisecond}}, "", ""},
		{"creation lost after the work", snapshots(policy.SnapshotFile), qdrantserver.Options{}, []qdrantserver.Fault{{Method: "POST", Path: atCreate, Times: 1, DropAnswer: true}}, "", ""},
		{
			"disk full", snapshots(policy.SnapshotFile),
			qdrantserver.Options{},
			[]qdrantserver.Fault{{Method: "POST", Path: atCreate, Status: 500, Body: `{"status":{"error":"Service internal error: No space left on device (os error 28)"},"time":0.1}`}},
			"mode = \"stream\" } needs none", "",
		},
		{"too many requests", snapshots(policy.SnapshotStream), qdrantserver.Options{}, []qdrantserver.Fault{{Method: "POST", Path: "/points/count$", Times: 2, Status: 429, Body: `{"status":{"error":"Rate limit"}}`, Header: http.Header{"Retry-After": {"0"}}}}, "", ""},
		{"facts refused for a while", snapshots(policy.SnapshotStream), qdrantserver.Options{}, []qdrantserver.Fault{{Method: "GET", Path: "/collections/", Times: 2, Status: 503, Body: "busy"}}, "", ""},
		{"gRPC breaks in the middle", exports(), qdrantserver.Options{}, []qdrantserver.Fault{{Path: "/qdrant.Points/Scroll", Skip: 2, Times: 2, DropAnswer: true}}, "", ""},
		{"file that is left", snapshots(policy.SnapshotFile), qdrantserver.Options{}, []qdrantserver.Fault{{Method: "DELETE", Path: atDownload, Status: 500, Body: "no"}}, "", "delete it there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, name := small(t, c.options)
			r := newRun(t, sourceOf(s, name), c.backup)
			var heal []func()
			for _, f := range c.faults {
				heal = append(heal, s.Own.Fault(-1, f))
			}
			_, res, err := r.try("p")
			if err != nil {
				t.Fatalf("backup: %v", err)
			}
			for _, fn := range heal {
				fn()
			}
			if !strings.Contains(doubtful(res), c.told) {
				t.Errorf("told is:\n%s\nwant %q", doubtful(res), c.told)
			}
			if c.told != "delete it there" {
				noLeftovers(t, s, name)
			}
			if got := missing(res); c.missing != "" {
				if !strings.Contains(got, c.missing) {
					t.Errorf("missing is:\n%s\nwant %q", got, c.missing)
				}
				if _, err := r.back(r.store.Supply("p"), name+"-back", false); err == nil || !strings.Contains(err.Error(), "is not whole") {
					t.Errorf("restore of an incomplete point: %v", err)
				}
				return
			} else if got != "" {
				t.Fatalf("missing: %s", got)
			}
			if _, err := r.back(r.store.Supply("p"), name+"-back", false); err != nil {
				t.Fatalf("restore: %v", err)
			}
			wantSame(t, s, name, name+"-back")
		})
	}
}

// TestKeysThatDoNotFit: the message names the argument, and never the key.
func TestKeysThatDoNotFit(t *testing.T) {
	s, name := small(t, qdrantserver.Options{APIKey: "the-very-key", ReadOnlyKey: "the-reading-key"})
	for _, c := range []struct{ name, key, want string }{
		{"wrong", "not-the-key-at-all", "the key in api_key is not the server's"},
		{"none", "", "set api_key"},
		{"read-only", "the-reading-key", "the key in api_key may not do this"},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := sourceOf(s, name)
			src.Qdrant.APIKey = secret(c.key)
			r := newRun(t, src, snapshots(policy.SnapshotStream))
			_, res, err := r.try("p")
			text := missing(res)
			if err != nil {
				text = err.Error()
			}
			if !strings.Contains(text, c.want) || c.key != "" && strings.Contains(text, c.key) {
				t.Errorf("got %q, want %q without the key", text, c.want)
			}
		})
	}
	t.Run("restores take their own", func(t *testing.T) {
		src := sourceOf(s, name)
		src.Qdrant.RestoreAPIKey = secret("the-reading-key")
		r := newRun(t, src, snapshots(policy.SnapshotStream))
		from := r.make("p")
		if _, err := r.back(from, name+"-back", false); err == nil || !strings.Contains(err.Error(), "restore_api_key") {
			t.Errorf("restore with a reading key: %v", err)
		}
		r.src.Qdrant.RestoreAPIKey = secret("the-very-key")
		if _, err := r.back(from, name+"-back", false); err != nil {
			t.Errorf("restore: %v", err)
		}
	})
}

// TestCollectionsThatGo: a collection that is deleted, or whose name becomes an alias, while it is read.
func TestCollectionsThatGo(t *testing.T) {
	for _, method := range methodNames {
		t.Run(method, func(t *testing.T) {
			s, name := small(t, qdrantserver.Options{})
			r := newRun(t, sourceOf(s, name+"*"), methods[method])
			s.Fill(t, name+"-stays", nil, 10, 4)
			first := true
			r.faults.BeforeOpen = func(e executors.Entry) {
				if first && strings.HasPrefix(e.Path, dirOf(name)+"/") {
					first = false
					s.Do(t, "DELETE", "/collections/"+name, nil)
				}
			}
			_, res, err := r.try("p")
			if err != nil {
				t.Fatalf("backup: %v", err)
			}
			if got := missing(res); !strings.Contains(got, "deleted") {
				t.Errorf("missing: %s", got)
			}
			from := r.store.Supply("p")
			if _, err := r.x.Restore(t.Context(), executors.RestoreRequest{Source: r.src, Backup: r.backup, Only: []string{name + "-stays"}, Target: executors.Target{Root: "*-back"}}, from); err != nil {
				t.Errorf("restore of the other collection: %v", err)
			}
		})
	}
}

// TestNamesThatDoNotFit: refusals before anything is read.
func TestNamesThatDoNotFit(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	s.Do(t, "POST", "/collections/aliases", map[string]any{"actions": []any{map[string]any{"create_alias": map[string]any{"alias_name": name + "-live", "collection_name": name}}}})
	for want, globs := range map[string][]string{
		"is an alias of":               {name + "-live"},
		"matches none":                 {"nothing-*"},
		"there is no collection":       {name, "gone"},
		"the server's version \"abc\"": nil,
	} {
		t.Run(want, func(t *testing.T) {
			if globs == nil {
				defer s.Own.Fault(-1, qdrantserver.Fault{Path: "^/$", Status: 200, Body: `{"title":"x","version":"abc"}`})()
			}
			r := newRun(t, sourceOf(s, globs...), snapshots(policy.SnapshotStream))
			_, res, err := r.try("p")
			if text := missing(res); err == nil && !strings.Contains(text, want) || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, %s; want %q", err, text, want)
			}
		})
	}
}

// TestVersionsOfServers: what is refused, what is warned of, and how auto reads.
func TestVersionsOfServers(t *testing.T) {
	for _, c := range []struct {
		version string
		mode    policy.SnapshotMode
		rate    int64
		err     string
		told    string
		streams bool
	}{
		{"1.11.5", policy.SnapshotAuto, 0, "reads 1.12 and newer", "", false},
		{"1.15.4", policy.SnapshotAuto, 0, "", "before 1.16 a snapshot", false},
		{"1.16.3", policy.SnapshotStream, 0, "needs 1.17", "", false},
		{"1.17.1", policy.SnapshotStream, 0, "", "before 1.18.2 a reader that hangs", true},
		{"1.17.1", policy.SnapshotAuto, 0, "", "", false},
		{"1.18.2", policy.SnapshotAuto, 0, "", "", true},
		{"1.18.2", policy.SnapshotAuto, 1 << 20, "", "", false},
		{"1.19.0", policy.SnapshotFile, 0, "", "", false},
	} {
		t.Run(c.version+" "+string(c.mode), func(t *testing.T) {
			s, name := small(t, qdrantserver.Options{Version: c.version})
			b := snapshots(c.mode)
			b.MaxRate = c.rate
			r := newRun(t, sourceOf(s, name), b)
			_, res, err := r.try("p")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || missing(res) != "" || !strings.Contains(doubtful(res), c.told) || c.told == "" && doubtful(res) != "" {
				t.Errorf("got %v, %s, %s; want %q", err, missing(res), doubtful(res), c.told)
			}
			streamed := slices.ContainsFunc(s.Own.Requests(), func(q string) bool { return strings.HasSuffix(q, "/snapshot") })
			if streamed != c.streams {
				t.Errorf("streamed is %v, want %v", streamed, c.streams)
			}
		})
	}
}

// TestHealthIsTold: a red collection is kept and fails; other troubles are notes.
func TestHealthIsTold(t *testing.T) {
	for status, c := range map[string]struct{ missing, told string }{
		"red": {"is red (out of disk)", ""}, "yellow": {"", "optimizer complains: out of disk"},
	} {
		s, name := small(t, qdrantserver.Options{})
		s.Own.SetStatus(name, status, "out of disk")
		r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
		_, res, err := r.try("p")
		if err != nil || !strings.Contains(missing(res), c.missing) || !strings.Contains(doubtful(res), c.told) {
			t.Errorf("%s: got %v, %q, %q", status, err, missing(res), doubtful(res))
		}
	}
}

// TestNodesThatGo: in a cluster every shard is read from an active replica that can be reached, and none being left is no
// success.
func TestNodesThatGo(t *testing.T) {
	type world struct {
		s    *qdranttest.Server
		name string
		r    *run
	}
	for _, c := range []struct {
		name     string
		replicas int
		prepare  func(w *world)
		missing  string
		told     string
	}{
		{"down, replicas elsewhere", 2, func(w *world) { w.s.Own.Down(1) }, "", "does not answer"},
		{"down, the only replica", 1, func(w *world) { w.s.Own.Down(1) }, "no active replica", "does not answer"},
		{"dead replica", 2, func(w *world) { w.s.Own.SetReplicaState(w.name, 0, 0, "Dead") }, "", ""},
		{"no URL, replicas elsewhere", 2, func(w *world) {
			w.r.src.Qdrant.URLs = w.r.src.Qdrant.URLs[:2]
			w.r.src.Qdrant.GRPC = w.r.src.Qdrant.GRPC[:2]
		}, "", "no answering URL reaches"},
		{"no URL, the only replica", 1, func(w *world) {
			w.r.src.Qdrant.URLs = w.r.src.Qdrant.URLs[:2]
			w.r.src.Qdrant.GRPC = w.r.src.Qdrant.GRPC[:2]
		}, "which no URL in urls reaches", ""},
		{"lost in the middle of a stream", 2, func(w *world) {
			w.s.Own.Fault(0, qdrantserver.Fault{Path: atStream, CutAfter: 9000, During: func() { w.s.Own.Down(0) }})
		}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := qdranttest.Start(t, qdrantserver.Options{Nodes: 3})
			w := &world{s: s, name: s.Name(t, "docs")}
			s.Fill(t, w.name, map[string]any{"vectors": map[string]any{"size": 16, "distance": "Dot"}, "shard_number": 3, "replication_factor": c.replicas}, 300, 0)
			w.r = newRun(t, sourceOf(s, w.name), snapshots(policy.SnapshotStream))
			c.prepare(w)
			_, res, err := w.r.try("p")
			if err != nil {
				t.Fatalf("backup: %v", err)
			}
			if got := missing(res); c.missing == "" && got != "" || !strings.Contains(got, c.missing) {
				t.Errorf("missing %q, want %q", got, c.missing)
			}
			if !strings.Contains(doubtful(res), c.told) {
				t.Errorf("told %q, want %q", doubtful(res), c.told)
			}
			_, err = w.r.x.Verify(t.Context(), executors.VerifyRequest{Backup: w.r.backup}, w.r.store.Supply("p"))
			if err != nil {
				t.Errorf("verify: %v", err)
			}
		})
	}
	t.Run("all down", func(t *testing.T) {
		s, name := small(t, qdrantserver.Options{})
		s.Own.Down(0)
		_, _, err := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream)).try("p")
		if err == nil || !strings.Contains(err.Error(), s.URLs[0]+" does not answer") {
			t.Errorf("got %v", err)
		}
		s.Own.Up(0)
	})
	t.Run("two servers", func(t *testing.T) {
		a, name := small(t, qdrantserver.Options{})
		b, _ := small(t, qdrantserver.Options{})
		src := sourceOf(a, name)
		src.Qdrant.URLs = append(slices.Clone(a.URLs), b.URLs...)
		src.Qdrant.GRPC = nil
		if _, _, err := newRun(t, src, snapshots(policy.SnapshotStream)).try("p"); err == nil || !strings.Contains(err.Error(), "is no member of a cluster") {
			t.Errorf("got %v", err)
		}
	})
}

// TestBadLuckWhileRestoring: whatever goes wrong, what was there stays, and nothing of ours is left.
func TestBadLuckWhileRestoring(t *testing.T) {
	type options []string
	for _, c := range []struct {
		name    string
		fault   qdrantserver.Fault
		options options
		want    string
	}{
		{"upload refused while it is staged", qdrantserver.Fault{Path: atUpload, Status: 500, Body: `{"status":{"error":"Service internal error: broken"}}`}, options{optionVia, "upload"}, "broken"},
		{"upload refused when it is put in place", qdrantserver.Fault{Path: atUpload, Skip: 1, Times: 1, Status: 500, Body: `{"status":{"error":"Service internal error: broken"}}`}, options{optionVia, "upload"}, "broken"},
		{"connection lost when it is put in place", qdrantserver.Fault{Path: atUpload, Skip: 1, Times: 1, DropAnswer: true}, options{optionVia, "upload"}, "ask Qdrant"},
		{"index refused when it is put in place", qdrantserver.Fault{Method: "PUT", Path: "/index$", Skip: 1, Times: 1, Status: 400, Body: `{"status":{"error":"no such type"}}`}, options{optionVia, "upload"}, "no such type"},
		{"a proxy's limit", qdrantserver.Fault{Path: atUpload, Status: 413, Body: "Request Entity Too Large"}, options{optionVia, "upload"}, "413"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, name := small(t, qdrantserver.Options{})
			s.Do(t, "PUT", "/collections/"+name+"/index?wait=true", map[string]any{"field_name": "city", "field_schema": "keyword"})
			s.Do(t, "POST", "/collections/aliases", map[string]any{"actions": []any{map[string]any{"create_alias": map[string]any{"alias_name": name + "-live", "collection_name": name}}}})
			r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
			from := r.make("p")
			s.Do(t, "POST", "/collections/"+name+"/points/delete?wait=true", map[string]any{"points": []int{1, 2, 3}})
			before := s.Image(t, name)
			heal := s.Own.Fault(-1, c.fault)
			_, err := r.back(from, "*", true, c.options...)
			heal()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("restore: %v, want %q", err, c.want)
			}
			if after := s.Image(t, name+"-live"); after != before {
				t.Errorf("the old collection is not what it was behind its alias (%v)", err)
			}
			noLeftovers(t, s, name)
			// And then it works.
			if _, err := r.back(from, "*", true, c.options...); err != nil {
				t.Fatalf("restore afterwards: %v", err)
			}
			if s.Image(t, name) == before || s.Image(t, name+"-live") != s.Image(t, name) {
				t.Error("the restored collection, or its alias, is not there")
			}
			noLeftovers(t, s, name)
		})
	}
}

// TestOldCannotComeBack: when bringing the old collection back fails too, its safety snapshots are kept and named, and so is
// what is needed beside them.
func TestOldCannotComeBack(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	s.Do(t, "POST", "/collections/aliases", map[string]any{"actions": []any{map[string]any{"create_alias": map[string]any{"alias_name": name + "-live", "collection_name": name}}}})
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
	from := r.make("p")
	heal := s.Own.Fault(-1, qdrantserver.Fault{Path: atUpload, Skip: 1, Status: 500, Body: `{"status":{"error":"broken"}}`})
	_, err := r.back(from, "*", true, optionVia, "upload")
	heal()
	if err == nil || !strings.Contains(err.Error(), "Its safety snapshots are kept") {
		t.Fatalf("got %v", err)
	}
	kept, rerr := os.ReadDir(s.Own.SnapshotsPath(0) + "/" + name + "/shards/0")
	if rerr != nil || !slices.ContainsFunc(kept, func(e os.DirEntry) bool { return strings.Contains(err.Error(), e.Name()) }) {
		t.Errorf("no safety snapshot on the server is named (%v, %v): %v", kept, rerr, err)
	}
	documents, _ := filepath.Glob(filepath.Join(dir, "holdfast-safety-*", "collection.json"))
	if len(documents) != 1 || !strings.Contains(err.Error(), filepath.Dir(documents[0])) {
		t.Fatalf("documents %v, said was %v", documents, err)
	}
	text, rerr := os.ReadFile(documents[0])
	if rerr != nil {
		t.Fatal(rerr)
	}
	for _, want := range []string{`"alias_name":"` + name + `-live"`, `"distance":"Cosine"`, kept[0].Name()} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the document does not tell %s: %s", want, text)
		}
	}
}

// TestWaysOfArchives: each way works, and auto takes another when one does not.
func TestWaysOfArchives(t *testing.T) {
	for _, c := range []struct {
		name    string
		options qdrantserver.Options
		via     string
		shared  bool
		fault   *qdrantserver.Fault
		uses    string // a request that must have been made
		err     string
	}{
		{"upload", qdrantserver.Options{}, "upload", false, nil, "/snapshots/upload", ""},
		{"url", qdrantserver.Options{}, "url", false, nil, "/snapshots/recover", ""},
		{"file", qdrantserver.Options{}, "file", true, nil, "/snapshots/recover", ""},
		{"file without a folder", qdrantserver.Options{}, "file", false, nil, "", "snapshots_path"},
		{"auto takes the folder", qdrantserver.Options{}, "auto", true, nil, "/snapshots/recover", ""},
		{"auto where URLs are forbidden", qdrantserver.Options{NoURLRecovery: true}, "auto", false, nil, "/snapshots/upload", ""},
		{"url where URLs are forbidden", qdrantserver.Options{NoURLRecovery: true}, "url", false, nil, "", "disabled"},
		{"auto over TLS serves nothing in clear", qdrantserver.Options{TLS: true}, "auto", false, nil, "/snapshots/upload", ""},
		{"auto where the server cannot reach this host", qdrantserver.Options{}, "auto", false, &qdrantserver.Fault{Path: "/snapshots/recover$", Hang: true}, "/snapshots/upload", ""},
		{"old servers do not fetch safely", qdrantserver.Options{Version: "1.16.3"}, "auto", false, nil, "/snapshots/upload", ""},
		{"unknown", qdrantserver.Options{}, "pigeon", false, nil, "", "is not known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, name := small(t, c.options)
			r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotAuto))
			r.x.margins.reached = 300 * time.Millisecond
			from := r.make("p")
			if c.shared {
				r.src.Qdrant.SnapshotsPath = s.Own.SnapshotsPath(0)
			}
			if c.fault != nil {
				defer s.Own.Fault(-1, *c.fault)()
			}
			_, err := r.back(from, name+"-back", false, optionVia, c.via)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantSame(t, s, name, name+"-back")
			if !slices.ContainsFunc(s.Own.Requests(), func(q string) bool { return strings.Contains(q, c.uses) }) {
				t.Errorf("no request %s: %v", c.uses, s.Own.Requests())
			}
			noLeftovers(t, s, name, name+"-back")
		})
	}
}

// TestReplicaFallsBehind: a replica that stops being active after the first look is not read, and one that stops while it is
// read does not count.
func TestReplicaFallsBehind(t *testing.T) {
	for _, method := range []policy.SnapshotMode{policy.SnapshotStream, policy.SnapshotFile} {
		for _, others := range []bool{true, false} {
			s := qdranttest.Start(t, qdrantserver.Options{Nodes: 2})
			name := s.Name(t, "behind")
			s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 8, "distance": "Dot"}, "shard_number": 1, "replication_factor": 2}, 100, 0)
			r := newRun(t, sourceOf(s, name), snapshots(method))
			r.faults.BeforeOpen = func(executors.Entry) {
				s.Own.SetReplicaState(name, 0, 0, "Partial")
				if !others {
					s.Own.SetReplicaState(name, 0, 1, "Recovery")
				}
			}
			sink, res, err := r.try("p")
			if err != nil {
				t.Fatal(err)
			}
			if !others {
				if got := missing(res); !strings.Contains(got, "has no active replica") {
					t.Errorf("missing: %q", got)
				}
				continue
			}
			var rec collectionRecord
			for _, it := range sink.Items() {
				if strings.HasSuffix(it.Entry.Path, collectionDoc) {
					if err := json.Unmarshal(it.Data, &rec); err != nil {
						t.Fatal(err)
					}
				}
			}
			if want := strconv.FormatUint(s.Own.PeerID(1), 10); missing(res) != "" || rec.Shards[0].Peer != want {
				t.Errorf("read from %s, want %s (missing: %q)", rec.Shards[0].Peer, want, missing(res))
			}
		}
	}
}
