package retention_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/retention"
	"github.com/holdfast-io/holdfast/state"
)

var base = time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)

func drawPoints(t *rapid.T) []state.RestorePoint {
	points := make([]state.RestorePoint, rapid.IntRange(0, 60).Draw(t, "points"))
	// Steps from minutes to months, so that every rule has something to decide; zero steps make equal times.
	step := rapid.SampledFrom([]time.Duration{0, time.Minute, 25 * time.Minute, 7 * time.Hour, 23 * time.Hour, 240 * time.Hour, 1300 * time.Hour}).Draw(t, "step")
	moment := base.Add(time.Duration(rapid.Int64Range(-1000, 1000).Draw(t, "shift")) * time.Minute)
	for i := range points {
		moment = moment.Add(-step * time.Duration(rapid.IntRange(0, 3).Draw(t, "gap")))
		p := state.RestorePoint{ID: fmt.Sprintf("p%02d", i), Time: moment, Incomplete: rapid.IntRange(0, 5).Draw(t, "incomplete") == 0}
		copied := state.Copy{Store: "store.a"}
		switch rapid.IntRange(0, 4).Draw(t, "proof") {
		case 0:
		case 1:
			copied.Proofs = []state.Proof{{Level: "read", At: moment.Add(time.Minute)}}
		default:
			copied.Proofs = []state.Proof{{Level: "read", At: moment.Add(time.Minute), OK: true}}
		}
		p.Copies = []state.Copy{copied}
		points[i] = p
	}
	return points
}

func drawRule(t *rapid.T) policy.Retention {
	n := rapid.IntRange(0, 6)
	return policy.Retention{
		Last: n.Draw(t, "last"), Within: policy.Duration(rapid.SampledFrom([]time.Duration{0, time.Hour, 48 * time.Hour, 90 * 24 * time.Hour}).Draw(t, "within")),
		Hourly: n.Draw(t, "hourly"), Daily: n.Draw(t, "daily"), Weekly: n.Draw(t, "weekly"), Monthly: n.Draw(t, "monthly"), Yearly: n.Draw(t, "yearly"),
		MinVerified: n.Draw(t, "min_verified"),
	}
}

func drawZone(t *rapid.T) *time.Location {
	loc, err := time.LoadLocation(rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia"}).Draw(t, "zone"))
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func ids(verdicts []retention.Verdict) []string {
	var out []string
	for _, v := range verdicts {
		out = append(out, v.Point)
	}
	return out
}

func TestKeepAndExpireAreEverythingOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		points := drawPoints(t)
		d := retention.Apply(points, nil, drawRule(t), base, drawZone(t))
		seen := make([]int, len(points))
		for _, v := range slices.Concat(d.Keep, d.Expire) {
			seen[v.Index]++
			if points[v.Index].ID != v.Point || len(v.Reasons) == 0 {
				t.Fatalf("verdict %+v about point %s", v, points[v.Index].ID)
			}
		}
		for i, n := range seen {
			if n != 1 {
				t.Fatalf("point %s has %d verdicts", points[i].ID, n)
			}
		}
	})
}

func TestNewestGoodPointsNeverExpire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		points, rule := drawPoints(t), drawRule(t)
		d := retention.Apply(points, nil, rule, base, drawZone(t))
		newest, verified := time.Time{}, []time.Time{}
		for _, p := range points {
			if !p.Incomplete && p.Time.After(newest) {
				newest = p.Time
			}
			if p.Verified() {
				verified = append(verified, p.Time)
			}
		}
		keptNewest, keptVerified := newest.IsZero(), 0
		for _, v := range d.Keep {
			p := points[v.Index]
			keptNewest = keptNewest || !p.Incomplete && p.Time.Equal(newest)
			if p.Verified() {
				keptVerified++
			}
		}
		if !keptNewest {
			t.Fatal("the newest complete point expires")
		}
		if want := min(len(verified), max(1, rule.MinVerified)); keptVerified < want {
			t.Fatalf("%d verified points stay, want at least %d", keptVerified, want)
		}
	})
}

func TestMoreRetentionNeverExpiresMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		points, rule, loc := drawPoints(t), drawRule(t), drawZone(t)
		more := rule
		n := rapid.IntRange(0, 3)
		more.Last += n.Draw(t, "last+")
		more.Within += policy.Duration(time.Duration(n.Draw(t, "within+")) * 30 * time.Hour)
		more.Hourly += n.Draw(t, "hourly+")
		more.Daily += n.Draw(t, "daily+")
		more.Weekly += n.Draw(t, "weekly+")
		more.Monthly += n.Draw(t, "monthly+")
		more.Yearly += n.Draw(t, "yearly+")
		more.MinVerified += n.Draw(t, "min_verified+")
		allowed := ids(retention.Apply(points, nil, rule, base, loc).Expire)
		for _, id := range ids(retention.Apply(points, nil, more, base, loc).Expire) {
			if !slices.Contains(allowed, id) {
				t.Fatalf("%s expires under %s (min_verified %d) but not under %s (min_verified %d)",
					id, retention.Describe(more), more.MinVerified, retention.Describe(rule), rule.MinVerified)
			}
		}
	})
}

func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		points, rule, loc := drawPoints(t), drawRule(t), drawZone(t)
		shuffled := rapid.Permutation(points).Draw(t, "shuffled")
		was := slices.Clone(shuffled)
		a, b := retention.Apply(points, nil, rule, base, loc), retention.Apply(shuffled, nil, rule, base, loc)
		if diff := cmp.Diff(ids(a.Keep), ids(b.Keep)); diff != "" {
			t.Fatalf("kept (-sorted +shuffled):\n%s", diff)
		}
		if diff := cmp.Diff(ids(a.Expire), ids(b.Expire)); diff != "" {
			t.Fatalf("expired (-sorted +shuffled):\n%s", diff)
		}
		if diff := cmp.Diff(was, shuffled); diff != "" {
			t.Fatalf("Apply changed its argument:\n%s", diff)
		}
	})
}

func TestApplyingAgainExpiresNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		points, rule, loc := drawPoints(t), drawRule(t), drawZone(t)
		d := retention.Apply(points, nil, rule, base, loc)
		var kept []state.RestorePoint
		for _, v := range d.Keep {
			kept = append(kept, points[v.Index])
		}
		again := retention.Apply(kept, nil, rule, base, loc)
		if len(again.Expire) != 0 {
			t.Fatalf("%v expire the second time", ids(again.Expire))
		}
		// Also when only some of the expiries were carried out.
		for _, v := range d.Expire {
			if rapid.Bool().Draw(t, "left over") {
				kept = append(kept, points[v.Index])
			}
		}
		allowed := ids(d.Expire)
		for _, id := range ids(retention.Apply(kept, nil, rule, base, loc).Expire) {
			if !slices.Contains(allowed, id) {
				t.Fatalf("%s expires only after others did", id)
			}
		}
	})
}
