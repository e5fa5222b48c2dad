package qdrant

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/qdrant/go-client/qdrant"

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
	if rec.Touched < len(some) || rec.Watched < rec.Touched || rec.Watched == rec.Touched || len(rec.Samples) == 0 {
		t.Errorf("%d of %d watched points were touched, %d samples are left", rec.Touched, rec.Watched, len(rec.Samples))
	}
	res, err := r.back(from, name+"-back", false)
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	if got := doubtful(res); !strings.Contains(got, "That is right when points came and went meanwhile") {
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
		"the answer to an upload is lost":   {Path: atUpload, Times: 1, DropAnswer: true},
		"the answer to a count is lost":     {Method: "POST", Path: "/points/count$", Times: 2, DropAnswer: true},
		"the server is busy while it loads": {Method: "GET", Path: "^/collections/again$", Skip: 1, Times: 6, Status: 503, Body: "starting"},
	} {
		t.Run(what, func(t *testing.T) {
			s, name := small(t, qdrantserver.Options{})
			r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotStream))
			from := r.make("p")
			s.Own.Fault(-1, fault)
			if _, err := r.back(from, "again", false, optionVia, "upload"); err != nil {
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
