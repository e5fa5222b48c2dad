package planner_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// renamed gives the database's backup another address, and says so.
func renamed(to string, moved ...policy.Moved) policy.Set {
	s := ragSet()
	b := s.Backups["backup.app"]
	delete(s.Backups, "backup.app")
	b.Address = to
	s.Backups[to] = b
	s.Moved = moved
	return s
}

func kinds(p plan.Plan) (out []string) {
	for _, c := range p.Changes {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Kind, c.Address, c.From)))
	}
	return out
}

func TestMoves(t *testing.T) {
	for _, tc := range []struct {
		name   string
		set    policy.Set
		edit   func(c *state.Catalog)
		want   []string
		points string // address under which the points are afterwards
	}{
		{"a rename", renamed("backup.db", policy.Moved{From: "backup.app", To: "backup.db"}), nil, []string{"move backup.db backup.app"}, "backup.db"},
		{"a chain", renamed("backup.a", policy.Moved{From: "backup.z", To: "backup.a"}, policy.Moved{From: "backup.app", To: "backup.z"}), nil, []string{"move backup.a backup.app"}, "backup.a"},
		{"a circle", renamed("backup.db", policy.Moved{From: "backup.app", To: "backup.z"}, policy.Moved{From: "backup.z", To: "backup.app"}), nil, []string{"forget backup.app", "add backup.db"}, "backup.app"},
		{"from nothing", with(ragSet(), func(s *policy.Set) { s.Moved = []policy.Moved{{From: "backup.old", To: "backup.app"}} }), nil, nil, "backup.app"},
		{"to what is not declared", renamed("backup.db", policy.Moved{From: "backup.app", To: "backup.x"}), nil, []string{"forget backup.app", "add backup.db"}, "backup.app"},
		{"onto one that has points", renamed("backup.db", policy.Moved{From: "backup.app", To: "backup.db"}), func(c *state.Catalog) {
			c.Objects["backup.db"] = c.Objects["backup.app"]
			c.Points["backup.db"] = []state.RestorePoint{point(at("2026-11-22 01:15"), 1)}
		}, []string{"forget backup.app"}, "backup.app"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := planner.Input{Desired: tc.set, Catalog: settled(), Now: at("2026-11-22 02:00")}
			if tc.edit != nil {
				tc.edit(&in.Catalog)
			}
			p := mustPlan(t, in)
			if diff := cmp.Diff(tc.want, kinds(p)); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			after := simulate(in, p)
			if got := after.Points[tc.points]; len(got) != 10 || got[0].Stored(tc.points) != "backup.app" {
				t.Errorf("%d points under %s", len(got), tc.points)
			}
			in.Catalog = after
			if again := mustPlan(t, in); len(again.Changes) != 0 || len(again.Actions) != 0 {
				t.Errorf("not settled:\n%s", plan.Text(again))
			}
			if tc.edit != nil && (len(p.Diagnostics) != 1 || !strings.Contains(p.Diagnostics[0].Detail, "1 restore point of its own")) {
				t.Errorf("diagnostics %+v", p.Diagnostics)
			}
		})
	}
}

// TestMovedRetention: a retention under another name keeps what it kept, and an edit at the same time is charged as an edit.
func TestMovedRetention(t *testing.T) {
	s := ragSet()
	r := s.Retentions["retention.standard"]
	delete(s.Retentions, "retention.standard")
	r.Address = "retention.long"
	s.Retentions["retention.long"] = r
	for _, address := range []string{"backup.app", "backup.config"} {
		s = with(s, editBackup(address, func(b *policy.Backup) { b.Retention = "retention.long" }))
	}
	s.Moved = []policy.Moved{{From: "retention.standard", To: "retention.long"}}
	in := planner.Input{Desired: s, Catalog: settled(), Now: at("2026-11-22 02:00")}
	in.Catalog.Points["backup.app"] = daily(40, at("2026-11-22 01:15"), 1<<30) // some of which are to expire anyway
	charged := func() (out []string) {
		for _, c := range mustPlan(t, in).Changes {
			if c.Points > 0 {
				out = append(out, fmt.Sprint(c.Kind, " ", c.Address, " ", c.Points))
			}
		}
		return out
	}
	if got := charged(); got != nil {
		t.Errorf("a rename makes points expire: %q", got)
	}
	r.Daily = 3
	s.Retentions["retention.long"] = r
	if diff := cmp.Diff([]string{"change retention.long 10"}, charged()); diff != "" {
		t.Errorf("charged (-want +got):\n%s", diff)
	}
}

