package planner_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

func yes(b bool) *bool { return &b }

// healthyStore is what a refresh sees of the second store when all is well.
func healthyStore(in planner.Input) planner.ObservedStore {
	e := in.Desired.Stores["store.offsite"].Encryption
	s := planner.ObservedStore{Repository: "r2", Recipients: e.Recipients, Writers: e.Writers, Versioning: yes(true), ObjectLock: yes(true)}
	for _, p := range in.Catalog.Points["backup.app"] {
		s.Points = append(s.Points, planner.ObservedPoint{Address: "backup.app", ID: p.ID, Summary: true})
	}
	return s
}

// ran puts an apply on record, which was about the database and ended at the given time.
func ran(in *planner.Input, started time.Time, actions ...state.RunAction) {
	actions = append(actions, state.RunAction{Address: "backup.app", Kind: "verify", Status: state.RunOK})
	in.Catalog.Runs = append(in.Catalog.Runs, state.Run{ID: "r", Operation: "apply", Status: state.RunFailed, Started: started, Finished: started, Actions: actions})
}

func TestDrift(t *testing.T) {
	see := func(edit func(*planner.ObservedStore)) func(*planner.Input) {
		return func(in *planner.Input) {
			s := healthyStore(*in)
			edit(&s)
			in.Observed = planner.Observed{Mode: "list", Stores: map[string]planner.ObservedStore{"store.offsite": s}}
		}
	}
	source := func(s planner.ObservedSource) func(*planner.Input) {
		return func(in *planner.Input) {
			in.Observed = planner.Observed{Mode: "list", Sources: map[string]planner.ObservedSource{"source.postgres.app": s}}
			o := in.Catalog.Objects["source.postgres.app"]
			o.Identity = "7201"
			in.Catalog.Objects["source.postgres.app"] = o
			for i := range in.Catalog.Points["backup.app"] {
				in.Catalog.Points["backup.app"][i].Source, in.Catalog.Points["backup.app"][i].Version = "source.postgres.app", "17.2"
			}
		}
	}
	// vectors makes the source of the backup a Qdrant server, and adds a second source of one of its nodes.
	vectors := func(seen planner.ObservedSource, collections ...string) func(*planner.Input) {
		return func(in *planner.Input) {
			in.Targets = append(in.Targets, "source.qdrant.v")
			in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) {
				b.Source, b.Logical, b.Snapshot = "source.qdrant.v", nil, &policy.Snapshot{Mode: policy.SnapshotAuto}
			}))
			in.Desired.Sources["source.qdrant.v"] = policy.Source{Address: "source.qdrant.v", Kind: policy.KindQdrant, Qdrant: &policy.QdrantSource{
				URLs: []string{"http://a:6333", "http://b:6333"}, Collections: collections,
			}}
			for address, o := range planner.Objects(in.Desired) {
				if _, known := in.Catalog.Objects[address]; !known || address == "backup.app" {
					in.Catalog.Objects[address] = o
				}
			}
			for i := range in.Catalog.Points["backup.app"] {
				in.Catalog.Points["backup.app"][i].Source, in.Catalog.Points["backup.app"][i].Version = "source.qdrant.v", "1.17.1"
			}
			in.Observed = planner.Observed{Mode: "list", Sources: map[string]planner.ObservedSource{"source.qdrant.v": seen}}
		}
	}
	keep := func(edit func(*policy.Retention)) func(*planner.Input) {
		return func(in *planner.Input) {
			in.Desired = with(in.Desired, editRetention(edit))
			in.Catalog.Objects["retention.standard"] = planner.Objects(in.Desired)["retention.standard"]
		}
	}
	for _, tc := range []struct {
		name string
		edit func(in *planner.Input)
		want []string
		says string
	}{
		{"nothing", func(*planner.Input) {}, nil, ""},
		{"a healthy world", see(func(*planner.ObservedStore) {}), nil, ""},
		{"what is due is none", func(in *planner.Input) { in.Now = at("2026-11-23 02:00") }, nil, ""},
		{
			"a slot before the one due", func(in *planner.Input) {
				in.Now = at("2026-11-24 01:20")
				in.Catalog.Points["backup.app"][9].Time = at("2026-11-22 14:00")
			},
			[]string{"backup.app slot_missed (mended)"},
			"slot 2026-11-23 01:15 UTC passed without a restore point",
		},
		{"slots of a schedule that was not in force", func(in *planner.Input) {
			in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) { b.Schedule.Cron = "*/10 * * * *" }))
		}, nil, ""},
		{"a paused schedule misses none", func(in *planner.Input) {
			in.Now = at("2026-11-23 12:00")
			in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) { b.Schedule.Paused, b.Objective.RPO = true, 0 }))
		}, nil, ""},
		{"the objective", func(in *planner.Input) { in.Now = at("2026-11-23 14:00") }, []string{"backup.app rpo_breach (mended)"}, "36h old"},
		{"over retention", func(in *planner.Input) {
			keep(func(r *policy.Retention) { *r = policy.Retention{Address: r.Address, Last: 8} })(in)
			ran(in, at("2026-11-22 01:50"))
		}, []string{"backup.app over_retention (mended)"}, "2 restore points should have expired by the run of 2026-11-22 01:50 UTC"},
		{"a run that was about another backup says nothing", func(in *planner.Input) {
			keep(func(r *policy.Retention) { *r = policy.Retention{Address: r.Address, Last: 8} })(in)
			ran(in, at("2026-11-22 01:50"))
			in.Catalog.Runs[0].Actions[0].Address = "backup.config"
		}, nil, ""},
		{"a hold that ended since", func(in *planner.Input) {
			keep(func(r *policy.Retention) { *r = policy.Retention{Address: r.Address, Last: 8} })(in)
			ran(in, at("2026-11-22 01:50"))
			in.Catalog.Runs = append(in.Catalog.Runs, state.Run{ID: "h", Operation: "hold", Status: state.RunOK, Actions: []state.RunAction{{Address: "backup.app", Kind: "release"}}})
		}, nil, ""},
		{"an edit is none", func(in *planner.Input) {
			in.Desired = with(in.Desired, editRetention(func(r *policy.Retention) { r.Daily = 2 }))
			ran(in, at("2026-11-22 01:50"))
		}, nil, ""},
		{"a deletion that failed", func(in *planner.Input) {
			keep(func(r *policy.Retention) { *r = policy.Retention{Address: r.Address, Last: 9} })(in)
			ran(in, at("2026-11-21 01:00"), state.RunAction{Address: "backup.app", Kind: "expire", Point: "20261113T011500Z-aaaaaa", Status: state.RunFailed, Error: "locked until 2027"})
		}, []string{"backup.app expire_failed (mended)"}, "locked until 2027"},
		{"a deletion that failed and was made up for", func(in *planner.Input) {
			ran(in, at("2026-11-20 01:00"), state.RunAction{Address: "backup.app", Kind: "expire", Point: "x", Status: state.RunFailed})
			ran(in, at("2026-11-21 01:00"))
		}, nil, ""},
		{"fewer verified than the floor", func(in *planner.Input) {
			keep(func(r *policy.Retention) { r.MinVerified = 5 })(in)
			for i := range 7 {
				for j := range 2 {
					in.Catalog.Points["backup.app"][i].Copies[j].Proofs = nil
				}
			}
		}, []string{"backup.app under_retention"}, "3 restore points verified; min_verified is 5"},
		{"a retention that nobody uses", func(in *planner.Input) {
			in.Desired.Retentions["retention.x"] = policy.Retention{Address: "retention.x", Last: 1}
			in.Targets = nil
		}, []string{"retention.x retention_unused"}, ""},
		{"the clock", func(in *planner.Input) { in.Now = at("2026-11-22 01:00") }, []string{"backup.app clock_skew"}, "15m in the future"},
		{"a little clock", func(in *planner.Input) { in.Now = at("2026-11-22 01:13") }, nil, ""},
		{"only writing hosts", func(in *planner.Input) {
			in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) { b.Verify.After = policy.VerifyRead }))
			in.Catalog.Objects["backup.app"] = planner.Objects(in.Desired)["backup.app"]
			in.Sealed = map[string]bool{"store.primary": true}
			for i := range in.Catalog.Points["backup.app"] {
				c := &in.Catalog.Points["backup.app"][i].Copies[0]
				c.Proofs = c.Proofs[:1]
			}
		}, []string{"backup.app proof_old"}, "`holdfast verify -level=read backup.app` where the key is"},
		{"unreachable", see(func(s *planner.ObservedStore) { *s = planner.ObservedStore{Err: "no route to host"} }), []string{"store.offsite store_unreachable"}, "no route"},
		{"swapped", see(func(s *planner.ObservedStore) { s.Repository = "r9" }), []string{"store.offsite store_swapped"}, `"r9"`},
		{"recipients", see(func(s *planner.ObservedStore) { s.Recipients = []string{"age1gone"} }), []string{"store.offsite recipients_differ"}, "key rotate"},
		{"writers", see(func(s *planner.ObservedStore) { s.Writers = nil }), []string{"store.offsite recipients_differ"}, "other writers"},
		{"guards of the bucket", func(in *planner.Input) {
			store := in.Desired.Stores["store.offsite"]
			store.Versioning, store.ObjectLock = true, true
			in.Desired.Stores["store.offsite"] = store
			see(func(s *planner.ObservedStore) { s.Versioning, s.ObjectLock = yes(false), yes(false) })(in)
		}, []string{"store.offsite object_lock_off", "store.offsite versioning_off"}, ""},
		{"a bucket that does not tell", func(in *planner.Input) {
			store := in.Desired.Stores["store.offsite"]
			store.Versioning = true
			in.Desired.Stores["store.offsite"] = store
			see(func(s *planner.ObservedStore) { s.Versioning = nil })(in)
		}, nil, ""},
		{"the same source", source(planner.ObservedSource{Identity: "7201", Version: "17.4", Names: []string{"app"}}), nil, ""},
		{"a source that does not answer", source(planner.ObservedSource{Err: "connection refused"}), []string{"source.postgres.app source_unreachable"}, "refused"},
		{"another server", source(planner.ObservedSource{Identity: "7300", Version: "17.2"}), []string{"source.postgres.app source_identity"}, "7300"},
		{"another major version", source(planner.ObservedSource{Identity: "7201", Version: "18.0"}), []string{"source.postgres.app source_version"}, "18.0"},
		{
			"a database that no backup covers", source(planner.ObservedSource{Identity: "7201", Version: "17.2", Names: []string{"app", "billing"}}),
			[]string{"source.postgres.app not_covered"},
			`no backup covers "billing"`,
		},
		{"a pattern covers it", func(in *planner.Input) {
			source(planner.ObservedSource{Identity: "7201", Version: "17.2", Names: []string{"app", "bill_ing"}})(in)
			in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) { b.Logical = &policy.Logical{Databases: []string{"app", "bill*"}} }))
		}, nil, ""},
		{"an exclusion uncovers it", func(in *planner.Input) {
			source(planner.ObservedSource{Identity: "7201", Version: "17.2", Names: []string{"app", "scratch"}})(in)
			in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) { b.Logical = &policy.Logical{ExcludeDatabases: []string{"scr*"}} }))
		}, []string{"source.postgres.app not_covered"}, "scratch"},
		{"what a restore is building", source(planner.ObservedSource{Identity: "7201", Version: "17.2", Names: []string{"app", "hf_restore_1a2b"}}), nil, ""},
		{"a Qdrant server, whole", vectors(planner.ObservedSource{Version: "1.17.9", Names: []string{"docs", "postgres"}}), nil, ""},
		{"collections by patterns", vectors(planner.ObservedSource{Version: "1.17.1", Names: []string{"chat", "docs-a/b"}}, "docs-*", "c[gh]at"), nil, ""},
		{
			"a collection that no backup covers", vectors(planner.ObservedSource{Version: "1.17.1", Names: []string{"docs-a", "postgres"}}, "docs-*"),
			[]string{"source.qdrant.v not_covered"},
			`no backup covers "postgres"`,
		},
		{"scratch collections", vectors(planner.ObservedSource{Version: "1.17.1", Names: []string{"hf_drill_x", "hf_restore_x"}}, "docs-*"), nil, ""},
		{
			"a pattern that cannot be read covers nothing", vectors(planner.ObservedSource{Version: "1.17.1", Names: []string{"docs"}}, "[docs"),
			[]string{"source.qdrant.v not_covered"},
			"docs",
		},
		{"another source of the server covers it", func(in *planner.Input) {
			vectors(planner.ObservedSource{Version: "1.17.1", Names: []string{"chat", "docs"}}, "docs")(in)
			alsoFrom(in, "http://b:6333")
		}, nil, ""},
		{"another source of another server does not", func(in *planner.Input) {
			vectors(planner.ObservedSource{Version: "1.17.1", Names: []string{"chat", "docs"}}, "docs")(in)
			alsoFrom(in, "http://c:6333")
		}, []string{"source.qdrant.v not_covered"}, "chat"},
		{
			"a node that no URL leads to", vectors(planner.ObservedSource{Version: "1.17.1", Gaps: []string{"peer 7 holds shard 2 of docs, and no URL leads to it"}}),
			[]string{"source.qdrant.v not_covered"},
			"peer 7 holds shard 2 of docs, and no URL leads to it",
		},
		{
			"a server that is not set up for a backup", vectors(planner.ObservedSource{Version: "1.17.1", Lacks: map[string][]string{"backup.app": {"wal_level is minimal"}, "backup.other": nil}}),
			[]string{"backup.app server_setup"},
			"wal_level is minimal",
		},
		{
			"another minor version of Qdrant", vectors(planner.ObservedSource{Version: "1.18.0", Names: []string{"docs"}}),
			[]string{"source.qdrant.v source_version"},
			"it is version 1.18.0 now; the newest restore point is of version 1.17.1, and snapshots are promised to restore only on servers of their minor version",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := offsite(10)
			in.Targets = []string{"backup.app"}
			tc.edit(&in)
			p := mustPlan(t, in)
			if diff := cmp.Diff(tc.want, driftOf(p)); diff != "" {
				t.Errorf("drift (-want +got):\n%s", diff)
			}
			if text := plan.Text(p); !strings.Contains(text, tc.says) {
				t.Errorf("%q is not told:\n%s", tc.says, text)
			}
			only := plan.OnlyDrift(p)
			if len(only.Drift) != len(p.Drift) || !only.Empty() || len(only.Blocks) != 0 {
				t.Errorf("the view of a refresh: %+v", only)
			}
		})
	}
}

