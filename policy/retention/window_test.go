package retention_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/retention"
	"github.com/holdfast-io/holdfast/state"
)

const seg = state.LSN(16 << 20)

// hourly is WAL of one segment an hour: the moment n hours after dawn is at segment n + 1.
func hourly(system, store string, ranges ...[2]int) state.WAL {
	t := state.Timeline{ID: 1}
	for _, r := range ranges {
		t.Ranges = append(t.Ranges, state.Range{From: state.LSN(r[0]+1) * seg, To: state.LSN(r[1]+1) * seg, Since: hoursIn(r[0]), Until: hoursIn(r[1])})
	}
	return state.WAL{Store: store, System: system, SegmentSize: int64(seg), Timelines: []state.Timeline{t}}
}

var dawn = base.Add(-100 * time.Hour) // base is 100 hours after it

func hoursIn(n int) time.Time { return dawn.Add(time.Duration(n) * time.Hour) }

// baseAt is a proven base backup of the hour before n.
func baseAt(n int, edits ...func(*state.RestorePoint)) state.RestorePoint {
	p := state.RestorePoint{
		ID: hoursIn(n).Format("02T15"), Time: hoursIn(n), Base: &state.Base{System: "7", Timeline: 1, Start: state.LSN(n) * seg, End: state.LSN(n+1) * seg},
		Copies: []state.Copy{{Store: "store.a", Proofs: []state.Proof{{Level: "read", At: hoursIn(n), OK: true}}}},
	}
	for _, edit := range edits {
		edit(&p)
	}
	return p
}

func TestBases(t *testing.T) {
	unproven := func(p *state.RestorePoint) { p.Copies[0].Proofs = nil }
	damaged := func(p *state.RestorePoint) { p.Copies[0].Proofs[0].OK = false }
	incomplete := func(p *state.RestorePoint) { p.Incomplete = true }
	upgraded := func(p *state.RestorePoint) { p.Base.System = "8" }
	elsewhere := func(p *state.RestorePoint) { p.Copies[0].Store = "store.b" }
	dump := func(p *state.RestorePoint) { p.Base = nil }
	whole := []state.WAL{hourly("7", "store.a", [2]int{0, 100})}
	for name, tc := range map[string]struct {
		points     []state.RestorePoint
		logs       []state.WAL
		continuous policy.Duration
		want       []int
	}{
		"the newest that is as old as the window": {[]state.RestorePoint{baseAt(10), baseAt(30), baseAt(60), baseAt(90)}, whole, policy.Duration(50 * time.Hour), []int{1}},
		"exactly as old":                     {[]state.RestorePoint{baseAt(10), baseAt(50), baseAt(90)}, whole, policy.Duration(50 * time.Hour), []int{1}},
		"none so old":                        {[]state.RestorePoint{baseAt(60), baseAt(90)}, whole, policy.Duration(50 * time.Hour), []int{0}},
		"no window":                          {[]state.RestorePoint{baseAt(10), baseAt(30), baseAt(74), baseAt(90)}, whole, 0, []int{2}},
		"no window, no WAL":                  {[]state.RestorePoint{baseAt(10), baseAt(30)}, nil, 0, nil},
		"a window, and no WAL yet":           {[]state.RestorePoint{baseAt(10), baseAt(30), baseAt(90)}, nil, policy.Duration(50 * time.Hour), []int{1}},
		"the first after a gap":              {[]state.RestorePoint{baseAt(30), baseAt(60), baseAt(80), baseAt(90)}, []state.WAL{hourly("7", "store.a", [2]int{0, 65}, [2]int{70, 100})}, policy.Duration(50 * time.Hour), []int{0, 2}},
		"inside of a gap":                    {[]state.RestorePoint{baseAt(30), baseAt(68), baseAt(69), baseAt(90)}, []state.WAL{hourly("7", "store.a", [2]int{0, 65}, [2]int{70, 100})}, policy.Duration(50 * time.Hour), []int{0, 1, 2, 3}},
		"a gap before the window":            {[]state.RestorePoint{baseAt(30), baseAt(60), baseAt(80)}, []state.WAL{hourly("7", "store.a", [2]int{0, 35}, [2]int{40, 100})}, policy.Duration(50 * time.Hour), []int{0, 1}},
		"damaged ones take nobody's place":   {[]state.RestorePoint{baseAt(10), baseAt(30, damaged), baseAt(60)}, whole, policy.Duration(50 * time.Hour), []int{0, 1}},
		"unproven ones take no proven one's": {[]state.RestorePoint{baseAt(10), baseAt(30, unproven), baseAt(60)}, whole, policy.Duration(50 * time.Hour), []int{0, 1}},
		"incomplete ones count for nothing":  {[]state.RestorePoint{baseAt(10), baseAt(30, incomplete), baseAt(60)}, whole, policy.Duration(50 * time.Hour), []int{0}},
		"dumps count for nothing":            {[]state.RestorePoint{baseAt(10), baseAt(30, dump), baseAt(60, dump)}, whole, policy.Duration(50 * time.Hour), []int{0}},
		"a server after an upgrade": {
			[]state.RestorePoint{baseAt(10), baseAt(60), baseAt(80, upgraded), baseAt(90, upgraded)},
			[]state.WAL{hourly("7", "store.a", [2]int{0, 75}), hourly("8", "store.a", [2]int{75, 100})},
			policy.Duration(50 * time.Hour),
			[]int{0, 2},
		},
		"a server before the window": {
			[]state.RestorePoint{baseAt(10), baseAt(30), baseAt(80, upgraded), baseAt(90, upgraded)},
			[]state.WAL{hourly("7", "store.a", [2]int{0, 45}), hourly("8", "store.a", [2]int{45, 100})},
			policy.Duration(50 * time.Hour),
			[]int{2},
		},
		"each store by itself": {
			[]state.RestorePoint{baseAt(20, elsewhere), baseAt(30), baseAt(60, elsewhere), baseAt(70)},
			[]state.WAL{hourly("7", "store.a", [2]int{0, 100}), hourly("7", "store.b", [2]int{0, 100})},
			policy.Duration(50 * time.Hour),
			[]int{0, 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := retention.Bases(tc.points, tc.logs, policy.Retention{Continuous: tc.continuous}, base)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The reasons that people read.
func TestBaseOfTheWindowIsTold(t *testing.T) {
	rule := policy.Retention{Last: 1, Continuous: policy.Duration(50 * time.Hour)}
	d := retention.Apply([]state.RestorePoint{baseAt(10), baseAt(30), baseAt(60), baseAt(90)}, []state.WAL{hourly("7", "store.a", [2]int{0, 100})}, rule, base, time.UTC)
	got := map[int][]string{}
	for _, v := range append(d.Keep, d.Expire...) {
		got[v.Index] = v.Reasons
	}
	want := map[int][]string{
		0: {"not in last 1", "not base of the continuous window"}, 1: {"base of the continuous window"},
		2: {"not in last 1", "not base of the continuous window"}, 3: {"last 1", "newest complete", "newest verified"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
