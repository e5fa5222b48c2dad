package qdrant

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

// altered makes a supply of a point's items after a change of them.
func altered(k *executortest.Sink, change func(items []*executortest.Item) []*executortest.Item) *executortest.Supply {
	var items []*executortest.Item
	for _, it := range k.Items() {
		copied := *it
		copied.Data = bytes.Clone(it.Data)
		items = append(items, &copied)
	}
	items = change(items)
	for _, it := range items {
		it.Entry.Size = int64(len(it.Data))
	}
	return executortest.NewSupply(items...)
}

// edit changes a collection's document.
func edit(change func(*collectionRecord)) func([]*executortest.Item) []*executortest.Item {
	return func(items []*executortest.Item) []*executortest.Item {
		for _, it := range items {
			if strings.HasSuffix(it.Entry.Path, collectionDoc) {
				var rec collectionRecord
				if err := json.Unmarshal(it.Data, &rec); err != nil {
					panic(err)
				}
				change(&rec)
				it.Data, _ = encodeDocument(&rec)
			}
		}
		return items
	}
}

func content(it *executortest.Item) bool { return !isDocument(it.Entry.Path) }

// TestVerifyFinds: what a repository hands out intact and is no restore point all the same.
func TestVerifyFinds(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "verify")
	s.Fill(t, name, nil, 200, 8)
	for _, method := range methodNames {
		r := newRun(t, sourceOf(s, name), methods[method])
		sink, res, err := r.try("p")
		if err != nil || missing(res) != "" {
			t.Fatalf("backup: %v %s", err, missing(res))
		}
		for want, change := range map[string]func([]*executortest.Item) []*executortest.Item{
			"": func(items []*executortest.Item) []*executortest.Item { return items },
			"is missing": func(items []*executortest.Item) []*executortest.Item {
				return slices.DeleteFunc(items, content)
			},
			"verify collections/": func(items []*executortest.Item) []*executortest.Item { // cut in the middle
				for _, it := range items {
					if content(it) {
						it.Data = it.Data[:len(it.Data)/2]
					}
				}
				return items
			},
			"tells of 1 collections and holds 0": func(items []*executortest.Item) []*executortest.Item {
				return slices.DeleteFunc(items, func(it *executortest.Item) bool { return strings.HasSuffix(it.Entry.Path, collectionDoc) })
			},
			"holds no point.json": func(items []*executortest.Item) []*executortest.Item {
				return slices.DeleteFunc(items, func(it *executortest.Item) bool { return it.Entry.Path == pointPath })
			},
			"this version of holdfast reads": func(items []*executortest.Item) []*executortest.Item {
				last := items[len(items)-1]
				last.Data = bytes.Replace(last.Data, []byte(`"format_version":1`), []byte(`"format_version":9`), 1)
				return items
			},
			"no collection's document tells of it": func(items []*executortest.Item) []*executortest.Item {
				return append(items, &executortest.Item{Entry: executors.Entry{Path: "collections/other/shards/0.snapshot", Type: executors.TypeStream}, Data: []byte("x")})
			},
			"recorded are": edit(func(rec *collectionRecord) {
				for i := range rec.Shards {
					rec.Shards[i].Bytes++
				}
				if rec.Export != nil {
					rec.Export.Parts[0].Points++
				}
			}),
		} {
			_, err := r.x.Verify(t.Context(), executors.VerifyRequest{Backup: r.backup}, altered(sink, change))
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: got %v, want %q", method, err, want)
			}
		}
	}
}

// TestRehearsalCompares: what comes back is compared with what was recorded, and a difference is the restore point's.
func TestRehearsalCompares(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "compare")
	s.Fill(t, name, nil, 200, 8)
	addIndex(t, s, name, "city", "keyword")
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotAuto))
	sink, _, err := r.try("p")
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*collectionRecord){
		"it has 200 points, recorded are 210": func(rec *collectionRecord) { rec.Before, rec.After = 210, 210 },
		"is not what it was":                  func(rec *collectionRecord) { rec.Samples[0].Sum = "0" },
		"point 4711 is missing":               func(rec *collectionRecord) { rec.Samples[0].ID = json.RawMessage("4711") },
		"the new collection's shards are not": func(rec *collectionRecord) { rec.Shards = append(rec.Shards, rec.Shards[0]); rec.Shards[1].ID = 1 },
	} {
		t.Run(want, func(t *testing.T) {
			_, err := r.x.Rehearse(t.Context(), executors.RehearseRequest{Source: r.src, Backup: r.backup, Dir: t.TempDir()}, altered(sink, edit(change)))
			if err == nil || errors.Is(err, executors.ErrScratch) {
				t.Fatalf("got %v, want an error of the restore point", err)
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			noLeftovers(t, s, name)
		})
	}
}