// alsoFrom declares a second Qdrant source, of the collection chat, and its backup.
func alsoFrom(in *planner.Input, url string) {
	in.Desired.Sources["source.qdrant.chat"] = policy.Source{Address: "source.qdrant.chat", Kind: policy.KindQdrant, Qdrant: &policy.QdrantSource{
		URLs: []string{url}, Collections: []string{"chat"},
	}}
	b := in.Desired.Backups["backup.app"]
	b.Address, b.Source = "backup.chat", "source.qdrant.chat"
	in.Desired.Backups["backup.chat"] = b
}

// TestHealthyHasNoDrift: whatever the policy, a fleet that applies at each slot shows no difference between plan and world,
// before an apply as after it.
func TestHealthyHasNoDrift(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, start := planner.Input{Desired: drawSet(t, "desired")}, at("2026-11-02 00:00")
		in.Desired.Moved, in.Desired.Removed = nil, nil
		for address, b := range in.Desired.Backups {
			b.Schedule, b.Objective.RPO = &policy.Schedule{Every: 24 * hour}, 30*hour
			if b.Verify.After == policy.VerifyNone {
				b.Verify.After = policy.VerifyStored // without proofs nothing expires
			}
			in.Desired.Backups[address] = b
		}
		for address := range in.Desired.Retentions {
			used := slices.ContainsFunc(sorted(in.Desired.Backups), func(b string) bool { return in.Desired.Backups[b].Retention == address })
			if !used {
				delete(in.Desired.Retentions, address)
			}
		}
		for day := range 12 {
			in.Now = start.AddDate(0, 0, day).Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "minutes")) * time.Minute)
			p, _ := planner.Plan(in)
			if len(p.Drift) != 0 || len(p.Blocks) != 0 {
				t.Fatalf("day %d:\n%s", day, plan.Text(p))
			}
			in.Catalog = simulate(in, p)
			again, _ := planner.Plan(in)
			if len(again.Drift) != 0 || !again.Empty() {
				t.Fatalf("day %d, after:\n%s", day, plan.Text(again))
			}
		}
	})
}

