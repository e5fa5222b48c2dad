package planner_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// actions lists what a plan does: "id: reason".
func actions(p plan.Plan) []string {
	var out []string
	for _, a := range p.Actions {
		out = append(out, a.ID+": "+string(a.Reason))
	}
	return out
}

func TestDue(t *testing.T) {
	slot := at("2026-11-22 01:15") // 02:15 in Berlin
	for _, tc := range []struct {
		name   string
		edit   func(*policy.Backup)
		points []state.RestorePoint
		now    time.Time
		force  bool
		want   plan.Reason
	}{
		{"never ran, before its first slot", nil, nil, slot.Add(-20 * time.Hour), false, plan.ReasonFirst},
		{"served", nil, []state.RestorePoint{point(slot, 1)}, slot.Add(time.Hour), false, ""},
		{"the slot passed", nil, []state.RestorePoint{point(slot.AddDate(0, 0, -1), 1)}, slot, false, plan.ReasonSlot},
		{"a second before", nil, []state.RestorePoint{point(slot.AddDate(0, 0, -1), 1)}, slot.Add(-time.Second), false, ""},
		{"jitter delays", func(b *policy.Backup) { b.Schedule.Jitter = 20 * hour }, []state.RestorePoint{point(slot.AddDate(0, 0, -1), 1)}, slot, false, ""},
		{"one on demand after the slot serves it", nil, []state.RestorePoint{func() state.RestorePoint {
			p := point(slot.Add(time.Minute), 1)
			p.Slot = time.Time{}
			return p
		}()}, slot.Add(time.Hour), false, ""},
		{"one on demand before it does not", nil, []state.RestorePoint{func() state.RestorePoint {
			p := point(slot.Add(-time.Minute), 1)
			p.Slot = time.Time{}
			return p
		}()}, slot.Add(time.Hour), false, plan.ReasonSlot},
		{"made early for the slot", nil, []state.RestorePoint{func() state.RestorePoint {
			p := point(slot.Add(-time.Minute), 1)
			p.Slot = slot
			return p
		}()}, slot.Add(time.Hour), false, ""},
		{"incomplete", nil, []state.RestorePoint{func() state.RestorePoint {
			p := point(slot, 1)
			p.Incomplete = true
			return p
		}()}, slot.Add(time.Hour), false, plan.ReasonIncomplete},
		{"paused", func(b *policy.Backup) { b.Schedule.Paused = true }, nil, slot, false, ""},
		{"paused, forced", func(b *policy.Backup) { b.Schedule.Paused = true }, nil, slot, true, plan.ReasonForced},
		{"no schedule", func(b *policy.Backup) { b.Schedule = nil }, nil, slot, false, ""},
		{"no schedule, forced", func(b *policy.Backup) { b.Schedule = nil }, nil, slot, true, plan.ReasonForced},
		{"the clock went back", nil, []state.RestorePoint{point(slot.AddDate(0, 0, 9), 1)}, slot, false, ""},
		{"only the newest of many missed slots", nil, []state.RestorePoint{point(slot.AddDate(0, 0, -9), 1)}, slot, false, plan.ReasonSlot},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := ragSet()
			if tc.edit != nil {
				s = with(s, editBackup("backup.app", tc.edit))
			}
			in := planner.Input{Desired: s, Catalog: catalogOf(s, map[string][]state.RestorePoint{"backup.app": tc.points}), Now: tc.now, Targets: []string{"backup.app"}}
			if tc.force {
				in.Force = []string{"backup.app"}
			}
			var got plan.Reason
			backups := 0
			for _, a := range mustPlan(t, in).Actions {
				if a.Kind == plan.Backup {
					got = a.Reason
					backups++
				}
			}
			if got != tc.want || backups > 1 {
				t.Errorf("reason %q in %d backups, want %q", got, backups, tc.want)
			}
		})
	}
}

func TestVerifyOnlyTheNewest(t *testing.T) {
	in := planner.Input{Desired: with(ragSet(), editBackup("backup.app", func(b *policy.Backup) { b.Verify.After = policy.VerifyRead })), Catalog: settled(), Now: at("2026-11-22 02:00")}
	in.Catalog.Objects = planner.Objects(in.Desired)
	for i := range in.Catalog.Points["backup.app"] {
		c := &in.Catalog.Points["backup.app"][i].Copies[0]
		c.Proofs = c.Proofs[:1] // stored only: the level was raised
	}
	want := []string{"verify backup.app 20261122T011500Z-aaaaaa: not_verified"}
	if diff := cmp.Diff(want, actions(mustPlan(t, in))); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
}

