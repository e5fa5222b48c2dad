package qdrant

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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

// A rehearsal that fails says whose fault it is: only what is the restore point's may raise an alarm about it. Servers of our
// own, of which each has its weakness.
func TestRehearsalBlames(t *testing.T) {
	shardKeys := map[string]any{"vectors": map[string]any{"size": 4, "distance": "Dot"}, "sharding_method": "custom"}
	for _, c := range []struct {
		name    string
		create  map[string]any // of the source; with shard keys it is a cluster
		export  bool
		options qdrantserver.Options
		fault   qdrantserver.Fault
		url     string // in place of the server's; "-": none
		key     string
		scratch bool
		err     string
	}{
		{name: "all is well"},
		{name: "by a key", options: qdrantserver.Options{APIKey: "the-key"}, key: "the-key"},
		{name: "an older server", options: qdrantserver.Options{Version: "1.17.4"}, scratch: true, err: "an older server must not load them"},
		{name: "a server that is too new", options: qdrantserver.Options{Version: "1.20.0"}, scratch: true, err: "one minor version up at most"},
		{name: "an export fits every server", export: true, options: qdrantserver.Options{Version: "1.17.4"}, err: "gRPC"},
		{name: "no key", options: qdrantserver.Options{APIKey: "the-key"}, scratch: true, err: "the server wants a key"},
		{name: "a key to read with", options: qdrantserver.Options{APIKey: "the-key", ReadOnlyKey: "read"}, key: "read", scratch: true, err: "may not do this"},
		{name: "nobody there", url: "http://127.0.0.1:1", scratch: true, err: "does not answer"},
		{name: "not a URL", url: "qdrant", scratch: true, err: "http://host:6333"},
		{name: "no server is named", url: "-", scratch: true, err: "give verify { restore { server"},
		{name: "its disk is full", fault: qdrantserver.Fault{Path: "/snapshots/(recover|upload)$", Status: 500, Body: `{"status":{"error":"Service internal error: No space left on device (os error 28)"},"time":0}`}, scratch: true, err: "the server's disk is full"},
		{name: "it is busy", fault: qdrantserver.Fault{Path: "/snapshots/(recover|upload)$", Status: 503, Body: `{"status":{"error":"busy"},"time":0}`}, scratch: true, err: "busy"},
		{name: "it refuses the archive", fault: qdrantserver.Fault{Path: "/snapshots/(recover|upload)$", Status: 400, Body: `{"status":{"error":"Wrong input: Data version 0.7.0 is newer"},"time":0}`}, err: "Data version 0.7.0 is newer"},
		{name: "it cannot load the archive", fault: qdrantserver.Fault{Path: "/snapshots/(recover|upload)$", Status: 500, Body: `{"status":{"error":"Service internal error: failed to read first-index file"},"time":0}`}, err: "first-index"},
		{name: "it refuses the configuration", fault: qdrantserver.Fault{Method: "PUT", Path: "^/collections/hf_drill_[^/]*$", Status: 422, Body: `{"status":{"error":"Validation error"},"time":0}`}, err: "Validation error"},
		{name: "gRPC does not answer", export: true, fault: qdrantserver.Fault{Path: "/qdrant.Points/", GRPCCode: codes.Unavailable, Body: "connection refused"}, scratch: true, err: "gRPC"},
		{name: "shard keys on a single server", create: shardKeys, scratch: true, err: "which only a cluster keeps"},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes := 1
			if c.create != nil {
				nodes = 2
			}
			source := qdranttest.Start(t, qdrantserver.Options{Nodes: nodes})
			source.Fill(t, "docs", c.create, 40, 4)
			if c.create != nil {
				source.Do(t, "PUT", "/collections/docs/shards", map[string]any{"shard_key": "acme"})
				source.FillKey(t, "docs", "acme", 0, 40)
			}
			r := newRun(t, sourceOf(source, "docs"), snapshots(policy.SnapshotAuto))
			if c.export {
				r.backup = exports()
			}
			from := r.make("p1")
			begun := len(source.Own.Requests())
			there := qdranttest.Start(t, c.options)
			if c.fault.Path != "" {
				there.Own.Fault(-1, c.fault)
			}
			req := executors.RehearseRequest{Source: r.src, Backup: r.backup, Dir: t.TempDir(), Log: r.log()}
			req.Rehearsal.Checks = []policy.Check{check("points", "docs", "points", 40)}
			switch c.url {
			case "":
				req.Rehearsal.Server = urlOf(there, c.key)
			case "-":
				req.Source = policy.Source{}
			default:
				req.Rehearsal.Server = secret(c.url)
			}
			res, err := r.x.Rehearse(t.Context(), req, from)
			switch {
			case c.err == "" && (err != nil || !res.OK() || res.Version != "1.18.3"):
				t.Errorf("got %v %v of version %s", err, res.Failure(), res.Version)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("got %v, want %q", err, c.err)
			case c.err != "" && c.err != "gRPC" && errors.Is(err, executors.ErrScratch) != c.scratch:
				t.Errorf("%v: is the server's fault: %t, want %t", err, !c.scratch, c.scratch)
			}
			if got := collectionsAt(t, there, ""); len(got) > 0 {
				t.Errorf("left are %v", got)
			}
			if asked := source.Own.Requests()[begun:]; len(asked) > 0 {
				t.Errorf("the source was asked %v", asked)
			}
			if left, err := os.ReadDir(req.Dir); err != nil || len(left) > 0 {
				t.Errorf("left in the folder is %v (%v)", left, err)
			}
		})
	}
}

