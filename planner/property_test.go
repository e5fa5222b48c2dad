package planner_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

var moment = at("2026-11-22 02:00")

// drawSet declares a few of the same addresses each time, so that two draws overlap.
func drawSet(t *rapid.T, label string) policy.Set {
	s := policy.Set{
		Stores: map[string]policy.Store{}, Sources: map[string]policy.Source{},
		Retentions: map[string]policy.Retention{}, Backups: map[string]policy.Backup{},
	}
	few := func(name string) int { return rapid.IntRange(0, 4).Draw(t, label+" "+name) }
	for i := range 2 {
		address := fmt.Sprintf("store.s%d", i)
		s.Stores[address] = policy.Store{Address: address, URL: fmt.Sprintf("file:///s%d", i), Encryption: policy.Encryption{Recipients: []string{fmt.Sprint("age1", few("recipient"))}}}
		address = fmt.Sprintf("source.files.f%d", i)
		s.Sources[address] = policy.Source{Address: address, Kind: policy.KindFiles, Files: &policy.FilesSource{Root: fmt.Sprint("/r", few("root"))}}
		address = fmt.Sprintf("retention.r%d", i)
		s.Retentions[address] = policy.Retention{Address: address, Last: few("last"), Daily: few("daily"), Weekly: few("weekly"), MinVerified: few("min_verified")}
	}
	for i := range rapid.IntRange(0, 4).Draw(t, label+" backups") {
		address := fmt.Sprintf("backup.b%d", i)
		b := policy.Backup{
			Address: address, Source: fmt.Sprintf("source.files.f%d", i%2), Store: fmt.Sprintf("store.s%d", few("store")%2),
			Verify:    policy.Verify{After: rapid.SampledFrom([]policy.VerifyLevel{policy.VerifyNone, policy.VerifyStored, policy.VerifyRead}).Draw(t, label+" level")},
			Objective: policy.Objective{RPO: policy.Duration(few("rpo")) * 10 * hour},
		}
		if n := few("retention"); n < 3 {
			b.Retention = fmt.Sprintf("retention.r%d", n%2)
		}
		b.Schedule = rapid.SampledFrom([]*policy.Schedule{
			nil, {Every: hour}, {Every: 24 * hour, Jitter: 5 * hour}, {Cron: "30 2 * * *", Timezone: "Europe/Berlin"}, {Cron: "0 3 * * mon"}, {Every: hour, Paused: true},
		}).Draw(t, label+" schedule")
		if few("copies") == 0 {
			b.Copies = []string{fmt.Sprintf("store.s%d", (int(b.Store[len(b.Store)-1]-'0')+1)%2)}
		}
		if few("rehearsal") == 0 {
			b.Verify.Restore = &policy.Rehearsal{Every: 24 * hour}
		}
		s.Backups[address] = b
	}
	if len(s.Backups) == 0 {
		s.Removed = []policy.Removed{{From: "backup.b0", Destroy: few("destroy") == 0}, {From: "backup.b1"}}
		return s
	}
	s.Moved = []policy.Moved{{From: "backup.b4", To: "backup.b0"}, {From: "store.gone", To: "store.s0"}}
	return s
}

func drawInput(t *rapid.T) planner.Input {
	in := planner.Input{Desired: drawSet(t, "desired"), Now: moment}
	if rapid.IntRange(0, 5).Draw(t, "state") == 0 {
		return in
	}
	in.Catalog = state.Catalog{Lineage: "l", Serial: 7, Objects: planner.Objects(drawSet(t, "applied")), Points: map[string][]state.RestorePoint{}}
	for _, address := range sorted(in.Catalog.Objects) {
		if rapid.IntRange(0, 9).Draw(t, "forgotten") == 0 {
			o := in.Catalog.Objects[address]
			o.Forgotten = true
			in.Catalog.Objects[address] = o
		}
	}
	for i := range 5 {
		address := fmt.Sprintf("backup.b%d", i)
		in.Catalog.Points[address] = drawCatalogPoints(t)
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "dead runs") {
		in.Catalog.Runs = append(in.Catalog.Runs, state.Run{ID: fmt.Sprint("dead", i), Status: state.RunPending, Actions: []state.RunAction{
			{Address: fmt.Sprintf("backup.b%d", rapid.IntRange(0, 4).Draw(t, "dead backup")), Kind: string(plan.Backup), Point: "left", Store: "store.s0", Status: state.RunPending},
		}})
	}
	return in
}

