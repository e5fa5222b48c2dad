package qdrant

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

// badluck_test.go has what goes wrong most often; here is what remains, each with the message that a person gets.

// hears demands that a text says each of the parts.
func hears(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s is:\n%s\nwant %q", what, text, p)
		}
	}
}

// TestWhatIsMissingSaysWhy: the backup ends, is incomplete, and says what happened to what.
func TestWhatIsMissingSaysWhy(t *testing.T) {
	file, stream := snapshots(policy.SnapshotFile), snapshots(policy.SnapshotStream)
	for _, c := range []struct {
		name    string
		options qdrantserver.Options
		backup  policy.Backup
		fault   qdrantserver.Fault
		want    []string
	}{
		{"a download that always breaks and takes no ranges", qdrantserver.Options{S3Snapshots: true}, file, qdrantserver.Fault{Method: "GET", Path: atDownload, CutAfter: 30_000, Clean: true}, []string{"shard 0: download", "stopped after 30000 of", "unexpected EOF"}},
		{"a download that is refused", qdrantserver.Options{}, file, qdrantserver.Fault{Method: "GET", Path: atDownload, Status: 500, Body: "Service internal error: Input/output error"}, []string{"shard 0: GET /collections/", "500 Service internal error: Input/output error"}},
		{"a stream that always breaks", qdrantserver.Options{}, stream, qdrantserver.Fault{Path: atStream, CutAfter: 30_000}, []string{"shard 0:", "unexpected EOF"}},
		{"a stream that is refused", qdrantserver.Options{}, stream, qdrantserver.Fault{Path: atStream, Status: 500, Body: "Service internal error: failed to proxy"}, []string{"shard 0: GET /collections/", "failed to proxy"}},
		{"a stream that is empty", qdrantserver.Options{}, stream, qdrantserver.Fault{Path: atStream, Status: 200}, []string{"shard 0: the archive is empty"}},
		{"a stream of something else", qdrantserver.Options{}, stream, qdrantserver.Fault{Path: atStream, Status: 200, Body: strings.Repeat("<html>Log in, please</html>", 100)}, []string{"shard 0: the archive is damaged", "a header's sum is wrong"}},
		{"no rights to make snapshots", qdrantserver.Options{}, file, qdrantserver.Fault{Method: "POST", Path: atCreate, Status: 403, Body: `{"status":{"error":"Forbidden: Global manage access is required"},"time":0}`}, []string{"403 Forbidden: Global manage access is required", "may not do this: snapshots need a key or token that may write"}},
		{"a snapshot that never appears", qdrantserver.Options{}, file, qdrantserver.Fault{Method: "POST", Path: atCreate, DropAnswer: true, Late: time.Hour}, []string{"the request for a snapshot of shard 0 of", "none appeared on http://", "within 300ms: delete it there if it appears later"}},
		{"limits that are always reached", qdrantserver.Options{}, stream, qdrantserver.Fault{Path: "/points/count$", Status: 429, Body: `{"status":{"error":"Rate limiting exceeded: Read rate limit exceeded"},"time":0}`, Header: http.Header{"Retry-After": {"0"}}}, []string{"count and sample its points", "429 Rate limiting exceeded"}},
		{"nobody listens for gRPC", qdrantserver.Options{}, exports(), qdrantserver.Fault{Path: "/qdrant.Points/Scroll", GRPCCode: codes.Unavailable, Body: "connection refused"}, []string{"read points of", "gRPC at 127.0.0.1:", "points are read and written over gRPC; if it listens elsewhere, say so in grpc = [\"host:port\"]"}},
		{"no rights over gRPC", qdrantserver.Options{}, exports(), qdrantserver.Fault{Path: "/qdrant.Points/Scroll", GRPCCode: codes.PermissionDenied, Body: "Forbidden"}, []string{"the key in api_key may not do this"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, name := small(t, c.options)
			r := newRun(t, sourceOf(s, name), c.backup)
			r.x.o.Adopt = 300 * time.Millisecond
			heal := s.Own.Fault(-1, c.fault)
			_, res, err := r.try("p")
			heal()
			if err != nil {
				t.Fatalf("backup: %v", err)
			}
			hears(t, "missing", missing(res), append(c.want, dirOf(name))...)
			noLeftovers(t, s, name)
			if _, err := r.back(r.store.Supply("p"), name+"-back", false); err == nil || !strings.Contains(err.Error(), "is not whole in the restore point") {
				t.Errorf("restore of an incomplete point: %v", err)
			}
		})
	}
}

