package repo_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
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

// TestPruneRewritesMostlyDeadPacks: what a point needs of a pack that is mostly dead is stored anew, the summary says so, and
// who knows the summary's hash from before is not told of damage.
func TestPruneRewritesMostlyDeadPacks(t *testing.T) {
	for _, plain := range []bool{true, false} {
		k := classic(t)
		b := newMemory()
		o := repo.InitOptions{None: plain}
		if !plain {
			o.Recipients = []string{k.public}
		}
		initRepo(t, b, o)
		r := open(t, b, k.id)
		backup(t, r, "p1", []file{{"a", random(1, 20_000), "1"}, {"b", random(2, 300_000), "2"}})
		kept := []file{{"a", random(1, 20_000), "1"}}
		receipt, _ := backup(t, r, "p2", kept)
		if err := r.DeletePoint(t.Context(), address, "p1"); err != nil {
			t.Fatal(err)
		}
		before := b.size()
		first, err := r.Prune(t.Context(), repo.PruneOptions{})
		if err != nil || first.Rewritten != 1 || first.Condemned != 1 || len(first.Summaries) != 1 {
			t.Fatalf("first: %+v, %v", first, err)
		}
		sum, _, err := r.HasSummary(t.Context(), address, "p2")
		if err != nil || first.Summaries[0] != (repo.PointCheck{Address: address, ID: "p2", ManifestSHA: receipt.Manifest, SummarySHA: sum}) {
			t.Fatalf("the report has %+v, the summary %s, %v", first.Summaries, sum, err)
		}
		second, err := r.Prune(t.Context(), repo.PruneOptions{})
		if err != nil || second.Deleted != 1 || second.Rewritten != 0 {
			t.Fatalf("second: %+v, %v", second, err)
		}
		if b.size() >= before/2 {
			t.Errorf("%d bytes before, %d after", before, b.size())
		}
		if second.Bytes != b.size() || second.Objects != int64(len(b.names(""))) {
			t.Errorf("the report says %d bytes in %d objects, there are %d in %d", second.Bytes, second.Objects, b.size(), len(b.names("")))
		}
		wantRestored(t, open(t, b, k.id), "p2", kept)
		old := repo.PointCheck{Address: address, ID: "p2", ManifestSHA: receipt.Manifest, SummarySHA: receipt.Summary}
		report, err := r.VerifyStored(t.Context(), repo.VerifyOptions{All: true, Points: []repo.PointCheck{old}})
		if err != nil || len(report.Damaged) > 0 {
			t.Errorf("verify: %+v, %v", report.Damaged, err)
		}
	}
}