// Points of the same id under two keys take each other's place on a single server, which says nothing of the restore point.
func TestRehearsalOfShardKeysThatCollide(t *testing.T) {
	s, single := qdranttest.Cluster(t), qdranttest.Shared(t)
	name := s.Name(t, "collide")
	s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 4, "distance": "Dot"}, "sharding_method": "custom"}, 0, 0)
	for i, key := range []any{"a", "b"} {
		s.Do(t, "PUT", path("collections", name, "shards"), map[string]any{"shard_key": key})
		s.FillKey(t, name, key, 10*i, 20)
	}
	for _, method := range methodNames {
		r := newRun(t, sourceOf(s, name), methods[method])
		from := r.make(method)
		req := executors.RehearseRequest{Source: sourceOf(single), Backup: r.backup, Dir: t.TempDir(), Log: r.log()}
		if _, err := r.x.Rehearse(t.Context(), req, from); !errors.Is(err, executors.ErrScratch) || !strings.Contains(err.Error(), "shard keys") {
			t.Errorf("%s: got %v, want an error that wraps ErrScratch and tells of shard keys", method, err)
		}
		req.Source = r.src
		if res, err := r.x.Rehearse(t.Context(), req, from); err != nil || !res.OK() {
			t.Errorf("%s: on the cluster: %v %v", method, err, res.Failure())
		}
	}
	noLeftovers(t, s, name)
	noLeftovers(t, single)
}

// Whenever a rehearsal is cancelled, nothing of it stays, neither on the server nor in the folder.
func TestCancelledRehearsals(t *testing.T) {
	for _, place := range sortedKeys(places) {
		for _, method := range methodNames {
			t.Run(place+" "+method, func(t *testing.T) {
				s := places[place](t)
				p := s.Name(t, "stop")
				for _, name := range []string{p + "a", p + "b"} {
					s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 8, "distance": "Dot"}, "shard_number": 2}, 60, 0)
				}
				before := imagesOf(t, s, p)
				r := newRun(t, sourceOf(s, p+"a", p+"b"), methods[method])
				from := r.make("p1")
				for at := 1; at <= pick(method, "export", 2, 4); at++ {
					ctx, cancel := context.WithCancel(t.Context())
					dir := t.TempDir()
					broken := &breaking{Supply: from, at: at, how: func() error {
						cancel()
						<-ctx.Done()
						return ctx.Err()
					}}
					_, err := r.x.Rehearse(ctx, executors.RehearseRequest{Source: r.src, Backup: r.backup, Dir: dir}, broken)
					cancel()
					if !errors.Is(err, context.Canceled) {
						t.Errorf("cancelled at %d: %v", at, err)
					}
					if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
						t.Errorf("cancelled at %d: left in the folder are %v (%v)", at, left, err)
					}
					noLeftovers(t, s, p+"a", p+"b")
				}
				if d := cmp.Diff(before, imagesOf(t, s, p)); d != "" {
					t.Errorf("the source (-before +after):\n%.2000s", d)
				}
			})
		}
	}
}

// What cannot be removed is told, and tried again by the next rehearsal of the same folder.
func TestRehearsalThatCannotCleanUp(t *testing.T) {
	s, name := small(t, qdrantserver.Options{})
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotAuto))
	from := r.make("p1")
	remove := s.Own.Fault(-1, qdrantserver.Fault{Method: "DELETE", Path: "^/collections/hf_drill_", Status: 500, Body: `{"status":{"error":"Service internal error: consensus"},"time":0}`})
	req := executors.RehearseRequest{Source: r.src, Backup: r.backup, Dir: t.TempDir(), Log: r.log()}
	res, err := r.x.Rehearse(t.Context(), req, from)
	left := collectionsAt(t, s, drillPrefix)
	if err != nil || !res.OK() || len(left) != 1 || !strings.Contains(doubtful(res.Result), `collection "`+left[0]+`" could not be removed, delete it by hand`) {
		t.Errorf("got %v %v, problems %q, left are %v", err, res.Failure(), doubtful(res.Result), left)
	}
	remove()
	req.Source.Qdrant.Collections = nil
	facts, err := r.x.Inspect(t.Context(), req.Source)
	if err != nil || slices.ContainsFunc(facts.Names, isOurs) {
		t.Errorf("what is left counts as a collection: %v %v", facts.Names, err)
	}
}