// TestOnlyNodeGoes: the node that has the only replica goes while it streams.
func TestOnlyNodeGoes(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{Nodes: 2})
	name := s.Name(t, "docs")
	s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 16, "distance": "Dot"}, "shard_number": 2, "replication_factor": 1}, 200, 0)
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
	s.Own.Fault(1, qdrantserver.Fault{Path: atStream, CutAfter: 9000, During: func() { s.Own.Down(1) }})
	_, res, err := r.try("p")
	if err != nil {
		t.Fatalf("backup: %v", err)
	}
	hears(t, "missing", missing(res), "has no active replica, node ", ": Dead")
}

// TestNotes: what a person should know although nothing is missing.
func TestNotes(t *testing.T) {
	t.Run("no checksums, told once", func(t *testing.T) {
		s, name := small(t, qdrantserver.Options{S3Snapshots: true})
		s.Fill(t, name+"-b", nil, 10, 4)
		r := newRun(t, sourceOf(s, name+"*"), snapshots(policy.SnapshotFile))
		_, res, err := r.try("p")
		if n := strings.Count(doubtful(res), "gives no checksum"); err != nil || missing(res) != "" || n != 1 {
			t.Errorf("told %d times, missing %q, %v", n, missing(res), err)
		}
		noLeftovers(t, s, name, name+"-b")
	})
	t.Run("deleted before it is read", func(t *testing.T) {
		s, name := small(t, qdrantserver.Options{})
		s.Fill(t, name+"-b", nil, 10, 4)
		s.Own.Fault(-1, qdrantserver.Fault{Method: "GET", Path: "^/collections/" + name + "$", Times: 1, Before: func() { s.Do(t, "DELETE", "/collections/"+name, nil) }})
		r := newRun(t, sourceOf(s, name+"*"), snapshots(policy.SnapshotStream))
		_, res, err := r.try("p")
		if err != nil || missing(res) != "" {
			t.Errorf("missing %q, %v", missing(res), err)
		}
		hears(t, "told", doubtful(res), dirOf(name)+": the collection was deleted before it was read")
	})
	// The name leads to another collection now, of which half a backup is none of the first.
	for _, method := range methodNames {
		t.Run("its name becomes an alias while it is read by "+method, func(t *testing.T) {
			s, name := small(t, qdrantserver.Options{})
			s.Fill(t, "next-"+name, map[string]any{"vectors": map[string]any{"size": 32, "distance": "Cosine"}}, 300, 0)
			r := newRun(t, sourceOf(s, name), methods[method])
			var once sync.Once
			r.faults.BeforeOpen = func(e executors.Entry) {
				if isDocument(e.Path) {
					return
				}
				once.Do(func() {
					s.Do(t, "DELETE", "/collections/"+name, nil)
					s.Do(t, "POST", "/collections/aliases", map[string]any{"actions": []any{createAlias(name, "next-"+name)}})
				})
			}
			_, res, err := r.try("p")
			if err != nil {
				t.Fatalf("backup: %v", err)
			}
			hears(t, "missing", missing(res), "its name became an alias of \"next-"+name+"\" while it was read")
			noLeftovers(t, s, "next-"+name)
			s.Do(t, "DELETE", "/collections/next-"+name, nil)
		})
	}
	t.Run("two snapshots appear", func(t *testing.T) {
		s, name := small(t, qdrantserver.Options{})
		dir := filepath.Join(s.Own.SnapshotsPath(0), name, "shards", "0")
		s.Own.Fault(-1, qdrantserver.Fault{Method: "POST", Path: atCreate, Times: 1, DropAnswer: true, Before: func() {
			if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "foreign.snapshot"), []byte("x"), 0o600)); err != nil {
				t.Error(err)
			}
		}})
		r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotFile))
		_, res, err := r.try("p")
		if err != nil || missing(res) != "" {
			t.Errorf("missing %q, %v", missing(res), err)
		}
		left, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range left {
			if strings.HasSuffix(e.Name(), ".snapshot") {
				names = append(names, e.Name())
			}
		}
		hears(t, "told", doubtful(res), append(names, "2 appeared: it cannot be told which is ours")...)
		if !slices.Contains(names, "foreign.snapshot") || len(names) != 2 {
			t.Errorf("on the server are %q; the foreign one and the lost one must be", names)
		}
	})
	for _, status := range []string{"grey", "yellow"} {
		t.Run(status+" is no trouble", func(t *testing.T) {
			s, name := small(t, qdrantserver.Options{})
			s.Own.SetStatus(name, status, "")
			newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream)).make("p")
		})
	}
	for _, method := range methodNames {
		t.Run("strict mode allows little, by "+method, func(t *testing.T) {
			s, name := small(t, qdrantserver.Options{})
			s.Do(t, "PATCH", "/collections/"+name, map[string]any{"strict_mode_config": map[string]any{"enabled": true, "max_query_limit": 3, "search_allow_exact": false, "upsert_max_batchsize": 7}})
			r := newRun(t, sourceOf(s, name), methods[method])
			if _, err := r.back(r.make("p"), name+"-back", false); err != nil {
				t.Fatalf("restore: %v", err)
			}
			// Its own limits keep the images from being taken.
			for _, n := range []string{name, name + "-back"} {
				s.Do(t, "PATCH", "/collections/"+n, map[string]any{"strict_mode_config": map[string]any{"enabled": false}})
			}
			wantSame(t, s, name, name+"-back")
		})
	}
}