// A host that can only write proves copies as far as it can, and is then done; the rest waits for a host with a key.
func TestSealedStore(t *testing.T) {
	in := planner.Input{Desired: ragSet(), Now: time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC), Sealed: map[string]bool{"store.primary": true}}
	p, _ := planner.Plan(in)
	for _, a := range p.Actions {
		if a.Kind == plan.Verify && a.Level != string(policy.VerifyStored) {
			t.Errorf("%s has level %s, want stored", a.ID, a.Level)
		}
	}
	point := state.RestorePoint{
		ID: "20261122T020000Z-aaaaaa", Time: in.Now, Slot: in.Now,
		Copies: []state.Copy{{Store: "store.primary", Proofs: []state.Proof{{Level: "stored", At: in.Now, OK: true}}}},
	}
	in.Catalog = state.Catalog{Serial: 1, Objects: planner.Objects(in.Desired), Points: map[string][]state.RestorePoint{"backup.config": {point}, "backup.app": {point}}}
	if p, _ = planner.Plan(in); !p.Empty() {
		t.Errorf("a host that cannot read is never done:\n%s", plan.Text(p))
	}
	in.Sealed = nil
	p, _ = planner.Plan(in)
	if len(p.Actions) != 1 || p.Actions[0].Kind != plan.Verify || p.Actions[0].Level != string(policy.VerifyRead) || p.Actions[0].Address != "backup.config" {
		t.Errorf("a host that can read has this to do:\n%s", plan.Text(p))
	}
}

func TestDeadRunIsSettledBeforeTheBackup(t *testing.T) {
	in := goldenInput(t, "dead_run")
	p := mustPlan(t, in)
	want := []string{
		"recover backup.app 20261122T011600Z-k3x9q2 20261122T011600Z-dead01: run_interrupted",
		"back up backup.app: slot_passed",
		"verify backup.app: verify_after",
	}
	if diff := cmp.Diff(want, actions(p)); diff != "" {
		t.Fatalf("actions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(p.Actions[:1][0].ID, p.Actions[1].After[0]); diff != "" {
		t.Errorf("the backup waits for (-want +got):\n%s", diff)
	}
	if p.Actions[0].Store != "store.primary" || !p.Actions[0].Slot.Equal(at("2026-11-22 01:15")) {
		t.Errorf("apply is not told where to look: %+v", p.Actions[0])
	}
}

// TestDeadRunThatWroteNothing: a run of which only a verification was pending, and one that had not begun.
func TestDeadRunThatWroteNothing(t *testing.T) {
	in := planner.Input{Desired: ragSet(), Catalog: settled(), Now: at("2026-11-22 02:00")}
	in.Catalog.Runs = []state.Run{
		{ID: "r1", Operation: "verify", Status: state.RunPending, Actions: []state.RunAction{{Address: "backup.app", Kind: "verify", Point: "p", Store: "store.primary", Status: state.RunPending}}},
		{ID: "r2", Operation: "apply", Status: state.RunPending},
	}
	p := mustPlan(t, in)
	want := []string{"recover backup.app p r1: run_interrupted", "recover run.r2 r2: run_interrupted"}
	if diff := cmp.Diff(want, actions(p)); diff != "" {
		t.Fatalf("actions (-want +got):\n%s", diff)
	}
	if p.Actions[0].Store != "" {
		t.Errorf("recovering a verification would look in %s, where it wrote nothing", p.Actions[0].Store)
	}
}

func goldenInput(t *testing.T, name string) planner.Input {
	t.Helper()
	for _, tc := range goldens {
		if tc.name == name {
			return tc.in()
		}
	}
	t.Fatalf("no golden case %s", name)
	return planner.Input{}
}

func TestExpiryWaitsForBackupAndProof(t *testing.T) {
	expiries := 0
	for _, a := range mustPlan(t, goldenInput(t, "slot")).Actions {
		if a.Kind == plan.Expire {
			expiries++
			if diff := cmp.Diff([]string{"back up backup.app", "verify backup.app"}, a.After); diff != "" {
				t.Fatalf("%s waits for (-want +got):\n%s", a.ID, diff)
			}
		}
	}
	if expiries == 0 {
		t.Fatal("nothing expires")
	}
}

// TestStillExpires: what happens between a plan and its apply can only save points.
func TestStillExpires(t *testing.T) {
	lastThree := func() planner.Input {
		in := goldenInput(t, "slot")
		in.Desired = with(in.Desired, editRetention(func(r *policy.Retention) { *r = policy.Retention{Address: r.Address, Last: 3} }))
		return in
	}
	p := mustPlan(t, lastThree())
	planned := 0
	for _, a := range p.Actions {
		if a.Kind == plan.Expire {
			planned++
		}
	}
	for name, tc := range map[string]struct {
		edit func(*planner.Input)
		want int
	}{
		// Without the new backup, one more of the old ones is among the last three.
		"the backup failed": {func(*planner.Input) {}, planned - 1},
		"all went well":     {func(in *planner.Input) { in.Catalog = simulate(*in, plan.Plan{Actions: p.Actions[:2]}) }, planned},
		"an hour later":     {func(in *planner.Input) { in.Now = in.Now.Add(time.Hour) }, planned - 1},
		"retention loosened": {func(in *planner.Input) {
			in.Desired = with(in.Desired, editRetention(func(r *policy.Retention) { r.Last = 99 }))
		}, 0},
		"paused": {func(in *planner.Input) {
			in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) { b.Schedule.Paused = true }))
		}, 0},
		"without a retention": {func(in *planner.Input) {
			in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) { b.Retention = "" }))
		}, 0},
		"forgotten": {func(in *planner.Input) {
			o := in.Catalog.Objects["backup.app"]
			o.Forgotten = true
			in.Catalog.Objects["backup.app"] = o
		}, 0},
		"not declared":        {func(in *planner.Input) { delete(in.Desired.Backups, "backup.app") }, 0},
		"the points are gone": {func(in *planner.Input) { in.Catalog.Points = nil }, 0},
	} {
		in := lastThree()
		tc.edit(&in)
		if got := len(planner.StillExpires(in, p.Actions)); got != tc.want {
			t.Errorf("%s: %d of %d expiries hold, want %d", name, got, planned, tc.want)
		}
	}
}

