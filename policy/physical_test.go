package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/policy"
)

func TestParsePercent(t *testing.T) {
	for in, want := range map[string]int{"1%": 1, "10%": 10, "100 %": 100} {
		if got, err := policy.ParsePercent(in); err != nil || got != want {
			t.Errorf("%s: got %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "%", "10", "0%", "101%", "-5%", "1.5%", "10%%", "9999999999999999999%"} {
		if got, err := policy.ParsePercent(in); err == nil {
			t.Errorf("%q: got %d, want an error", in, got)
		}
	}
}

func FuzzPercent(f *testing.F) {
	for _, s := range []string{"10%", "100 %", "0%", "%", "1e1%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := policy.ParsePercent(s)
		if err != nil {
			return
		}
		if again, err := policy.ParsePercent(fmt.Sprintf("%d%%", n)); n < 1 || n > 100 || err != nil || again != n {
			t.Fatalf("%q is %d, read again %d, %v", s, n, again, err)
		}
	})
}

func TestSlots(t *testing.T) {
	for address, want := range map[string]string{
		"backup.app_pitr":                      "holdfast_app_pitr",
		`backup.db["eu"]`:                      "holdfast_db_eu",
		`backup.App-2["a.b"]`:                  "holdfast_app_2_a_b",
		"backup." + strings.Repeat("a", 54):    "holdfast_" + strings.Repeat("a", 54),
		"backup.é":                             "holdfast__",
		"backup.x" + strings.Repeat("y", 1000): "holdfast_x" + strings.Repeat("y", 44) + "_942f92eb",
	} {
		got := policy.DefaultSlot(address)
		if got != want {
			t.Errorf("%.40s: got %s, want %s", address, got, want)
		}
		if !policy.ValidSlot(got) {
			t.Errorf("%.40s: PostgreSQL does not take %s", address, got)
		}
	}
	for _, bad := range []string{"", "A", "a-b", "a b", "é", strings.Repeat("a", 64)} {
		if policy.ValidSlot(bad) {
			t.Errorf("%q is taken for a slot's name", bad)
		}
	}
}

func TestPhysical(t *testing.T) {
	keeps := map[string]bool{}
	for name, b := range map[string]policy.Backup{
		"files": {}, "logical": {Logical: &policy.Logical{}}, "nothing said": {Physical: &policy.Physical{}},
		"none":   {Physical: &policy.Physical{WAL: policy.WAL{Mode: policy.WALNone}}},
		"stream": {Physical: &policy.Physical{WAL: policy.WAL{Mode: policy.WALStream}}}, "archive": {Physical: &policy.Physical{WAL: policy.WAL{Mode: policy.WALArchive}}},
	} {
		keeps[name] = b.KeepsWAL()
	}
	if diff := cmp.Diff(map[string]bool{"files": false, "logical": false, "nothing said": false, "none": false, "stream": true, "archive": true}, keeps); diff != "" {
		t.Errorf("backups that keep WAL (-want +got):\n%s", diff)
	}
	lags := []time.Duration{policy.WALStream.DefaultLag().Std(), policy.WALArchive.DefaultLag().Std(), policy.WALNone.DefaultLag().Std()}
	if diff := cmp.Diff([]time.Duration{30 * time.Second, 5 * time.Minute, 0}, lags); diff != "" {
		t.Errorf("lags (-want +got):\n%s", diff)
	}
	if got := []int{policy.Backup{}.ImpactPercent(), policy.Backup{Impact: 25}.ImpactPercent()}; got[0] != 10 || got[1] != 25 {
		t.Errorf("impact: got %v, want 10 and 25", got)
	}
}
