package planner_test

import (
	"flag"
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