func TestGuard(t *testing.T) {
	for _, tc := range []struct {
		percent, points int
		want            string
	}{
		{0, 20, ""},
		{25, 4, ""}, // 1 of 4 is 25 %
		{10, 4, ""}, // one point is always allowed
		{40, 5, ""}, // 2 of 5 is 40 %
		{39, 5, "2 of 5 restore points would expire (40%); retention.standard allows 39%. If this is meant, save the plan and apply it (`holdfast plan -out=p.hfplan`, `holdfast apply p.hfplan`), or raise max_prune_percent"},
		{100, 50, ""},
	} {
		s := with(ragSet(), editRetention(func(r *policy.Retention) {
			*r = policy.Retention{Address: r.Address, Last: 3, MaxPrunePercent: tc.percent}
		}))
		in := planner.Input{Desired: s, Now: at("2026-11-22 02:00"), Catalog: catalogOf(s, map[string][]state.RestorePoint{
			"backup.app": daily(tc.points, at("2026-11-22 01:15"), 1), "backup.config": {point(at("2026-11-22 00:00"), 1)},
		})}
		got := ""
		for _, b := range mustPlan(t, in).Blocks {
			got += b.Why
		}
		if got != tc.want {
			t.Errorf("%d%% of %d: block %q, want %q", tc.percent, tc.points, got, tc.want)
		}
	}
}

// TestConsequences: who is charged with points that expire because of an edit.
func TestConsequences(t *testing.T) {
	charged := func(desired policy.Set, c state.Catalog, targets ...string) string {
		var out []string
		for _, ch := range mustPlan(t, planner.Input{Desired: desired, Catalog: c, Now: at("2026-11-22 02:00"), Targets: targets}).Changes {
			if ch.Points > 0 {
				out = append(out, fmt.Sprintf("%s %d %s", ch.Address, ch.Points, policy.FormatBytes(ch.Bytes)))
			}
		}
		return strings.Join(out, ", ")
	}
	tight := with(ragSet(), editRetention(func(r *policy.Retention) { r.Daily = 3 }))
	swapped := ragSet()
	swapped.Retentions["retention.short"] = policy.Retention{Address: "retention.short", Last: 2}
	swapped = with(swapped, editBackup("backup.app", func(b *policy.Backup) { b.Retention = "retention.short" }))
	loose := with(ragSet(), editRetention(func(r *policy.Retention) { r.Daily = 30 }))
	aged := settled()
	aged.Points["backup.app"] = daily(40, at("2026-11-22 01:15"), 1<<30)
	for _, tc := range []struct{ name, got, want string }{
		{"tightened", charged(tight, settled()), "retention.standard 6 6.0 GiB"},
		{"tightened, only the retention targeted", charged(tight, settled(), "retention.standard"), "retention.standard 6 6.0 GiB"},
		{"another retention", charged(swapped, settled()), "backup.app 8 8.0 GiB"},
		{"loosened", charged(loose, settled()), ""},
		{"what was to expire anyway is not charged", charged(tight, aged), "retention.standard 10 10.0 GiB"},
		{"not edited", charged(ragSet(), aged), ""},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, tc.got, tc.want)
		}
	}
}