// TestPruneNeedsNoReadingKey: a writer's key reclaims whole packs and rewrites none; without any key nothing can be judged.
func TestPruneNeedsNoReadingKey(t *testing.T) {
	k, w := classic(t), classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}, Writers: []string{w.public}})
	r := open(t, b, w.id)
	backup(t, r, "p1", []file{{"a", random(1, 20_000), "1"}, {"b", random(2, 300_000), "2"}})
	backup(t, r, "p2", []file{{"a", random(1, 20_000), "1"}})
	backup(t, r, "p3", []file{{"c", random(3, 20_000), "3"}})
	for _, point := range []string{"p1", "p3"} {
		if err := r.DeletePoint(t.Context(), address, point); err != nil {
			t.Fatal(err)
		}
	}
	var key *repo.KeyError
	if _, err := open(t, b).Prune(t.Context(), repo.PruneOptions{}); !errors.As(err, &key) {
		t.Fatalf("without a key: %v", err)
	}
	for _, want := range []repo.PruneReport{{Condemned: 1}, {Deleted: 1}} {
		got, err := r.Prune(t.Context(), repo.PruneOptions{})
		if err != nil || got.Condemned != want.Condemned || got.Deleted != want.Deleted || got.Rewritten != 0 {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	wantRestored(t, open(t, b, k.id), "p2", []file{{path: "a", data: random(1, 20_000)}})
}

// TestPowerCutAtEveryRequest cuts the power after the n-th write of expiry, prune, backup and prune again, for every n: earlier
// points read back whole, nothing is missing, and the next prunes converge.
func TestPowerCutAtEveryRequest(t *testing.T) {
	sound := newMemory()
	initRepo(t, sound, repo.InitOptions{None: true})
	r := open(t, sound)
	small, large := file{"a", random(1, 20_000), "1"}, file{"b", random(2, 200_000), "2"}
	backup(t, r, "p1", []file{small, large})
	backup(t, r, "p2", []file{small})
	backup(t, r, "p3", []file{{"c", random(3, 50_000), "3"}})
	for n := 0; ; n++ {
		b := sound.clone()
		f := blobtest.NewFaulty(b)
		f.CutPower(n)
		err := expireAndPrune(t.Context(), f, []file{small, large})
		if err == nil {
			if n < 20 {
				t.Fatalf("all was done in %d writes", n)
			}
			t.Logf("%d cuts", n)
			return
		}
		if !errors.Is(err, blobtest.ErrPowerCut) {
			t.Fatalf("cut %d: %v", n, err)
		}
		wantWhole(t, b, n)
		wantRestored(t, open(t, b), "p2", []file{small})
		for range 3 {
			expireLeases(b)
			if _, err := open(t, b).Prune(t.Context(), repo.PruneOptions{}); err != nil {
				t.Fatalf("cut %d: prune again: %v", n, err)
			}
		}
		wantWhole(t, b, n)
		if left := append(b.names("condemned/"), b.names("leases/")...); len(left) > 0 {
			t.Fatalf("cut %d: left over: %v", n, left)
		}
	}
}

func expireAndPrune(ctx context.Context, b blob.Bucket, again []file) error {
	r, err := repo.Open(ctx, b, repo.OpenOptions{Concurrency: 2})
	if err != nil {
		return err
	}
	for _, point := range []string{"p1", "p3"} {
		if err := r.DeletePoint(ctx, address, point); err != nil {
			return err
		}
	}
	for _, step := range []string{"prune", "backup", "prune", "prune"} {
		if step == "prune" {
			_, err = r.Prune(ctx, repo.PruneOptions{})
		} else {
			_, _, err = tryBackup(ctx, r, options("p4"), again)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// expireLeases lets the leases of the dead run out.
func expireLeases(b *memory) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name := range b.times {
		b.times[name] = b.times[name].Add(-time.Hour)
	}
}

// wantWhole reads every point that is there.
func wantWhole(t *testing.T, b *memory, n int) {
	t.Helper()
	r := open(t, b)
	points, err := r.Points(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		if !p.Manifest {
			continue
		}
		report, err := r.VerifyRead(t.Context(), p.Address, p.ID, nil)
		if err != nil || len(report.Damaged) > 0 {
			t.Fatalf("cut %d: point %s: %+v, %v", n, p.ID, report.Damaged, err)
		}
	}
	report, err := r.VerifyStored(t.Context(), repo.VerifyOptions{All: true})
	if err != nil || len(report.Damaged) > 0 {
		t.Fatalf("cut %d: %+v, %v", n, report.Damaged, err)
	}
}

// TestTwoPruners: the second is refused with the name of the first, which goes on; a dead one's place is taken.
func TestTwoPruners(t *testing.T) {
	b := newMemory()
	initRepo(t, b, repo.InitOptions{None: true})
	backup(t, open(t, b), "p1", []file{{"a", random(1, 20_000), "1"}})
	if err := open(t, b).DeletePoint(t.Context(), address, "p1"); err != nil {
		t.Fatal(err)
	}
	tried := false
	first := &hooked{memory: b, before: func(name string) {
		if tried || !strings.HasPrefix(name, "condemned/") {
			return
		}
		tried = true
		var held *repo.LeaseHeldError
		if _, err := open(t, b).Prune(t.Context(), repo.PruneOptions{}); !errors.As(err, &held) || held.Who != "first" {
			t.Errorf("the second pruner: %v", err)
		}
	}}
	r, err := repo.Open(t.Context(), first, repo.OpenOptions{Who: "first"})
	if err != nil {
		t.Fatal(err)
	}
	report, err := r.Prune(t.Context(), repo.PruneOptions{})
	if err != nil || report.Condemned != 1 || !tried {
		t.Fatalf("%+v, %v", report, err)
	}
	faulty := blobtest.NewFaulty(b)
	faulty.CutPower(1) // the lease, nothing else: not even its end
	dead, err := repo.Open(t.Context(), faulty, repo.OpenOptions{Who: "dead"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dead.Prune(t.Context(), repo.PruneOptions{}); !errors.Is(err, blobtest.ErrPowerCut) {
		t.Fatal(err)
	}
	var held *repo.LeaseHeldError
	if _, err := open(t, b).Prune(t.Context(), repo.PruneOptions{}); !errors.As(err, &held) || held.Who != "dead" {
		t.Fatalf("while it may be alive: %v", err)
	}
	expireLeases(b)
	if report, err := open(t, b).Prune(t.Context(), repo.PruneOptions{}); err != nil || report.Deleted != 1 {
		t.Fatalf("after it died: %+v, %v", report, err)
	}
}

// hooked calls a function before objects are created.
type hooked struct {
	*memory
	before func(name string)
}

func (h *hooked) Create(ctx context.Context, name string, data []byte) error {
	h.before(name)
	return h.memory.Create(ctx, name, data)
}

// TestSleeperTakesItsManifestBack: a writer sleeps just before its manifest, is taken for dead, and its packs go. It notices.
func TestSleeperTakesItsManifestBack(t *testing.T) {
	b := newMemory()
	initRepo(t, b, repo.InitOptions{None: true})
	slept := false
	sleeper := &hooked{memory: b, before: func(name string) {
		if slept || !strings.HasSuffix(name, ".manifest") {
			return
		}
		slept = true
		for range 3 {
			expireLeases(b)
			if _, err := open(t, b).Prune(t.Context(), repo.PruneOptions{}); err != nil {
				t.Error(err)
			}
		}
	}}
	r, err := repo.Open(t.Context(), sleeper, repo.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	files := []file{{"a", random(1, 20_000), "1"}}
	if _, _, err := tryBackup(t.Context(), r, options("p1"), files); !errors.Is(err, repo.ErrLeaseLost) {
		t.Fatalf("the sleeper: %v", err)
	}
	if len(b.names("packs/")) > 0 {
		t.Fatal("nothing was pruned: the test proves nothing")
	}
	if _, ok, err := open(t, b).HasManifest(t.Context(), address, "p1"); ok || err != nil {
		t.Errorf("the manifest is there: %v, %v", ok, err)
	}
	backup(t, open(t, b), "p1", files)
	wantRestored(t, open(t, b), "p1", files)
}

// TestPruneWaitsForLostPacks: while a pack is lost that a point needs, nothing is condemned: what was salvaged of it is in packs
// that no summary names yet.
func TestPruneWaitsForLostPacks(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	backup(t, open(t, b, k.id), "p1", []file{{"a", random(1, 200_000), "1"}})
	lost := b.names("packs/")[0]
	backup(t, open(t, b, k.id), "p2", []file{{"b", random(2, 200_000), "2"}})
	if err := open(t, b, k.id).DeletePoint(t.Context(), address, "p2"); err != nil {
		t.Fatal(err)
	}
	kept := b.objects[lost]
	delete(b.objects, lost)
	report, err := open(t, b, k.id).Prune(t.Context(), repo.PruneOptions{})
	if err != nil || report.Missing != 1 || report.Condemned != 0 {
		t.Fatalf("with a lost pack: %+v, %v", report, err)
	}
	b.objects[lost] = kept
	report, err = open(t, b, k.id).Prune(t.Context(), repo.PruneOptions{})
	if err != nil || report.Missing != 0 || report.Condemned != 1 {
		t.Fatalf("when it is back: %+v, %v", report, err)
	}
}
