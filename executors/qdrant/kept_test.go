package qdrant

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

// TestFailuresUnderFreeNames: applications may write to a collection the moment it is there. What may be theirs, and what is
// whole, stays.
func TestFailuresUnderFreeNames(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	second := name + "-2"
	s.Fill(t, second, nil, 50, 4)
	r := newRun(t, sourceOf(s, name, second), snapshots(policy.SnapshotStream))
	sink, _, err := r.try("p")
	if err != nil {
		t.Fatal(err)
	}
	good := r.store.Supply("p")
	wrongSample := altered(sink, edit(func(rec *collectionRecord) { rec.Samples[0].Sum = "0" }))
	cut := altered(sink, func(items []*executortest.Item) []*executortest.Item {
		for _, it := range items {
			if strings.HasPrefix(it.Entry.Path, dirOf(second)+"/shards/") {
				it.Data = it.Data[:len(it.Data)/2]
			}
		}
		return items
	})
	for i, c := range []struct {
		what  string
		fault *qdrantserver.Fault
		from  executors.Supply
		want  []string
		there []string // of the two
	}{
		{"creation without an answer", &qdrantserver.Fault{Method: "PUT", Path: `^/collections/[^/]*$`, Times: 1, DropAnswer: true}, good, []string{"did not say whether it made"}, []string{name}},
		{"creation refused", &qdrantserver.Fault{Method: "PUT", Path: `^/collections/[^/]*$`, Times: 1, Status: 400, Body: `{"status":{"error":"no"}}`}, good, []string{"400 no"}, nil},
		{"an index refused", &qdrantserver.Fault{Method: "GET", Path: `^/collections/[^/]*/cluster$`, Status: 400, Body: `{"status":{"error":"no"}}`}, good, []string{"400 no"}, nil},
		{"a sample is not what it was", nil, wrongSample, []string{"is not what it was", "is kept"}, []string{name}},
		{"the second's archive is cut short", nil, cut, []string{"already restored, proven and kept: " + fmt.Sprintf("kept%d-%s", 5, name)}, []string{name}},
	} {
		t.Run(c.what, func(t *testing.T) {
			if c.fault != nil {
				defer s.Own.Fault(-1, *c.fault)()
			}
			prefix := fmt.Sprintf("kept%d-", i+1)
			_, err := r.back(c.from, prefix+"*", false)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
			for _, n := range []string{name, second} {
				status, _, err := s.Try("GET", "/collections/"+prefix+n, nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := status == 200; got != slices.Contains(c.there, n) {
					t.Errorf("%s is there: %v, want %v", n, got, c.there)
				}
			}
		})
	}
	// What was kept is in the way of nothing.
	if _, err := r.back(good, "kept4-*", true); err != nil {
		t.Fatal(err)
	}
	wantSame(t, s, name, "kept4-"+name)
}

// TestPointsComeAndGo: points that are taken out while the backup reads, and put in again before it ends, are absent from a
// good archive.
func TestPointsComeAndGo(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
	var some []int
	for i := range 12 {
		if _, ok := qdranttest.ID(i).(int); ok {
			some = append(some, i)
		}
	}
	before := s.Image(t, name)
	heal := s.Own.Fault(-1, qdrantserver.Fault{Path: atStream, Times: 1, Before: func() {
		s.Do(t, "POST", "/collections/"+name+"/points/delete?wait=true", map[string]any{"points": some})
	}})
	healToo := s.Own.Fault(-1, qdrantserver.Fault{Path: "/points/count$", Skip: 1, Times: 1, Before: func() { s.FillKey(t, name, nil, 0, 12) }})
	from := r.make("p")
	heal()
	healToo()
	if after := s.Image(t, name); after != before {
		t.Fatal("the collection is not what it was")
	}
	content, err := readContents(t.Context(), from, nil)
	if err != nil {
		t.Fatal(err)
	}
	rec := content.collections[0]
	if rec.Touched < len(some) || rec.Watched <= rec.Touched || !slices.ContainsFunc(rec.Samples, func(s sample) bool { return s.Touched }) {
		t.Errorf("%d of %d watched points were touched, %d samples are left", rec.Touched, rec.Watched, len(rec.Samples))
	}
	res, err := r.back(from, name+"-back", false)
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	if got := doubtful(res); !strings.Contains(got, "That is right when points came and went") {
		t.Errorf("told was %q", got)
	}
	// As many points fewer convict when nothing was touched.
	sink, _, err := r.try("quiet")
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.back(altered(sink, edit(func(rec *collectionRecord) {
		rec.Before, rec.After = rec.Before+uint64(len(some)), rec.After+uint64(len(some))
	})), name+"-less", false)
	if err == nil || !strings.Contains(err.Error(), "points, recorded are") {
		t.Errorf("points are missing: got %v", err)
	}
}

// TestBrokenHandOver: a connection that breaks while an archive is handed over, and a server that does not answer for a
// while, do not end a restore.
func TestBrokenHandOver(t *testing.T) {
	for what, fault := range map[string]qdrantserver.Fault{
		"the answer to a staged upload is lost": {Path: stagePrefix + ".*" + atUpload, Times: 1, DropAnswer: true},
		"the answer to a count is lost":         {Method: "POST", Path: "/points/count$", Times: 2, DropAnswer: true},
		"the server is busy while it loads":     {Method: "GET", Path: "^/collections/" + stagePrefix + "[^/]*$", Skip: 1, Times: 6, Status: 503, Body: "starting"},
	} {
		t.Run(what, func(t *testing.T) {
			s, name := small(t, qdrantserver.Options{})
			r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
			from := r.make("p")
			s.Fill(t, "again", nil, 5, 4)
			s.Own.Fault(-1, fault)
			if _, err := r.back(from, "again", true, optionVia, "upload"); err != nil {
				t.Fatalf("restore: %v", err)
			}
			wantSame(t, s, name, "again")
		})
	}
}

// TestTransferStandsStill: a connection that died without a word is given up.
func TestTransferStandsStill(t *testing.T) {
	for what, c := range map[string]struct {
		mode  policy.SnapshotMode
		fault qdrantserver.Fault
	}{
		"stream":   {policy.SnapshotStream, qdrantserver.Fault{Path: atStream, Times: 1, Hang: true}},
		"snapshot": {policy.SnapshotFile, qdrantserver.Fault{Method: "GET", Path: `/shards/\d+/snapshots/.`, Times: 1, Hang: true}},
	} {
		t.Run(what, func(t *testing.T) {
			s, name := small(t, qdrantserver.Options{})
			r := newRun(t, sourceOf(s, name), snapshots(c.mode))
			r.x.margins.idle = 300 * time.Millisecond
			s.Own.Fault(-1, c.fault)
			from := r.make("p")
			if _, err := r.back(from, name+"-back", false); err != nil {
				t.Fatal(err)
			}
			wantSame(t, s, name, name+"-back")
		})
	}
}

// TestFullServerIsStreamed: auto goes on without a file when the server had no room for one.
func TestFullServerIsStreamed(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	src := sourceOf(s, name)
	src.Qdrant.SnapshotsPath = s.Own.SnapshotsPath(0)
	r := newRun(t, src, snapshots(policy.SnapshotAuto))
	asked := int32(0)
	s.Own.Fault(-1, qdrantserver.Fault{
		Method: "POST", Path: atCreate, Status: 500, Body: `{"status":{"error":"Service internal error: No space left on device (os error 28)"},"time":0.1}`,
		Before: func() { atomic.AddInt32(&asked, 1) },
	})
	content, err := readContents(t.Context(), r.make("p"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := content.collections[0].Shards[0].Mode; got != string(policy.SnapshotStream) || asked != 1 {
		t.Errorf("mode %s after %d requests for a file", got, asked)
	}
}

// TestServersOfRehearsals: what a server does wrong is not the restore point's fault.
func TestServersOfRehearsals(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
	from := r.make("p")
	s.Own.Fault(-1, qdrantserver.Fault{
		Method: "GET", Path: "^/collections/" + drillPrefix + "[^/]*$", Skip: 1,
		Status: 200, Body: `{"result":{"status":"red","optimizer_status":{"error":"cannot map"},"config":{}},"status":"ok","time":0}`,
	})
	_, err := r.x.Rehearse(t.Context(), executors.RehearseRequest{Source: r.src, Backup: r.backup, Dir: t.TempDir()}, from)
	if !errors.Is(err, executors.ErrScratch) || !strings.Contains(err.Error(), "cannot map") {
		t.Errorf("got %v, want that nothing was learnt", err)
	}
}

// TestMixedVersions: while a cluster is upgraded its archives may be of the newer version.
func TestMixedVersions(t *testing.T) {
	s, name := small(t, qdrantserver.Options{Nodes: 2, Version: "1.18.3"})
	s.Own.Fault(1, qdrantserver.Fault{Path: "^/$", Status: 200, Body: `{"title":"qdrant - vector search engine","version":"1.19.0","commit":"abc"}`})
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
	content, err := readContents(t.Context(), r.make("p"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if content.point.Version != "1.19.0" || content.point.Commit != "abc" {
		t.Errorf("recorded is version %s, commit %s", content.point.Version, content.point.Commit)
	}
	if err := (version{major: 1, minor: 18, text: "1.18.3"}).fits(content.made); err == nil {
		t.Error("a server of the older version takes it")
	}
}

// TestDeletedBeforeItsTurn: a collection that the policy names is missing when it goes; one that a glob found is told.
func TestDeletedBeforeItsTurn(t *testing.T) {
	for _, named := range []bool{true, false} {
		s, name := small(t, qdrantserver.Options{})
		s.Fill(t, name+"-2", nil, 10, 4)
		globs := []string{name + "*"}
		if named {
			globs = []string{name, name + "-2"}
		}
		s.Own.Fault(-1, qdrantserver.Fault{Method: "GET", Path: "^/collections/" + name + "-2$", Times: 1, Before: func() { s.Do(t, "DELETE", "/collections/"+name+"-2", nil) }})
		_, res, err := newRun(t, sourceOf(s, globs...), snapshots(policy.SnapshotStream)).try("p")
		if err != nil {
			t.Fatal(err)
		}
		want := dirOf(name+"-2") + ": the collection was deleted before it was read"
		if got := map[bool]string{true: missing(res), false: doubtful(res)}[named]; got != want {
			t.Errorf("named %v: missing %q, told %q", named, missing(res), doubtful(res))
		}
	}
}

// TestLargePoints: pages are of about the same size whatever points hold.
func TestLargePoints(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	for i := range 24 {
		s.Do(t, "PUT", "/collections/"+name+"/points?wait=true", map[string]any{"points": []any{map[string]any{
			"id": 1000 + i, "vector": slices.Repeat([]float32{float32(i + 1)}, 32), "payload": map[string]any{"text": strings.Repeat(fmt.Sprint(i%10), 1<<20)},
		}}})
	}
	b := exports()
	b.Export.Batch = 0
	r := newRun(t, sourceOf(s, name), b)
	from := r.make("p")
	var writes int32
	s.Own.Fault(-1, qdrantserver.Fault{Path: "/qdrant.Points/Upsert", Before: func() { atomic.AddInt32(&writes, 1) }})
	if _, err := r.back(from, name+"-back", false); err != nil {
		t.Fatal(err)
	}
	wantSame(t, s, name, name+"-back")
	if writes < 3 {
		t.Errorf("24 MiB were written in %d requests", writes)
	}
}

// TestPageSizes: a page of large points makes the next one smaller, and small ones make it larger again.
func TestPageSizes(t *testing.T) {
	page := func(n, bytes int) (out []*client.RetrievedPoint) {
		for range n {
			out = append(out, &client.RetrievedPoint{Payload: client.NewValueMap(map[string]any{"x": strings.Repeat("x", bytes)})})
		}
		return out
	}
	p := &pages{size: 100}
	for _, c := range []struct{ points, bytes, want int }{{100, 1 << 20, 7}, {7, 1 << 20, 7}, {7, 100 << 10, 14}, {14, 10, 28}, {28, 10, 56}, {56, 10, 100}, {100, 10, 100}, {10, 9 << 20, 8}} {
		_ = p.limit()
		p.fit(page(c.points, c.bytes))
		if p.limit() != c.want {
			t.Errorf("after %d points of %d bytes: %d, want %d", c.points, c.bytes, p.limit(), c.want)
		}
	}
}

// TestAnswersAreBounded: an answer is not taken in without an end.
func TestAnswersAreBounded(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	big, err := json.Marshal(strings.Repeat("x", maxAnswer))
	if err != nil {
		t.Fatal(err)
	}
	s.Own.Fault(-1, qdrantserver.Fault{Method: "GET", Path: "^/aliases$", Status: 200, Body: `{"result":` + string(big) + `}`})
	if _, _, err := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream)).try("p"); err == nil || !strings.Contains(err.Error(), "larger than 256 MiB") {
		t.Errorf("got %v", err)
	}
}

// TestLateDelete: a server that deletes a collection after it was asked, although the answer was lost, must not leave nothing.
func TestLateDelete(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, name := small(t, qdrantserver.Options{})
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
	from := r.make("p")
	s.Own.Fault(-1, qdrantserver.Fault{Method: "DELETE", Path: "^/collections/" + name + "$", Times: 1, DropAnswer: true, Late: time.Second})
	_, err := r.back(from, name, true)
	folders, _ := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "holdfast-safety-*"))
	if err == nil || !strings.Contains(err.Error(), "may be deleted yet") || len(folders) != 1 || !strings.Contains(err.Error(), folders[0]) {
		t.Errorf("got %v, folders %v", err, folders)
	}
	files, _ := os.ReadDir(s.Own.SnapshotsPath(0) + "/" + name + "/shards/0")
	if len(files) == 0 {
		t.Error("no safety snapshot is left")
	}
	// A refusal is one.
	s.Own.Fault(-1, qdrantserver.Fault{Method: "DELETE", Path: "^/collections/second$", Times: 1, Status: 403, Body: `{"status":{"error":"Forbidden"}}`})
	s.Fill(t, "second", nil, 5, 4)
	before := s.Image(t, "second")
	if _, err := r.back(from, "second", true); err == nil || strings.Contains(err.Error(), "may be deleted yet") {
		t.Errorf("got %v", err)
	}
	if s.Image(t, "second") != before {
		t.Error("the old collection is not what it was")
	}
	noLeftovers(t, s, "second")
}

// TestRemadeWhileRead: a collection that is deleted and made anew between two shards is seen, although counts and samples are the same
// in the end.
func TestRemadeWhileRead(t *testing.T) {
	s, _ := small(t, qdrantserver.Options{})
	create := map[string]any{"vectors": map[string]any{"size": 32, "distance": "Cosine"}, "shard_number": 2}
	s.Fill(t, "two", create, 300, 0)
	s.Own.Fault(-1, qdrantserver.Fault{Path: atStream, Skip: 1, Times: 1, Before: func() {
		s.Do(t, "DELETE", "/collections/two", nil)
		s.Do(t, "PUT", "/collections/two", create)
	}})
	s.Own.Fault(-1, qdrantserver.Fault{Path: "/points/count$", Skip: 1, Times: 1, Before: func() { s.FillKey(t, "two", nil, 0, 300) }})
	_, res, err := newRun(t, sourceOf(s, "two"), snapshots(policy.SnapshotStream)).try("p")
	if err != nil {
		t.Fatal(err)
	}
	if got := missing(res); !strings.Contains(got, "deleted and made anew, or emptied") {
		t.Errorf("missing %q, told %q", got, doubtful(res))
	}
}

// TestAllWritten: every point is written anew while the backup reads. What comes back is taken for whole, and told; an archive
// without points is not.
func TestAllWritten(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
	heal := s.Own.Fault(-1, qdrantserver.Fault{Path: atStream, Times: 1, Before: func() { s.FillKey(t, name, nil, 0, 300) }})
	sink, _, err := r.try("p")
	heal()
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.back(r.store.Supply("p"), name+"-back", false)
	if err != nil || !strings.Contains(doubtful(res), "every sampled point was written while the backup read") {
		t.Errorf("got %v, told %q", err, doubtful(res))
	}
	s.Do(t, "PUT", "/collections/empty", map[string]any{"vectors": map[string]any{"size": 32, "distance": "Cosine"}})
	other := newRun(t, sourceOf(s, "empty"), snapshots(policy.SnapshotStream))
	without, _, err := other.try("p")
	if err != nil {
		t.Fatal(err)
	}
	documents, err := readContents(t.Context(), other.store.Supply("p"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var archive []byte
	for _, it := range without.Items() {
		if content(it) {
			archive = it.Data
		}
	}
	hollow := altered(sink, func(items []*executortest.Item) []*executortest.Item {
		items = edit(func(rec *collectionRecord) {
			rec.Shards[0].SHA256, rec.Shards[0].Bytes = documents.collections[0].Shards[0].SHA256, documents.collections[0].Shards[0].Bytes
		})(items)
		for _, it := range items {
			if content(it) {
				it.Data = archive
			}
		}
		return items
	})
	if _, err := r.back(hollow, name, true); err == nil || !strings.Contains(err.Error(), "it has 0 points") {
		t.Errorf("got %v", err)
	}
	wantSame(t, s, name+"-back", name)
}

// TestExportUnderFreeNames: what applications write already is told, and what a single server cannot keep is said.
func TestExportUnderFreeNames(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	r := newRun(t, sourceOf(s, name), exports())
	from := r.make("p")
	heal := s.Own.Fault(-1, qdrantserver.Fault{Path: name + "-back/points/count$", Times: 1, Before: func() { s.FillKey(t, name+"-back", nil, 5000, 1) }})
	res, err := r.back(from, name+"-back", false)
	heal()
	if err != nil || !strings.Contains(doubtful(res), "it has 301 points, exported were 300") {
		t.Errorf("got %v, told %q", err, doubtful(res))
	}
}

// TestAliasesAreAskedForAgain: one answer of a busy server costs no alias; when they cannot come back, the old collection's snapshots
// are named.
func TestAliasesAreAskedForAgain(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, times := range []int{1, 0} {
		s, name := small(t, qdrantserver.Options{})
		s.Do(t, "POST", "/collections/aliases", map[string]any{"actions": []any{createAlias(name+"-live", name)}})
		r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
		from := r.make("p")
		s.Own.Fault(-1, qdrantserver.Fault{Method: "POST", Path: "^/collections/aliases$", Status: 503, Body: "busy", Times: times})
		_, err := r.back(from, name, true)
		if times == 0 {
			if err == nil || !strings.Contains(err.Error(), name+"-live") || !strings.Contains(err.Error(), "holdfast-safety-") {
				t.Errorf("got %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, s, name, name+"-live")
	}
}

// TestFilteredPagesShrink: an answer that is too large for a message is asked for in parts, with a filter too.
func TestFilteredPagesShrink(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	b := exports()
	b.Export.Filter = `{"must":[]}`
	r := newRun(t, sourceOf(s, name), b)
	s.Own.Fault(-1, qdrantserver.Fault{Path: "/qdrant.Points/Get$", Times: 4, GRPCCode: codes.ResourceExhausted, Body: "received message larger than max"})
	if _, err := r.back(r.make("p"), name+"-back", false); err != nil {
		t.Fatal(err)
	}
	wantSame(t, s, name, name+"-back")
}

// TestOldServersAreNotStreamed: not even when their disk is full.
func TestOldServersAreNotStreamed(t *testing.T) {
	s, name := small(t, qdrantserver.Options{Version: "1.17.0"})
	s.Own.Fault(-1, qdrantserver.Fault{Method: "POST", Path: atCreate, Status: 500, Body: `{"status":{"error":"No space left on device (os error 28)"}}`})
	s.Own.Fault(-1, qdrantserver.Fault{Path: atStream, Before: func() { t.Error("it was streamed") }})
	if _, res, err := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotAuto)).try("p"); err != nil || missing(res) == "" {
		t.Errorf("got %v, missing %q", err, missing(res))
	}
}

// TestVersionsAreExact: an index that answers nearly all is no reason to call points touched.
func TestVersionsAreExact(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "exact")
	s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 16, "distance": "Cosine"}, "hnsw_config": map[string]any{"full_scan_threshold": 10}, "optimizers_config": map[string]any{"indexing_threshold": 10}}, 3000, 0)
	content, err := readContents(t.Context(), newRun(t, sourceOf(s, name), snapshots(policy.SnapshotAuto)).make("p"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if rec := content.collections[0]; rec.Watched < 400 || rec.Touched > 0 {
		t.Errorf("%d of %d watched points count as touched", rec.Touched, rec.Watched)
	}
}