// TestMoveAndStaleness: a plan that moves is spoilt by what happens at either address, and by nothing else.
func TestMoveAndStaleness(t *testing.T) {
	in := planner.Input{Desired: renamed("backup.db", policy.Moved{From: "backup.app", To: "backup.db"}), Catalog: settled(), Now: at("2026-11-22 02:00")}
	p := mustPlan(t, in)
	later := func(edit func(c *state.Catalog)) error {
		c := settled()
		c.Serial++
		edit(&c)
		return plan.Stale(p, c)
	}
	if err := later(func(c *state.Catalog) { c.Points["backup.config"] = nil }); err != nil {
		t.Errorf("another backup went on: %v", err)
	}
	if err := later(func(c *state.Catalog) { c.Points["backup.app"] = c.Points["backup.app"][:3] }); !errors.Is(err, state.ErrStale) {
		t.Errorf("points left the old address: %v", err)
	}
	if err := later(func(c *state.Catalog) { c.Objects["backup.db"] = state.Object{Hash: "h"} }); !errors.Is(err, state.ErrStale) {
		t.Errorf("the new address was taken: %v", err)
	}
}

func TestContradictions(t *testing.T) {
	s := ragSet()
	s.Moved, s.Removed = []policy.Moved{{From: "backup.app", To: "backup.db"}}, []policy.Removed{{From: "backup.config"}}
	_, diags := planner.Plan(planner.Input{Desired: s, Catalog: settled(), Now: at("2026-11-22 02:00")})
	if len(diags) != 2 || !diags.HasErrors() {
		t.Errorf("%+v", diags)
	}
}

// gone is a policy from which the database's backup vanished, on a catalog where 40 points of it are left.
func gone(removed ...policy.Removed) planner.Input {
	in := planner.Input{Desired: ragSet(), Catalog: settled(), Now: at("2026-11-22 02:00")}
	delete(in.Desired.Backups, "backup.app")
	delete(in.Desired.Sources, "source.postgres.app")
	in.Desired.Removed = removed
	in.Catalog.Points["backup.app"] = daily(40, at("2026-11-22 01:15"), 1<<30)
	return in
}

func TestRemoved(t *testing.T) {
	expiries := func(in planner.Input) (ids []string) {
		for _, a := range mustPlan(t, in).Actions {
			if a.Kind == plan.Expire {
				ids = append(ids, a.Point[:8]+" "+string(a.Reason))
			}
		}
		return ids
	}
	vanished := gone()
	if got := expiries(vanished); got != nil {
		t.Errorf("a vanished backup loses %q", got)
	}
	// By a typo the whole policy is empty: nothing is lost.
	empty := planner.Input{Catalog: vanished.Catalog, Now: vanished.Now}
	if p := mustPlan(t, empty); len(p.Actions) != 0 {
		t.Errorf("an empty policy does %q", actions(p))
	}
	removed := gone(policy.Removed{From: "backup.app"})
	first := expiries(removed)
	if len(first) != 21 || !strings.HasSuffix(first[0], " retention") {
		t.Errorf("removed: %d expiries %q", len(first), first)
	}
	// The retention's own block may change or go: what was in force counts.
	removed.Catalog = simulate(removed, plan.WithoutDeletions(mustPlan(t, removed)))
	removed.Desired = with(removed.Desired, editRetention(func(r *policy.Retention) { *r = policy.Retention{Address: r.Address, Last: 1} }))
	if diff := cmp.Diff(first, expiries(removed)); diff != "" {
		t.Errorf("by the retention of now (-then +now):\n%s", diff)
	}
	destroyed := gone(policy.Removed{From: "backup.app", Destroy: true})
	if got := expiries(destroyed); len(got) != 40 || !strings.HasSuffix(got[0], " destroy") {
		t.Errorf("destroy: %d expiries", len(got))
	}
	destroyed.Catalog.Points["backup.app"][5].Hold = &state.Hold{Reason: "audit"}
	p := mustPlan(t, destroyed)
	if len(p.Blocks) != 1 || p.Blocks[0].Guard != plan.GuardHold || !plan.Withheld(p) {
		t.Errorf("blocks %+v", p.Blocks)
	}
	if rest := plan.WithoutDeletions(p); slices.ContainsFunc(rest.Changes, func(c plan.Change) bool { return c.Kind == plan.Destroy }) || len(rest.Actions) != 0 {
		t.Errorf("what is withheld is done:\n%s", plan.Text(rest))
	}
}

