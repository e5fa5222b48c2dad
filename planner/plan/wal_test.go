package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// withWAL adds an expiry of WAL to the sample.
func withWAL() plan.Plan {
	p := sample()
	p.Actions = append(slices.Clone(p.Actions), plan.Action{
		ID: "expire WAL backup.pitr store.a 7", Kind: plan.ExpireWAL, Address: "backup.pitr", Store: "store.a", System: "7", Reason: plan.ReasonWALUnneeded,
		Why: "2 segments", Bytes: 1 << 20,
		WAL: []plan.Segments{{Timeline: 1, From: 1 << 24, To: 3 << 24, First: "000000010000000000000001", Last: "000000010000000000000002", Count: 2, Stored: 1 << 20}},
	})
	return p
}

func TestWALThatExpires(t *testing.T) {
	p := withWAL()
	if text := plan.Text(p); !strings.Contains(text, "x backup.pitr") || !strings.Contains(text, "expire WAL in store.a  2 segments") || !strings.Contains(text, "1 WAL expiry (1.0 MiB)") {
		t.Errorf("it is not told:\n%s", text)
	}
	if text := plan.Markdown(p); !strings.Contains(text, "- backup.pitr  expire WAL in store.a") {
		t.Errorf("it is not told in Markdown:\n%s", text)
	}
	if rest := plan.WithoutDeletions(p); slices.ContainsFunc(rest.Actions, func(a plan.Action) bool { return a.Kind == plan.ExpireWAL }) {
		t.Error("it is left in a plan without deletions")
	}
	if diff := cmp.Diff("+ expire WAL backup.pitr store.a 7 000000010000000000000001-000000010000000000000002", plan.Diff(sample(), p)); diff != "" {
		t.Errorf("difference (-want +got):\n%s", diff)
	}
	for name, edit := range map[string]func(*plan.Action){
		"store": func(a *plan.Action) { a.Store = "store.b" }, "server": func(a *plan.Action) { a.System = "8" },
		"segments": func(a *plan.Action) { a.WAL = slices.Clone(a.WAL); a.WAL[0].Last = "000000010000000000000003" },
	} {
		other := withWAL()
		edit(&other.Actions[len(other.Actions)-1])
		if plan.Fingerprint(other) == plan.Fingerprint(p) {
			t.Errorf("%s: the same fingerprint", name)
		}
	}
	data, err := plan.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := plan.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p.Actions, again.Actions); diff != "" {
		t.Errorf("actions read back (-want +got):\n%s", diff)
	}
	var l state.LSN
	if err := l.UnmarshalText([]byte("0/1000000")); err != nil || again.Actions[len(again.Actions)-1].WAL[0].From != l {
		t.Errorf("it begins at %s", again.Actions[len(again.Actions)-1].WAL[0].From)
	}
}

func TestStretches(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 22, 2, minute, 0, 0, time.UTC) }
	between := func(minutes ...int) (list []plan.Stretch) {
		for i := 0; i < len(minutes); i += 2 {
			list = append(list, plan.Stretch{From: at(minutes[i]), To: at(minutes[i+1])})
		}
		return list
	}
	for _, tc := range []struct {
		name              string
		all, kept, remain []int
	}{
		{"nothing is kept", []int{0, 10, 20, 30}, nil, []int{0, 10, 20, 30}},
		{"everything is kept", []int{0, 10, 20, 30}, []int{0, 40}, nil},
		{"the end is kept", []int{0, 10}, []int{5, 10}, []int{0, 5}},
		{"the beginning is kept", []int{0, 10}, []int{0, 5}, []int{5, 10}},
		{"the middle is kept", []int{0, 10}, []int{2, 4, 6, 8}, []int{0, 2, 4, 6, 8, 10}},
		{"others are kept", []int{10, 20}, []int{0, 5, 25, 30}, []int{10, 20}},
	} {
		got := plan.Span{Continuous: between(tc.all...)}.Without(between(tc.kept...))
		if diff := cmp.Diff(between(tc.remain...), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
	span := plan.Span{From: at(0), To: at(50), Points: 5, Continuous: between(0, 5, 10, 15, 20, 25, 30, 35, 40, 50)}
	want := "2026-11-22 02:00 to 2026-11-22 02:50 (5 points, every instant 2026-11-22 02:00 to 2026-11-22 02:05, 2026-11-22 02:10 to 2026-11-22 02:15, 2026-11-22 02:20 to 2026-11-22 02:25 and 2 more stretches)"
	if diff := cmp.Diff(want, span.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	lost := plan.Plan{Windows: []plan.Window{{
		Address: "backup.pitr", Before: plan.Span{From: at(0), To: at(50), Points: 5, Continuous: between(0, 50)}, After: plan.Span{From: at(0), To: at(50), Points: 5, Continuous: between(0, 20, 30, 50)}, Lost: true,
	}}}
	if text := plan.Text(lost); !strings.Contains(text, "loses every instant from 2026-11-22 02:20 to 2026-11-22 02:30\n") {
		t.Errorf("what is lost in the middle is not told:\n%s", text)
	}
}