// TestSecretsStayHidden: a server or proxy that echoes what it was sent does not get the key into errors, problems, records or
// the log.
func TestSecretsStayHidden(t *testing.T) {
	const key = "the-very-secret-key"
	for _, c := range []struct{ method, path string }{
		{"stream", "^/aliases$"},
		{"stream", "^/collections/docs"},
		{"stream", "/points/count$"},
		{"stream", atStream},
		{"stream", atUpload},
		{"stream", "/snapshots/recover$"},
		{"snapshot", atCreate},
		{"snapshot", atDownload},
		{"export", "/qdrant.Points/"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			backup := methods[c.method]
			s, name := small(t, qdrantserver.Options{APIKey: key})
			r := newRun(t, sourceOf(s, name), backup)
			from := r.make("good")
			s.Own.Fault(-1, qdrantserver.Fault{Path: c.path, Status: 500, GRPCCode: codes.Internal, Body: "you sent api-key: " + key})
			var log syncBuffer
			logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			sink := r.store.Sink("p", r.faults)
			res, err := r.x.Backup(t.Context(), executors.BackupRequest{Source: r.src, Backup: backup, Point: "p", Log: logger}, sink)
			r.store.Commit(sink, res)
			text := []string{missing(res), doubtful(res)}
			for _, it := range sink.Items() {
				text = append(text, string(it.Data))
			}
			if err != nil {
				text = append(text, err.Error())
			}
			_, err = r.x.Restore(t.Context(), executors.RestoreRequest{Source: r.src, Backup: backup, Target: executors.Target{Root: name + "-back"}, Log: logger}, from)
			if err != nil {
				text = append(text, err.Error())
			}
			for _, one := range append(text, log.String()) {
				if strings.Contains(one, key) {
					t.Errorf("the key is in:\n%.600s", one)
				}
			}
		})
	}
}