// TestDeletionGuards judges the state as it would be after the plan.
func TestDeletionGuards(t *testing.T) {
	for _, tc := range []struct {
		name   string
		edit   func(in *planner.Input)
		guards []plan.Guard
		says   string
	}{
		{"verified newer ones stay", func(*planner.Input) {}, nil, ""},
		{"nothing verified is newer", func(in *planner.Input) {
			in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) { b.Verify.After = policy.VerifyNone }))
			for i := range in.Catalog.Points["backup.app"] {
				in.Catalog.Points["backup.app"][i].Copies[0].Proofs = nil
			}
		}, []plan.Guard{plan.GuardVerifiedNewer}, "8 restore points would expire without a newer verified one (first: 20261113T011500Z-aaaaaa)"},
		{"a proof that this plan makes counts", func(in *planner.Input) {
			for i := range in.Catalog.Points["backup.app"] {
				in.Catalog.Points["backup.app"][i].Copies[0].Proofs = nil
			}
		}, nil, ""},
		{"too many at once", func(in *planner.Input) {
			in.Desired = with(in.Desired, editRetention(func(r *policy.Retention) { r.MaxPrunePercent = 50 }))
		}, []plan.Guard{plan.GuardMaxPrune}, "8 of 10 restore points would expire (80%)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := planner.Input{Desired: ragSet(), Catalog: settled(), Now: at("2026-11-22 02:00"), Targets: []string{"backup.app"}}
			in.Desired = with(in.Desired, editRetention(func(r *policy.Retention) { *r = policy.Retention{Address: r.Address, Last: 2} }))
			tc.edit(&in)
			p := mustPlan(t, in)
			var got []plan.Guard
			why := ""
			for _, b := range p.Blocks {
				got, why = append(got, b.Guard), why+b.Why
			}
			if diff := cmp.Diff(tc.guards, got); diff != "" || !strings.Contains(why, tc.says) {
				t.Errorf("guards (-want +got):\n%s%s", diff, why)
			}
			if tc.guards != nil && !plan.Withheld(p) {
				t.Error("more than the deletions is withheld")
			}
			approved := len(plan.Approved(p).Blocks) == 0
			if want := tc.guards == nil || tc.guards[0] == plan.GuardMaxPrune; approved != want {
				t.Errorf("approved: %t", approved)
			}
		})
	}
}

func TestHouseRules(t *testing.T) {
	in := planner.Input{Desired: ragSet(), Catalog: settled(), Now: at("2026-11-22 02:00")}
	in.Desired.Checks = []policy.HouseCheck{
		{Address: "check.a", Severity: "error", Status: "pass"},
		{Address: "check.b", Severity: "warning", Status: "fail", Message: "one store is enough for nobody"},
	}
	p := mustPlan(t, in)
	if len(p.Blocks) != 0 || len(p.Checks) != 2 || plan.Violations(p) != 1 {
		t.Errorf("a warning blocks: %+v", p.Blocks)
	}
	if text := plan.Text(p); !strings.Contains(text, "check.b (warning): one store is enough for nobody") || strings.Contains(text, "check.a") {
		t.Errorf("%s", text)
	}
	in.Desired.Checks[1].Severity, in.Desired.Checks[1].Status = "error", "error"
	if p = mustPlan(t, in); len(p.Blocks) != 1 || p.Blocks[0].Guard != plan.GuardCheck || plan.Withheld(p) {
		t.Errorf("%+v", p.Blocks)
	}
}