func TestExpectations(t *testing.T) {
	in := goldenInput(t, "slot")
	in.Catalog.Runs = append(in.Catalog.Runs, state.Run{ID: "later", Status: state.RunFailed, Actions: []state.RunAction{{
		Address: "backup.app", Kind: "back up", Status: state.RunFailed, Bytes: 5, Started: at("2026-11-21 02:00"), Finished: at("2026-11-21 02:01"),
	}}})
	for _, a := range mustPlan(t, in).Actions {
		if a.Kind == plan.Backup && (a.Bytes != 3<<30 || a.Seconds != 600) {
			t.Errorf("expected are %d bytes in %g s, want those of the last success", a.Bytes, a.Seconds)
		}
	}
}

func TestTargetsAndForceMustNameSomething(t *testing.T) {
	s := ragSet()
	s.Backups[`backup.app["eu"]`] = s.Backups["backup.app"]
	for _, tc := range []struct {
		targets, force []string
		want           string
	}{
		{[]string{"backup.nope"}, nil, "-target=backup.nope names nothing that is declared"},
		{nil, []string{"store.primary"}, "-force=store.primary names nothing that is declared"},
		{[]string{"backup.config"}, []string{"backup.app"}, "-force=backup.app names nothing that is declared"},
		{[]string{"backup.app"}, []string{"backup.app"}, ""},
	} {
		_, diags := planner.Plan(planner.Input{Desired: s, Now: at("2026-11-22 02:00"), Targets: tc.targets, Force: tc.force})
		got := ""
		if diags.HasErrors() {
			got = diags[0].Summary
		}
		if got != tc.want {
			t.Errorf("-target=%v -force=%v: %q, want %q", tc.targets, tc.force, got, tc.want)
		}
	}
	p := mustPlan(t, planner.Input{Desired: s, Now: at("2026-11-22 02:00"), Targets: []string{"backup.app"}})
	if !slices.ContainsFunc(p.Actions, func(a plan.Action) bool { return a.ID == `back up backup.app["eu"]` }) {
		t.Errorf("-target=backup.app leaves out its instance: %v", actions(p))
	}
}

func TestSetsThatWereNotChecked(t *testing.T) {
	s := with(ragSet(), editBackup("backup.app", func(b *policy.Backup) {
		b.Source, b.Store, b.Retention, b.Schedule.Cron = "source.x", "store.x", "retention.x", "often"
	}))
	p, diags := planner.Plan(planner.Input{Desired: s, Now: at("2026-11-22 02:00")})
	var got []string
	for _, d := range diags {
		got = append(got, d.Summary)
	}
	want := []string{
		"The schedule cannot be used", "The source source.x is not declared", "The store store.x is not declared", "The retention retention.x is not declared",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("diagnostics (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(plan.Plan{}, p); diff != "" {
		t.Errorf("a plan was made:\n%s", diff)
	}
}

// TestObjective: the breach is told whatever the schedule does, and not before the backup was ever applied.
func TestObjective(t *testing.T) {
	warnings := func(s policy.Set, c state.Catalog) string {
		var out []string
		for _, d := range mustPlan(t, planner.Input{Desired: s, Catalog: c, Now: at("2026-11-24 02:00")}).Drift {
			if d.Reason == plan.DriftRPO {
				out = append(out, fmt.Sprintf("%s (mended: %t)", d.Why, d.Fixed))
			}
		}
		return strings.Join(out, "\n")
	}
	manual := with(ragSet(), editBackup("backup.app", func(b *policy.Backup) { b.Schedule = nil }))
	for _, tc := range []struct{ name, got, want string }{
		{"due", warnings(ragSet(), settled()), "the newest restore point is 48h old; the objective is rpo = 36h (mended: true)"},
		{"no schedule", warnings(manual, settled()), "the newest restore point is 48h old; the objective is rpo = 36h. Nothing is due now; `holdfast apply -force=backup.app` makes a restore point at once (mended: false)"},
		{"no point", warnings(ragSet(), catalogOf(ragSet(), nil)), "there is no complete restore point; the objective is rpo = 36h (mended: true)"},
		{"not applied yet", warnings(ragSet(), state.Catalog{}), ""},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, tc.got, tc.want)
		}
	}
}

