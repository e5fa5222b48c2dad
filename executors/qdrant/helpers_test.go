package qdrant

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

// quick is an executor that does not wait long for anything.
func quick() *Executor {
	x := New(Options{Poll: 20 * time.Millisecond, Adopt: 5 * time.Second})
	x.margins.reached = 2 * time.Second
	return x
}

// sourceOf is a source of a server's collections.
func sourceOf(s *qdranttest.Server, globs ...string) policy.Source {
	q := &policy.QdrantSource{URLs: s.URLs, GRPC: s.GRPC, Collections: globs}
	if s.APIKey != "" {
		q.APIKey = secret(s.APIKey)
	}
	if s.Own != nil && s.Own.CAFile() != "" {
		q.TLS = &policy.TLSClient{CAFile: s.Own.CAFile()}
	}
	return policy.Source{Address: "source.qdrant.test", Kind: policy.KindQdrant, Qdrant: q}
}

func secret(text string) *policy.Secret {
	return policy.NewSecret(`env("KEY")`, func() (string, error) { return text, nil })
}

func snapshots(mode policy.SnapshotMode) policy.Backup {
	return policy.Backup{Address: "backup.test", Snapshot: &policy.Snapshot{Mode: mode}}
}

func exports() policy.Backup {
	return policy.Backup{Address: "backup.test", Export: &policy.Export{IncludePayload: true, IncludeVectors: true, Batch: 64}}
}

// methods are all ways to back up.
var methods = map[string]policy.Backup{
	"stream": snapshots(policy.SnapshotStream), "snapshot": snapshots(policy.SnapshotFile), "export": exports(),
}

// run is one executor at work on a source, and the points it made.
type run struct {
	t      testing.TB
	x      *Executor
	src    policy.Source
	backup policy.Backup
	store  *executortest.Store
	faults executortest.Faults
}

func newRun(t testing.TB, src policy.Source, b policy.Backup) *run {
	return &run{t: t, x: quick(), src: src, backup: b, store: executortest.NewStore()}
}

func (r *run) log() *slog.Logger { return slog.New(slog.NewTextHandler(r.t.Output(), nil)) }

// try makes a point and returns what the executor said of it.
func (r *run) try(point string) (*executortest.Sink, executors.Result, error) {
	r.t.Helper()
	sink := r.store.Sink(point, r.faults)
	res, err := r.x.Backup(r.t.Context(), executors.BackupRequest{Source: r.src, Backup: r.backup, Point: point, Log: r.log()}, sink)
	r.store.Commit(sink, res)
	return sink, res, err
}

// make makes a point of which nothing is missing.
func (r *run) make(point string) *executortest.Supply {
	r.t.Helper()
	_, res, err := r.try(point)
	if err != nil {
		r.t.Fatalf("backup: %v", err)
	}
	if m := missing(res); m != "" {
		r.t.Fatalf("backup reports missing: %s", m)
	}
	return r.store.Supply(point)
}

func missing(res executors.Result) string {
	var out []string
	for _, p := range res.Problems {
		if p.Missing {
			out = append(out, p.Path+": "+p.Err.Error())
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func doubtful(res executors.Result) string {
	var out []string
	for _, p := range res.Problems {
		if !p.Missing {
			out = append(out, p.Path+": "+p.Err.Error())
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// back restores under a name. Options are pairs.
func (r *run) back(from executors.Supply, name string, replace bool, options ...string) (executors.Result, error) {
	r.t.Helper()
	req := executors.RestoreRequest{Source: r.src, Backup: r.backup, Target: executors.Target{Root: name}, Replace: replace, Options: map[string]string{}, Log: r.log()}
	for i := 0; i < len(options); i += 2 {
		req.Options[options[i]] = options[i+1]
	}
	return r.x.Restore(r.t.Context(), req, from)
}

// wantSame compares two collections.
func wantSame(t testing.TB, s *qdranttest.Server, want, got string) {
	t.Helper()
	if d := cmp.Diff(s.Image(t, want), s.Image(t, got)); d != "" {
		t.Errorf("%s differs from %s (-want +got):\n%.4000s", got, want, d)
	}
}

// noLeftovers demands that nothing of holdfast's own is on the server: no scratch collection, no snapshot of a collection.
func noLeftovers(t testing.TB, s *qdranttest.Server, collections ...string) {
	t.Helper()
	x := quick()
	c, err := x.openSource(t.Context(), sourceOf(s), toRead)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	names, err := c.collectionNames(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if isOurs(n) {
			t.Errorf("collection %s is left", n)
		}
	}
	for _, name := range collections {
		for _, n := range c.nodes {
			l, err := n.layout(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range l.shards {
				if !slices.ContainsFunc(s.replicas, func(r replica) bool { return c.byPeer(r.peer) == n }) {
					continue
				}
				files, err := n.listSnapshots(t.Context(), name, s.id)
				if err != nil {
					t.Fatal(err)
				}
				if len(files) > 0 {
					t.Errorf("snapshots of %s are left on %s: %s", name, n.url, fileNames(files))
				}
			}
		}
	}
}

func check(name, collection, field string, want any) policy.Check {
	return policy.Check{Name: name, Collection: collection, Expect: policy.NewCondition(fmt.Sprintf("self.%s == %v", field, want), func(self map[string]any) (bool, error) {
		return fmt.Sprint(self[field]) == fmt.Sprint(want), nil
	})}
}
