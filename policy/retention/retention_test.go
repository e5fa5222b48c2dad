package retention_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/retention"
	"github.com/holdfast-io/holdfast/state"
)

// points reads "2026-11-22 02:00" with flags: i incomplete, v verified, f failed proof. Ids are the texts.
func points(t testing.TB, texts ...string) []state.RestorePoint {
	t.Helper()
	var list []state.RestorePoint
	for _, text := range texts {
		when, flags := text[:16], text[16:]
		at, err := time.Parse("2006-01-02 15:04", when)
		if err != nil {
			t.Fatal(err)
		}
		p := state.RestorePoint{ID: when, Time: at, Incomplete: strings.Contains(flags, "i"), Copies: []state.Copy{{Store: "store.a"}}}
		if strings.ContainsAny(flags, "vf") {
			p.Copies[0].Proofs = []state.Proof{{Level: "stored", At: at, OK: strings.Contains(flags, "v")}}
		}
		list = append(list, p)
	}
	return list
}

func TestRules(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		rule   policy.Retention
		zone   string
		points []string
		want   map[string]string // kept point → reasons
	}{
		{
			"last",
			policy.Retention{Last: 2},
			"UTC",
			[]string{"2026-11-19 02:00", "2026-11-20 02:00", "2026-11-21 02:00"},
			map[string]string{"2026-11-20 02:00": "last 2", "2026-11-21 02:00": "last 2, newest complete"},
		},
		{
			"within counts from now, its end excluded",
			policy.Retention{Within: policy.Duration(24 * time.Hour)},
			"UTC",
			[]string{"2026-11-21 12:00", "2026-11-21 12:01", "2026-11-22 02:00", "2026-11-23 02:00"},
			map[string]string{"2026-11-21 12:01": "within 1d", "2026-11-22 02:00": "within 1d", "2026-11-23 02:00": "within 1d, newest complete"},
		},
		{
			"daily keeps the newest of each day that has points",
			policy.Retention{Daily: 2},
			"UTC",
			[]string{"2026-11-01 23:00", "2026-11-02 01:00", "2026-11-02 23:00", "2026-11-20 02:00", "2026-11-20 14:00"},
			map[string]string{"2026-11-02 23:00": "daily 2", "2026-11-20 14:00": "daily 2, newest complete"},
		},
		{
			"days are those of the zone",
			policy.Retention{Daily: 3},
			"Europe/Berlin",
			[]string{"2026-11-20 22:00", "2026-11-20 23:30", "2026-11-21 22:30"},
			map[string]string{"2026-11-20 22:00": "daily 3", "2026-11-21 22:30": "daily 3, newest complete"},
		},
		{
			"weeks begin on monday",
			policy.Retention{Weekly: 3},
			"UTC",
			[]string{"2026-11-08 12:00", "2026-11-09 12:00", "2026-11-15 12:00", "2026-11-16 12:00"},
			map[string]string{"2026-11-08 12:00": "weekly 3", "2026-11-15 12:00": "weekly 3", "2026-11-16 12:00": "weekly 3, newest complete"},
		},
		{
			"months and years",
			policy.Retention{Monthly: 2, Yearly: 2},
			"UTC",
			[]string{"2024-06-01 00:00", "2025-12-31 23:59", "2026-10-31 23:59", "2026-11-01 00:00"},
			map[string]string{"2025-12-31 23:59": "yearly 2", "2026-10-31 23:59": "monthly 2", "2026-11-01 00:00": "monthly 2, yearly 2, newest complete"},
		},
		{
			"a repeated hour is two hours",
			policy.Retention{Hourly: 3},
			"Europe/Berlin",
			[]string{"2026-10-24 23:30", "2026-10-25 00:30", "2026-10-25 01:30"},
			map[string]string{"2026-10-24 23:30": "hourly 3", "2026-10-25 00:30": "hourly 3", "2026-10-25 01:30": "hourly 3, newest complete"},
		},
		{
			"incomplete points count for nothing and go when a complete one came",
			policy.Retention{Last: 1},
			"UTC",
			[]string{"2026-11-18 02:00i", "2026-11-19 02:00", "2026-11-20 02:00i", "2026-11-21 02:00i"},
			map[string]string{
				"2026-11-19 02:00": "last 1, newest complete",
				"2026-11-20 02:00": "incomplete, until there is a newer complete one",
				"2026-11-21 02:00": "incomplete, until there is a newer complete one",
			},
		},
		{
			"the newest verified point stays, however old",
			policy.Retention{Last: 1},
			"UTC",
			[]string{"2020-01-01 00:00v", "2020-01-02 00:00v", "2026-11-20 02:00", "2026-11-21 02:00"},
			map[string]string{"2020-01-02 00:00": "newest verified", "2026-11-21 02:00": "last 1, newest complete"},
		},
		{
			"min_verified keeps so many of the newest verified",
			policy.Retention{Last: 1, MinVerified: 2},
			"UTC",
			[]string{"2026-11-18 02:00v", "2026-11-19 02:00v", "2026-11-20 02:00", "2026-11-21 02:00v"},
			map[string]string{"2026-11-19 02:00": "min_verified 2", "2026-11-21 02:00": "last 1, newest complete, min_verified 2"},
		},
		{
			"a damaged point takes no sound one's place",
			policy.Retention{Last: 2},
			"UTC",
			[]string{"2026-11-17 02:00v", "2026-11-18 02:00v", "2026-11-19 02:00v", "2026-11-20 02:00f", "2026-11-21 02:00f"},
			map[string]string{
				"2026-11-18 02:00": "last 2", "2026-11-19 02:00": "last 2, newest verified",
				"2026-11-20 02:00": "last 2", "2026-11-21 02:00": "last 2, newest complete",
			},
		},
		{
			"no rules leave the floors",
			policy.Retention{},
			"UTC",
			[]string{"2026-11-20 02:00v", "2026-11-21 02:00"},
			map[string]string{"2026-11-20 02:00": "newest verified", "2026-11-21 02:00": "newest complete"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			loc, err := time.LoadLocation(tc.zone)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, v := range retention.Apply(points(t, tc.points...), nil, tc.rule, now, loc).Keep {
				got[v.Point] = strings.Join(v.Reasons, ", ")
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExpireSaysWhy(t *testing.T) {
	rule := policy.Retention{Last: 1, Within: policy.Duration(36 * time.Hour), Daily: 1}
	d := retention.Apply(points(t, "2026-11-01 02:00", "2026-11-02 02:00i", "2026-11-03 02:00"), nil, rule, base, time.UTC)
	want := []retention.Verdict{
		{Index: 0, Point: "2026-11-01 02:00", Reasons: []string{"not in last 1, within 36h, daily 1"}},
		{Index: 1, Point: "2026-11-02 02:00", Reasons: []string{"incomplete, and there is a newer complete restore point"}},
	}
	if diff := cmp.Diff(want, d.Expire); diff != "" {
		t.Errorf("expired (-want +got):\n%s", diff)
	}
}

// TestADayThatComesTwice: St. John's turned its clock back at 00:01, so that a sunday was left and entered again.
func TestADayThatComesTwice(t *testing.T) {
	loc, err := time.LoadLocation("America/St_Johns")
	if err != nil {
		t.Fatal(err)
	}
	list := points(t, "2010-11-06 12:00", "2010-11-07 02:30", "2010-11-07 02:45", "2010-11-07 03:40")
	got := ids(retention.Apply(list, nil, policy.Retention{Daily: 3}, base, loc).Keep)
	if diff := cmp.Diff([]string{"2010-11-07 02:45", "2010-11-07 03:40"}, got); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}
