package qdrant

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/internal/blob/dir"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

// methodNames are the ways to back up, in an order.
var methodNames = sortedKeys(methods)

// contentsOf are the documents of a restore point.
func contentsOf(t testing.TB, from executors.Supply) *contents {
	t.Helper()
	c, err := readContents(t.Context(), from, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// addIndex makes a payload index; schema is its type, or an object with parameters.
func addIndex(t testing.TB, s *qdranttest.Server, collection, field string, schema any) {
	t.Helper()
	s.Do(t, "PUT", path("collections", collection, "index")+"?wait=true", map[string]any{"field_name": field, "field_schema": schema})
}

// addAliases points aliases to a collection.
func addAliases(t testing.TB, s *qdranttest.Server, collection string, names ...string) {
	t.Helper()
	var actions []any
	for _, name := range names {
		actions = append(actions, createAlias(name, collection))
	}
	s.Do(t, "POST", "/collections/aliases", map[string]any{"actions": actions})
}

// aliasesAt lists aliases as "alias -> collection", those of which the name begins with prefix.
func aliasesAt(t testing.TB, s *qdranttest.Server, prefix string) []string {
	t.Helper()
	var said struct{ Aliases []alias }
	decodeInto(t, s.Do(t, "GET", "/aliases", nil), &said)
	var out []string
	for _, a := range said.Aliases {
		if strings.HasPrefix(a.Alias, prefix) {
			out = append(out, a.Alias+" -> "+a.Collection)
		}
	}
	slices.Sort(out)
	return out
}

// collectionsAt lists the collections of which the name begins with prefix.
func collectionsAt(t testing.TB, s *qdranttest.Server, prefix string) []string {
	t.Helper()
	var said struct{ Collections []struct{ Name string } }
	decodeInto(t, s.Do(t, "GET", "/collections", nil), &said)
	var out []string
	for _, c := range said.Collections {
		if strings.HasPrefix(c.Name, prefix) {
			out = append(out, c.Name)
		}
	}
	slices.Sort(out)
	return out
}

func decodeInto(t testing.TB, raw json.RawMessage, out any) {
	t.Helper()
	if err := json.Unmarshal(raw, out); err != nil {
		t.Fatalf("decode %.200s: %v", raw, err)
	}
}

func compact(t testing.TB, raw json.RawMessage) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		t.Fatalf("compact %.200s: %v", raw, err)
	}
	return b.String()
}

// pick answers with the value for one method, or that for the others.
func pick[V any](method, one string, yes, no V) V {
	if method == one {
		return yes
	}
	return no
}

