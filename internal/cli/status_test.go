package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// TestHealth: protected needs every piece of evidence that the policy asks for; whatever lacks is named.
func TestHealth(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	proof := func(level string, ok bool, age time.Duration) state.Proof {
		return state.Proof{Level: level, OK: ok, At: now.Add(-age)}
	}
	copyIn := func(store string, proofs ...state.Proof) state.Copy { return state.Copy{Store: store, Proofs: proofs} }
	point := func(id string, age time.Duration, copies ...state.Copy) state.RestorePoint {
		return state.RestorePoint{ID: id, Time: now.Add(-age), Copies: copies}
	}
	hour := time.Hour
	good := proof("stored", true, hour)
	plain := policy.Backup{Store: "store.a", Verify: policy.Verify{After: policy.VerifyStored}}
	copied := plain
	copied.Copies = []string{"store.b"}
	reading := copied
	reading.Verify.After = policy.VerifyRead
	rehearsed := plain
	rehearsed.Verify.Restore = &policy.Rehearsal{Every: policy.Duration(7 * 24 * hour)}
	promised := plain
	promised.Objective.RPO = policy.Duration(24 * hour)
	paused := plain
	paused.Schedule = &policy.Schedule{Paused: true}
	for name, tc := range map[string]struct {
		backup policy.Backup
		points []state.RestorePoint
		want   string
		why    string
	}{
		"nothing":            {plain, nil, "unprotected", "no complete restore point"},
		"incomplete only":    {plain, []state.RestorePoint{{ID: "p", Incomplete: true, Copies: []state.Copy{copyIn("store.a", good)}}}, "unprotected", "no complete"},
		"proven":             {plain, []state.RestorePoint{point("p", hour, copyIn("store.a", good))}, "protected", "was read back"},
		"proven on top":      {plain, []state.RestorePoint{point("p", hour, copyIn("store.a", proof("added", true, hour)))}, "protected", "was read back"},
		"never read":         {plain, []state.RestorePoint{point("p", hour, copyIn("store.a"))}, "unproven", "never read back in store.a"},
		"no copy at all":     {plain, []state.RestorePoint{point("p", hour)}, "at risk", "in no store"},
		"damaged":            {plain, []state.RestorePoint{point("p", hour, copyIn("store.a", good, proof("read", false, 0)))}, "at risk", "damaged in store.a"},
		"mended":             {plain, []state.RestorePoint{point("p", hour, copyIn("store.a", proof("stored", true, 0), proof("read", false, hour)))}, "protected", "was read back"},
		"an older one is":    {plain, []state.RestorePoint{point("o", 2*hour, copyIn("store.a", proof("stored", false, 0))), point("p", hour, copyIn("store.a", good))}, "protected", ""},
		"old":                {promised, []state.RestorePoint{point("p", 25*hour, copyIn("store.a", good))}, "at risk", "the objective is"},
		"young enough":       {promised, []state.RestorePoint{point("p", 23*hour, copyIn("store.a", good))}, "protected", ""},
		"copied":             {copied, []state.RestorePoint{point("p", hour, copyIn("store.a", good), copyIn("store.b", good))}, "protected", "in 1 further store"},
		"copies owed":        {copied, []state.RestorePoint{point("o", 2*hour, copyIn("store.a", good)), point("p", hour, copyIn("store.a", good))}, "at risk", "2 restore points are not in store.b yet"},
		"copy damaged":       {copied, []state.RestorePoint{point("p", hour, copyIn("store.a", good), copyIn("store.b", proof("stored", false, 0)))}, "at risk", "damaged in store.b"},
		"copy never read":    {copied, []state.RestorePoint{point("p", hour, copyIn("store.a", good), copyIn("store.b"))}, "unproven", "never read back in store.b"},
		"level not reached":  {reading, []state.RestorePoint{point("p", hour, copyIn("store.a", good), copyIn("store.b", good))}, "unproven", "at level stored in store.a; the policy asks for read"},
		"copies as stored":   {reading, []state.RestorePoint{point("p", hour, copyIn("store.a", proof("read", true, hour)), copyIn("store.b", good))}, "protected", "read back and decoded"},
		"never rehearsed":    {rehearsed, []state.RestorePoint{point("p", hour, copyIn("store.a", good))}, "unproven", "no restore was ever rehearsed"},
		"rehearsal too old":  {rehearsed, []state.RestorePoint{point("p", hour, copyIn("store.a", good, proof("restore", true, 8*24*hour)))}, "unproven", "the last rehearsed restore is"},
		"an older rehearsed": {rehearsed, []state.RestorePoint{point("o", 48*hour, copyIn("store.a", proof("restore", true, 47*hour))), point("p", hour, copyIn("store.a", good))}, "protected", ""},
		"rehearsal failed":   {rehearsed, []state.RestorePoint{point("p", hour, copyIn("store.a", good, proof("restore", false, 0)))}, "at risk", "did not restore from store.a"},
		"paused":             {paused, []state.RestorePoint{point("p", hour, copyIn("store.a", good))}, "paused", "its schedule is paused"},
		"paused and damaged": {paused, []state.RestorePoint{point("p", hour, copyIn("store.a", proof("stored", false, 0)))}, "at risk", "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &session{
				policy:  policy.Set{Backups: map[string]policy.Backup{"backup.x": tc.backup}},
				catalog: &state.Catalog{Points: map[string][]state.RestorePoint{"backup.x": tc.points}},
			}
			got := s.health("backup.x", now)
			if got.Health != tc.want || !strings.Contains(got.Why, tc.why) {
				t.Errorf("%s (%s), want %s (… %s …)", got.Health, got.Why, tc.want, tc.why)
			}
			if protected := got.Health == "protected"; protected != (len(got.Missing) == 0) {
				t.Errorf("%s, missing %q", got.Health, got.Missing)
			}
		})
	}
	s := &session{catalog: &state.Catalog{Points: map[string][]state.RestorePoint{"backup.y": {point("p", hour, copyIn("store.a", good))}}}}
	if got := s.health("backup.y", now); got.Health != "forgotten" {
		t.Errorf("a backup that is not declared is %s", got.Health)
	}
}
