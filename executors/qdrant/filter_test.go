package qdrant

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

var (
	ofPoint  = regexp.MustCompile(`(?m)^(point \S+) (.*)\n`)
	ofNumber = regexp.MustCompile(`"number":(\d+),`)
)

// pointsIn are the points of an image by id; with shard keys, by id and key.
func pointsIn(image string) map[string]string {
	out := map[string]string{}
	for _, m := range ofPoint.FindAllStringSubmatch(image, -1) {
		_, key, _ := strings.Cut(m[2], `"shard_key":`)
		key, _, _ = strings.Cut(key, ",")
		out[m[1]+" "+key] = m[2]
	}
	return out
}

// below leaves the points whose payload's number is below n.
func below(points map[string]string, n int) map[string]string {
	out := maps.Clone(points)
	maps.DeleteFunc(out, func(_, text string) bool {
		m, number := ofNumber.FindStringSubmatch(text), 0
		if m == nil {
			return true
		}
		_, _ = fmt.Sscan(m[1], &number)
		return number >= n
	})
	return out
}

// under is the filter that below follows.
func under(n int) string { return fmt.Sprintf(`{"must": [{"key": "number", "range": {"lt": %d}}]}`, n) }

// merged are the points of a, and those of b in place of theirs.
func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func TestSelectedPointsAmongOthers(t *testing.T) {
	for _, method := range methodNames {
		t.Run(method, func(t *testing.T) {
			s := qdranttest.Shared(t)
			p := s.Name(t, "among")
			a, b := p+"a", p+"b"
			for _, name := range []string{a, b} {
				s.Fill(t, name, rich(), 120, 0)
				addIndex(t, s, name, "number", "integer")
			}
			addAliases(t, s, a, p+"alias")
			r := newRun(t, sourceOf(s, a, b), methods[method])
			from := r.make("p1")
			saved := pointsIn(s.Image(t, a))

			// Some are deleted, some changed, within and outside of what the filter selects; some are new.
			change := func(verb, what string, body map[string]any) {
				s.Do(t, verb, path("collections", a)+what+"?wait=true", body)
			}
			change("POST", "/points/delete", map[string]any{"points": []any{1, 2, 3, 101}})
			change("POST", "/points/payload", map[string]any{"payload": map[string]any{"flag": "changed", "fresh": 1}, "points": []any{5, 6, 100}})
			s.FillKey(t, a, nil, 500, 10)
			now := pointsIn(s.Image(t, a))

			req := r.request("")
			req.Options[optionFilter] = under(50)
			if _, _, err := r.both(req, from); !errors.Is(err, executors.ErrTargetExists) || !strings.Contains(err.Error(), "all others stay") {
				t.Errorf("unasked: %v", err)
			}
			req.Replace = true
			req.Only = []string{a}
			pre, _, err := r.both(req, from)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]string{"points of " + a}, pre.Replaces); d != "" {
				t.Errorf("preview (-want +got):\n%s", d)
			}
			if d := cmp.Diff(merged(now, below(saved, 50)), pointsIn(s.Image(t, a))); d != "" {
				t.Errorf("points (-want +got):\n%.3000s", d)
			}
			if d := cmp.Diff([]string{p + "alias -> " + a}, aliasesAt(t, s, p)); d != "" {
				t.Errorf("aliases (-want +got):\n%s", d)
			}
			noLeftovers(t, s, a)

			// Several collections, under other names.
			req = r.request("*_some")
			req.Options[optionFilter] = under(20)
			if _, _, err := r.both(req, from); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{a, b} {
				if d := cmp.Diff(below(saved, 20), pointsIn(s.Image(t, name+"_some"))); d != "" {
					t.Errorf("points of %s_some (-want +got):\n%.3000s", name, d)
				}
				if d := cmp.Diff(configOf(t, s, name), configOf(t, s, name+"_some")); d != "" {
					t.Errorf("configuration of %s_some (-want +got):\n%s", name, d)
				}
			}
			before := s.Image(t, b)
			for _, c := range []struct{ name, root, filter, err string }{
				{"nothing is selected", "*", `{"must": [{"key": "number", "range": {"lt": 0}}]}`, ""},
				{"not JSON", "*", `{"must":`, "the filter is not valid JSON"},
				{"not a filter", "*", `{"must": [{"key": "number", "no": 1}]}`, "the server does not take the filter"},
				{"not a filter, a new collection", p + "new", `{"must": [{"key": "number", "no": 1}]}`, "the server does not take the filter"},
			} {
				req := r.request(c.root)
				req.Options[optionFilter], req.Replace, req.Only = c.filter, true, []string{b}
				_, _, err := r.both(req, from)
				if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
					t.Errorf("%s: got %v, want %q", c.name, err, c.err)
				}
				if d := cmp.Diff(before, s.Image(t, b)); d != "" {
					t.Errorf("%s (-before +after):\n%.2000s", c.name, d)
				}
			}
			if d := cmp.Diff([]string{a, a + "_some", b, b + "_some"}, collectionsAt(t, s, p)); d != "" {
				t.Errorf("collections (-want +got):\n%s", d)
			}
			noLeftovers(t, s, a, b)
		})
	}
}