// TestEachStoreKeepsAPoint: whichever actions fail, no store that a backup names loses its newest good point of it without a
// newer one having come there.
func TestEachStoreKeepsAPoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.Desired.Moved = nil
		p, _ := planner.Plan(in)
		failed := map[string]bool{}
		for _, a := range p.Actions {
			if rapid.IntRange(0, 3).Draw(t, "fails") == 0 || slices.ContainsFunc(a.After, func(id string) bool { return failed[id] }) {
				failed[a.ID] = true
			}
		}
		p.Actions = slices.DeleteFunc(slices.Clone(p.Actions), func(a plan.Action) bool { return failed[a.ID] })
		after := simulate(in, p)
		for address, b := range in.Desired.Backups {
			if len(b.Copies) == 0 {
				continue
			}
			for _, store := range b.Stores() {
				good := func(p state.RestorePoint) bool {
					c, ok := p.In(store)
					return ok && !p.Incomplete && !c.Damaged()
				}
				if newestWhere(after.Points[address], good).Before(newestWhere(in.Catalog.Points[address], good)) {
					t.Fatalf("%s lost its newest point in %s:\n%s", address, store, plan.Text(p))
				}
			}
		}
	})
}

// TestKeepsAndExpiresAreEverything: what a plan does not expire is there afterwards, and nothing else goes.
func TestKeepsAndExpiresAreEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.Desired.Moved = nil
		p, _ := planner.Plan(in)
		expires := map[string]bool{}
		for _, a := range p.Actions {
			if a.Kind == plan.Expire {
				if expires[a.Address+a.Point] {
					t.Fatalf("%s is there twice", a.ID)
				}
				expires[a.Address+a.Point] = true
			}
		}
		after := simulate(in, p)
		for address, points := range in.Catalog.Points {
			for _, point := range points {
				stays := slices.ContainsFunc(after.Points[address], func(q state.RestorePoint) bool { return q.ID == point.ID })
				if !stays && !expires[address+point.ID] {
					t.Fatalf("%s %s is gone without being in the plan", address, point.ID)
				}
			}
		}
		for _, w := range p.Windows {
			if got := len(after.Points[w.Address]); len(p.Blocks) == 0 && w.After.Points > got {
				t.Fatalf("%s: the window promises %d points, there are %d", w.Address, w.After.Points, got)
			}
		}
	})
}

// TestFloorHolds: no plan that is not blocked leaves fewer verified points than the floor, unless there were fewer before.
func TestFloorHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.Desired.Moved = nil
		p, _ := planner.Plan(in)
		if len(p.Blocks) > 0 {
			p = plan.WithoutDeletions(p)
		}
		after := simulate(in, p)
		verified := func(points []state.RestorePoint) (n int) {
			for _, point := range points {
				if point.Verified() {
					n++
				}
			}
			return n
		}
		for address, b := range in.Desired.Backups {
			before, now := verified(in.Catalog.Points[address]), verified(after.Points[address])
			if floor := min(in.Desired.Retentions[b.Retention].MinVerified, before); now < floor {
				t.Fatal(fmt.Sprintf("%s: %d verified remain of %d, the floor is %d:\n", address, now, before, floor) + plan.Text(p))
			}
		}
	})
}
