package repo_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/internal/repo"
)

// TestPruneInTwoPhases: what nothing needs is condemned, then deleted; what a point needs stays, and the point with it.
func TestPruneInTwoPhases(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	r := open(t, b, k.id)
	kept := []file{{"a", random(1, 200_000), "1"}}
	backup(t, r, "p1", append(kept, file{"b", random(2, 300_000), "2"}))
	backup(t, r, "p2", kept)
	backup(t, r, "p3", []file{{"c", random(3, 100_000), "3"}})
	if err := r.DeletePoint(t.Context(), address, "p3"); err != nil {
		t.Fatal(err)
	}
	packs := len(b.names("packs/"))
	first, err := r.Prune(t.Context(), repo.PruneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if first.Condemned != 1 || first.Deleted != 0 || len(b.names("packs/")) != packs {
		t.Fatalf("first: %+v, %d packs", first, len(b.names("packs/")))
	}
	again, err := r.Prune(t.Context(), repo.PruneOptions{Grace: time.Hour})
	if err != nil || again.Deleted != 0 || again.Condemned != 1 {
		t.Fatalf("within the grace: %+v, %v", again, err)
	}
	second, err := r.Prune(t.Context(), repo.PruneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if second.Deleted != 1 || second.Condemned != 0 || len(b.names("packs/")) != packs-1 || len(b.names("condemned/")) != 0 {
		t.Fatalf("second: %+v", second)
	}
	if left := b.names("leases/"); len(left) > 0 {
		t.Errorf("leases are left: %v", left)
	}
	wantRestored(t, open(t, b, k.id), "p1", append(kept, file{path: "b", data: random(2, 300_000)}))
	wantRestored(t, open(t, b, k.id), "p2", kept)
	report, err := open(t, b, k.id).VerifyStored(t.Context(), repo.VerifyOptions{All: true})
	if err != nil || len(report.Damaged) > 0 {
		t.Fatalf("%+v, %v", report.Damaged, err)
	}
}

// TestPruneRefusesToGuess: a point whose summary is lost may need anything.
func TestPruneRefusesToGuess(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	r := open(t, b, k.id)
	backup(t, r, "p1", []file{{"a", random(1, 200_000), "1"}})
	for _, name := range b.names("points/") {
		if strings.HasSuffix(name, ".summary") {
			if err := b.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	var damaged *repo.DamagedError
	if _, err := r.Prune(t.Context(), repo.PruneOptions{}); !errors.As(err, &damaged) {
		t.Fatalf("got %v", err)
	}
	if len(b.names("condemned/")) > 0 {
		t.Error("something was condemned")
	}
}

// TestCondemnedIsNotBuiltOn: a backup that begins after a pack was condemned stores its content again; one that began
// before acquits it.
func TestCondemnedIsNotBuiltOn(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	r := open(t, b, k.id)
	files := []file{{"a", random(1, 200_000), "1"}}
	backup(t, r, "p1", files)
	if err := r.DeletePoint(t.Context(), address, "p1"); err != nil {
		t.Fatal(err)
	}
	before, err := r.NewWriter(t.Context(), options("p2"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, b, k.id).Prune(t.Context(), repo.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	before.Abort()
	if n := len(b.names("condemned/")); n != 0 {
		t.Fatalf("%d packs were condemned that are younger than a writer at work", n)
	}
	if _, err := open(t, b, k.id).Prune(t.Context(), repo.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := len(b.names("condemned/")); n != 1 {
		t.Fatalf("%d packs condemned, want 1", n)
	}
	backup(t, open(t, b, k.id), "p3", files)
	if _, err := open(t, b, k.id).Prune(t.Context(), repo.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	wantRestored(t, open(t, b, k.id), "p3", files)
	if n := len(b.names("packs/")); n != 1 {
		t.Errorf("%d packs, want 1", n)
	}
}
