package backend_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/backend"
)

// edits are changes at every depth of a catalog, in place and by replacement. None may be lost.
var edits = map[string]func(*state.Catalog){
	"field of a point": func(c *state.Catalog) { c.Points["backup.app"][0].Incomplete = true },
	"field of a copy":  func(c *state.Catalog) { c.Points["backup.app"][1].Copies[0].Stored = 77 },
	"proof in place":   func(c *state.Catalog) { c.Points["backup.app"][1].Copies[0].Proofs[0].OK = false },
	"one more proof": func(c *state.Catalog) {
		p := &c.Points["backup.app"][0].Copies[0].Proofs
		*p = append(*p, state.Proof{Level: "read"})
	},
	"one more point":     func(c *state.Catalog) { add(c, "backup.app", point(9)) },
	"one point less":     func(c *state.Catalog) { c.Points["backup.app"] = c.Points["backup.app"][1:] },
	"a backup gone":      func(c *state.Catalog) { delete(c.Points, "backup.files") },
	"a new backup":       func(c *state.Catalog) { add(c, "backup.new", point(1)) },
	"an object":          func(c *state.Catalog) { c.Objects["backup.app"] = state.Object{Attributes: json.RawMessage(`{"b":2}`)} },
	"byte of attributes": func(c *state.Catalog) { c.Objects["backup.app"].Attributes[5] = '9' },
	"an object gone":     func(c *state.Catalog) { delete(c.Objects, "backup.app") },
	"pending action":     func(c *state.Catalog) { c.Runs[1].Actions[0].Status = state.RunOK },
	"run finished":       func(c *state.Catalog) { c.Runs[1].Status, c.Runs[1].Finished = state.RunOK, start.Add(time.Hour) },
	"WAL":                func(c *state.Catalog) { c.WAL["backup.app"] = []state.WAL{logged(3)} },
	"old run":            func(c *state.Catalog) { c.Runs[0].Who = "somebody" },
}

func sample(c *state.Catalog) error {
	add(c, "backup.app", point(1), point(2))
	add(c, "backup.files", point(3))
	c.Objects["backup.app"] = state.Object{Attributes: json.RawMessage(`{"a":1}`), Hash: "ff"}
	c.Runs = []state.Run{
		{ID: "run-1", Started: start, Finished: start, Status: state.RunOK},
		{ID: "run-2", Started: start.Add(time.Hour), Status: state.RunPending, Actions: []state.RunAction{{Kind: "back up", Status: state.RunPending}}},
	}
	return nil
}

func update(t *testing.T, b *backend.Backend, fn func(*state.Catalog) error) {
	t.Helper()
	if err := b.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestNoEditIsLost(t *testing.T) {
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			_, _, b := world(t)
			update(t, b, sample)
			l := lease(t, b, "run-2")
			cat := load(t, b)
			edit(cat)
			if err := l.Commit(t.Context(), cat); err != nil {
				t.Fatal(err)
			}
			if cat.Serial != 2 {
				t.Errorf("serial %d after an edit of serial 1, want 2", cat.Serial)
			}
			if diff := cmp.Diff(cat, load(t, b)); diff != "" {
				t.Errorf("loaded catalog (-committed +loaded):\n%s", diff)
			}
		})
	}
}

func TestCommitOfNothingWritesNothing(t *testing.T) {
	bucket, _, b := world(t)
	update(t, b, sample)
	before := bucket.names("")
	update(t, b, func(*state.Catalog) error { return nil })
	if diff := cmp.Diff(before, bucket.names("")); diff != "" {
		t.Errorf("objects (-before +after):\n%s", diff)
	}
}

func TestCommitRewritesOnlyChangedShards(t *testing.T) {
	bucket, _, b := world(t)
	update(t, b, func(c *state.Catalog) error {
		for i := range 500 {
			add(c, fmt.Sprintf("backup.b%d", i), point(i))
		}
		return nil
	})
	before := len(bucket.names("segments/"))
	update(t, b, func(c *state.Catalog) error { add(c, "backup.b7", point(600)); return nil })
	if got := len(bucket.names("segments/")) - before; before != 64 || got != 1 {
		t.Errorf("%d segments at first (want 64), %d more after one edit (want 1)", before, got)
	}
}

