package apply_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

func (s *fakeStore) CopyPoint(_ context.Context, from apply.Repository, address, point string, _ func(bytes, stored int64)) (apply.Receipt, error) {
	found := from.(*fakeStore).points[address+"/"+point]
	s.tell("copy %s%s", point, s.where(address))
	s.points[address+"/"+point] = found
	return found.Receipt, nil
}

func (s *fakeStore) RepairPoint(_ context.Context, from apply.Repository, c apply.PointCopy, _ func(int64)) (apply.Repaired, error) {
	s.tell("repair %s (%s) from %v", c.Point, c.Manifest, from != nil)
	if from != nil {
		s.damage = nil
	}
	return s.repairs, nil
}

// withCopies adds a further store to a world.
func withCopies(t *testing.T) (*world, *fakeStore) {
	w := newWorld(t)
	further := &fakeStore{world: w, points: map[string]apply.Found{}, name: "copy"}
	w.store.others = map[string]*fakeStore{"store.copy": further}
	return w, further
}

func copyOf(address string, after ...string) plan.Action {
	return plan.Action{ID: "copy " + address, Kind: plan.Copy, Address: address, Store: "store.copy", From: "store.s", After: after}
}

func (w *world) mustRun(id string, actions ...plan.Action) apply.Outcome {
	w.t.Helper()
	out, err := w.run(w.t.Context(), id, actions...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) edit(edit func(c *state.Catalog)) {
	w.t.Helper()
	if err := w.backend.Update(w.t.Context(), func(c *state.Catalog) error { edit(c); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantLog(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.log); diff != "" {
		w.t.Errorf("what happened (-want +got):\n%s", diff)
	}
	w.log = nil
}

func TestCopyIsProvenThereAndMadeOnce(t *testing.T) {
	w, _ := withCopies(t)
	w.edit(func(c *state.Catalog) { c.Objects = map[string]state.Object{"store.s": {}, "store.copy": {}} })
	w.mustRun("r1", backupOf("backup.a"), verifyAfter("backup.a"), copyOf("backup.a", "back up backup.a"))
	w.wantLog("manifest point-r1 (in catalog: false)", "verify, 0 proven before", "copy point-r1 in copy", "verify, 0 proven before")
	c, ok := w.catalog().Points["backup.a"][0].In("store.copy")
	if !ok || c.Repository != "repocopy" || c.Manifest != "m" || len(c.Proofs) != 1 || !c.Verified() || c.Proofs[0].Level != "stored" {
		t.Errorf("copy %+v", c)
	}
	again := copyOf("backup.a")
	again.Point = "point-r1"
	if out := w.mustRun("r2", again); out.Run.Actions[0].Status != state.RunSkipped {
		t.Errorf("the second copy was %s", out.Run.Actions[0].Status)
	}
	for _, store := range []string{"store.s", "store.copy"} {
		if u := w.catalog().Objects[store].Usage; u == nil || u.Bytes != 5 {
			t.Errorf("usage of %s: %+v, want 5 bytes", store, u)
		}
	}
}

// TestDownStoreDelaysCopiesOnly: every backup is made and proven before the store of copies is asked, and it is asked once.
func TestDownStoreDelaysCopiesOnly(t *testing.T) {
	w, further := withCopies(t)
	further.openErr = errors.New("no route to host")
	out := w.mustRun("r1",
		backupOf("backup.a"), verifyAfter("backup.a"), copyOf("backup.a", "back up backup.a"),
		backupOf("backup.b"), verifyAfter("backup.b"), copyOf("backup.b", "back up backup.b"))
	w.wantLog("manifest point-r1 (in catalog: false)", "verify, 0 proven before", "manifest point-r1 (in catalog: false)", "verify, 0 proven before",
		"store.copy is down")
	if diff := cmp.Diff(map[state.RunStatus]int{state.RunOK: 4, state.RunFailed: 2}, out.Counts); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
}

func TestDamagedCopyIsBookedAsEvidence(t *testing.T) {
	w, further := withCopies(t)
	further.damage = []apply.Damage{{Object: "packs/aa", Problem: "its bytes changed"}}
	out := w.mustRun("r1", backupOf("backup.a"), copyOf("backup.a", "back up backup.a"))
	c, ok := w.catalog().Points["backup.a"][0].In("store.copy")
	if !ok || !c.Damaged() || out.Counts[state.RunFailed] != 1 {
		t.Errorf("copy %+v, outcome %v", c, out.Counts)
	}
}

// copied makes a point with a copy in both stores.
func copied(t *testing.T) (*world, *fakeStore) {
	w, further := withCopies(t)
	w.mustRun("r1", backupOf("backup.a"), copyOf("backup.a", "back up backup.a"))
	w.log = nil
	return w, further
}

// TestExpireIsFinishedInEveryStore: what one store did not delete is deleted there by a later run, by the name it is stored
// under, and nowhere else again.
func TestExpireIsFinishedInEveryStore(t *testing.T) {
	w, further := copied(t)
	w.edit(func(c *state.Catalog) { c.Points["backup.a"][0].StoredAs = "backup.old" })
	further.deleteErr = errors.New("connection reset")
	out := w.mustRun("r2", expire("backup.a", "point-r1"))
	w.wantLog("delete point-r1 in copy as backup.old (in catalog: false)", "delete point-r1 as backup.old (in catalog: false)")
	if out.Run.Status != state.RunPending || len(w.points("backup.a")) != 0 {
		t.Fatalf("run %s, points %v", out.Run.Status, w.points("backup.a"))
	}
	further.deleteErr = nil
	w.mustRun("r3", plan.Action{ID: "recover", Kind: plan.Recover, Address: "backup.a", Point: "point-r1", Store: "store.s", Run: "r2"})
	w.wantLog("delete point-r1 in copy as backup.old (in catalog: false)")
	if got := w.catalog().Runs[len(w.catalog().Runs)-2].Status; got != state.RunInterrupted {
		t.Errorf("the run is %s after it was settled", got)
	}
}

// TestDeadExpiryIsFinishedInEveryStore: the process died right after the point left the catalog.
func TestDeadExpiryIsFinishedInEveryStore(t *testing.T) {
	w, _ := copied(t)
	w.edit(func(c *state.Catalog) {
		delete(c.Points, "backup.a")
		c.Runs = append(c.Runs, state.Run{ID: "dead", Started: now, Status: state.RunPending, Actions: []state.RunAction{{
			Address: "backup.a", Kind: string(plan.Expire), Point: "point-r1", Store: "store.s", Status: state.RunPending,
			Deletes: []state.Left{{Store: "store.copy", Address: "backup.a"}, {Store: "store.gone", Address: "backup.a"}, {Store: "store.s", Address: "backup.a"}},
		}}})
	})
	out := w.mustRun("r3", plan.Action{ID: "recover", Kind: plan.Recover, Address: "backup.a", Point: "point-r1", Store: "store.s", Run: "dead"})
	w.wantLog("delete point-r1 in copy (in catalog: false)", "delete point-r1 (in catalog: false)")
	if out.Run.Status != state.RunOK { // what is in a store that is not declared any more cannot be reached, and is told
		t.Errorf("run %+v", out.Run)
	}
}

func TestExpireKeepsAPointWhoseStoreIsDown(t *testing.T) {
	w, further := copied(t)
	further.openErr = errors.New("no route to host")
	out := w.mustRun("r2", expire("backup.a", "point-r1"))
	w.wantLog("store.copy is down")
	if out.Counts[state.RunFailed] != 1 || len(w.points("backup.a")) != 1 {
		t.Errorf("outcome %v, points %v", out.Counts, w.points("backup.a"))
	}
}

// TestExpireDeletesACopyThatNobodyBooked: a run died between the manifest of a copy and the catalog.
func TestExpireDeletesACopyThatNobodyBooked(t *testing.T) {
	w, further := withCopies(t)
	w.mustRun("r1", backupOf("backup.a"))
	w.edit(func(c *state.Catalog) {
		c.Runs = append(c.Runs, state.Run{ID: "dead", Started: now, Status: state.RunInterrupted, Actions: []state.RunAction{
			{Address: "backup.a", Kind: string(plan.Copy), Point: "point-r1", Store: "store.copy", Status: state.RunInterrupted},
		}})
	})
	w.log = nil
	further.openErr = errors.New("no route to host")
	if out := w.mustRun("r2", expire("backup.a", "point-r1")); out.Run.Status != state.RunPending {
		t.Errorf("the run is %s: nobody will look for the copy", out.Run.Status)
	}
	w.wantLog("store.copy is down", "delete point-r1 (in catalog: false)")
	further.openErr = nil
	w.mustRun("r3", plan.Action{ID: "recover", Kind: plan.Recover, Address: "backup.a", Point: "point-r1", Store: "store.s", Run: "r2"})
	w.wantLog("delete point-r1 in copy (in catalog: false)")
}

func repairOf(from string) plan.Action {
	return plan.Action{ID: "repair", Kind: plan.Repair, Address: "backup.a", Point: "point-r1", Store: "store.s", From: from}
}

func TestRepairBooksNewHashesAndItsProof(t *testing.T) {
	w, _ := copied(t)
	w.store.damage = []apply.Damage{{Object: "packs/aa", Problem: "its bytes changed"}}
	w.mustRun("r2", plan.Action{ID: "v", Kind: plan.Verify, Address: "backup.a", Point: "point-r1", Store: "store.s", Level: "stored"})
	if c, _ := w.catalog().Points["backup.a"][0].In("store.s"); !c.Broken() {
		t.Fatalf("copy %+v is not known to be damaged", c)
	}
	w.log = nil
	w.store.repairs = apply.Repaired{Replaced: []string{"packs/aa"}, Receipt: apply.Receipt{Manifest: "m2", Summary: "s2"}}
	w.mustRun("r3", repairOf("store.copy"))
	w.wantLog("repair point-r1 (m) from true", "verify, 0 proven before")
	p := w.catalog().Points["backup.a"][0]
	c, _ := p.In("store.s")
	other, _ := p.In("store.copy")
	if !c.Verified() || c.Manifest != "m2" || c.Summary != "s2" || other.Manifest != "m" {
		t.Errorf("repaired %+v, other %+v", c, other)
	}
}

// TestRepairWithoutAGoodCopyIsFinal: what was damaged is set aside, the copy stays known as damaged, and nothing is left to do.
func TestRepairWithoutAGoodCopyIsFinal(t *testing.T) {
	w := newWorld(t)
	w.mustRun("r1", backupOf("backup.a"))
	w.store.damage = []apply.Damage{{Object: "packs/aa", Problem: "it is missing"}}
	w.store.repairs = apply.Repaired{SetAside: []string{"packs/aa"}}
	out := w.mustRun("r2", repairOf(""))
	c := w.catalog().Points["backup.a"][0].Copies[0]
	if !c.Broken() || !c.Proofs[0].Final || out.Run.Status != state.RunOK {
		t.Errorf("copy %+v, run %s", c, out.Run.Status)
	}
}

func TestPruneBesideAnotherIsLeftToTheNextRun(t *testing.T) {
	w := newWorld(t)
	w.edit(func(c *state.Catalog) {
		c.Objects = map[string]state.Object{"store.s": {Usage: &state.Usage{Points: 3, Expired: 9}}}
	})
	w.store.pruneErr = errors.Join(apply.ErrBusy, errors.New("alice prunes it"))
	out := w.mustRun("r1", plan.Action{ID: "prune store.s", Kind: plan.Prune, Address: "store.s", Store: "store.s"})
	if a := out.Run.Actions[0]; a.Status != state.RunSkipped || !strings.Contains(a.Error, "alice") {
		t.Errorf("action %+v", a)
	}
	if u := w.catalog().Objects["store.s"].Usage; u == nil || u.Points != 3 {
		t.Errorf("usage %+v: the next plan would not prune", u)
	}
}