// Points do not fit into a collection that became another one: that is refused before anything is written.
func TestSelectedPointsDoNotFit(t *testing.T) {
	dense := func(size int) map[string]any { return map[string]any{"size": size, "distance": "Dot"} }
	for _, c := range []struct {
		then, now map[string]any
		err       string
	}{
		{map[string]any{"vectors": dense(4)}, map[string]any{"vectors": dense(24)}, `its vector "" has 24 numbers, in the restore point it has 4`},
		{map[string]any{"vectors": dense(4)}, map[string]any{"vectors": map[string]any{"a": dense(4)}}, `it has no vector ""`},
		{map[string]any{"vectors": map[string]any{"a": dense(4), "b": dense(4)}}, map[string]any{"vectors": map[string]any{"a": dense(4)}}, `it has no vector "b"`},
		{map[string]any{"sparse_vectors": map[string]any{"w": map[string]any{}}}, map[string]any{"sparse_vectors": map[string]any{"x": map[string]any{}}}, `it has no sparse vector "w"`},
		{map[string]any{"vectors": dense(4)}, map[string]any{"vectors": dense(4), "sparse_vectors": map[string]any{"w": map[string]any{}}}, ""},
	} {
		s := qdranttest.Shared(t)
		name := s.Name(t, "unfit")
		s.Fill(t, name, c.then, 30, 0)
		r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotAuto))
		from := r.make("p1")
		saved := pointsIn(s.Image(t, name))
		s.Do(t, "DELETE", path("collections", name), nil)
		s.Fill(t, name, c.now, 10, 0)
		before := pointsIn(s.Image(t, name))
		req := r.request("")
		req.Options[optionFilter], req.Replace = under(5), true
		_, _, err := r.both(req, from)
		want := before
		if c.err == "" {
			want = merged(before, below(saved, 5))
		}
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("got %v, want %q", err, c.err)
		}
		got := pointsIn(s.Image(t, name))
		if c.err == "" { // told with the name that the vector has now
			want, got = bare(want), bare(got)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: points (-want +got):\n%.2000s", c.err, d)
		}
		noLeftovers(t, s, name)
	}
}

// bare are points without their vectors.
func bare(points map[string]string) map[string]string {
	out := map[string]string{}
	for id, text := range points {
		out[id], _, _ = strings.Cut(text, `"vector":`)
	}
	return out
}

func TestSelectedPointsOfShardKeys(t *testing.T) {
	for _, method := range methodNames {
		t.Run(method, func(t *testing.T) {
			s := qdranttest.Cluster(t)
			name := s.Name(t, "selkeys")
			s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 8, "distance": "Cosine"}, "sharding_method": "custom", "replication_factor": 2}, 0, 0)
			for i, key := range []any{"acme", 7} {
				s.Do(t, "PUT", path("collections", name, "shards"), map[string]any{"shard_key": key})
				s.FillKey(t, name, key, 20*i, 40) // 20 to 39 stand under both
			}
			r := newRun(t, sourceOf(s, name), methods[method])
			from := r.make("p1")
			saved := pointsIn(s.Image(t, name))
			s.Do(t, "POST", path("collections", name)+"/points/delete?wait=true", map[string]any{"points": []any{1, 21, 22, 50}, "shard_key": "acme"})
			s.Do(t, "POST", path("collections", name)+"/points/delete?wait=true", map[string]any{"points": []any{21, 50}, "shard_key": 7})
			now := pointsIn(s.Image(t, name))
			if _, err := r.back(from, "", true, optionFilter, under(30)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(merged(now, below(saved, 30)), pointsIn(s.Image(t, name))); d != "" {
				t.Errorf("points (-want +got):\n%.3000s", d)
			}
			if _, err := r.back(from, name+"-some", false, optionFilter, under(30)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(below(saved, 30), pointsIn(s.Image(t, name+"-some"))); d != "" {
				t.Errorf("points of a new collection (-want +got):\n%.3000s", d)
			}
			noLeftovers(t, s, name)
		})
	}
}