func TestRefreshReadsOnlyWhatDiffers(t *testing.T) {
	bucket, _, b := world(t)
	update(t, b, func(c *state.Catalog) error {
		for i := range 500 {
			add(c, fmt.Sprintf("backup.b%d", i), point(i))
		}
		return nil
	})
	cat := load(t, b)
	cat.Points["backup.b1"][0].Size = 12345 // an edit that Refresh must undo
	update(t, b, func(c *state.Catalog) error { add(c, "backup.b7", point(600)); return nil })
	var mu sync.Mutex
	reads := 0
	bucket.setHook(func(op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		if op == "get" && strings.HasPrefix(name, "segments/") {
			reads++
		}
		return nil
	})
	if err := b.Refresh(t.Context(), cat); err != nil {
		t.Fatal(err)
	}
	if reads != 2 {
		t.Errorf("%d segments read, want 2: the one edited here and the one edited there", reads)
	}
	if diff := cmp.Diff(load(t, b), cat); diff != "" {
		t.Errorf("refreshed catalog (-loaded +refreshed):\n%s", diff)
	}
}

func TestSecondCommitterIsStale(t *testing.T) {
	bucket, c, one := world(t)
	update(t, one, sample)
	l := lease(t, one, "run-2")
	mine := load(t, one)
	update(t, open(bucket, c, "bob@two"), func(c *state.Catalog) error { add(c, "backup.other", point(5)); return nil })
	add(mine, "backup.app", point(8))
	if err := l.Commit(t.Context(), mine); !errors.Is(err, state.ErrStale) || mine.Serial != 1 {
		t.Fatalf("commit of an old serial: %v (serial %d), want ErrStale", err, mine.Serial)
	}
	if err := l.Update(t.Context(), mine, func(c *state.Catalog) error { add(c, "backup.app", point(8)); return nil }); err != nil {
		t.Fatal(err)
	}
	// The first try of Update worked on the stale edit; the refreshed one must hold the point once.
	got := load(t, one)
	if len(got.Points["backup.app"]) != 3 || len(got.Points["backup.other"]) != 1 || got.Serial != 3 {
		t.Errorf("serial %d with %d and %d points, want 3 with 3 and 1", got.Serial, len(got.Points["backup.app"]), len(got.Points["backup.other"]))
	}
}

