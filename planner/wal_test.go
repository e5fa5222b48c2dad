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

// pitr is a backup with WAL of ten days and a base backup each night at 01:00, at a moment when nothing is due. The
// window is three days; last 1 keeps the newest base.
func pitr(lost ...state.LSN) planner.Input {
	now := at("2026-11-22 02:00")
	s := server{system: "7437", began: now.Add(-10 * 24 * time.Hour)}
	in := planner.Input{Desired: pitrSet(), Now: now}
	var points []state.RestorePoint
	for _, p := range daily(10, at("2026-11-22 01:00"), 1<<30) {
		p.Base, p.Method = s.base(p.Time, 10*time.Minute), "physical"
		points = append(points, p)
	}
	in.Catalog = catalogOf(in.Desired, map[string][]state.RestorePoint{"backup.pitr": points})
	in.Catalog.WAL = map[string][]state.WAL{"backup.pitr": {s.log("store.primary", now, func(_ uint32, n state.LSN) bool { return slices.Contains(lost, n) })}}
	return in
}

// gapAt takes the segment away that the server filled at a moment.
func gapAt(when string) planner.Input {
	s := server{began: at("2026-11-22 02:00").Add(-10 * 24 * time.Hour)}
	return pitr(s.lsn(at(when)) / segment)
}

func kindOf(p plan.Plan, kind plan.ActionKind) (list []plan.Action) {
	for _, a := range p.Actions {
		if a.Kind == kind {
			list = append(list, a)
		}
	}
	return list
}

func TestGapsMakeBaseBackupsDue(t *testing.T) {
	for _, tc := range []struct {
		name, lost string
		edit       func(*planner.Input)
		why        string // of the backup
		drift      bool
	}{
		{"no gap", "2000-01-01 00:00", nil, "", false},
		{"before the newest base", "2026-11-21 12:00", nil, "", false},
		{"after the newest base", "2026-11-22 01:30", nil, "WAL after the newest base backup is broken: segment 000000010000000300000083 is missing: no instant after that can be restored", true},
		{"inside of the newest base", "2026-11-22 00:55", nil, "WAL after the newest base backup is broken: segment 000000010000000300000080 is missing: no instant after that can be restored", true},
		{"paused", "2026-11-22 01:30", func(in *planner.Input) {
			in.Desired = with(in.Desired, func(s *policy.Set) {
				b := s.Backups["backup.pitr"]
				sched := *b.Schedule
				sched.Paused = true
				b.Schedule = &sched
				s.Backups["backup.pitr"] = b
			})
		}, "", true},
		{"without WAL", "2026-11-22 01:30", func(in *planner.Input) {
			b := in.Desired.Backups["backup.pitr"]
			physical := *b.Physical
			physical.WAL, b.Physical = policy.WAL{Mode: policy.WALNone}, &physical
			b.Objective = policy.Objective{}
			in.Desired.Backups["backup.pitr"] = b
		}, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := gapAt(tc.lost)
			if tc.edit != nil {
				tc.edit(&in)
				in.Catalog.Objects = planner.Objects(in.Desired)
			}
			p := mustPlan(t, in)
			why, drift := "", false
			for _, a := range kindOf(p, plan.Backup) {
				if why = a.Why; a.Reason != plan.ReasonWALGap {
					t.Errorf("the reason is %s", a.Reason)
				}
			}
			for _, d := range p.Drift {
				drift = drift || d.Reason == plan.DriftWALGap
				if d.Reason == plan.DriftWALGap && d.Fixed != (tc.why != "") {
					t.Errorf("fixed is %t: %s", d.Fixed, d.Why)
				}
			}
			if diff := cmp.Diff(tc.why, why); diff != "" || drift != tc.drift {
				t.Errorf("drift %t, want %t (-want +got):\n%s", drift, tc.drift, diff)
			}
		})
	}
}

