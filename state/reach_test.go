package state_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/state"
)

// history is a log with a gap on timeline 1, a promotion, an abandoned end and a timeline without a history file.
func history() state.WAL {
	return state.WAL{System: "7", SegmentSize: int64(seg), Timelines: []state.Timeline{
		{ID: 1, Ranges: []state.Range{
			{From: 1 * seg, To: 4 * seg, Until: moment(4)},
			{From: 6 * seg, To: 10*seg + 900, Until: moment(10)},
		}},
		{ID: 2, Parent: 1, Switch: 10*seg + 500, Ranges: []state.Range{{From: 10 * seg, To: 12 * seg, Until: moment(12)}}},
		{ID: 4, Ranges: []state.Range{{From: 14 * seg, To: 15 * seg, Until: moment(15)}}},
	}}
}

func TestReachAndBreaks(t *testing.T) {
	whole := history()
	whole.Timelines = whole.Timelines[:2]
	behind := history()
	behind.Timelines = []state.Timeline{{ID: 1, Ranges: behind.Timelines[0].Ranges[:1]}}
	late := history()
	late.Timelines = []state.Timeline{whole.Timelines[0], {ID: 2, Parent: 1, Switch: 10*seg + 500, Ranges: []state.Range{{From: 11 * seg, To: 12 * seg}}}}
	for _, tc := range []struct {
		name  string
		log   state.WAL
		base  state.Base
		reach []state.Piece
		why   string
	}{
		{"to the frontier, across a promotion", whole, state.Base{System: "7", Timeline: 1, Start: 7 * seg, End: 8 * seg}, []state.Piece{{0, 1}, {1, 0}}, ""},
		{"on the new timeline", whole, state.Base{System: "7", Timeline: 2, Start: 11 * seg, End: 11*seg + 9}, []state.Piece{{1, 0}}, ""},
		{"before a gap", whole, state.Base{System: "7", Timeline: 1, Start: 1 * seg, End: 2 * seg}, []state.Piece{{0, 0}}, "segment 000000010000000000000004 is missing"},
		{"across a gap", whole, state.Base{System: "7", Timeline: 1, Start: 3 * seg, End: 7 * seg}, nil, "segment 000000010000000000000004 is missing"},
		{"across a gap, with WAL of its own", whole, state.Base{System: "7", Timeline: 1, Start: 3 * seg, End: 7 * seg, Carries: true}, []state.Piece{{0, 1}, {1, 0}}, ""},
		{"in a gap, with WAL of its own", whole, state.Base{System: "7", Timeline: 1, Start: 4 * seg, End: 5 * seg, Carries: true}, nil, "segment 000000010000000000000005 is missing"},
		{"before the first WAL", whole, state.Base{System: "7", Timeline: 1, Start: 100, End: 2 * seg}, nil, "segment 000000010000000000000000 is missing"},
		{"past the promotion", whole, state.Base{System: "7", Timeline: 1, Start: 10*seg + 100, End: 10*seg + 600}, []state.Piece{{0, 1}}, "timeline 2 left timeline 1 at 0/A0001F4, before the base backup was consistent at 0/A000258"},
		{"no history file", history(), state.Base{System: "7", Timeline: 2, Start: 10 * seg, End: 11 * seg}, []state.Piece{{1, 0}}, "where timeline 4 came from is not known: 00000004.history is missing, or no host that can read it has looked"},
		{"gap behind the promotion", late, state.Base{System: "7", Timeline: 1, Start: 7 * seg, End: 8 * seg}, []state.Piece{{0, 1}}, "segment 00000002000000000000000A is missing"},
		{"WAL has not come so far", behind, state.Base{System: "7", Timeline: 1, Start: 3 * seg, End: 4*seg + 9}, nil, ""},
		{"another server", whole, state.Base{System: "8", Timeline: 1, Start: 1 * seg, End: 2 * seg}, nil, "the WAL is that of another server (system 7, the base backup is of 8)"},
		{"no WAL", state.WAL{System: "7"}, state.Base{System: "7", Timeline: 1, Start: 1 * seg, End: 2 * seg}, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.reach, tc.log.Reach(&tc.base)); diff != "" {
				t.Errorf("reach (-want +got):\n%s", diff)
			}
			why, broken := tc.log.Broken(&tc.base)
			if diff := cmp.Diff(tc.why, why.What); diff != "" || broken != (tc.why != "") {
				t.Errorf("broken is %t (-want +got):\n%s", broken, diff)
			}
		})
	}
	before := state.Base{System: "7", Timeline: 1, Start: 1 * seg, End: 2 * seg}
	if why, _ := whole.Broken(&before); !why.Since.Equal(moment(4)) {
		t.Errorf("the gap is told to begin at %s", why.Since)
	}
}
