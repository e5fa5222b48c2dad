package apply_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

func (s *fakeStore) Prune(context.Context, time.Duration) (apply.Pruned, error) {
	s.tell("prune")
	return apply.Pruned{}, s.pruneErr
}

// TestPruneComesLastWhateverFails: it stands anywhere in the plan, runs when all else has ended, and a failed expiry does not
// keep a store from getting smaller.
func TestPruneComesLastWhateverFails(t *testing.T) {
	w := newWorld(t)
	if _, err := w.run(t.Context(), "r1", backupOf("backup.a")); err != nil {
		t.Fatal(err)
	}
	w.log, w.store.deleteErr = nil, errors.New("the object is locked")
	prune := plan.Action{ID: "prune store.s", Kind: plan.Prune, Address: "store.s", Store: "store.s"}
	out, err := w.run(t.Context(), "r2", prune, expire("backup.a", "point-r1"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"delete point-r1 (in catalog: false)", "prune"}, w.log); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if out.Counts[state.RunOK] != 1 {
		t.Errorf("outcome %v", out.Counts)
	}
}
