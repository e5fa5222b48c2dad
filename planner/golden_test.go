package planner_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

var update = flag.Bool("update", false, "write golden files")

// goldens are what people read. Each case has the same plan as text, JSON and Markdown.
var goldens = []struct {
	name string
	in   func() planner.Input
}{
	{"first", func() planner.Input {
		return planner.Input{Desired: ragSet(), Now: at("2026-11-22 02:00")}
	}},
	{"nothing", func() planner.Input {
		return planner.Input{Desired: ragSet(), Catalog: settled(), Now: at("2026-11-22 02:00")}
	}},
	{"slot", func() planner.Input {
		c := settled()
		c.Points["backup.app"] = daily(40, at("2026-11-21 01:15"), 1<<30)
		c.Runs = []state.Run{{ID: "run-1", Status: state.RunOK, Actions: []state.RunAction{{
			Address: "backup.app", Kind: "back up", Status: state.RunOK, Bytes: 3 << 30, Started: at("2026-11-21 01:15"), Finished: at("2026-11-21 01:25"),
		}}}}
		return planner.Input{Desired: ragSet(), Catalog: c, Now: at("2026-11-22 02:00")}
	}},
	{"retention_edit", func() planner.Input {
		s := with(ragSet(), editRetention(func(r *policy.Retention) { r.Daily, r.MaxPrunePercent = 3, 25 }))
		return planner.Input{Desired: s, Catalog: settled(), Now: at("2026-11-22 02:00")}
	}},
	{"forget", func() planner.Input {
		s := ragSet()
		delete(s.Backups, "backup.app")
		delete(s.Sources, "source.postgres.app")
		return planner.Input{Desired: s, Catalog: settled(), Now: at("2026-11-22 02:00")}
	}},
	{"adopt", func() planner.Input {
		c := settled()
		c.Points["backup.app"] = daily(30, at("2026-10-01 01:15"), 1<<30)
		for _, address := range []string{"backup.app", "source.postgres.app"} {
			o := c.Objects[address]
			o.Forgotten = true
			c.Objects[address] = o
		}
		return planner.Input{Desired: ragSet(), Catalog: c, Now: at("2026-11-22 02:00")}
	}},
	{"edit_many", func() planner.Input {
		s := with(ragSet(), editBackup("backup.app", func(b *policy.Backup) {
			b.Compression, b.Verify.After, b.Schedule.Cron, b.Schedule.Jitter = policy.CompressionBetter, policy.VerifyRead, "30 3 * * *", hour
		}))
		s.Sources["source.postgres.app"] = policy.Source{Address: "source.postgres.app", Kind: policy.KindPostgres, Postgres: &policy.PostgresSource{
			Host: "db2", Password: policy.NewSecret(`file("/run/secrets/pg")`, nil),
		}}
		return planner.Input{Desired: s, Catalog: settled(), Now: at("2026-11-22 02:00")}
	}},
	{"dead_run", func() planner.Input {
		c := settled()
		c.Points["backup.app"] = daily(3, at("2026-11-21 01:15"), 1<<30)
		c.Runs = []state.Run{
			{ID: "20261122T011600Z-dead01", Operation: "apply", Started: at("2026-11-22 01:16"), Status: state.RunPending, Actions: []state.RunAction{
				{Address: "backup.app", Kind: "back up", Point: "20261122T011600Z-k3x9q2", Store: "store.primary", Slot: at("2026-11-22 01:15"), Status: state.RunPending},
				{Address: "backup.app", Kind: "verify", Point: "20261122T011600Z-k3x9q2", Store: "store.primary", Status: state.RunPending},
				{Address: "backup.config", Kind: "back up", Point: "20261122T000000Z-aaaaaa", Store: "store.primary", Status: state.RunOK},
			}},
			{ID: "20261122T015900Z-alive1", Operation: "apply", Status: state.RunPending, Actions: []state.RunAction{
				{Address: "backup.config", Kind: "back up", Point: "x", Store: "store.primary", Status: state.RunPending},
			}},
		}
		return planner.Input{Desired: ragSet(), Catalog: c, Now: at("2026-11-22 02:00"), Alive: []string{"20261122T015900Z-alive1"}}
	}},
	{"paused_breach", func() planner.Input {
		s := with(ragSet(), editBackup("backup.app", func(b *policy.Backup) { b.Schedule.Paused = true }))
		return planner.Input{Desired: s, Catalog: catalogOf(s, settled().Points), Now: at("2026-11-25 02:00")}
	}},
	{"unverified", func() planner.Input {
		c := settled()
		c.Points["backup.app"][9].Copies[0].Proofs = nil
		c.Points["backup.config"][0].Copies[0].Proofs[1] = state.Proof{Level: "read", At: at("2026-11-22 01:00"), Error: "pack 12 is damaged"}
		return planner.Input{Desired: ragSet(), Catalog: c, Now: at("2026-11-22 02:00")}
	}},
	{"target", func() planner.Input {
		return planner.Input{Desired: ragSet(), Now: at("2026-11-22 02:00"), Targets: []string{"backup.config"}}
	}},
	{"force", func() planner.Input {
		return planner.Input{Desired: ragSet(), Catalog: settled(), Now: at("2026-11-22 02:00"), Force: []string{"backup.app"}}
	}},
	{"store_moved", func() planner.Input {
		s := ragSet()
		store := s.Stores["store.primary"]
		store.URL = "s3://acme/backups"
		s.Stores["store.primary"] = store
		c := settled()
		c.Points["backup.app"] = daily(40, at("2026-11-22 01:15"), 1<<30)
		return planner.Input{Desired: s, Catalog: c, Now: at("2026-11-22 02:00")}
	}},
	{"copies", func() planner.Input { return due(offsite(8)) }},
	{"wal_copies", func() planner.Input { return offsiteWAL("2026-11-22 00:30") }},
	{"first_copies", func() planner.Input {
		return planner.Input{Desired: offsiteSet(), Catalog: settled(), Now: at("2026-11-22 02:00")}
	}},
	{"repair", func() planner.Input {
		in := offsite(10)
		fail(in, 9, "store.primary", "stored")
		fail(in, 4, "store.offsite", "stored")
		return in
	}},
	{"moved", func() planner.Input {
		return planner.Input{Desired: renamed("backup.db", policy.Moved{From: "backup.app", To: "backup.db"}), Catalog: settled(), Now: at("2026-11-22 02:00")}
	}},
	{"removed", func() planner.Input { return gone(policy.Removed{From: "backup.app"}) }},
	{"destroy_held", func() planner.Input {
		in := gone(policy.Removed{From: "backup.app", Destroy: true})
		in.Catalog.Points["backup.app"] = daily(3, at("2026-11-22 01:15"), 1<<30)
		in.Catalog.Points["backup.app"][1].Hold = &state.Hold{Reason: "lawsuit", Who: "ann@db1", At: at("2026-11-21 09:00")}
		return in
	}},
	{"guards", func() planner.Input {
		in := offsite(10)
		in.Desired = with(in.Desired, editRetention(func(r *policy.Retention) {
			*r = policy.Retention{Address: r.Address, Last: 2, MinVerified: 2, MaxPrunePercent: 20}
		}))
		in.Desired = with(in.Desired, editBackup("backup.app", func(b *policy.Backup) { b.Verify.After = policy.VerifyNone }))
		for i := range in.Catalog.Points["backup.app"] {
			for j := range 2 {
				in.Catalog.Points["backup.app"][i].Copies[j].Proofs = nil
			}
		}
		return in
	}},
	{"capacity_and_check", func() planner.Input {
		in := due(offsite(8))
		store := in.Desired.Stores["store.offsite"]
		store.Capacity = 2 << 30
		in.Desired.Stores["store.offsite"] = store
		in.Desired.Checks = []policy.HouseCheck{
			{Address: `check.offsite["backup.app"]`, Severity: "error", Status: "pass"},
			{Address: `check.offsite["backup.config"]`, Severity: "error", Status: "fail", Message: "backup.config has no second copy"},
		}
		return in
	}},
	{"prune", func() planner.Input {
		in := offsite(10)
		o := in.Catalog.Objects["store.primary"]
		o.Usage = &state.Usage{At: at("2026-11-21 02:00"), Bytes: 9 << 30, Condemned: 3 << 30, Due: at("2026-11-22 01:00")}
		in.Catalog.Objects["store.primary"] = o
		return in
	}},
	{"wal", func() planner.Input {
		in := pitr()
		in.Now = in.Now.Add(23*time.Hour + 4*time.Minute)
		return in
	}},
	{"wal_gap", func() planner.Input { return gapAt("2026-11-22 01:30") }},
	{"drift", func() planner.Input {
		in := offsite(10)
		store := in.Desired.Stores["store.offsite"]
		store.Versioning = true
		in.Desired.Stores["store.offsite"] = store
		in.Catalog.Objects["store.offsite"] = state.Object{Attributes: planner.Objects(in.Desired)["store.offsite"].Attributes, Hash: planner.Objects(in.Desired)["store.offsite"].Hash, Repository: "r2"}
		s := healthyStore(in)
		s.Versioning, s.Unknown, s.Points = yes(false), []string{"notes.txt"}, s.Points[1:]
		s.Damage = []planner.ObservedDamage{{Object: "packs/ab/ab12", Problem: "it has 100 bytes, not 4096", Points: []string{"backup.app/20261122T011500Z-aaaaaa", "backup.app/20261121T011500Z-aaaaaa"}}}
		for i := range 14 {
			s.Unknown = append(s.Unknown, fmt.Sprintf("old/%02d", i))
		}
		in.Observed = planner.Observed{
			Mode: "list", Stores: map[string]planner.ObservedStore{"store.offsite": s, "store.primary": {Err: "no route to host"}},
			Sources: map[string]planner.ObservedSource{"source.postgres.app": {Version: "17.2", Names: []string{"app", "billing"}}},
		}
		return in
	}},
}

func TestGoldenPlans(t *testing.T) {
	for _, tc := range goldens {
		t.Run(tc.name, func(t *testing.T) {
			p := mustPlan(t, tc.in())
			data, err := plan.Encode(p)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join(tc.name, "plan.txt"), plan.Text(p))
			golden(t, filepath.Join(tc.name, "plan.json"), string(data)+"\n")
			golden(t, filepath.Join(tc.name, "plan.md"), plan.Markdown(p))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with go test ./planner -update)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestGoldensConverge applies every golden plan and plans again.
func TestGoldensConverge(t *testing.T) {
	for _, tc := range goldens {
		t.Run(tc.name, func(t *testing.T) {
			in := tc.in()
			p := mustPlan(t, in)
			if len(p.Blocks) > 0 {
				return // may not be applied
			}
			in.Catalog, in.Force = simulate(in, p), nil
			in.Now = in.Now.Add(time.Minute)
			if again := mustPlan(t, in); !again.Empty() {
				t.Errorf("not settled:\n%s", plan.Text(again))
			}
		})
	}
}