// syncBuffer is a log that is written to from several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestDownloadGoesOn: a broken download asks for the rest of the same file, and gives up when that is another one by now.
func TestDownloadGoesOn(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	for _, c := range []struct {
		name   string
		etags  []string // one a request
		ranges bool
		asked  []string
		want   string
	}{
		{"the rest", []string{`"a"`, `"a"`, `"a"`}, true, []string{" ", `bytes=40000- "a"`, `bytes=80000- "a"`}, ""},
		{"no ranges", []string{`"a"`, `"a"`, `"a"`}, false, []string{" ", `bytes=40000- "a"`, `bytes=80000- "a"`}, ""},
		{"a tag that proves nothing is not sent", []string{`W/"a"`, `W/"a"`, `W/"a"`}, true, []string{" ", "bytes=40000- ", "bytes=80000- "}, ""},
		{"another file", []string{`"a"`, `"b"`}, true, []string{" ", `bytes=40000- "a"`}, "412"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("ETag", c.etags[len(asked)])
				asked = append(asked, r.Header.Get("Range")+" "+r.Header.Get("If-Match"))
				if !c.ranges {
					r.Header.Del("Range")
				}
				limit := 40_000
				if !c.ranges {
					limit = 40_000 * len(asked)
				}
				http.ServeContent(&cutWriter{ResponseWriter: w, left: limit}, r, "", time.Time{}, bytes.NewReader(content))
			}))
			defer server.Close()
			n := &node{url: server.URL, http: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
			d := quick().downloadSnapshot(t.Context(), n, "c", 0, snapshotFile{Name: "x", Size: int64(len(content))})
			got, err := io.ReadAll(d)
			_ = d.Close()
			if c.want == "" && (err != nil || !bytes.Equal(got, content)) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%d of %d bytes, %v", len(got), len(content), err)
			}
			if diff := cmp.Diff(c.asked, asked); diff != "" {
				t.Errorf("asked for (-want +got):\n%s", diff)
			}
		})
	}
}