// The RPO of a backup with WAL counts from the frontier.
func TestExposureCountsFromTheFrontier(t *testing.T) {
	for _, tc := range []struct {
		name  string
		edit  func(*planner.Input)
		later time.Duration
		want  string
	}{
		{"in time", nil, 4 * time.Minute, ""},
		{"late", nil, 6 * time.Minute, "the newest WAL is 6m old; the objective is rpo = 5m"},
		{"none", func(in *planner.Input) { in.Catalog.WAL = nil }, 0, "no WAL has arrived, and the newest restore point is 60m old; the objective is rpo = 5m"},
		{"broken", func(in *planner.Input) { *in = gapAt("2026-11-22 01:30") }, 0, "the newest WAL is 32m old; the objective is rpo = 5m"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := pitr()
			if tc.edit != nil {
				tc.edit(&in)
			}
			in.Now = in.Now.Add(tc.later)
			got := ""
			for _, d := range mustPlan(t, in).Drift {
				if d.Reason == plan.DriftRPO {
					got = d.Why
				}
			}
			if !strings.HasPrefix(got, tc.want) || (got == "") != (tc.want == "") {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// What stays of the points: the base of the window, and what last 1 keeps.
func TestBaseOfTheWindowStays(t *testing.T) {
	in := pitr()
	in.Catalog = simulate(in, mustPlan(t, in))
	var ids []string
	for _, p := range in.Catalog.Points["backup.pitr"] {
		ids = append(ids, p.ID)
	}
	want := []string{"20261119T010000Z-aaaaaa", "20261122T010000Z-aaaaaa"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("points (-want +got):\n%s", diff)
	}
	log := in.Catalog.WAL["backup.pitr"][0]
	if got := log.Timelines[0].Ranges; len(got) != 1 || got[0].From != log.Floor(in.Catalog.Points["backup.pitr"][0].Base.Start) {
		t.Errorf("WAL %+v does not begin with the base of the window", got)
	}
}

// Two backups of one server in one store share its WAL: what either needs stays.
func TestSharedWALStaysForBoth(t *testing.T) {
	in := pitr()
	other := in.Desired.Backups["backup.pitr"]
	other.Address, other.Retention = "backup.other", ""
	in.Desired.Backups["backup.other"] = other
	in.Catalog.Objects = planner.Objects(in.Desired)
	if n := len(kindOf(mustPlan(t, in), plan.ExpireWAL)); n != 1 {
		t.Fatalf("%d expiries before the other backup has anything", n)
	}
	old := in.Catalog.Points["backup.pitr"][2]
	in.Catalog.Points["backup.other"] = []state.RestorePoint{old}
	got := kindOf(mustPlan(t, in), plan.ExpireWAL)
	if len(got) != 1 || got[0].WAL[len(got[0].WAL)-1].To > old.Base.Start {
		t.Errorf("WAL that backup.other needs from %s expires: %+v", old.Base.Start, got)
	}
}

func TestWALExpiriesAreAskedAgain(t *testing.T) {
	in := pitr()
	planned := kindOf(mustPlan(t, in), plan.ExpireWAL)
	if len(planned) != 1 {
		t.Fatalf("%d expiries are planned", len(planned))
	}
	if still := planner.StillExpiresWAL(in, planned); len(still) != 1 || still[0].WAL[0].From != planned[0].WAL[0].From || len(still[0].WAL) == 0 {
		t.Errorf("with all points there: %+v", still)
	}
	for name, edit := range map[string]func(*planner.Input){
		"paused": func(in *planner.Input) {
			b := in.Desired.Backups["backup.pitr"]
			b.Schedule = &policy.Schedule{Every: hour, Paused: true}
			in.Desired.Backups["backup.pitr"] = b
		},
		"no retention": func(in *planner.Input) {
			b := in.Desired.Backups["backup.pitr"]
			b.Retention = ""
			in.Desired.Backups["backup.pitr"] = b
		},
		"the log is gone": func(in *planner.Input) { in.Catalog.WAL = nil },
		"nothing is proven": func(in *planner.Input) {
			for i := range in.Catalog.Points["backup.pitr"] {
				in.Catalog.Points["backup.pitr"][i].Copies[0].Proofs = nil
			}
		},
	} {
		later := pitr()
		edit(&later)
		if still := planner.StillExpiresWAL(later, planned); len(still) > 0 {
			t.Errorf("%s: %+v", name, still)
		}
	}
}

// offsiteWAL is pitr with a further store, which has everything up to a moment.
func offsiteWAL(until string) planner.Input {
	in := pitr()
	in.Desired = with(in.Desired, func(s *policy.Set) {
		b := s.Backups["backup.pitr"]
		b.Copies = []string{"store.offsite"}
		s.Backups["backup.pitr"] = b
	})
	in.Catalog.Objects = planner.Objects(in.Desired)
	for i := range in.Catalog.Points["backup.pitr"] {
		point := &in.Catalog.Points["backup.pitr"][i]
		second := point.Copies[0]
		second.Store = "store.offsite"
		point.Copies = append(slices.Clone(point.Copies), second)
	}
	if until != "" {
		s := server{system: "7437", began: at("2026-11-22 02:00").Add(-10 * 24 * time.Hour)}
		in.Catalog.WAL["backup.pitr"] = append(in.Catalog.WAL["backup.pitr"], s.log("store.offsite", at(until), func(uint32, state.LSN) bool { return false }))
	}
	return in
}

// What a further store lacks of the WAL that stays is brought there, and its window is told as it is.
func TestWALIsCopied(t *testing.T) {
	for _, tc := range []struct {
		name, until string
		edit        func(*planner.Input)
		want        string // the sentence
		segments    int64
		drift       string
	}{
		{name: "all is there", until: "2026-11-22 02:00"},
		// The window stands on the base of 11-19 01:00, which began ten minutes before.
		{name: "nothing is there", want: "275 segments from 000000010000000200000072 to 000000010000000300000084 are missing in store.offsite", segments: 275},
		{name: "the last hour", until: "2026-11-22 01:00", want: "4 segments from 000000010000000300000081 to 000000010000000300000084 are missing in store.offsite", segments: 4},
		{
			name: "no key to seal it anew", until: "2026-11-22 01:00", drift: "and this host has no key to seal it anew",
			edit: func(in *planner.Input) {
				offsite := in.Desired.Stores["store.offsite"]
				offsite.Encryption.Recipients = []string{"age1other"}
				in.Desired.Stores["store.offsite"] = offsite
				in.Catalog.Objects = planner.Objects(in.Desired)
				in.Sealed = map[string]bool{"store.primary": true}
			},
		},
		{name: "no copies any more", edit: func(in *planner.Input) {
			b := in.Desired.Backups["backup.pitr"]
			b.Copies = nil
			in.Desired.Backups["backup.pitr"] = b
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := offsiteWAL(tc.until)
			if tc.edit != nil {
				tc.edit(&in)
			}
			p := mustPlan(t, in)
			why, n := "", int64(0)
			for _, a := range kindOf(p, plan.CopyWAL) {
				why = a.Why
				for _, s := range a.WAL {
					n += s.Count
				}
				if a.From != "store.primary" || a.Store != "store.offsite" || a.System != "7437" || a.Bytes == 0 || a.Reason != plan.ReasonWALMissing {
					t.Errorf("%+v", a)
				}
			}
			if why != tc.want || n != tc.segments {
				t.Errorf("got %q with %d segments, want %q with %d", why, n, tc.want, tc.segments)
			}
			told := slices.ContainsFunc(p.Drift, func(d plan.Drift) bool {
				return d.Reason == plan.DriftCopyMissing && tc.drift != "" && strings.Contains(d.Why, tc.drift)
			})
			if told != (tc.drift != "") {
				t.Errorf("drift %+v", p.Drift)
			}
			in.Catalog = simulate(in, p)
			if again := mustPlan(t, in); len(kindOf(again, plan.CopyWAL)) > 0 {
				t.Errorf("it is copied again: %s", plan.Text(again))
			}
		})
	}
}

// A further store that lags tells its own window.
func TestOffsiteWindow(t *testing.T) {
	in := offsiteWAL("2026-11-22 01:20")
	logs := in.Catalog.WAL["backup.pitr"][1:]
	got := planner.Continuous(in.Catalog.Points["backup.pitr"], logs)
	if len(got) != 1 || !got[0].To.Equal(at("2026-11-22 01:20")) {
		t.Errorf("it tells %+v", got)
	}
}