func TestRaceForOneSerialHasOneWinner(t *testing.T) {
	bucket, c, _ := world(t)
	const writers, each = 6, 8
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			b := open(bucket, c, fmt.Sprintf("w%d", w))
			for i := range each {
				err := b.Update(t.Context(), func(c *state.Catalog) error {
					add(c, fmt.Sprintf("backup.b%d", i%2), point(w*100+i))
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := load(t, open(bucket, c, "reader"))
	if total := len(got.Points["backup.b0"]) + len(got.Points["backup.b1"]); total != writers*each || got.Serial != writers*each {
		t.Errorf("%d points at serial %d, want %d of both", total, got.Serial, writers*each)
	}
}

func TestOtherLineageIsRefused(t *testing.T) {
	_, _, b := world(t)
	update(t, b, sample)
	cat := load(t, b)
	cat.Lineage = "another"
	if err := lease(t, b, "run-2").Commit(t.Context(), cat); !errors.Is(err, state.ErrLineage) {
		t.Errorf("commit: %v, want ErrLineage", err)
	}
	if err := b.Refresh(t.Context(), cat); !errors.Is(err, state.ErrLineage) {
		t.Errorf("refresh: %v, want ErrLineage", err)
	}
}

func TestLostAnswerToTheCommitIsASuccess(t *testing.T) {
	bucket, _, b := world(t)
	update(t, b, sample)
	bucket.setAfter(func(op, name string) error {
		if op == "create" {
			return errors.New("connection reset")
		}
		return nil
	})
	update(t, b, func(c *state.Catalog) error { add(c, "backup.app", point(8)); return nil })
	if got := load(t, b); got.Serial != 2 || len(got.Points["backup.app"]) != 3 {
		t.Errorf("serial %d with %d points, want 2 with 3", got.Serial, len(got.Points["backup.app"]))
	}
}

func TestOldRunsAreForgotten(t *testing.T) {
	_, _, b := world(t)
	update(t, b, func(c *state.Catalog) error {
		c.Runs = append(c.Runs, state.Run{ID: "pending", Started: start.Add(-time.Hour), Status: state.RunPending})
		for i := range state.KeepRuns + 3 {
			c.Runs = append(c.Runs, state.Run{ID: fmt.Sprintf("run-%04d", i), Started: start.Add(time.Duration(-i) * time.Second), Status: state.RunOK})
		}
		return nil
	})
	got := load(t, b).Runs
	if len(got) != state.KeepRuns+1 || got[0].ID != "pending" || got[1].ID != "run-0999" || got[state.KeepRuns].ID != "run-0000" {
		t.Errorf("%d runs from %s and %s to %s", len(got), got[0].ID, got[1].ID, got[len(got)-1].ID)
	}
}

// TestPowerCutAtEveryWrite ends the process at each write of a commit. The catalog must be the old or the new one, and
// doing it again must succeed.
func TestPowerCutAtEveryWrite(t *testing.T) {
	edit := func(c *state.Catalog) error {
		add(c, "backup.app", point(8))
		add(c, "backup.files", point(8))
		c.Objects["backup.files"] = state.Object{Hash: "aa"}
		return nil
	}
	for n := 0; ; n++ {
		bucket, c, b := world(t)
		update(t, b, sample)
		bucket.cutAfter(n)
		err := b.Update(t.Context(), edit)
		bucket.setHook(nil)
		got := load(t, open(bucket, c, "bob@two"))
		want := map[uint64]int{1: 2, 2: 3}[got.Serial]
		if len(got.Points["backup.app"]) != want {
			t.Fatalf("cut after %d writes: serial %d with %d points", n, got.Serial, len(got.Points["backup.app"]))
		}
		if err == nil {
			if n < 4 || got.Serial != 2 {
				t.Errorf("success after only %d writes (serial %d)", n, got.Serial)
			}
			return
		}
		if got.Serial != 1 || !errors.Is(err, errPower) {
			t.Fatalf("cut after %d writes: serial %d, %v", n, got.Serial, err)
		}
		update(t, b, edit)
	}
}

func TestDamageIsNamedAndNothingElseIsUsed(t *testing.T) {
	flip := func(d []byte) []byte { d[len(d)/2] ^= 1; return d }
	damages := map[string]func(*bucket) string{
		"head": func(b *bucket) string { n := b.names("heads/")[1]; b.damage(n, flip); return n },
		"empty head": func(b *bucket) string {
			n := b.names("heads/")[1]
			b.damage(n, func([]byte) []byte { return nil })
			return n
		},
		"segment":      func(b *bucket) string { n := b.names("segments/")[0]; b.damage(n, flip); return n },
		"segment gone": func(b *bucket) string { n := b.names("segments/")[0]; delete(b.objects, n); return n },
		"head of another serial": func(b *bucket) string {
			n := b.names("heads/")
			b.objects[n[1]] = b.objects[n[0]]
			return n[1]
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			bucket, _, b := world(t)
			update(t, b, func(c *state.Catalog) error { add(c, "backup.app", point(1)); return nil })
			update(t, b, func(c *state.Catalog) error { c.Objects["backup.app"] = state.Object{Hash: "x"}; return nil })
			object := damage(bucket)
			cat, err := b.Load(t.Context())
			var d *backend.DamageError
			if !errors.As(err, &d) || !errors.Is(err, state.ErrCorrupt) || cat != nil {
				t.Fatalf("load: %v, %v", cat, err)
			}
			heads := bucket.names("heads/")
			if d.Object != object || d.Head != heads[1] || d.Older != heads[0] || !strings.Contains(err.Error(), object) {
				t.Errorf("error %v\nnames %s, %s, %s", err, d.Object, d.Head, d.Older)
			}
		})
	}
}

func TestFailingRequestsAreErrors(t *testing.T) {
	bucket, _, b := world(t)
	update(t, b, sample)
	down := errors.New("no route")
	for _, op := range []string{"list", "get"} {
		bucket.setHook(func(o, _ string) error {
			if o == op {
				return down
			}
			return nil
		})
		if cat, err := b.Load(t.Context()); !errors.Is(err, down) || cat != nil {
			t.Errorf("load with failing %s: %v", op, err)
		}
	}
	bucket.setHook(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("load with an ended context: %v", err)
	}
}

// TestModel lets several backends load, edit and commit in any order against a model of what must be there.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"load":   m.load,
			"edit":   m.edit,
			"commit": m.commit,
			"reload": m.reload,
			"time":   m.time,
			"":       m.check,
		})
	})
}
