package planner_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// fail lets the newest proof of a copy fail.
func fail(in planner.Input, i int, store, level string) {
	p := &in.Catalog.Points["backup.app"][i]
	p.Copies = slices.Clone(p.Copies)
	for j := range p.Copies {
		if p.Copies[j].Store == store {
			p.Copies[j].Proofs = append(slices.Clone(p.Copies[j].Proofs), state.Proof{Level: level, At: at("2026-11-22 01:50"), Error: "pack 12 is damaged"})
		}
	}
}

func TestRepair(t *testing.T) {
	const newest = "20261122T011500Z-aaaaaa"
	for _, tc := range []struct {
		name         string
		copied       int
		hurt         map[string]string // store → level
		final        bool
		want, drifts []string
	}{
		{
			"from the good copy", 10,
			map[string]string{"store.primary": "stored"},
			false,
			[]string{"repair backup.app " + newest + " store.primary from store.offsite"},
			[]string{"backup.app copy_damaged (mended)"},
		},
		{
			"the further copy", 10,
			map[string]string{"store.offsite": "stored"},
			false,
			[]string{"repair backup.app " + newest + " store.offsite from store.primary"},
			[]string{"backup.app copy_damaged (mended)"},
		},
		{
			"no good copy: set aside, then a new backup", 10,
			map[string]string{"store.primary": "stored", "store.offsite": "stored"},
			false,
			[]string{
				"repair backup.app " + newest + " store.primary", "repair backup.app " + newest + " store.offsite",
				"back up backup.app after repair backup.app " + newest + " store.primary", "verify backup.app after back up backup.app",
				"copy backup.app store.offsite from store.primary after back up backup.app,verify backup.app",
			},
			[]string{"backup.app copy_damaged", "backup.app copy_damaged"},
		},
		{"a rehearsal that failed is no damage", 10, map[string]string{"store.primary": "restore"}, false, nil, nil},
		{"the copy that is missing comes from where it is whole", 9, map[string]string{"store.primary": "stored"}, false, []string{
			"repair backup.app " + newest + " store.primary", "back up backup.app after repair backup.app " + newest + " store.primary",
			"verify backup.app after back up backup.app", "copy backup.app store.offsite from store.primary after back up backup.app,verify backup.app",
		}, []string{"backup.app copy_damaged", "backup.app copy_missing"}},
		{"what is lost is not repaired twice", 9, map[string]string{"store.primary": "stored"}, true, []string{
			"back up backup.app", "verify backup.app after back up backup.app",
			"copy backup.app store.offsite from store.primary after back up backup.app,verify backup.app",
		}, []string{"backup.app copy_damaged", "backup.app copy_missing"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := offsite(tc.copied)
			for store, level := range tc.hurt {
				fail(in, 9, store, level)
			}
			if tc.final {
				proofs := in.Catalog.Points["backup.app"][9].Copies[0].Proofs
				proofs[len(proofs)-1].Final = true
			}
			p := mustPlan(t, in)
			var got []string
			for _, a := range p.Actions {
				line := a.ID
				if a.From != "" {
					line += " from " + a.From
				}
				if len(a.After) > 0 {
					line += " after " + strings.Join(a.After, ",")
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.drifts, driftOf(p)); diff != "" {
				t.Errorf("drift (-want +got):\n%s", diff)
			}
		})
	}
}

// A damaged copy in a further store never keeps a backup from being made.
func TestBackupWaitsForNoFurtherStore(t *testing.T) {
	in := due(offsite(10))
	fail(in, 9, "store.offsite", "stored")
	fail(in, 8, "store.primary", "stored")
	p := mustPlan(t, in)
	find(t, p, "repair backup.app 20261122T011500Z-aaaaaa store.offsite")
	find(t, p, "repair backup.app 20261121T011500Z-aaaaaa store.primary")
	if a := find(t, p, "back up backup.app"); len(a.After) != 0 {
		t.Errorf("the backup waits for %q", a.After)
	}
}

// Nothing is set aside while a store that may hold a good copy is only out of reach.
func TestGoodCopyOutOfReach(t *testing.T) {
	in := offsite(10)
	fail(in, 9, "store.offsite", "stored")
	in.Observed = planner.Observed{Mode: "list", Stores: map[string]planner.ObservedStore{"store.primary": {Err: "no route to host"}}}
	p := mustPlan(t, in)
	if len(p.Actions) != 0 || len(p.Drift) != 2 || !strings.Contains(p.Drift[0].Why, "store.primary may have a good copy, and could not be reached") || p.Drift[0].Fixed {
		t.Errorf("actions %q, drift %+v", actions(p), p.Drift)
	}
}

// What expires is not repaired first.
func TestExpiringPointsAreNotRepaired(t *testing.T) {
	in := offsite(10)
	in.Desired = with(in.Desired, editRetention(func(r *policy.Retention) { *r = policy.Retention{Address: r.Address, Last: 2} }))
	fail(in, 0, "store.primary", "stored")
	fail(in, 1, "store.primary", "stored")
	fail(in, 1, "store.offsite", "stored")
	for _, a := range mustPlan(t, in).Actions {
		if a.Kind == plan.Repair {
			t.Errorf("%s", a.ID)
		}
	}
}

// TestObservedDamage: what a refresh saw is repaired like what a proof showed, also under the address of before a move.
func TestObservedDamage(t *testing.T) {
	const newest = "20261122T011500Z-aaaaaa"
	all := func(in planner.Input, storedAs string) (points []planner.ObservedPoint) {
		for _, p := range in.Catalog.Points["backup.app"] {
			points = append(points, planner.ObservedPoint{Address: storedAs, ID: p.ID, Summary: true})
		}
		return points
	}
	for _, tc := range []struct {
		name   string
		seen   func(s *planner.ObservedStore)
		want   []string
		drifts []string
	}{
		{"whole", func(*planner.ObservedStore) {}, nil, nil},
		{"an object", func(s *planner.ObservedStore) {
			s.Damage = []planner.ObservedDamage{{Object: "packs/12", Problem: "missing", Points: []string{"backup.old/" + newest}}}
		}, []string{"repair backup.app " + newest + " store.offsite: damaged"}, []string{"backup.app copy_damaged (mended)", "store.offsite object_damaged (mended)"}},
		{"an object that nothing needs", func(s *planner.ObservedStore) {
			s.Damage = []planner.ObservedDamage{{Object: "packs/12", Problem: "missing"}}
		}, nil, []string{"store.offsite object_damaged"}},
		{
			"a manifest", func(s *planner.ObservedStore) { s.Points = s.Points[:9] },
			[]string{"repair backup.app " + newest + " store.offsite: damaged"},
			[]string{"backup.app point_missing (mended)"},
		},
		{
			"a summary", func(s *planner.ObservedStore) { s.Points[9].Summary = false },
			[]string{"repair backup.app " + newest + " store.offsite: damaged"},
			[]string{"backup.app copy_damaged (mended)"},
		},
		{
			"another repository tells nothing of points", func(s *planner.ObservedStore) { s.Repository, s.Points = "r9", nil },
			nil,
			[]string{"store.offsite store_swapped"},
		},
		{"an unmanaged point", func(s *planner.ObservedStore) {
			s.Points = append(s.Points, planner.ObservedPoint{Address: "backup.app", ID: "20260101T000000Z-zzzzzz"})
		}, nil, []string{"backup.app point_unmanaged"}},
		{"an unknown object", func(s *planner.ObservedStore) { s.Unknown = []string{"notes.txt"} }, nil, []string{"store.offsite object_unknown"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := offsite(10)
			for i := range in.Catalog.Points["backup.app"] {
				p := &in.Catalog.Points["backup.app"][i]
				p.StoredAs, p.Copies[1].Summary = "backup.old", "s"
			}
			e := in.Desired.Stores["store.offsite"].Encryption
			s := planner.ObservedStore{Repository: "r2", Points: all(in, "backup.old"), Recipients: e.Recipients, Writers: e.Writers}
			tc.seen(&s)
			in.Observed = planner.Observed{Mode: "list", Stores: map[string]planner.ObservedStore{"store.offsite": s}}
			p := mustPlan(t, in)
			if diff := cmp.Diff(tc.want, actions(p)); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.drifts, driftOf(p)); diff != "" {
				t.Errorf("drift (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRehearsal(t *testing.T) {
	rehearsed := func(in *planner.Input, i int, when string, ok bool) {
		c := &in.Catalog.Points["backup.app"][i].Copies[0]
		c.Proofs = append(slices.Clone(c.Proofs), state.Proof{Level: "restore", At: at(when), OK: ok, Error: "check orders: 0 rows"})
	}
	const newest = "verify backup.app 20261122T011500Z-aaaaaa restore: rehearsal"
	for _, tc := range []struct {
		name   string
		edit   func(in *planner.Input)
		want   []string
		drifts []string
	}{
		{"never", func(*planner.Input) {}, []string{newest}, nil},
		{"not long ago", func(in *planner.Input) { rehearsed(in, 8, "2026-11-21 02:00", true) }, nil, nil},
		{"too long ago", func(in *planner.Input) { rehearsed(in, 3, "2026-11-15 01:00", true) }, []string{newest}, nil},
		{"failed", func(in *planner.Input) { rehearsed(in, 9, "2026-11-22 01:30", false) }, []string{newest}, []string{"backup.app rehearsal_old (mended)"}},
		{
			"the newest point is damaged", func(in *planner.Input) {
				fail(*in, 9, "store.primary", "stored")
				fail(*in, 9, "store.offsite", "stored")
			},
			nil,
			[]string{"backup.app copy_damaged", "backup.app copy_damaged"},
		},
		{"no key", func(in *planner.Input) { in.Sealed = map[string]bool{"store.primary": true} }, nil, []string{"backup.app rehearsal_old"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := offsite(10)
			in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) { b.Verify.Restore = &policy.Rehearsal{Every: 7 * 24 * hour} }))
			in.Catalog.Objects["backup.app"] = planner.Objects(in.Desired)["backup.app"]
			tc.edit(&in)
			p := mustPlan(t, in)
			var got []string
			for _, a := range actions(p) {
				if strings.HasSuffix(a, ": rehearsal") {
					got = append(got, a)
				}
			}
			if tc.name == "the newest point is damaged" { // then the new backup is rehearsed
				if diff := cmp.Diff([]string{"verify backup.app restore: rehearsal"}, got); diff != "" {
					t.Errorf("actions (-want +got):\n%s", diff)
				}
			} else if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.drifts, driftOf(p)); diff != "" {
				t.Errorf("drift (-want +got):\n%s", diff)
			}
		})
	}
}

// A rehearsal that fails each time must not make a new backup or read everything again each time.
func TestFailingRehearsalDoesNotMultiply(t *testing.T) {
	in := offsite(10)
	in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) { b.Verify.Restore = &policy.Rehearsal{Every: 24 * hour} }))
	in.Catalog.Objects["backup.app"] = planner.Objects(in.Desired)["backup.app"]
	fail(in, 9, "store.primary", "restore")
	want := []string{"verify backup.app 20261122T011500Z-aaaaaa restore: rehearsal"}
	if diff := cmp.Diff(want, actions(mustPlan(t, in))); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
}

