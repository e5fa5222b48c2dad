package schedule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/schedule"
)

func mustParse(t testing.TB, s policy.Schedule) schedule.Rule {
	t.Helper()
	rule, err := schedule.Parse(s)
	if err != nil {
		t.Fatalf("Parse(%+v): %v", s, err)
	}
	return rule
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v.UTC()
}

// TestSlotsAcrossClockChanges has one row per way in which a zone moves its clock.
func TestSlotsAcrossClockChanges(t *testing.T) {
	for _, tc := range []struct {
		name, cron, zone, from, to string
		want                       []string
	}{
		{
			"berlin skips 02:00 to 03:00: the slot happens at the first instant after", "30 2 * * *", "Europe/Berlin",
			"2026-03-27T12:00:00Z", "2026-03-31T00:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		},
		{
			"berlin skips four quarters: they are one slot, and it is also the slot of 03:00", "*/15 2,3 * * *", "Europe/Berlin",
			"2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-29T01:15:00Z", "2026-03-29T01:30:00Z", "2026-03-29T01:45:00Z"},
		},
		{
			"berlin repeats 02:00 to 03:00: the slot happens the first time only", "30 2 * * *", "Europe/Berlin",
			"2026-10-24T12:00:00Z", "2026-10-27T00:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		},
		{
			"berlin hourly over the repeated hour", "@hourly", "Europe/Berlin",
			"2026-10-24T22:30:00Z", "2026-10-25T03:00:00Z",
			[]string{"2026-10-24T23:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z", "2026-10-25T03:00:00Z"},
		},
		{
			"new york in spring", "15 2 * * *", "America/New_York",
			"2026-03-07T12:00:00Z", "2026-03-10T00:00:00Z",
			[]string{"2026-03-08T07:00:00Z", "2026-03-09T06:15:00Z"},
		},
		{
			"new york in autumn", "15 1 * * *", "America/New_York",
			"2026-10-31T12:00:00Z", "2026-11-03T00:00:00Z",
			[]string{"2026-11-01T05:15:00Z", "2026-11-02T06:15:00Z"},
		},
		{
			"lord howe skips half an hour: 02:15 is skipped, 02:30 is not", "15,30 2 * * *", "Australia/Lord_Howe",
			"2026-10-02T18:00:00Z", "2026-10-04T18:00:00Z",
			[]string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z", "2026-10-04T15:30:00Z"},
		},
		{
			"lord howe repeats 01:30 to 02:00", "0,45 1,2 * * *", "Australia/Lord_Howe",
			"2026-04-04T13:00:00Z", "2026-04-04T17:00:00Z",
			[]string{"2026-04-04T14:00:00Z", "2026-04-04T14:45:00Z", "2026-04-04T15:30:00Z", "2026-04-04T16:15:00Z"},
		},
		{
			"sao paulo skipped midnight itself", "0 0 * * *", "America/Sao_Paulo",
			"2018-11-02T12:00:00Z", "2018-11-05T12:00:00Z",
			[]string{"2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"},
		},
		{
			"sao paulo repeated the last hour of a day", "30 23 * * *", "America/Sao_Paulo",
			"2018-02-17T12:00:00Z", "2018-02-19T12:00:00Z",
			[]string{"2018-02-18T01:30:00Z", "2018-02-19T02:30:00Z"},
		},
		{
			"beirut skips midnight on a sunday, which stays a sunday", "0 0 * * sun", "Asia/Beirut",
			"2026-03-24T00:00:00Z", "2026-04-06T00:00:00Z",
			[]string{"2026-03-28T22:00:00Z", "2026-04-04T21:00:00Z"},
		},
		{
			"st john's repeated an hour from 00:01, so that midnight came twice", "0 0 * * *", "America/St_Johns",
			"2010-11-06T12:00:00Z", "2010-11-08T12:00:00Z",
			[]string{"2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"},
		},
		{
			"samoa skipped a whole day: its slots are one, at the start of the next day", "0 0,12 * * *", "Pacific/Apia",
			"2011-12-29T12:00:00Z", "2011-12-31T12:00:00Z",
			[]string{"2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z", "2011-12-31T10:00:00Z"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rule := mustParse(t, policy.Schedule{Cron: tc.cron, Timezone: tc.zone})
			var got []string
			for _, s := range rule.Slots(at(t, tc.from), at(t, tc.to)) {
				got = append(got, s.Format(time.RFC3339))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("slots (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCronFields(t *testing.T) {
	for _, tc := range []struct{ cron, after, want string }{
		{"15 */6 * * *", "2026-11-22T06:15:00Z", "2026-11-22T12:15:00Z"},
		{"0 3 * jan-mar mon,fri", "2026-11-22T00:00:00Z", "2027-01-01T03:00:00Z"},
		{"0 3 13 * fri", "2026-11-22T00:00:00Z", "2026-11-27T03:00:00Z"}, // either day field, as in cron
		{"0 3 * * 7", "2026-11-22T03:00:00Z", "2026-11-29T03:00:00Z"},
		{"0 3 * * 5-7", "2026-11-20T04:00:00Z", "2026-11-21T03:00:00Z"},
		{"0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"0 0 31 * *", "2026-04-01T00:00:00Z", "2026-05-31T00:00:00Z"},
		{"@daily", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"@weekly", "2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"},
		{"@monthly", "2026-11-22T00:00:00Z", "2026-12-01T00:00:00Z"},
		{"@yearly", "2026-11-22T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"0 0 1 1 *", "1969-06-01T00:00:00Z", "1970-01-01T00:00:00Z"},
	} {
		t.Run(tc.cron, func(t *testing.T) {
			rule := mustParse(t, policy.Schedule{Cron: tc.cron})
			if got := rule.Next(at(t, tc.after)).Format(time.RFC3339); got != tc.want {
				t.Errorf("Next(%s) = %s, want %s", tc.after, got, tc.want)
			}
		})
	}
}

func TestEveryIsAlignedToTheEpoch(t *testing.T) {
	rule := mustParse(t, policy.Schedule{Every: policy.Duration(7 * time.Hour), Timezone: "Europe/Berlin"})
	slot, ok := rule.Latest(time.Unix(7*3600*3+5, 0))
	if want := time.Unix(7*3600*3, 0).UTC(); !ok || !slot.Equal(want) {
		t.Errorf("Latest = %s, %t, want %s", slot, ok, want)
	}
	if slot, _ := rule.Latest(time.Unix(-1, 0)); !slot.Equal(time.Unix(-7*3600, 0)) {
		t.Errorf("Latest before the epoch = %s", slot)
	}
}

func TestMaxGap(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		s    policy.Schedule
		want time.Duration
	}{
		{policy.Schedule{Every: policy.Duration(time.Hour)}, time.Hour},
		{policy.Schedule{Cron: "@hourly"}, time.Hour},
		{policy.Schedule{Cron: "@hourly", Timezone: "Europe/Berlin"}, 2 * time.Hour},
		{policy.Schedule{Cron: "@hourly", Timezone: "Australia/Lord_Howe"}, 90 * time.Minute},
		{policy.Schedule{Cron: "15 */6 * * *"}, 6 * time.Hour},
		{policy.Schedule{Cron: "15 */6 * * *", Timezone: "Europe/Berlin"}, 7 * time.Hour},
		{policy.Schedule{Cron: "0 9,17 * * *"}, 16 * time.Hour},
		{policy.Schedule{Cron: "30 2 * * *", Timezone: "Europe/Berlin"}, 25 * time.Hour},
		{policy.Schedule{Cron: "0 3 * * mon-fri"}, 3 * day},
		{policy.Schedule{Cron: "0 3 1 * *"}, 31 * day},
		{policy.Schedule{Cron: "0 3 31 * *"}, 61 * day},
		{policy.Schedule{Cron: "0 3 29 2 *"}, 4*365*day + day},
	} {
		if got := mustParse(t, tc.s).MaxGap(); got != tc.want {
			t.Errorf("MaxGap(%+v) = %s, want %s", tc.s, got, tc.want)
		}
	}
}

func TestJitter(t *testing.T) {
	rule := mustParse(t, policy.Schedule{Cron: "0 2 * * *", Jitter: policy.Duration(30 * time.Minute)})
	slot := at(t, "2026-11-22T02:00:00Z")
	due := rule.Due("backup.app", slot)
	if !due.Equal(rule.Due("backup.app", slot)) || due.Before(slot) || !due.Before(slot.Add(30*time.Minute)) {
		t.Fatalf("Due = %s", due)
	}
	if other := rule.Due("backup.web", slot); other.Equal(due) {
		t.Errorf("two addresses share the delay %s", due.Sub(slot))
	}
	for _, tc := range []struct{ now, want time.Time }{
		{due, slot},
		{due.Add(-time.Second), slot.AddDate(0, 0, -1)},
	} {
		if got, ok := rule.LatestDue("backup.app", tc.now); !ok || !got.Equal(tc.want) {
			t.Errorf("LatestDue(%s) = %s, %t, want %s", tc.now, got, ok, tc.want)
		}
	}
}

func TestZeroRuleHasNoSlots(t *testing.T) {
	var rule schedule.Rule
	if _, ok := rule.Latest(at(t, "2026-11-22T02:00:00Z")); ok || !rule.Next(time.Time{}).IsZero() || rule.MaxGap() != 0 {
		t.Error("the zero rule has slots")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct {
		s    policy.Schedule
		want string
	}{
		{policy.Schedule{}, "needs cron or every"},
		{policy.Schedule{Cron: "@daily", Every: 1}, "not both"},
		{policy.Schedule{Cron: "0 0 31 2 *"}, "never happens"},
		{policy.Schedule{Cron: "0 0 * *"}, "expected exactly 5 fields"},
		{policy.Schedule{Cron: "61 0 * * *"}, "above maximum"},
		{policy.Schedule{Cron: " "}, "is empty"},
		{policy.Schedule{Cron: "TZ=UTC 0 0 * * *"}, "timezone attribute"},
		{policy.Schedule{Cron: "TZ="}, "timezone attribute"},
		{policy.Schedule{Cron: "@every 5m"}, "every ="},
		{policy.Schedule{Cron: "@daily", Timezone: "Mars/Olympus"}, "is not an IANA time zone"},
		{policy.Schedule{Cron: "@daily", Timezone: "Local"}, "is not an IANA time zone"},
		{policy.Schedule{Every: policy.Duration(time.Millisecond)}, "whole number of seconds"},
		{policy.Schedule{Every: policy.Duration(-time.Hour)}, "whole number of seconds"},
		{policy.Schedule{Cron: "@hourly", Jitter: policy.Duration(time.Hour)}, "shorter than the time between two slots (1h)"},
		{policy.Schedule{Cron: "@hourly", Jitter: -1}, "negative"},
	} {
		if _, err := schedule.Parse(tc.s); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Parse(%+v) = %v, want %q", tc.s, err, tc.want)
		}
	}
}

// FuzzParse: a schedule that is accepted has slots, one after the other, or says that it has none.
func FuzzParse(f *testing.F) {
	for _, cron := range []string{"0 2 * * *", "*/5 1-3,7 1,15 jan-mar mon", "@daily", "60 * * * *", "* * 31 2 *", "a b c d e", "*/0 * * * *", ""} {
		f.Add(cron, int64(0), "UTC")
		f.Add(cron, int64(3600), "Europe/Berlin")
	}
	f.Fuzz(func(t *testing.T, cron string, every int64, zone string) {
		if len(cron) > 200 {
			return
		}
		_, _ = schedule.Parse(policy.Schedule{Cron: cron, Every: policy.Duration(every), Timezone: zone})
	})
}
