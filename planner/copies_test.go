package planner_test

import (
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

// offsiteSet is ragSet whose database is copied to a second store.
func offsiteSet() policy.Set {
	s := ragSet()
	s.Stores["store.offsite"] = policy.Store{Address: "store.offsite", URL: "s3://acme/offsite", Encryption: s.Stores["store.primary"].Encryption}
	return with(s, editBackup("backup.app", func(b *policy.Backup) { b.Copies = []string{"store.offsite"} }))
}

// copied adds a proven copy in the second store.
func copied(p state.RestorePoint) state.RestorePoint {
	p.Copies = append(slices.Clone(p.Copies), state.Copy{
		Store: "store.offsite", Repository: "r2", Manifest: "m", Stored: p.Size / 4,
		Proofs: []state.Proof{{Level: "stored", At: p.Finished, OK: true}},
	})
	return p
}

// offsite is a settled catalog of offsiteSet: ten points of the database, of which the oldest n are in the second store too.
func offsite(n int) planner.Input {
	s := offsiteSet()
	c := settled()
	c.Objects = planner.Objects(s)
	for store, id := range map[string]string{"store.primary": "r1", "store.offsite": "r2"} {
		o := c.Objects[store]
		o.Repository = id
		c.Objects[store] = o
	}
	for i := range n {
		c.Points["backup.app"][i] = copied(c.Points["backup.app"][i])
	}
	return planner.Input{Desired: s, Catalog: c, Now: at("2026-11-22 02:00")}
}

// due makes the backup of the database due.
func due(in planner.Input) planner.Input {
	in.Now = at("2026-11-23 02:00")
	in.Targets = []string{"backup.app"}
	return in
}

func find(t *testing.T, p plan.Plan, id string) plan.Action {
	t.Helper()
	for _, a := range p.Actions {
		if a.ID == id {
			return a
		}
	}
	t.Fatalf("no action %q among %q", id, actions(p))
	return plan.Action{}
}

func driftOf(p plan.Plan) (out []string) {
	for _, d := range p.Drift {
		line := d.Address + " " + string(d.Reason)
		if d.Fixed {
			line += " (mended)"
		}
		out = append(out, line)
	}
	return out
}

func TestCopiesNewestFirst(t *testing.T) {
	p := mustPlan(t, offsite(8))
	want := []string{
		"copy backup.app 20261122T011500Z-aaaaaa store.offsite: copy_missing",
		"copy backup.app 20261121T011500Z-aaaaaa store.offsite: copy_missing",
	}
	if diff := cmp.Diff(want, actions(p)); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
	a := p.Actions[0]
	if a.From != "store.primary" || a.Store != "store.offsite" || a.Bytes != 1<<28 {
		t.Errorf("%+v", a)
	}
	if diff := cmp.Diff([]string{"backup.app copy_missing (mended)"}, driftOf(p)); diff != "" {
		t.Errorf("drift (-want +got):\n%s", diff)
	}
	if d := p.Drift[0]; d.Bytes != 1<<29 || !d.Since.Equal(at("2026-11-21 01:15")) {
		t.Errorf("debt %+v", d)
	}
}

func TestNewPointIsCopiedAfterItsProof(t *testing.T) {
	p := mustPlan(t, due(offsite(10)))
	a := find(t, p, "copy backup.app store.offsite")
	if diff := cmp.Diff([]string{"back up backup.app", "verify backup.app"}, a.After); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
	if len(p.Drift) != 0 {
		t.Errorf("what is due is drift: %q", driftOf(p))
	}
}

// What leaves with this plan is not copied first.
func TestExpiringPointsAreNotCopied(t *testing.T) {
	in := offsite(0)
	in.Desired = with(in.Desired, editRetention(func(r *policy.Retention) { *r = policy.Retention{Address: r.Address, Last: 2} }))
	p := mustPlan(t, in)
	copies := 0
	for _, a := range p.Actions {
		if a.Kind == plan.Copy {
			copies++
		}
	}
	if copies != 2 {
		t.Errorf("%d copies, want 2: %q", copies, actions(p))
	}
}

// A host that can only write cannot seal anew for other recipients. The debt is told and nothing is tried.
func TestCopyThatNeedsAKey(t *testing.T) {
	in := offsite(8)
	store := in.Desired.Stores["store.offsite"]
	store.Encryption.Recipients = []string{"age1other"}
	in.Desired.Stores["store.offsite"] = store
	in.Catalog.Objects["store.offsite"] = state.Object{Attributes: planner.Objects(in.Desired)["store.offsite"].Attributes, Repository: "r2"}
	in.Sealed = map[string]bool{"store.primary": true}
	p := mustPlan(t, in)
	if len(p.Actions) != 0 || len(p.Drift) != 1 || p.Drift[0].Fixed || !strings.Contains(p.Drift[0].Why, "2 have other recipients") {
		t.Errorf("actions %q, drift %+v", actions(p), p.Drift)
	}
	in.Sealed = nil
	if p = mustPlan(t, in); len(p.Actions) != 2 {
		t.Errorf("with a key: %q", actions(p))
	}
}

// A store that is down delays copies, not backups, and is not said to be mended.
func TestStoreThatIsDown(t *testing.T) {
	in := due(offsite(8))
	in.Observed = planner.Observed{Mode: "list", Stores: map[string]planner.ObservedStore{"store.offsite": {Err: "no route to host"}}}
	p := mustPlan(t, in)
	if a := find(t, p, "back up backup.app"); len(a.After) != 0 {
		t.Errorf("the backup waits for %q", a.After)
	}
	if diff := cmp.Diff([]string{"backup.app copy_missing", "store.offsite store_unreachable"}, driftOf(p)); diff != "" {
		t.Errorf("drift (-want +got):\n%s", diff)
	}
}

// TestSharedKeysComeAfterTheirOwner: whatever the names, the store whose keys are shared is made first.
func TestSharedKeysComeAfterTheirOwner(t *testing.T) {
	s := ragSet()
	s.Stores["store.a"] = policy.Store{Address: "store.a", URL: "s3://acme/a", Encryption: s.Stores["store.primary"].Encryption}
	s.Stores["store.b"] = policy.Store{Address: "store.b", URL: "s3://acme/b", Encryption: policy.Encryption{Recipients: []string{"age1other"}}}
	s = with(s, editBackup("backup.app", func(b *policy.Backup) { b.Copies = []string{"store.a", "store.b"} }))
	p := mustPlan(t, planner.Input{Desired: s, Now: at("2026-11-22 02:00")})
	var got []string
	for _, a := range p.Actions {
		if a.Kind == plan.Initialize {
			got = append(got, strings.TrimSpace(a.Store+" "+a.From+" "+strings.Join(a.After, ",")))
		}
	}
	want := []string{"store.b", "store.primary", "store.a store.primary initialize store.primary"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFurtherStoreKeepsItsLastPoint: while copies fail for weeks, retention in the first store must not empty the second.
func TestFurtherStoreKeepsItsLastPoint(t *testing.T) {
	in := offsite(3) // the newest there is eight days old
	in.Desired = with(in.Desired, editRetention(func(r *policy.Retention) { *r = policy.Retention{Address: r.Address, Last: 2} }))
	in.Catalog.Objects["retention.standard"] = planner.Objects(in.Desired)["retention.standard"]
	last := "expire backup.app 20261115T011500Z-aaaaaa"
	p := mustPlan(t, in)
	if a := find(t, p, last); !slices.Contains(a.After, "copy backup.app 20261122T011500Z-aaaaaa store.offsite") {
		t.Errorf("%s waits for %q", a.ID, a.After)
	}
	if a := find(t, p, "expire backup.app 20261114T011500Z-aaaaaa"); len(a.After) != 0 {
		t.Errorf("%s waits for %q", a.ID, a.After)
	}
	for _, a := range planner.StillExpires(in, p.Actions) {
		if a.ID == last {
			t.Error("it would expire before a newer one was copied")
		}
	}
	in.Catalog.Points["backup.app"][9] = copied(in.Catalog.Points["backup.app"][9])
	if still := planner.StillExpires(in, p.Actions); !slices.ContainsFunc(still, func(a plan.Action) bool { return a.ID == last }) {
		t.Error("it stays although a newer one was copied")
	}
	in.Catalog.Points["backup.app"][9] = point(at("2026-11-22 01:15"), 1<<30)
	in.Sealed = map[string]bool{"store.primary": true}
	store := in.Desired.Stores["store.offsite"]
	store.Encryption.Recipients = []string{"age1other"}
	in.Desired.Stores["store.offsite"] = store
	if p = mustPlan(t, in); slices.ContainsFunc(p.Actions, func(a plan.Action) bool { return a.ID == last }) {
		t.Error("it expires although nothing newer can be copied")
	}
}

func TestCapacity(t *testing.T) {
	for _, tc := range []struct {
		name     string
		capacity int64
		usage    *state.Usage
		points   int // in the further store
		want     string
	}{
		{"no limit", 0, nil, 0, ""},
		{"enough", 10 << 30, nil, 10, ""},
		{"it would overflow", 2 << 30, nil, 0, "capacity: it holds 0 B and this plan adds about 2.8 GiB; its capacity is 2.0 GiB"},
		{"what was seen counts", 10 << 30, &state.Usage{Bytes: 10 << 30}, 10, "capacity: it holds 10.0 GiB and this plan adds about 256 MiB; its capacity is 10.0 GiB"},
		{"nearly full", 3 << 30, nil, 10, "capacity_near: 91 % of its capacity of 3.0 GiB is used"},
	} {
		in := due(offsite(tc.points))
		store := in.Desired.Stores["store.offsite"]
		store.Capacity = tc.capacity
		in.Desired.Stores["store.offsite"] = store
		o := in.Catalog.Objects["store.offsite"]
		o.Usage = tc.usage
		in.Catalog.Objects["store.offsite"] = o
		p := mustPlan(t, in)
		got := ""
		for _, b := range p.Blocks {
			got += string(b.Guard) + ": " + b.Why
		}
		for _, d := range p.Drift {
			if d.Reason == plan.DriftCapacity {
				got += string(d.Reason) + ": " + d.Why
			}
		}
		if !strings.HasPrefix(got, tc.want) || tc.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// A backup that goes to another store first brings everything there, not what it adds each day.
func TestFirstPointInAnotherStoreIsWhole(t *testing.T) {
	in := due(offsite(0))
	in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) { b.Store, b.Copies = "store.offsite", nil }))
	store := in.Desired.Stores["store.offsite"]
	store.Capacity = 512 << 20 // a day adds 256 MiB, a whole point has at most 1 GiB
	in.Desired.Stores["store.offsite"] = store
	p := mustPlan(t, in)
	if len(p.Blocks) != 1 || p.Blocks[0].Guard != plan.GuardCapacity || !strings.Contains(p.Blocks[0].Why, "adds about 1.0 GiB") {
		t.Errorf("%+v", p.Blocks)
	}
	if !slices.ContainsFunc(p.Changes, func(c plan.Change) bool { return strings.Contains(c.Why, "stay in store.primary") }) {
		t.Errorf("%+v", p.Changes)
	}
}

// What a store that is left out of copies holds stays there, and the plan says so.
func TestFewerCopies(t *testing.T) {
	in := offsite(10)
	in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) { b.Copies = nil }))
	p := mustPlan(t, in)
	want := `copies ["store.offsite"] -> (none): no further copies go to store.offsite; those that are there stay until their restore points expire`
	if len(p.Actions) != 0 || !strings.Contains(plan.Text(p), want) {
		t.Errorf("actions %q\n%s", actions(p), plan.Text(p))
	}
}

func TestPrune(t *testing.T) {
	for _, tc := range []struct {
		name  string
		usage *state.Usage
		want  string
	}{
		{"never looked at", nil, ""},
		{"nothing left", &state.Usage{Bytes: 1 << 30}, ""},
		{"points left", &state.Usage{Bytes: 1 << 30, Points: 2, Expired: 5}, "2 restore points left since the last prune 5"},
		{"in grace", &state.Usage{Condemned: 7, Due: at("2026-11-22 02:01")}, ""},
		{"the grace is over", &state.Usage{Condemned: 7, Due: at("2026-11-22 02:00")}, "the grace of condemned packs is over 7"},
	} {
		in := offsite(10)
		o := in.Catalog.Objects["store.offsite"]
		o.Usage = tc.usage
		in.Catalog.Objects["store.offsite"] = o
		var got []string
		for _, a := range mustPlan(t, in).Actions {
			got = append(got, a.Why, time.Duration(a.Bytes).String()[:1])
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