// TestChecksOfCollections: what a policy can ask.
func TestChecksOfCollections(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "checks")
	s.Fill(t, name, map[string]any{"vectors": map[string]any{"a": map[string]any{"size": 8, "distance": "Cosine"}, "b": map[string]any{"size": 4, "distance": "Dot"}}}, 90, 0)
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotAuto))
	from := r.make("p")
	search := check("search", name, "hits", 3)
	search.Search = `{"query": 1, "using": "a", "limit": 3}`
	bad := check("bad search", name, "hits", 3)
	bad.Search = `{"query": [1], "using": "a"}`
	res, err := r.x.Rehearse(t.Context(), executors.RehearseRequest{Source: r.src, Backup: r.backup, Dir: t.TempDir(), Rehearsal: policy.Rehearsal{Checks: []policy.Check{
		check("points", name, "points", 90), check("vectors", name, "vectors", 170), check("status", name, "status", "green"), search, bad, check("gone", "nowhere", "points", 0),
	}}}, from)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, true, true, false, false} {
		if c := res.Checks[i]; c.OK != want || (c.Error != "") != (i >= 4) {
			t.Errorf("check %q: %+v", c.Name, c)
		}
	}
}

// TestKilledRehearsals: what a killed rehearsal left is removed by the next one; what may be somebody's at work stays.
func TestKilledRehearsals(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "source")
	s.Fill(t, name, nil, 5, 4)
	dir := t.TempDir()
	dead, err := newClaim(dir)
	if err != nil {
		t.Fatal(err)
	}
	alive, err := newClaim(dir)
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.file.Close()         // as the kernel does when a process dies
	leftovers := map[string]bool{ // by name: stays
		drillPrefix + dead.token + "_0": false, drillPrefix + alive.token + "_0": true,
		drillPrefix + "a00000_elsewhere234_0": false, drillPrefix + strings.Split(alive.token, "_")[0] + "_elsewhere234_0": true, drillPrefix + "by-hand": true,
	}
	for left := range leftovers {
		s.Fill(t, left, nil, 1, 4)
		t.Cleanup(func() { _, _, _ = s.Try("DELETE", "/collections/"+left, nil) })
	}
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotAuto))
	if _, err := r.x.Rehearse(t.Context(), executors.RehearseRequest{Source: r.src, Backup: r.backup, Dir: dir}, r.make("p")); err != nil {
		t.Fatal(err)
	}
	alive.release()
	for left, stays := range leftovers {
		if got := s.Image(t, left) != ""; got != stays {
			t.Errorf("%s is there: %v, want %v", left, got, stays)
		}
	}
}

// TestShardKeysComeBack: custom sharding, with a gap in the shards' numbers and an id that stands under two keys.
func TestShardKeysComeBack(t *testing.T) {
	for _, method := range methodNames {
		t.Run(method, func(t *testing.T) {
			s := qdranttest.Cluster(t)
			name := s.Name(t, "keys")
			s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 8, "distance": "Cosine"}, "sharding_method": "custom", "shard_number": 2, "replication_factor": 2}, 0, 0)
			for _, key := range []any{"dropped", "acme", 7, "beta"} {
				s.Do(t, "PUT", "/collections/"+name+"/shards", map[string]any{"shard_key": key})
			}
			s.Do(t, "POST", "/collections/"+name+"/shards/delete", map[string]any{"shard_key": "dropped"})
			for i, key := range []any{"acme", 7, "beta"} {
				s.FillKey(t, name, key, 20*i, 40) // the ranges overlap
			}
			r := newRun(t, sourceOf(s, name), methods[method])
			from := r.make("p")
			if _, err := r.back(from, name+"-back", false); err != nil {
				t.Fatalf("restore: %v", err)
			}
			for node := range s.URLs {
				if got, want := s.ImageNode(t, node, name+"-back"), s.ImageNode(t, node, name); got != want {
					t.Errorf("node %d tells something else of the restored collection", node)
				}
			}
			// A single server keeps no keys: archives are refused, points come when their ids do not collide, and loudly do not
			// when they do.
			single := qdranttest.Shared(t)
			at := single.Name(t, "keys")
			req := executors.RestoreRequest{Source: sourceOf(single), Backup: r.backup, Target: executors.Target{Root: at}}
			_, err := r.x.Restore(t.Context(), req, from)
			want := "which only a cluster keeps"
			if method == "export" {
				want = "is kept"
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("restore to a single server: %v, want %q", err, want)
			}
			if left := single.Image(t, at) != ""; left != (method == "export") {
				t.Errorf("a collection is there: %v", left)
			}
		})
	}
}

