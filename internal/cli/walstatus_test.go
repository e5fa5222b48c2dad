package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// pitrSession has a base backup of minute 10 in two stores, and WAL up to minute 40; in the second store it breaks off at 20.
func pitrSession(edit func(primary *state.WAL)) *session {
	b := policy.Backup{
		Store: "store.a", Copies: []string{"store.b"}, Objective: policy.Objective{RPO: policy.Duration(10 * time.Minute)}, Verify: policy.Verify{After: policy.VerifyStored},
		Physical: &policy.Physical{WAL: policy.WAL{Mode: policy.WALStream}},
	}
	good := []state.Proof{{Level: "stored", OK: true, At: minute(11)}}
	point := state.RestorePoint{
		ID: "p", Time: minute(10), Base: &state.Base{System: factsSystem, Timeline: 1, Start: seg, End: seg + 100},
		Copies: []state.Copy{{Store: "store.a", Proofs: good}, {Store: "store.b", Proofs: good}},
	}
	primary := known(state.Range{From: seg, To: 5 * seg, Since: minute(5), Until: minute(40), Stored: 40})
	if edit != nil {
		edit(primary)
	}
	further := known(state.Range{From: seg, To: 3 * seg, Since: minute(5), Until: minute(20), Stored: 20}, state.Range{From: 4 * seg, To: 5 * seg, Since: minute(30), Until: minute(40), Stored: 10})
	further.Store = "store.b"
	return &session{
		app:    &app{},
		policy: policy.Set{Backups: map[string]policy.Backup{"backup.x": b}},
		catalog: &state.Catalog{
			Points: map[string][]state.RestorePoint{"backup.x": {point}}, WAL: map[string][]state.WAL{"backup.x": {*primary, *further}},
		},
	}
}

func TestStatusTellsWAL(t *testing.T) {
	got := pitrSession(nil).walOf("backup.x", minute(42))
	want := []walStatus{
		{
			Store: "store.a", System: factsSystem, Windows: []plan.Stretch{{From: minute(10), To: minute(40)}}, Timeline: 1, Frontier: 5 * seg, Until: minute(40),
			LagSeconds: 120, Stored: 40, Seen: minute(1),
		},
		{
			Store: "store.b", System: factsSystem, Windows: []plan.Stretch{{From: minute(10), To: minute(20)}}, Timeline: 1, Frontier: 5 * seg, Until: minute(40),
			LagSeconds: 120, Stored: 30, Seen: minute(1),
			Gaps: []walGap{{Timeline: 1, First: file3, Last: file3, Since: minute(20)}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The objective of a backup with WAL counts from what WAL goes up to, and WAL that is broken is a risk.
func TestHealthCountsWAL(t *testing.T) {
	for name, tc := range map[string]struct {
		edit      func(*state.WAL)
		now       int
		want, why string
	}{
		"in time":           {nil, 45, "protected", "read back"},
		"late":              {nil, 51, "at risk", "the newest WAL is 11m old; the objective is 10m"},
		"without WAL":       {func(w *state.WAL) { w.Timelines = nil }, 25, "at risk", "the newest restore point is 15m old"},
		"broken":            {func(w *state.WAL) { w.Timelines[0].Ranges[0].From = 2 * seg }, 15, "at risk", "WAL after the newest base backup is broken: segment " + file1 + " is missing"},
		"of another server": {func(w *state.WAL) { w.System = "8" }, 15, "protected", ""},
	} {
		got := pitrSession(tc.edit).health("backup.x", minute(tc.now))
		if got.Health != tc.want || !strings.Contains(got.Why, tc.why) {
			t.Errorf("%s: %s (%s), want %s (… %s …)", name, got.Health, got.Why, tc.want, tc.why)
		}
	}
}

func TestPointsTellHowFarTheyReach(t *testing.T) {
	s := pitrSession(nil)
	point := s.catalog.Points["backup.x"][0]
	if got := s.reach("backup.x", point); !got.Equal(minute(40)) {
		t.Errorf("it reaches %s", got)
	}
	point.Copies = point.Copies[1:]
	if got := s.reach("backup.x", point); !got.Equal(minute(20)) {
		t.Errorf("from the further store alone it reaches %s", got)
	}
	point.Base = nil
	if got := s.reach("backup.x", point); !got.IsZero() {
		t.Errorf("a point that is no base backup reaches %s", got)
	}
}