// What an export leaves out by the policy's wish is not there afterwards, and everything else is.
func TestExportParts(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "parts")
	s.Fill(t, name, map[string]any{
		"vectors":        map[string]any{"a": map[string]any{"size": 8, "distance": "Dot"}, "b": map[string]any{"size": 4, "distance": "Cosine", "multivector_config": map[string]any{"comparator": "max_sim"}}},
		"sparse_vectors": map[string]any{"words": map[string]any{}}, "shard_number": 3,
	}, 150, 0)
	addIndex(t, s, name, "number", "integer")
	all := pointsIn(s.Image(t, name))
	without := func(part string, points map[string]string) map[string]string {
		out := map[string]string{}
		for id, text := range points {
			var p map[string]json.RawMessage
			decodeInto(t, json.RawMessage(text), &p)
			delete(p, part)
			out[id] = string(must(json.Marshal(p)))
		}
		return out
	}
	for _, c := range []struct {
		name   string
		export policy.Export
		want   map[string]string
		strip  string
	}{
		{"everything", policy.Export{IncludePayload: true, IncludeVectors: true}, all, ""},
		{"one at a time", policy.Export{IncludePayload: true, IncludeVectors: true, Batch: 1}, all, ""},
		{"more than there are", policy.Export{IncludePayload: true, IncludeVectors: true, Batch: 10_000}, all, ""},
		{"no payload", policy.Export{IncludeVectors: true}, all, "payload"},
		{"no vectors", policy.Export{IncludePayload: true}, all, "vector"},
		{"a filter", policy.Export{IncludePayload: true, IncludeVectors: true, Filter: under(33), Batch: 10}, below(all, 33), ""},
		{"a filter that selects nothing", policy.Export{IncludePayload: true, IncludeVectors: true, Filter: under(0)}, map[string]string{}, ""},
		{"a filter, no vectors", policy.Export{IncludePayload: true, Filter: under(33)}, below(all, 33), "vector"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRun(t, sourceOf(s, name), policy.Backup{Address: "backup.test", Export: &c.export})
			from := r.make("p1")
			rec := contentsOf(t, from).collections[0]
			if got := rec.Export; got.Parts[0].Points != uint64(len(c.want)) || rec.Before != uint64(len(c.want)) || rec.After != rec.Before || (len(rec.Samples) > 0) != (len(c.want) > 0) {
				t.Errorf("recorded are %+v, %d before, %d after, %d samples; want %d", got, rec.Before, rec.After, len(rec.Samples), len(c.want))
			}
			if _, err := r.x.Verify(t.Context(), executors.VerifyRequest{Backup: r.backup}, from); err != nil {
				t.Errorf("verify: %v", err)
			}
			at := s.Name(t, "parts-back")
			if _, err := r.back(from, at, false); err != nil {
				t.Fatal(err)
			}
			want, got := c.want, pointsIn(s.Image(t, at))
			for id, text := range got {
				if c.strip == "payload" && strings.Contains(text, "number") || c.strip == "vector" && !strings.Contains(text, `"vector":{}`) {
					t.Fatalf("%s has a %s: %s", id, c.strip, text)
				}
			}
			if c.strip != "" {
				want, got = without(c.strip, want), without(c.strip, got)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("points (-want +got):\n%.3000s", d)
			}
			if d := cmp.Diff(configOf(t, s, name), configOf(t, s, at)); d != "" {
				t.Errorf("configuration (-want +got):\n%s", d)
			}
			if res, err := r.x.Rehearse(t.Context(), executors.RehearseRequest{Source: r.src, Backup: r.backup, Dir: t.TempDir()}, from); err != nil || !res.OK() {
				t.Errorf("rehearse: %v %v", err, res.Failure())
			}
		})
	}
	t.Run("not a filter", func(t *testing.T) {
		r := newRun(t, sourceOf(s, name), policy.Backup{Address: "backup.test", Export: &policy.Export{IncludePayload: true, IncludeVectors: true, Filter: `{"must": [{"key": "number", "no": 1}]}`}})
		if _, res, err := r.try("p1"); err == nil && missing(res) == "" {
			t.Error("a backup by a filter that the server does not know is a success")
		}
	})
	noLeftovers(t, s, name)
}

func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

// A scroll that breaks goes on where it was: no point twice, none left out.
func TestExportGoesOn(t *testing.T) {
	for _, filter := range []string{"", under(1000)} {
		s, name := small(t, qdrantserver.Options{})
		addIndex(t, s, name, "number", "integer")
		r := newRun(t, sourceOf(s, name), policy.Backup{Address: "backup.test", Export: &policy.Export{IncludePayload: true, IncludeVectors: true, Batch: 20, Filter: filter}})
		for _, f := range []qdrantserver.Fault{
			{Path: "/qdrant.Points/(Scroll|Get)$", Skip: 4, Times: 2, GRPCCode: codes.Unavailable, Body: "connection reset"},
			{Path: "/qdrant.Points/(Scroll|Get)$", Skip: 6, Times: 1, CutAfter: 300},
			{Path: "/qdrant.Points/(Scroll|Get)$", Skip: 9, Times: 1, DropAnswer: true},
		} {
			s.Own.Fault(-1, f)
		}
		sink, res, err := r.try("p1")
		if err != nil || missing(res) != "" {
			t.Fatalf("filter %q: %v %s", filter, err, missing(res))
		}
		var ids []string
		for _, it := range sink.Items() {
			if !content(it) {
				continue
			}
			d := newPointDecoder(strings.NewReader(string(it.Data)))
			for {
				one, err := d.next()
				if err != nil {
					break
				}
				ids = append(ids, string(idJSON(one.GetId())))
			}
		}
		slices.Sort(ids)
		if n := len(slices.Compact(slices.Clone(ids))); len(ids) != 300 || n != 300 {
			t.Errorf("filter %q: %d points were read, %d of them distinct, 300 there are", filter, len(ids), n)
		}
		if _, err := r.back(r.store.Supply("p1"), name+"-back", false); err != nil {
			t.Fatal(err)
		}
		wantSame(t, s, name, name+"-back")
	}
}