func TestBackupRecords(t *testing.T) {
	for _, method := range methodNames {
		t.Run(method, func(t *testing.T) {
			s := qdranttest.Shared(t)
			name := s.Name(t, "records")
			create := rich()
			create["shard_number"] = 2
			create["metadata"] = map[string]any{"owner": "team-rag", "nested": map[string]any{"list": []any{1, nil, "zwei <&>"}, "big": int64(9007199254740993)}}
			s.Fill(t, name, create, 120, 0)
			addIndex(t, s, name, "city", map[string]any{"type": "keyword", "is_tenant": true})
			addIndex(t, s, name, "nested.deep.emoji", "text")
			addAliases(t, s, name, name+"-b", name+"-a")

			r := newRun(t, sourceOf(s, name), methods[method])
			sink, res, err := r.try("p1")
			if err != nil || len(res.Problems) > 0 {
				t.Fatalf("backup: %v, problems:\n%s\n%s", err, missing(res), doubtful(res))
			}
			got := contentsOf(t, r.store.Supply("p1"))

			var hello struct{ Version, Commit string }
			_, text, err := s.Try("GET", "/", nil)
			if err != nil {
				t.Fatal(err)
			}
			decodeInto(t, text, &hello)
			if d := cmp.Diff(pointRecord{
				Format: "holdfast-qdrant", FormatVersion: 1, Method: pick(method, "export", "export", "snapshot"), Version: hello.Version, Commit: hello.Commit,
				Aliases: []alias{{name + "-a", name}, {name + "-b", name}}, Collections: []string{name},
			}, got.point); d != "" {
				t.Errorf("point.json (-want +got):\n%s", d)
			}

			rec := got.collections[0]
			var now struct {
				PayloadSchema map[string]json.RawMessage `json:"payload_schema"`
			}
			decodeInto(t, s.Do(t, "GET", path("collections", name), nil), &now)
			if d := cmp.Diff(configOf(t, s, name), string(must(canonical(rec.Config, exactDigits)))); d != "" {
				t.Errorf("the configuration is not recorded as the server tells it (-want +got):\n%s", d)
			}
			if d := cmp.Diff(now.PayloadSchema, rec.PayloadSchema, cmp.Comparer(func(a, b json.RawMessage) bool { return compact(t, a) == compact(t, b) })); d != "" {
				t.Errorf("payload indexes (-want +got):\n%s", d)
			}
			type facts struct {
				Format        string
				Version       int
				Before, After uint64
				Samples       bool
				Shards, Parts int
				Missing       []string
			}
			if d := cmp.Diff(facts{"holdfast-qdrant", 1, 120, 120, true, pick(method, "export", 0, 2), pick(method, "export", 1, 0), nil}, facts{
				rec.Format, rec.FormatVersion, rec.Before, rec.After, len(rec.Samples) >= 8 && len(rec.Samples) <= 16, len(rec.Shards), len(exportParts(rec)), rec.Missing,
			}); d != "" {
				t.Errorf("collection.json (-want +got):\n%s", d)
			}

			order, bytes := []string{}, int64(0)
			for _, it := range sink.Items() {
				order = append(order, strings.TrimPrefix(it.Entry.Path, "collections/"+name+"/"))
				bytes += it.Entry.Size
			}
			if d := cmp.Diff(pick(method, "export", []string{"points/0.points", "collection.json", "point.json"}, []string{"shards/0.snapshot", "shards/1.snapshot", "collection.json", "point.json"}), order); d != "" {
				t.Errorf("entries (-want +got):\n%s", d)
			}
			if res.Items != int64(len(order)) || res.Bytes != bytes || res.Version != hello.Version {
				t.Errorf("the result counts %d items, %d bytes of version %s; the point holds %d, %d of %s", res.Items, res.Bytes, res.Version, len(order), bytes, hello.Version)
			}
			for _, it := range sink.Items() {
				for _, sh := range rec.Shards {
					if sh.Path != it.Entry.Path {
						continue
					}
					sum := sha256.Sum256(it.Data)
					want := shardRecord{
						ID: sh.ID, Path: it.Entry.Path, Bytes: int64(len(it.Data)), SHA256: hex.EncodeToString(sum[:]), Server: method == "snapshot", Mode: method,
						Segments: sh.Segments, Members: sh.Members,
					}
					if d := cmp.Diff(want, sh); d != "" || len(sh.Segments) == 0 || sh.Members == 0 {
						t.Errorf("shard %d (-want +got):\n%s segments %v, members %d", sh.ID, d, sh.Segments, sh.Members)
					}
				}
				for _, p := range exportParts(rec) {
					if p.Path == it.Entry.Path {
						if d := cmp.Diff(exportPart{Path: p.Path, Points: 120, Bytes: int64(len(it.Data))}, p); d != "" {
							t.Errorf("exported part (-want +got):\n%s", d)
						}
					}
				}
			}
			noLeftovers(t, s, name)
		})
	}
}

func exportParts(r *collectionRecord) []exportPart {
	if r.Export == nil {
		return nil
	}
	return r.Export.Parts
}