func drawCatalogPoints(t *rapid.T) []state.RestorePoint {
	var points []state.RestorePoint
	// A few minutes past now: clocks go back.
	when := moment.Add(time.Duration(rapid.IntRange(-3000, 60).Draw(t, "newest")) * time.Minute)
	for i := range rapid.IntRange(0, 25).Draw(t, "points") {
		when = when.Add(-time.Duration(rapid.IntRange(1, 4000).Draw(t, "gap")) * time.Minute)
		p := point(when, int64(i))
		p.ID = fmt.Sprintf("%s-%02d", when.Format("20060102T150405Z"), i)
		if rapid.IntRange(0, 9).Draw(t, "held") == 0 {
			p.Hold = &state.Hold{Reason: "audit"}
		}
		p.Incomplete = rapid.IntRange(0, 7).Draw(t, "incomplete") == 0
		p.Copies[0].Store = rapid.SampledFrom([]string{"store.s0", "store.s1"}).Draw(t, "store")
		if rapid.IntRange(0, 3).Draw(t, "second copy") == 0 {
			second := p.Copies[0]
			second.Store = "store.s" + string('0'+('1'-second.Store[len(second.Store)-1]))
			p.Copies = append(p.Copies, second)
		}
		switch rapid.IntRange(0, 5).Draw(t, "proof") {
		case 0:
			p.Copies[0].Proofs = nil
		case 1:
			p.Copies[0].Proofs = []state.Proof{{Level: "stored", At: moment.Add(-time.Minute)}}
		}
		points = append(points, p)
	}
	slices.Reverse(points)
	return points
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// TestPlanOfApplied: whatever the state, one apply that succeeds leaves nothing to do at the same moment. Where it brought
// new evidence for old points (their copies were made, repaired or imported), retention may go on from there once more.
func TestPlanOfApplied(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		p, diags := planner.Plan(in)
		if diags.HasErrors() {
			t.Fatalf("%+v", diags)
		}
		if withheld := len(p.Blocks) > 0; withheld {
			in.Catalog = simulate(in, plan.WithoutDeletions(p))
			again, _ := planner.Plan(in)
			if rest := plan.WithoutDeletions(again); len(rest.Actions) > 0 {
				t.Fatalf("blocked; first:\n%s\nthen:\n%s", plan.Text(p), plan.Text(rest))
			}
			return
		}
		in.Catalog = simulate(in, p)
		again, _ := planner.Plan(in)
		mended := slices.ContainsFunc(p.Actions, func(a plan.Action) bool {
			return a.Kind == plan.Repair || a.Kind == plan.Copy || a.Kind == plan.Verify && a.Point != ""
		})
		if rest := plan.WithoutDeletions(again); mended && rest.Empty() && !again.Empty() {
			in.Catalog = simulate(in, again)
			again, _ = planner.Plan(in)
		}
		if !again.Empty() {
			t.Fatalf("first:\n%s\nthen:\n%s", plan.Text(p), plan.Text(again))
		}
	})
}

// TestSameInputSameBytes plans from copies whose maps were filled in another order.
func TestSameInputSameBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		other := in
		other.Desired.Backups, other.Desired.Sources = permuted(t, in.Desired.Backups), permuted(t, in.Desired.Sources)
		other.Desired.Retentions, other.Desired.Stores = permuted(t, in.Desired.Retentions), permuted(t, in.Desired.Stores)
		other.Catalog.Objects, other.Catalog.Points = permuted(t, in.Catalog.Objects), permuted(t, in.Catalog.Points)
		a, _ := planner.Plan(in)
		b, _ := planner.Plan(other)
		left, err := plan.Encode(a)
		if err != nil {
			t.Fatal(err)
		}
		right, err := plan.Encode(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(left), string(right)); diff != "" {
			t.Fatalf("(-one +other):\n%s", diff)
		}
	})
}

func permuted[V any](t *rapid.T, m map[string]V) map[string]V {
	if len(m) == 0 {
		return m
	}
	next := make(map[string]V, len(m))
	for _, k := range rapid.Permutation(sorted(m)).Draw(t, "order") {
		next[k] = m[k]
	}
	return next
}