// TestSelectedPoints: a filter brings back what it selects, from archives and exports alike, and nothing else changes.
func TestSelectedPoints(t *testing.T) {
	for _, method := range methodNames {
		t.Run(method, func(t *testing.T) {
			s := qdranttest.Shared(t)
			name := s.Name(t, "selected")
			s.Fill(t, name, nil, 100, 8)
			r := newRun(t, sourceOf(s, name), methods[method])
			from := r.make("p")
			before := s.Image(t, name)
			filter := `{"must":[{"key":"number","range":{"lt":10}}]}`
			s.Do(t, "POST", "/collections/"+name+"/points/delete?wait=true", map[string]any{"filter": json.RawMessage(filter)})
			s.Do(t, "PUT", "/collections/"+name+"/points?wait=true", map[string]any{"points": []any{map[string]any{"id": 100_000, "vector": make([]float32, 8), "payload": map[string]any{"new": true}}}})
			if _, err := r.back(from, "*", false, optionFilter, filter); !errors.Is(err, executors.ErrTargetExists) {
				t.Errorf("unasked: %v", err)
			}
			if _, err := r.back(from, "*", true, optionFilter, filter); err != nil {
				t.Fatal(err)
			}
			noLeftovers(t, s, name)
			s.Do(t, "POST", "/collections/"+name+"/points/delete?wait=true", map[string]any{"points": []int{100_000}})
			if got := s.Image(t, name); got != before {
				t.Error("the collection is not what it was before the deletion")
			}
			if _, err := r.back(from, name+"-new", false, optionFilter, filter); err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(s.Image(t, name+"-new"), "\npoint "); got != 10 {
				t.Errorf("a new collection has %d points, want 10", got)
			}
			for _, bad := range []string{`{"must":`, `{"must":[{"key":"city","match":{"nonsense":1}}]}`} {
				if _, err := r.back(from, name+"-bad", false, optionFilter, bad); err == nil {
					t.Errorf("filter %s: no error", bad)
				}
				if s.Image(t, name+"-bad") != "" {
					t.Errorf("filter %s: something is left", bad)
				}
			}
			noLeftovers(t, s, name)
		})
	}
}

// TestLacks: every recorded field must be there as it was; what a server added since is its own business.
func TestLacks(t *testing.T) {
	for _, c := range []struct{ want, got, diff string }{
		{`{"a":1,"b":{"c":[1,2]}}`, `{"b":{"c":[1,2],"new":true},"a":1.0}`, ""},
		{`{"a":null}`, `{}`, ""},
		{`{"a":1}`, `{}`, "a is null, recorded is 1"},
		{`{"b":{"c":[1,2]}}`, `{"b":{"c":[2,1]}}`, "b.c is [2,1], recorded is [1,2]"},
		{`{"b":{"skip":1,"x":9007199254740993}}`, `{"b":{"skip":2,"x":9007199254740992}}`, "b.x is 9007199254740992, recorded is 9007199254740993"},
	} {
		got, err := lacks(json.RawMessage(c.want), json.RawMessage(c.got), []string{"b.skip"})
		if err != nil || got != c.diff {
			t.Errorf("%s against %s: %q, %v; want %q", c.want, c.got, got, err, c.diff)
		}
	}
}

// TestPointsThatCameMeanwhile: more points than recorded are told and keep nothing from coming back.
func TestPointsThatCameMeanwhile(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "more")
	s.Fill(t, name, nil, 200, 8)
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotAuto))
	sink, _, err := r.try("p")
	if err != nil {
		t.Fatal(err)
	}
	from := altered(sink, edit(func(rec *collectionRecord) { rec.Before, rec.After = 199, 199 }))
	res, err := r.back(from, name+"-back", false)
	if err != nil || !strings.Contains(doubtful(res), "it has 200 points; 199 were counted") {
		t.Errorf("restore: %v, told %q", err, doubtful(res))
	}
	wantSame(t, s, name, name+"-back")
}

// TestCustomShardingWithoutKeys: a collection that has no shard yet is whole without content.
func TestCustomShardingWithoutKeys(t *testing.T) {
	s := qdranttest.Cluster(t)
	name := s.Name(t, "nokeys")
	s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 4, "distance": "Dot"}, "sharding_method": "custom"}, 0, 0)
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotAuto))
	from := r.make("p")
	if _, err := r.back(from, name+"-back", false); err != nil {
		t.Fatal(err)
	}
	wantSame(t, s, name, name+"-back")
}

// TestReplaceByFewerShards: safety snapshots of shards that the new collection does not have are nowhere left.
func TestReplaceByFewerShards(t *testing.T) {
	tempDir(t)
	s, name := small(t, qdrantserver.Options{})
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotAuto))
	from := r.make("p")
	before := s.Image(t, name)
	s.Do(t, "DELETE", "/collections/"+name, nil)
	s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 4, "distance": "Dot"}, "shard_number": 3}, 50, 0)
	if _, err := r.back(from, "*", true); err != nil {
		t.Fatal(err)
	}
	if got := s.Image(t, name); got != before {
		t.Error("the replaced collection is not what was backed up")
	}
	err := filepath.WalkDir(s.Own.SnapshotsPath(0), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