// A server of the test's own: the globs must not meet what other tests made.
func TestBackupSelects(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{})
	for _, name := range []string{"docs", "docs_eu", "docs_us", "images", "hf_drill_abc_def_0", "hf_restore_abc_0"} {
		s.Fill(t, name, nil, 3, 4)
	}
	addAliases(t, s, "docs_eu", "current")
	addAliases(t, s, "images", "pictures")
	for _, c := range []struct {
		globs   []string
		want    []string
		aliases []string
		missing string
		err     string
	}{
		{nil, []string{"docs", "docs_eu", "docs_us", "images"}, []string{"current", "pictures"}, "", ""},
		{[]string{"docs*"}, []string{"docs", "docs_eu", "docs_us"}, []string{"current"}, "", ""},
		{[]string{"docs_*", "images"}, []string{"docs_eu", "docs_us", "images"}, []string{"current", "pictures"}, "", ""},
		{[]string{"*"}, []string{"docs", "docs_eu", "docs_us", "images"}, []string{"current", "pictures"}, "", ""},
		{[]string{"docs", "gone"}, []string{"docs"}, nil, `collections/gone: there is no collection "gone"`, ""},
		{[]string{"current"}, nil, nil, "", `"current" is an alias of "docs_eu", no collection: name the collection`},
		{[]string{"x*"}, nil, nil, "", "collections = [x*] matches none of the server's collections: docs, docs_eu"},
		{[]string{"hf_*"}, nil, nil, "", "collections = [hf_*] matches none of the server's collections"},
	} {
		t.Run(strings.Join(c.globs, "+"), func(t *testing.T) {
			r := newRun(t, sourceOf(s, c.globs...), snapshots(policy.SnapshotAuto))
			_, res, err := r.try("p1")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := contentsOf(t, r.store.Supply("p1")).point
			var names []string
			for _, a := range got.Aliases {
				names = append(names, a.Alias)
			}
			if d := cmp.Diff([]any{c.want, c.aliases, c.missing}, []any{got.Collections, names, missing(res)}); d != "" {
				t.Errorf("collections, aliases, missing (-want +got):\n%s", d)
			}
		})
	}
}

func TestForeignSnapshotsStay(t *testing.T) {
	for _, method := range methodNames {
		t.Run(method, func(t *testing.T) {
			s := qdranttest.Shared(t)
			name := s.Name(t, "foreign")
			s.Fill(t, name, nil, 200, 8)
			lists := []string{path("collections", name, "snapshots"), path("collections", name, "shards", "0", "snapshots")}
			files := func() []string {
				var out []string
				for _, list := range lists {
					out = append(out, compact(t, s.Do(t, "GET", list, nil)))
				}
				return out
			}
			for _, list := range lists {
				s.Do(t, "POST", list+"?wait=true", nil)
			}
			before := files()
			newRun(t, sourceOf(s, name), methods[method]).make("p1")
			if d := cmp.Diff(before, files()); d != "" || !strings.Contains(before[1], ".snapshot") {
				t.Errorf("snapshots on the server (-before +after):\n%s", d)
			}
		})
	}
}

// shapes are the kinds of collections there are: how one is made, its payload indexes, its points.
var shapes = map[string]struct {
	create  map[string]any
	indexes map[string]any
	points  int
}{
	"plain":      {nil, nil, 70},
	"everything": {rich(), map[string]any{"city": map[string]any{"type": "keyword", "is_tenant": true}}, 70},
	"empty":      {nil, map[string]any{"city": "keyword"}, 0},
	"one point":  {nil, nil, 1},
	"indexes": {nil, map[string]any{
		"city":              map[string]any{"type": "keyword", "is_tenant": true, "on_disk": true},
		"number":            map[string]any{"type": "integer", "lookup": false, "range": true, "is_principal": true},
		"large":             "integer",
		"ratio":             "float",
		"flag":              "bool",
		"when":              "datetime",
		"place":             "geo",
		"rare":              map[string]any{"type": "text", "tokenizer": "word", "lowercase": true, "min_token_len": 2, "max_token_len": 20, "phrase_matching": true},
		"ref":               map[string]any{"type": "uuid", "is_tenant": false},
		"nested.list[]":     "keyword",
		"nested.deep.emoji": "text",
	}, 70},
	"strict": {map[string]any{"vectors": map[string]any{"size": 8, "distance": "Cosine"}, "strict_mode_config": map[string]any{
		"enabled": true, "max_query_limit": 3, "upsert_max_batchsize": 100, "search_allow_exact": false, "unindexed_filtering_retrieve": false, "unindexed_filtering_update": false,
	}}, map[string]any{"number": "integer"}, 70},
	"quantized": {map[string]any{"vectors": map[string]any{
		"scalar":  map[string]any{"size": 16, "distance": "Cosine", "quantization_config": map[string]any{"scalar": map[string]any{"type": "int8", "quantile": 0.99, "always_ram": true}}},
		"product": map[string]any{"size": 16, "distance": "Dot", "quantization_config": map[string]any{"product": map[string]any{"compression": "x4"}}},
		"binary":  map[string]any{"size": 16, "distance": "Euclid", "quantization_config": map[string]any{"binary": map[string]any{"always_ram": false}}},
	}}, nil, 70},
	"datatypes": {map[string]any{"vectors": map[string]any{
		"bytes": map[string]any{"size": 8, "distance": "Euclid", "datatype": "uint8"},
		"half":  map[string]any{"size": 8, "distance": "Cosine", "datatype": "float16", "on_disk": true},
		"full":  map[string]any{"size": 8, "distance": "Manhattan", "datatype": "float32"},
	}}, nil, 70},
	"multivectors": {map[string]any{"vectors": map[string]any{"size": 4, "distance": "Dot", "multivector_config": map[string]any{"comparator": "max_sim"}}}, nil, 70},
	"sparse only": {map[string]any{"sparse_vectors": map[string]any{
		"words": map[string]any{"modifier": "idf"}, "more": map[string]any{"index": map[string]any{"on_disk": true, "datatype": "float32"}},
	}}, nil, 70},
	"no vectors": {map[string]any{}, map[string]any{"number": "integer"}, 70},
	"shards": {map[string]any{
		"vectors": map[string]any{"size": 8, "distance": "Cosine"}, "shard_number": 5, "on_disk_payload": true,
		"optimizers_config": map[string]any{"indexing_threshold": 0, "max_segment_size": 100000}, "wal_config": map[string]any{"wal_capacity_mb": 4},
	}, nil, 70},
}

