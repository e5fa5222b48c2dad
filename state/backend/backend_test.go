package backend_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/dir"
	"github.com/holdfast-io/holdfast/internal/clock/clocktest"
	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/backend"
)

var start = time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)

func open(b blob.Bucket, c *clocktest.Fake, holder string) *backend.Backend {
	return backend.New(b, backend.Options{Clock: c, Holder: holder, Version: "1.0.0"})
}

func world(t *testing.T) (*bucket, *clocktest.Fake, *backend.Backend) {
	t.Helper()
	c := clocktest.New(start)
	b := newBucket(c)
	return b, c, open(b, c, "ann@one")
}

func lease(t *testing.T, b *backend.Backend, run string) *backend.Leased {
	t.Helper()
	l, err := b.Lease(t.Context(), state.LeaseInfo{Operation: "apply", Run: run}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Release(context.Background()); err != nil && !errors.Is(err, errPower) {
			t.Error(err)
		}
	})
	return l
}

func load(t *testing.T, b *backend.Backend) *state.Catalog {
	t.Helper()
	cat, err := b.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

func point(i int) state.RestorePoint {
	at := start.Add(time.Duration(i) * time.Hour)
	return state.RestorePoint{
		ID: fmt.Sprintf("%s-%06d", at.Format("20060102T150405Z"), i), Time: at, Slot: at, Finished: at.Add(time.Minute),
		Run: fmt.Sprintf("run-%d", i), Source: "source.postgres.app", Method: "logical", Size: int64(i) << 20, Items: 3,
		Copies: []state.Copy{{
			Store: "store.primary", Repository: "r1", Manifest: strings.Repeat("ab", 32), Summary: strings.Repeat("cd", 32), Stored: int64(i),
			Proofs: []state.Proof{{Level: "stored", At: at.Add(2 * time.Minute), OK: true, Run: "run-9"}},
		}},
	}
}

// logged is WAL of n segments.
func logged(n state.LSN) state.WAL {
	return state.WAL{Store: "store.primary", Repository: "r1", System: "7", SegmentSize: 16 << 20, Seen: start, Timelines: []state.Timeline{
		{ID: 1, Ranges: []state.Range{{From: 16 << 20, To: (1 + n) << 24, Since: start, Until: start.Add(time.Minute), Stored: 9}}},
	}}
}

func add(cat *state.Catalog, address string, points ...state.RestorePoint) {
	cat.Points[address] = append(cat.Points[address], points...)
}

func TestEmptyStateLoads(t *testing.T) {
	_, _, b := world(t)
	want := &state.Catalog{Objects: map[string]state.Object{}, Points: map[string][]state.RestorePoint{}, WAL: map[string][]state.WAL{}}
	if diff := cmp.Diff(want, load(t, b)); diff != "" {
		t.Errorf("empty catalog (-want +got):\n%s", diff)
	}
}

func TestCommitThenLoadGivesTheSame(t *testing.T) {
	folder, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	buckets := map[string]blob.Bucket{"memory": newBucket(clocktest.New(start)), "folder": folder}
	for name, bucket := range buckets {
		t.Run(name, func(t *testing.T) {
			b := open(bucket, clocktest.New(start), "ann@one")
			l := lease(t, b, "run-1")
			cat := load(t, b)
			add(cat, "backup.app", point(1), point(2))
			add(cat, "backup.files", point(3))
			cat.WAL["backup.app"] = []state.WAL{logged(2)}
			cat.Objects["backup.app"] = state.Object{Attributes: json.RawMessage(`{"a": "<&>"}`), Hash: "ff"}
			cat.Runs = []state.Run{{
				ID: "run-1", Operation: "apply", Who: "ann@one", Started: start, Status: state.RunPending,
				Actions: []state.RunAction{{Address: "backup.app", Kind: "back up", Status: state.RunPending}},
			}}
			if err := l.Commit(t.Context(), cat); err != nil {
				t.Fatal(err)
			}
			if cat.Serial != 1 || len(cat.Lineage) != 32 {
				t.Errorf("serial %d, lineage %q after the first commit", cat.Serial, cat.Lineage)
			}
			if diff := cmp.Diff(cat, load(t, b)); diff != "" {
				t.Errorf("loaded catalog (-want +got):\n%s", diff)
			}
		})
	}
}
