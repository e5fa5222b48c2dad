package lang

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/holdfast-io/holdfast/policy"
)

const physicalRest = `
source "postgres" "app" { dsn = env("X") }
store "s" {
  url = "mem://s"
  encryption { recipients = ["age1cy0su9fwf3gf9mw868g5yut09p6nytfmmnktexz2ya5uqg9vl9sss4euqm"] }
}
retention "r" { continuous = "30d" }
`

// TestPhysical: what is written, what is left out, and the same in HCL's JSON syntax.
func TestPhysical(t *testing.T) {
	everything := policy.Backup{
		MaxRate: 100 << 20, Impact: 25,
		Physical: &policy.Physical{Reader: policy.ReaderLocal, Checkpoint: policy.CheckpointFast, WAL: policy.WAL{Mode: policy.WALStream, MaxLag: 10 * policy.Duration(1e9), Slot: "pitr"}},
	}
	for _, tc := range []struct {
		name, file, text string
		want             policy.Backup
	}{
		{"nothing written", "b.hf.hcl", `physical {}`, policy.Backup{
			Physical: &policy.Physical{Reader: policy.ReaderAuto, Checkpoint: policy.CheckpointSpread, WAL: policy.WAL{Mode: policy.WALNone}},
		}},
		{"stream", "b.hf.hcl", `physical {
			wal {}
		}`, policy.Backup{
			Physical: &policy.Physical{Reader: policy.ReaderAuto, Checkpoint: policy.CheckpointSpread, WAL: policy.WAL{Mode: policy.WALStream, MaxLag: 30 * policy.Duration(1e9), Slot: "holdfast_b"}},
		}},
		{"archive", "b.hf.hcl", `impact = "10%"
		physical {
			wal { mode = "archive" }
		}`, policy.Backup{
			Physical: &policy.Physical{Reader: policy.ReaderAuto, Checkpoint: policy.CheckpointSpread, WAL: policy.WAL{Mode: policy.WALArchive, MaxLag: 300 * policy.Duration(1e9)}},
		}},
		{"everything", "b.hf.hcl", `impact = "25%"
		physical {
			reader     = "local"
			max_rate   = "100MiB/s"
			checkpoint = "fast"
			wal {
				mode    = "stream"
				max_lag = "10s"
				slot    = "pitr"
			}
		}`, everything},
		{"JSON", "b.hf.json", `"impact": "25%", "physical": {"reader": "local", "max_rate": "100MiB/s", "checkpoint": "fast", "wal": {"mode": "stream", "max_lag": "10s", "slot": "pitr"}}`, everything},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := "backup \"b\" {\n source = source.postgres.app\n store = store.s\n retention = retention.r\n" + tc.text + "\n}\n"
			if tc.file == "b.hf.json" {
				text = `{"backup": {"b": {"source": "${source.postgres.app}", "store": "${store.s}", "retention": "${retention.r}", ` + tc.text + "}}}"
			}
			res, list := loadArchive(t, &txtar.Archive{Files: []txtar.File{{Name: "a.hf.hcl", Data: []byte(physicalRest)}, {Name: tc.file, Data: []byte(text)}}})
			if tc.want.KeepsWAL() && len(list) > 0 {
				t.Fatal(render(list))
			}
			got := res.Set.Backups["backup.b"]
			if diff := cmp.Diff(tc.want, policy.Backup{MaxRate: got.MaxRate, Impact: got.Impact, Physical: got.Physical}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if window := res.Set.Retentions["retention.r"].Continuous; window.String() != "30d" {
				t.Errorf("continuous is %s", window)
			}
		})
	}
}