// relax switches strict mode off, which limits how a test may look at a collection.
func relax(t testing.TB, s *qdranttest.Server, names ...string) {
	t.Helper()
	for _, name := range names {
		s.Do(t, "PATCH", path("collections", name), map[string]any{"strict_mode_config": map[string]any{"enabled": false}})
	}
}

func configOf(t testing.TB, s *qdranttest.Server, name string) string {
	t.Helper()
	var now struct{ Config json.RawMessage }
	decodeInto(t, s.Do(t, "GET", path("collections", name), nil), &now)
	text, err := canonical(now.Config, exactDigits)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestShapes(t *testing.T) {
	for _, shape := range sortedKeys(shapes) {
		t.Run(shape, func(t *testing.T) {
			s, c := qdranttest.Shared(t), shapes[shape]
			name := s.Name(t, "shape")
			s.Fill(t, name, c.create, c.points, 8)
			for _, field := range sortedKeys(c.indexes) {
				addIndex(t, s, name, field, c.indexes[field])
			}
			var copies []string
			for _, method := range methodNames {
				r := newRun(t, sourceOf(s, name), methods[method])
				from := r.make(method)
				if _, err := r.x.Verify(t.Context(), executors.VerifyRequest{Backup: r.backup, Log: r.log()}, from); err != nil {
					t.Errorf("%s: verify: %v", method, err)
				}
				restored := name + "_" + method
				res, err := r.back(from, restored, false)
				if err != nil || missing(res) != "" {
					t.Fatalf("%s: restore: %v %s", method, err, missing(res))
				}
				if d := cmp.Diff(configOf(t, s, name), configOf(t, s, restored)); d != "" {
					t.Errorf("%s: configuration (-want +got):\n%s", method, d)
				}
				if res, err := r.x.Rehearse(t.Context(), executors.RehearseRequest{Source: r.src, Backup: r.backup, Dir: t.TempDir(), Log: r.log()}, from); err != nil || !res.OK() {
					t.Errorf("%s: rehearse: %v %v", method, err, res.Failure())
				}
				copies = append(copies, restored)
			}
			relax(t, s, append(copies, name)...)
			for _, restored := range copies {
				wantSame(t, s, name, restored)
			}
			noLeftovers(t, s, append(copies, name)...)
		})
	}
}

// What is written into a restore point and a URL as a name must come back as that name.
func TestOddNames(t *testing.T) {
	for _, method := range methodNames {
		t.Run(method, func(t *testing.T) {
			s := qdranttest.Shared(t)
			prefix := s.Name(t, "odd")
			var names []string
			for _, odd := range []string{"ünï – 東京 🦀", " two  spaces ", "50%25%2F", "v1..2.", "a+b&c=d#e;f,g", "[x]", "'q' `t` $HOME", strings.Repeat("l", 150)} {
				names = append(names, prefix+odd)
			}
			slices.Sort(names)
			for _, name := range names {
				s.Fill(t, name, nil, 7, 4)
			}
			r := newRun(t, sourceOf(s, prefix+"*"), methods[method])
			from := r.make("p1")
			if d := cmp.Diff(names, contentsOf(t, from).point.Collections); d != "" {
				t.Fatalf("collections (-want +got):\n%s", d)
			}
			if _, err := r.back(from, "*_new", false); err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				wantSame(t, s, name, name+"_new")
			}
			noLeftovers(t, s, names...)
		})
	}
}