// TestStepsNeverPrecedeDependencies also proves that ids are unique and that every dependency exists.
func TestStepsNeverPrecedeDependencies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := planner.Plan(drawInput(t))
		seen := map[string]bool{}
		for _, a := range p.Actions {
			for _, id := range a.After {
				if !seen[id] {
					t.Fatalf("%s stands before %s, which it waits for", a.ID, id)
				}
			}
			if seen[a.ID] {
				t.Fatalf("two actions have the id %s", a.ID)
			}
			seen[a.ID] = true
		}
	})
}

// TestNewestGoodPointStays: whichever actions fail, no backup loses its newest complete or newest verified restore point.
func TestNewestGoodPointStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		p, _ := planner.Plan(in)
		failed := map[string]bool{}
		for _, a := range p.Actions {
			if rapid.IntRange(0, 3).Draw(t, "fails") == 0 || slices.ContainsFunc(a.After, func(id string) bool { return failed[id] }) {
				failed[a.ID] = true
			}
		}
		partly := p
		partly.Actions = slices.DeleteFunc(slices.Clone(p.Actions), func(a plan.Action) bool { return failed[a.ID] })
		after := simulate(in, partly)
		for address, before := range in.Catalog.Points {
			if destroyed(in.Desired, address) {
				continue
			}
			for _, m := range in.Desired.Moved {
				if m.From == address && len(after.Points[address]) == 0 {
					address = m.To
				}
			}
			for name, good := range map[string]func(state.RestorePoint) bool{
				"complete": func(p state.RestorePoint) bool { return !p.Incomplete },
				"verified": state.RestorePoint.Verified,
			} {
				if newestWhere(after.Points[address], good).Before(newestWhere(before, good)) {
					t.Fatalf("%s lost its newest %s restore point:\n%s", address, name, plan.Text(p))
				}
			}
		}
	})
}

func destroyed(s policy.Set, address string) bool {
	return slices.ContainsFunc(s.Removed, func(r policy.Removed) bool { return r.From == address && r.Destroy })
}

// TestHeldStays: nothing takes a held point, whatever the policy says.
func TestHeldStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		p, _ := planner.Plan(in)
		held := map[string]bool{}
		for address, points := range in.Catalog.Points {
			for _, point := range points {
				held[address+point.ID] = point.Hold != nil
			}
		}
		for _, a := range append(planner.StillExpires(in, p.Actions), p.Actions...) {
			if a.Kind == plan.Expire && held[a.Address+a.Point] {
				t.Fatalf("%s, and it is held", a.ID)
			}
		}
	})
}

func newestWhere(points []state.RestorePoint, good func(state.RestorePoint) bool) (newest time.Time) {
	for _, p := range points {
		if good(p) && p.Time.After(newest) {
			newest = p.Time
		}
	}
	return newest
}

// TestForgottenAndPausedKeepEverything: only declared backups with a retention that are not paused lose points.
func TestForgottenAndPausedKeepEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		p, _ := planner.Plan(in)
		for _, a := range p.Actions {
			if a.Kind != plan.Expire {
				continue
			}
			b, declared := in.Desired.Backups[a.Address]
			if slices.ContainsFunc(in.Desired.Removed, func(r policy.Removed) bool { return r.From == a.Address }) {
				continue
			}
			if !declared || b.Retention == "" || b.Schedule != nil && b.Schedule.Paused {
				t.Fatalf("%s", a.ID)
			}
		}
	})
}

// TestStillExpiresNeverAddsOthers: at a later moment and on another catalog, only planned points are allowed.
func TestStillExpiresNeverAddsOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		p, _ := planner.Plan(in)
		in.Now = in.Now.Add(time.Duration(rapid.IntRange(-100, 100).Draw(t, "later")) * time.Hour)
		for address := range in.Catalog.Points {
			in.Catalog.Points[address] = append(in.Catalog.Points[address], drawCatalogPoints(t)...)
		}
		for _, a := range planner.StillExpires(in, p.Actions) {
			if a.Kind != plan.Expire || !slices.ContainsFunc(p.Actions, func(b plan.Action) bool { return a.ID == b.ID }) {
				t.Fatalf("%s was not planned", a.ID)
			}
		}
	})
}