// What a refresh saw damaged takes no sound point's place: neither in the rules nor as the newer verified one.
func TestObservedDamageKeepsNoPlace(t *testing.T) {
	in := planner.Input{Desired: ragSet(), Catalog: settled(), Now: at("2026-11-22 02:00")}
	in.Desired = with(in.Desired, editRetention(func(r *policy.Retention) { *r = policy.Retention{Address: r.Address, Last: 3} }))
	in.Catalog.Objects = catalogOf(in.Desired, nil).Objects
	o := in.Catalog.Objects["store.primary"]
	o.Repository = "r1"
	in.Catalog.Objects["store.primary"] = o
	seen := planner.ObservedStore{Repository: "r1"}
	for address, points := range in.Catalog.Points {
		for i, p := range points {
			if address == "backup.app" && i >= 6 && i < 9 { // three of the newer ones are gone from the store
				continue
			}
			seen.Points = append(seen.Points, planner.ObservedPoint{Address: address, ID: p.ID, Summary: true})
		}
	}
	in.Observed = planner.Observed{Mode: "list", Stores: map[string]planner.ObservedStore{"store.primary": seen}}
	p := mustPlan(t, in)
	for _, a := range p.Actions {
		if a.Kind == plan.Expire && (a.Point[:8] == "20261117" || a.Point[:8] == "20261118") {
			t.Errorf("%s is expired, and it is one of the three newest that are there", a.Point)
		}
	}
}