func TestDirOf(t *testing.T) {
	for name, want := range map[string]string{
		"docs": "collections/docs", ".": "collections/%2E", "..": "collections/%2E%2E", "a/b": "collections/a%2Fb", "50%": "collections/50%25", "...": "collections/...", "ü x": "collections/ü x",
	} {
		if got := dirOf(name); got != want {
			t.Errorf("dirOf(%q) = %q, want %q", name, got, want)
		}
	}
}

// busy lists the goroutines that the executor still runs.
func busy() []string {
	buf := make([]byte, 16<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var out []string
	for _, g := range strings.Split(string(buf), "\n\n") {
		begun := g[strings.LastIndex(g, "created by ")+1:]
		if strings.Contains(begun, "holdfast/executors/qdrant.") && !strings.Contains(g, "testing.tRunner") || strings.Contains(g, "go-client/qdrant") {
			out = append(out, g)
		}
	}
	return out
}

// noGoroutines waits until nothing of the executor runs any more.
func noGoroutines(t testing.TB) {
	t.Helper()
	limit := time.Now().Add(20 * time.Second)
	for len(busy()) > 0 && time.Now().Before(limit) {
		time.Sleep(10 * time.Millisecond)
	}
	if left := busy(); len(left) > 0 {
		t.Errorf("%d goroutines are left, such as:\n%s", len(left), left[0])
	}
}

// Many small collections: as is usual where each tenant has one.
func TestManyCollections(t *testing.T) {
	for _, c := range []struct {
		name    string
		server  func(testing.TB) *qdranttest.Server
		number  int
		methods []string
	}{
		{"a thousand", func(t testing.TB) *qdranttest.Server { return qdranttest.Start(t, qdrantserver.Options{}) }, 1000, []string{"stream"}},
		{"forty", qdranttest.Shared, 40, methodNames},
	} {
		for _, method := range c.methods {
			t.Run(c.name+" "+method, func(t *testing.T) {
				s := c.server(t)
				prefix := s.Name(t, "many")
				var names []string
				for i := range c.number {
					names = append(names, fmt.Sprintf("%s%04d", prefix, i))
					s.Fill(t, names[i], nil, 1, 2)
				}
				r := newRun(t, sourceOf(s, prefix+"*"), methods[method])
				from := r.make("p1")
				noGoroutines(t)
				got := contentsOf(t, from)
				if d := cmp.Diff(names, got.point.Collections); d != "" {
					t.Fatalf("collections (-want +got):\n%s", d)
				}
				for _, rec := range got.collections {
					if rec.Before != 1 || rec.After != 1 || len(rec.Samples) != 1 {
						t.Errorf("%s: %d points before, %d after, %d samples", rec.Name, rec.Before, rec.After, len(rec.Samples))
					}
				}
				noLeftovers(t, s, names[0], names[len(names)-1])
				if _, err := r.x.Restore(t.Context(), executors.RestoreRequest{
					Source: r.src, Backup: r.backup, Target: executors.Target{Root: "*-back"}, Only: []string{"*" + strconv.Itoa(c.number - 1)[:1] + "?"}, Log: r.log(),
				}, from); err != nil {
					t.Fatal(err)
				}
				noGoroutines(t)
				for _, name := range names {
					if strings.HasSuffix(name[:len(name)-1], strconv.Itoa(c.number - 1)[:1]) {
						wantSame(t, s, name, name+"-back")
					}
				}
			})
		}
	}
}

// stored is a repository that takes restore points in, as the product does it.
type stored struct {
	*repo.Writer
}

// Add implements executors.Sink.
func (w stored) Add(ctx context.Context, e executors.Entry, c executors.Content) error {
	return w.Writer.Add(ctx, manifest.Entry{Path: e.Path, Type: manifest.EntryType(e.Type), ModTime: e.ModTime}, repo.Content{Open: c.Open, SizeHint: c.SizeHint})
}

// A collection that did not change costs next to nothing the second time: what its archives consist of is recognised, though
// headers, names and times in them differ.
func TestSecondBackupStoresLittle(t *testing.T) {
	for _, method := range methodNames {
		t.Run(method, func(t *testing.T) {
			s := qdranttest.Shared(t)
			name := s.Name(t, "dedup")
			s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 256, "distance": "Cosine"}, "shard_number": 2}, 2000, 0)
			bucket, err := dir.Open(t.TempDir(), dir.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer bucket.Close()
			id, err := age.GenerateX25519Identity()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := repo.Init(t.Context(), bucket, repo.InitOptions{Recipients: []string{id.Recipient().String()}}); err != nil {
				t.Fatal(err)
			}
			r := newRun(t, sourceOf(s, name), methods[method])
			var stats []repo.WriterStats
			for _, point := range []string{"p1", "p2"} {
				opened, err := repo.Open(t.Context(), bucket, repo.OpenOptions{Identities: []age.Identity{id}})
				if err != nil {
					t.Fatal(err)
				}
				w, err := opened.NewWriter(t.Context(), repo.WriterOptions{
					Address: r.backup.Address, Point: point,
					IsSkip:   func(err error) bool { return errors.Is(err, executors.ErrSkip) },
					IsReread: func(err error) bool { return errors.Is(err, executors.ErrReread) },
					IsCut:    func(err error) bool { return errors.Is(err, executors.ErrCut) },
				})
				if err != nil {
					t.Fatal(err)
				}
				defer w.Abort()
				res, err := r.x.Backup(t.Context(), executors.BackupRequest{Source: r.src, Backup: r.backup, Point: point, Log: r.log()}, stored{w})
				if err != nil || missing(res) != "" {
					t.Fatalf("backup: %v %s", err, missing(res))
				}
				if _, err := w.Commit(t.Context(), manifest.Info{Time: time.Unix(1_800_000_000, 0).UTC()}); err != nil {
					t.Fatal(err)
				}
				stats = append(stats, w.Stats())
			}
			if first, second := stats[0].Stored, stats[1].Stored; first < 1<<20 || second > first/10 {
				t.Errorf("the first backup stored %d bytes, the second %d", first, second)
			}
		})
	}
}

