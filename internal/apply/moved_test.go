package apply_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// moveTo renames what the catalog holds, as the plan after the crash does before it recovers.
func (w *world) moveTo(from, to string) {
	w.t.Helper()
	w.moved = append(w.moved, policy.Moved{From: from, To: to})
	err := w.backend.Update(w.t.Context(), func(c *state.Catalog) error {
		c.Move(from, to)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// died leaves a run with one pending action.
func (w *world) died(a state.RunAction) plan.Action {
	w.t.Helper()
	a.Status = state.RunPending
	err := w.backend.Update(w.t.Context(), func(c *state.Catalog) error {
		c.Runs = append(c.Runs, state.Run{ID: "dead", Operation: "apply", Started: now, Status: state.RunPending, Actions: []state.RunAction{a}})
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return plan.Action{ID: "recover", Kind: plan.Recover, Address: a.Address, Point: a.Point, Store: a.Store, Run: "dead"}
}

// TestRecoverAfterAMove: a run died, and by the time it is recovered its backup or its store has another address.
func TestRecoverAfterAMove(t *testing.T) {
	const point = "point-r1"
	whole := apply.Found{Info: apply.PointInfo{Time: now, Slot: now}, Receipt: apply.Receipt{Manifest: "m", Size: 10}}
	for _, tc := range []struct {
		name     string
		dead     state.RunAction
		listed   bool // the point was in the catalog when the run died
		from, to string
		points   []string // of the catalog afterwards, as "address id stored-as store"
		objects  int      // points in the store afterwards
	}{
		{
			"an expiry that never began",
			state.RunAction{Address: "backup.a", Kind: string(plan.Expire), Point: point, Store: "store.s"},
			true,
			"backup.a", "backup.b",
			[]string{"backup.b point-r1 backup.a store.s"},
			1,
		},
		{
			"a backup that was booked",
			state.RunAction{Address: "backup.a", Kind: string(plan.Backup), Point: point, Store: "store.s", Slot: now},
			true,
			"backup.a", "backup.b",
			[]string{"backup.b point-r1 backup.a store.s"},
			1,
		},
		{
			"a backup that was not",
			state.RunAction{Address: "backup.a", Kind: string(plan.Backup), Point: point, Store: "store.s", Slot: now},
			false,
			"backup.a", "backup.b",
			[]string{"backup.b point-r1 backup.a store.s"},
			1,
		},
		{
			"a backup in a store that has another name",
			state.RunAction{Address: "backup.a", Kind: string(plan.Backup), Point: point, Store: "store.old", Slot: now},
			false,
			"store.old", "store.s",
			[]string{"backup.a point-r1  store.s"},
			1,
		},
		{
			"a deletion in a store that has another name",
			state.RunAction{
				Address: "backup.a", Kind: string(plan.Expire), Point: point, Store: "store.old", Deletes: []state.Left{{Store: "store.old", Address: "backup.a"}},
			},
			false,
			"store.old", "store.s", nil, 0,
		},
		{
			"a backup in a store that is not declared any more",
			state.RunAction{Address: "backup.a", Kind: string(plan.Backup), Point: point, Store: "store.gone", Slot: now},
			false,
			"", "", nil, 1,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			if tc.listed {
				if _, err := w.run(t.Context(), "r1", backupOf("backup.a")); err != nil {
					t.Fatal(err)
				}
			} else {
				w.store.points["backup.a/"+point] = whole
			}
			recovery := w.died(tc.dead)
			if tc.from != "" {
				w.moveTo(tc.from, tc.to)
			}
			out, err := w.run(t.Context(), "r2", recovery)
			if err != nil || out.Run.Status != state.RunOK {
				t.Errorf("run %+v, %v", out.Run, err)
			}
			var got []string
			for address, points := range w.catalog().Points {
				for _, p := range points {
					got = append(got, fmt.Sprintf("%s %s %s %s", address, p.ID, p.StoredAs, p.Copies[0].Store))
				}
			}
			if diff := cmp.Diff(tc.points, got); diff != "" {
				t.Errorf("catalog (-want +got):\n%s", diff)
			}
			if len(w.store.points) != tc.objects {
				t.Errorf("the store holds %d points, want %d", len(w.store.points), tc.objects)
			}
			for _, run := range w.catalog().Runs {
				if run.Status == state.RunPending {
					t.Errorf("run %s is pending still", run.ID)
				}
			}
		})
	}
}
