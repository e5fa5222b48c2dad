package schedule_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/schedule"
)

var zones = []string{
	"", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Beirut", "America/St_Johns",
	"Pacific/Apia", "Asia/Kathmandu", "Africa/Casablanca", "Antarctica/Troll",
}

func drawRule(t *rapid.T) schedule.Rule {
	s := policy.Schedule{Timezone: rapid.SampledFrom(zones).Draw(t, "zone")}
	if rapid.Bool().Draw(t, "cron") {
		s.Cron = rapid.SampledFrom([]string{"*", "*/15", "0", "30", "1,59"}).Draw(t, "minute") + " " +
			rapid.SampledFrom([]string{"*", "*/6", "0", "1-3", "2", "23"}).Draw(t, "hour") + " " +
			rapid.SampledFrom([]string{"*", "1", "31", "*/7"}).Draw(t, "dom") + " * " +
			rapid.SampledFrom([]string{"*", "sun", "mon-fri"}).Draw(t, "dow")
	} else {
		s.Every = policy.Duration(rapid.Int64Range(1, 100_000).Draw(t, "every")) * policy.Duration(time.Second)
	}
	rule, err := schedule.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return rule
}

// drawMoment favours the hours around changes of the clock.
func drawMoment(t *rapid.T) time.Time {
	bases := []int64{1774746000, 1792890000, 1772953200, 1775311200, 1790956800, 1541300400, 1518912000, 1774648800, 1289102400, 1325239200}
	if rapid.Bool().Draw(t, "near a change") {
		return time.Unix(rapid.SampledFrom(bases).Draw(t, "change")+rapid.Int64Range(-100_000, 100_000).Draw(t, "offset"), 0).UTC()
	}
	return time.Unix(rapid.Int64Range(1_000_000_000, 2_200_000_000).Draw(t, "moment"), 0).UTC()
}

// TestNextAndLatestAgree: there is no slot between Latest(now) and Next(now), whichever way it is walked.
func TestNextAndLatestAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule, now := drawRule(t), drawMoment(t)
		next := rule.Next(now)
		if !next.After(now) {
			t.Fatalf("%s: Next(%s) = %s", rule, now, next)
		}
		latest, ok := rule.Latest(now)
		if !ok || latest.After(now) {
			t.Fatalf("%s: Latest(%s) = %s, %t", rule, now, latest, ok)
		}
		if got := rule.Next(latest); !got.Equal(next) {
			t.Fatalf("%s: Next(Latest(%s)) = %s, want %s", rule, now, got, next)
		}
		if got, _ := rule.Latest(next); !got.Equal(next) {
			t.Fatalf("%s: Latest(%s) = %s, want the slot itself", rule, next, got)
		}
		if got, _ := rule.Latest(next.Add(-time.Nanosecond)); !got.Equal(latest) {
			t.Fatalf("%s: Latest just before %s = %s, want %s", rule, next, got, latest)
		}
	})
}

// TestGapsStayBelowMaxGap also proves that slots are strictly ordered.
func TestGapsStayBelowMaxGap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := drawRule(t)
		longest := rule.MaxGap()
		slot := rule.Next(time.Unix(rapid.Int64Range(1_577_836_800, 2_200_000_000).Draw(t, "from"), 0))
		for range 200 {
			next := rule.Next(slot)
			if !next.After(slot) || next.Sub(slot) > longest {
				t.Fatalf("%s: %s then %s, MaxGap %s", rule, slot, next, longest)
			}
			slot = next
		}
	})
}

// TestEachWallTimeOnce: a cron slot of a day is served exactly once on every day, skipped and repeated hours included.
func TestEachWallTimeOnce(t *testing.T) {
	for _, zone := range zones {
		rule := mustParse(t, policy.Schedule{Cron: "30 2 * * *", Timezone: zone})
		from := at(t, "2012-01-01T12:00:00Z")
		if got := len(rule.Slots(from, from.AddDate(20, 0, 0))); got != 7305 {
			t.Errorf("%s: %d slots in 20 years, want one on each of 7305 days", zone, got)
		}
	}
}

// TestLatestDueIsTheLatest compares with a walk over the slots near now.
func TestLatestDueIsTheLatest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule, err := schedule.Parse(policy.Schedule{
			Cron: "*/20 * * * *", Timezone: rapid.SampledFrom(zones).Draw(t, "zone"), Jitter: policy.Duration(19 * time.Minute),
		})
		if err != nil {
			t.Fatal(err)
		}
		now, want := drawMoment(t), time.Time{}
		for _, s := range rule.Slots(now.Add(-72*time.Hour), now) {
			if !rule.Due("backup.app", s).After(now) {
				want = s
			}
		}
		if got, _ := rule.LatestDue("backup.app", now); !got.Equal(want) {
			t.Fatalf("LatestDue(%s) = %s, want %s", now, got, want)
		}
	})
}