// Somebody tidies snapshots up while ours is downloaded: another one is made.
func TestSnapshotDeletedByOthers(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	s.Own.Fault(-1, qdrantserver.Fault{Method: "GET", Path: atDownload, Times: 1, Status: 404, Body: `{"status":{"error":"Not found: Snapshot not found"},"time":0}`})
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotFile))
	if _, err := r.back(r.make("p1"), name+"-back", false); err != nil {
		t.Fatal(err)
	}
	wantSame(t, s, name, name+"-back")
	noLeftovers(t, s, name)
}

// Servers tell the fields of metadata in whatever order: that is no change.
func TestConfigurationInAnotherOrder(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{})
	s.Fill(t, "docs", map[string]any{"vectors": map[string]any{"size": 4, "distance": "Dot"}, "metadata": map[string]any{"a": 1, "b": 2}}, 20, 0)
	now := string(s.Do(t, "GET", "/collections/docs", nil))
	for i, order := range []string{`"metadata":{"a":1,"b":2}`, `"metadata":{"b":2,"a":1}`, `"metadata":{"a":1,"b":3}`} {
		other := strings.NewReplacer(`"metadata":{"a":1,"b":2}`, order, `"metadata":{"b":2,"a":1}`, order).Replace(now)
		remove := s.Own.Fault(-1, qdrantserver.Fault{Method: "GET", Path: "^/collections/docs$", Skip: 1, Status: 200, Body: `{"result":` + other + `,"status":"ok","time":0}`})
		_, res, err := newRun(t, sourceOf(s, "docs"), snapshots(policy.SnapshotAuto)).try("p1")
		if told := strings.Contains(doubtful(res), "its configuration was changed while it was read"); err != nil || missing(res) != "" || told != (i == 2) {
			t.Errorf("%s: %v %s %s", order, err, missing(res), doubtful(res))
		}
		remove()
	}
}