// cutWriter lets so many bytes of an answer out.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (b *cutWriter) Write(p []byte) (int, error) {
	n, err := b.ResponseWriter.Write(p[:min(len(p), b.left)])
	if b.left -= n; err == nil && n < len(p) {
		_ = http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// TestRestoreSaysWhatIsLeft: the message says what happened, and what is there now.
func TestRestoreSaysWhatIsLeft(t *testing.T) {
	refused := func(text string) string { return `{"status":{"error":"` + text + `"},"time":0}` }
	for _, c := range []struct {
		name  string
		fault func(s *qdranttest.Server) qdrantserver.Fault
		after func(t *testing.T, s *qdranttest.Server, name string) // by default there is no collection
		want  []string
	}{
		{"the archive is refused", func(*qdranttest.Server) qdrantserver.Fault {
			return qdrantserver.Fault{Path: atUpload, Status: 400, Body: refused("Bad request: Invalid snapshot")}
		}, nil, []string{"restore collection", "fill it: hand shard 0 of", "(upload)", "400 Bad request: Invalid snapshot"}},
		{"a proxy takes no large requests", func(*qdranttest.Server) qdrantserver.Fault {
			return qdrantserver.Fault{Path: atUpload, Status: 413, Body: "413 Request Entity Too Large"}
		}, nil, []string{"413", "a proxy in front of the server limits the size of requests: raise its limit, give the server's own URL, or restore with -via=url"}},
		{"somebody makes it at the same time", func(*qdranttest.Server) qdrantserver.Fault {
			return qdrantserver.Fault{Method: "PUT", Path: "^/collections/[^/]+$", Status: 409, Body: refused("Wrong input: Collection already exists!")}
		}, nil, []string{"create it: PUT /collections/", "409 Wrong input: Collection already exists!"}},
		{"an alias is refused", func(*qdranttest.Server) qdrantserver.Fault {
			return qdrantserver.Fault{Path: "^/collections/aliases$", Status: 500, Body: refused("Service internal error: consensus")}
		}, func(t *testing.T, s *qdranttest.Server, name string) {
			if s.Image(t, name) == "" {
				t.Error("the collection is not there")
			}
		}, []string{"-live to what was restored (the collections are restored; point them by hand): POST /collections/aliases", "consensus"}},
		{"the server dies", func(s *qdranttest.Server) qdrantserver.Fault {
			return qdrantserver.Fault{Path: atUpload, Before: func() { s.Own.Down(0) }}
		}, func(_ *testing.T, s *qdranttest.Server, _ string) { s.Own.Up(0) }, []string{"restore collection", "could not be removed, delete it by hand"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, name := small(t, qdrantserver.Options{})
			s.Do(t, "POST", "/collections/aliases", map[string]any{"actions": []any{createAlias(name+"-live", name)}})
			r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
			from := r.make("p")
			s.Do(t, "DELETE", "/collections/"+name, nil)
			heal := s.Own.Fault(-1, c.fault(s))
			_, err := r.back(from, "*", false, optionVia, "upload")
			heal()
			if err == nil {
				t.Fatal("it succeeded")
			}
			hears(t, "the error", err.Error(), append(c.want, name)...)
			if c.after != nil {
				c.after(t, s, name)
				return
			}
			if s.Image(t, name) != "" {
				t.Error("the collection is there")
			}
			noLeftovers(t, s)
		})
	}
}

// TestServerGoesOnAfterCancel: the file that a server writes for somebody who left is deleted when it appears; when the server
// takes longer than anybody waits, the log says what may be left.
func TestServerGoesOnAfterCancel(t *testing.T) {
	for _, c := range []struct {
		late, cleanup time.Duration
		want          []string
	}{
		{100 * time.Millisecond, quick().margins.cleanup, nil},
		{time.Hour, 400 * time.Millisecond, []string{"a snapshot may be left on the server", "may appear there later, delete it then"}},
	} {
		s, name := small(t, qdrantserver.Options{})
		r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotFile))
		r.x.margins.cleanup = c.cleanup
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s.Own.Fault(-1, qdrantserver.Fault{Method: "POST", Path: atCreate, DropAnswer: true, Late: c.late, Before: cancel})
		var log syncBuffer
		sink := r.store.Sink("p", r.faults)
		_, err := r.x.Backup(ctx, executors.BackupRequest{Source: r.src, Backup: r.backup, Point: "p", Log: slog.New(slog.NewTextHandler(&log, nil))}, sink)
		r.store.Commit(sink, executors.Result{})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		hears(t, "the log", log.String(), c.want...)
		if c.want == nil {
			deleted := func(q string) bool { return strings.HasPrefix(q, "DELETE ") && strings.Contains(q, "/snapshots/") }
			if !slices.ContainsFunc(s.Own.Requests(), deleted) || strings.Contains(log.String(), "may be left") {
				t.Errorf("nothing was deleted: %q\n%s", s.Own.Requests(), log.String())
			}
		}
		noLeftovers(t, s, name)
	}
}

// TestServerCannotFetch: what stands between the server and this host is told with what to do about it.
func TestServerCannotFetch(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
	from := r.make("p")
	r.x.margins.reached = 200 * time.Millisecond
	heal := s.Own.Fault(-1, qdrantserver.Fault{Path: "/snapshots/recover$", Hang: true})
	_, err := r.back(from, name+"-back", false, optionVia, "url")
	heal()
	if err == nil {
		t.Fatal("it succeeded")
	}
	hears(t, "the error", err.Error(), "did not fetch the archive from", "-serve=HOST:PORT names an address that it can reach")
	noLeftovers(t, s, name)

	// An address that nobody can reach: the server says so, and by itself another way is taken.
	for choice, want := range map[string]string{"url": "error sending request", "auto": ""} {
		_, err := r.back(from, name+"-"+choice, false, optionVia, choice, optionServe, "holdfast.invalid:0")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("via %s: %v", choice, err)
		}
	}
	wantSame(t, s, name, name+"-auto")
	if s.Image(t, name+"-url") != "" {
		t.Error("a collection is left")
	}
	noLeftovers(t, s, name)
}