// TestOutOfReach: what is in the repository of before, or in a store that is gone, is neither verified nor expired, and a
// person hears of it.
func TestOutOfReach(t *testing.T) {
	renamed := func(edit func(*state.Object)) planner.Input {
		in := goldenInput(t, "store_moved")
		in.Catalog.Objects = planner.Objects(in.Desired)
		store := in.Catalog.Objects["store.primary"]
		edit(&store)
		in.Catalog.Objects["store.primary"] = store
		return in
	}
	moved := renamed(func(o *state.Object) { o.Repository = "r2" })
	gone := renamed(func(o *state.Object) { o.Repository = "r1" })
	for _, p := range gone.Catalog.Points["backup.app"] {
		p.Copies[0].Store = "store.old"
	}
	for name, tc := range map[string]struct {
		in    planner.Input
		store string
	}{"moved": {moved, "store.primary"}, "gone": {gone, "store.old"}} {
		p := mustPlan(t, tc.in)
		old := slices.ContainsFunc(p.Actions, func(a plan.Action) bool { return a.Kind != plan.Backup && a.Point != "" || a.Kind == plan.Expire })
		if old || len(p.Actions) == 0 || len(p.Diagnostics) != 1 { // a new point of each of the two, and its proof
			t.Fatalf("%s: actions %v, diagnostics %+v", name, actions(p), p.Diagnostics)
		}
		if want := "21 restore points of " + tc.store + " would be verified or expire, but are out of reach"; p.Diagnostics[0].Summary != want {
			t.Errorf("%s: warning %q, want %q", name, p.Diagnostics[0].Summary, want)
		}
	}
	here := renamed(func(o *state.Object) { o.Repository = "r1" })
	if p := mustPlan(t, here); len(p.Actions) != 22 {
		t.Errorf("the same repository: %d actions, want 21 expiries and a prune", len(p.Actions))
	}
}

// TestNoSecretInPlan: a plan shows the expression, in every form.
func TestNoSecretInPlan(t *testing.T) {
	p := mustPlan(t, goldenInput(t, "first"))
	data, err := plan.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	file, err := plan.EncodeFile(p, planner.PolicyHash(ragSet()), p.Now)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := json.Marshal(planner.Objects(ragSet()))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"json": string(data), "file": string(file), "objects": string(objects), "text": plan.Text(p), "markdown": plan.Markdown(p)} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("%s holds the password", name)
		}
	}
	if !strings.Contains(string(data), `PGPASSWORD`) {
		t.Error("the reference is not shown")
	}
}

// TestPlanChangesNoInput: the caller's catalog and policy are the same afterwards.
func TestPlanChangesNoInput(t *testing.T) {
	for _, tc := range goldens {
		in, same := tc.in(), tc.in()
		mustPlan(t, in)
		if diff := cmp.Diff(same.Catalog, in.Catalog); diff != "" {
			t.Errorf("%s: the catalog changed:\n%s", tc.name, diff)
		}
		if planner.PolicyHash(in.Desired) != planner.PolicyHash(same.Desired) {
			t.Errorf("%s: the policy changed", tc.name)
		}
	}
}

// TestNewEncodingIsNoChange: an object that an older version encoded in another way, with the same attributes, is no change.
func TestNewEncodingIsNoChange(t *testing.T) {
	in := planner.Input{Desired: ragSet(), Catalog: settled(), Now: at("2026-11-22 02:00")}
	o := in.Catalog.Objects["retention.standard"]
	o.Attributes, o.Hash = json.RawMessage(`{ "monthly":12, "weekly":8, "daily":14, "last":3 }`), "older"
	in.Catalog.Objects["retention.standard"] = o
	if p := mustPlan(t, in); !p.Empty() {
		t.Errorf("%+v", p.Changes)
	}
}
