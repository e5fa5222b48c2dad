package cli

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-io/holdfast/internal/repo/wal"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

const (
	factsSystem = "7301234567890123456"
	seg         = state.LSN(16 << 20)
)

func minute(n int) time.Time { return time.Date(2026, 11, 22, 2, n, 0, 0, time.UTC) }

// came is a file of the log that a store says came at a minute.
func came(t testing.TB, name string, at int) wal.Stored {
	t.Helper()
	f, err := wal.Parse(7301234567890123456, name)
	if err != nil {
		t.Fatal(err)
	}
	return wal.Stored{File: f, Bytes: 10, Time: minute(at)}
}

const (
	file1, file2, file3, file5 = "000000010000000000000001", "000000010000000000000002", "000000010000000000000003", "000000010000000000000005"
	second3                    = "000000020000000000000003"
)

func known(ranges ...state.Range) *state.WAL {
	return &state.WAL{Store: "store.a", Repository: "r1", System: factsSystem, SegmentSize: int64(seg), Seen: minute(1), Timelines: []state.Timeline{{ID: 1, Ranges: ranges}}}
}

func TestWALFacts(t *testing.T) {
	files := func(list ...wal.Stored) []wal.Stored { return list }
	three := files(came(t, file1, 10), came(t, file2, 20), came(t, file3, 30))
	gap := files(came(t, file1, 10), came(t, file2, 20), came(t, file5, 50))
	base := func(at int, start, end state.LSN) state.RestorePoint {
		return state.RestorePoint{Time: minute(at), Base: &state.Base{System: factsSystem, Timeline: 1, Start: start, End: end}}
	}
	one := func(r ...state.Range) []state.Timeline { return []state.Timeline{{ID: 1, Ranges: r}} }
	for _, tc := range []struct {
		name string
		in   storedWAL
		want []state.Timeline
		seen int
	}{
		{
			"the time of the object before the last one",
			storedWAL{files: three},
			one(state.Range{From: seg, To: 4 * seg, Since: minute(10), Until: minute(20), Stored: 30}), 30,
		},
		{
			"one object alone tells no moment",
			storedWAL{files: three[:1]},
			one(state.Range{From: seg, To: 2 * seg, Since: minute(10), Stored: 10}), 10,
		},
		{
			"pieces count as far as they go",
			storedWAL{files: append(three[:2:2], came(t, file3+".00000000-00010000", 21), came(t, file3+".00010000-00018000", 22))},
			one(state.Range{From: seg, To: 3*seg + 0x18000, Since: minute(10), Until: minute(21), Stored: 40}), 22,
		},
		{
			"stored in another order than it was written",
			storedWAL{files: files(came(t, file1, 10), came(t, file2, 31), came(t, file3, 30))},
			one(state.Range{From: seg, To: 4 * seg, Since: minute(10), Until: minute(30), Stored: 30}), 31,
		},
		{
			"a commit that was read says more",
			storedWAL{files: three, commits: map[position]time.Time{{1, 4 * seg}: minute(5)}},
			one(state.Range{From: seg, To: 4 * seg, Since: minute(5), Until: minute(5), Stored: 30}), 30,
		},
		{
			"the server had nothing more",
			storedWAL{files: three, end: position{1, 4*seg - 8}, heard: minute(55)},
			one(state.Range{From: seg, To: 4 * seg, Since: minute(10), Until: minute(55), Stored: 30}), 55,
		},
		{
			"the server had more",
			storedWAL{files: three, end: position{1, 4*seg + 8}, heard: minute(55)},
			one(state.Range{From: seg, To: 4 * seg, Since: minute(10), Until: minute(20), Stored: 30}), 55,
		},
		{
			"the server went on on another timeline",
			storedWAL{files: three, end: position{2, 4*seg - 8}, heard: minute(55)},
			one(state.Range{From: seg, To: 4 * seg, Since: minute(10), Until: minute(20), Stored: 30}), 55,
		},
		{
			"a base backup ended in it",
			storedWAL{files: three, bases: []state.RestorePoint{base(25, 3*seg, 3*seg+100), base(9, seg, seg+100)}},
			one(state.Range{From: seg, To: 4 * seg, Since: minute(10), Until: minute(25), Stored: 30}), 30,
		},
		{
			"a base backup began behind it",
			storedWAL{files: three, bases: []state.RestorePoint{base(15, 4*seg, 4*seg+100)}},
			one(state.Range{From: seg, To: 4 * seg, Since: minute(10), Until: minute(15), Stored: 30}), 30,
		},
		{
			"nothing has come since",
			storedWAL{files: files(came(t, file1, 40), came(t, file2, 41)), before: known(state.Range{From: seg, To: 3 * seg, Since: minute(0), Until: minute(1)})},
			one(state.Range{From: seg, To: 3 * seg, Since: minute(0), Until: minute(40), Stored: 20}), 1,
		},
		{
			"what was known before holds still",
			storedWAL{files: three[:2], before: known(state.Range{From: seg, To: 2 * seg, Since: minute(0), Until: minute(15)})},
			one(state.Range{From: seg, To: 3 * seg, Since: minute(0), Until: minute(15), Stored: 20}), 20,
		},
		{
			"a gap",
			storedWAL{files: gap},
			one(state.Range{From: seg, To: 3 * seg, Since: minute(10), Until: minute(10), Stored: 20}, state.Range{From: 5 * seg, To: 6 * seg, Since: minute(50), Stored: 10}), 50,
		},
		{
			"what expired is no gap",
			storedWAL{files: gap, before: known(
				state.Range{From: seg, To: 3 * seg, Since: minute(1), Until: minute(2), Cut: true}, state.Range{From: 5 * seg, To: 6 * seg, Since: minute(4), Until: minute(5)})},
			one(state.Range{From: seg, To: 3 * seg, Since: minute(1), Until: minute(10), Stored: 20, Cut: true}, state.Range{From: 5 * seg, To: 6 * seg, Since: minute(4), Until: minute(5), Stored: 10}), 1,
		},
		{
			"what an expiry left behind is none either",
			storedWAL{files: gap, before: known(state.Range{From: 5 * seg, To: 6 * seg, Since: minute(4), Until: minute(5)})},
			one(state.Range{From: seg, To: 3 * seg, Since: minute(10), Until: minute(10), Stored: 20, Cut: true}, state.Range{From: 5 * seg, To: 6 * seg, Since: minute(4), Until: minute(5), Stored: 10}), 1,
		},
		{
			"a hole in what was whole is a gap",
			storedWAL{files: gap, before: known(state.Range{From: seg, To: 6 * seg, Since: minute(1), Until: minute(5)})},
			one(state.Range{From: seg, To: 3 * seg, Since: minute(1), Until: minute(10), Stored: 20}, state.Range{From: 5 * seg, To: 6 * seg, Since: minute(50), Stored: 10}), 1,
		},
		{
			"a switch",
			storedWAL{
				files:     files(came(t, file1, 10), came(t, file2, 20), came(t, "00000002.history", 25), came(t, second3, 30)),
				histories: map[uint32]wal.Switch{2: {Timeline: 2, Parent: 1, At: uint64(3*seg + 40)}},
			},
			[]state.Timeline{
				{ID: 1, Ranges: []state.Range{{From: seg, To: 3 * seg, Since: minute(10), Until: minute(10), Stored: 20}}},
				{ID: 2, Parent: 1, Switch: 3*seg + 40, Ranges: []state.Range{{From: 3 * seg, To: 4 * seg, Since: minute(30), Stored: 10}}},
			},
			30,
		},
		{
			"a switch that nobody can read",
			storedWAL{files: files(came(t, "00000002.history", 25), came(t, second3, 30))},
			[]state.Timeline{{ID: 2, Ranges: []state.Range{{From: 3 * seg, To: 4 * seg, Since: minute(30), Stored: 10}}}},
			30,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.in.store, tc.in.repository, tc.in.system, tc.in.size = "store.a", "r1", factsSystem, int64(seg)
			got, err := tc.in.log()
			want := state.WAL{Store: "store.a", Repository: "r1", System: factsSystem, SegmentSize: int64(seg), Timelines: tc.want, Seen: minute(tc.seen)}
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// The store of a copy says when it was copied, which tells nothing of the server: times come from the log that it is a copy of.
func TestWALFactsOfACopy(t *testing.T) {
	origin := storedWAL{
		store: "store.a", repository: "r1", system: factsSystem, size: int64(seg), end: position{1, 4 * seg}, heard: minute(40),
		files: []wal.Stored{came(t, file1, 10), came(t, file2, 20), came(t, file3, 30)},
	}
	if _, err := origin.log(); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		files []wal.Stored
		want  state.Range
	}{
		"all of it":   {[]wal.Stored{came(t, file1, 58), came(t, file2, 58), came(t, file3, 59)}, state.Range{From: seg, To: 4 * seg, Since: minute(10), Until: minute(40), Stored: 30}},
		"some of it":  {[]wal.Stored{came(t, file1, 58), came(t, file2, 58)}, state.Range{From: seg, To: 3 * seg, Since: minute(10), Until: minute(10), Stored: 20}},
		"the newest":  {[]wal.Stored{came(t, file3, 59)}, state.Range{From: 3 * seg, To: 4 * seg, Since: minute(40), Until: minute(40), Stored: 10}},
		"one of them": {[]wal.Stored{came(t, file2, 59)}, state.Range{From: 2 * seg, To: 3 * seg, Since: minute(59), Stored: 10}},
	} {
		c := storedWAL{store: "store.b", repository: "r2", system: factsSystem, size: int64(seg), files: tc.files, origin: &origin}
		got, err := c.log()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]state.Range{tc.want}, got.Timelines[0].Ranges); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestWALThatIsNoneIsRefused(t *testing.T) {
	s := storedWAL{store: "store.a", system: factsSystem, size: 3, files: []wal.Stored{came(t, file1, 1)}}
	if got, err := s.log(); err == nil {
		t.Errorf("%+v", got)
	}
}

// Facts replace what was known of the same log, and nothing else.
func TestWALIsBooked(t *testing.T) {
	a, b, other := state.WAL{Store: "store.a", System: "7"}, state.WAL{Store: "store.b", System: "7"}, state.WAL{Store: "store.a", System: "8"}
	c := &state.Catalog{}
	book(c, []seenWAL{{"backup.x", "store.b", "7", &b}, {"backup.x", "store.a", "7", &a}})
	news := a
	news.SegmentSize = 5
	book(c, []seenWAL{{"backup.x", "store.a", "7", &news}, {"backup.x", "store.a", "8", &other}, {"backup.y", "store.a", "7", nil}})
	if diff := cmp.Diff(map[string][]state.WAL{"backup.x": {news, other, b}}, c.WAL); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	book(c, []seenWAL{{"backup.x", "store.a", "7", nil}, {"backup.x", "store.a", "8", nil}, {"backup.x", "store.b", "7", nil}})
	if len(c.WAL) != 0 {
		t.Errorf("%+v is left", c.WAL)
	}
}

func TestNameInTheCatalog(t *testing.T) {
	set := policy.Set{Moved: []policy.Moved{{From: "backup.old", To: "backup.new"}}}
	c := &state.Catalog{WAL: map[string][]state.WAL{"backup.old": {{}}}}
	if got := nameIn(c, set, "backup.new"); got != "backup.old" {
		t.Errorf("before the move it is %s", got)
	}
	c.Move("backup.old", "backup.new")
	if got := nameIn(c, set, "backup.new"); got != "backup.new" {
		t.Errorf("after the move it is %s", got)
	}
}

// What is copied: histories, what is missing, and what has come since; never what is about to go.
func TestWALToCopy(t *testing.T) {
	var theirs []wal.Stored
	for _, name := range []string{
		file1, file2, file2 + ".00000028.backup", file3, file3 + ".partial", "000000010000000000000004.00000000-00000064", "00000002.history", second3,
		file5 + ".00000000-00000064",
	} {
		theirs = append(theirs, came(t, name, 1))
	}
	ours := []wal.Stored{came(t, file3, 2), came(t, file5, 2)}
	runs := []plan.Segments{{Timeline: 1, First: file2, Last: file3}}
	var got []string
	for _, f := range walToCopy(theirs, ours, runs) {
		got = append(got, f.Name())
	}
	want := []string{file2, file2 + ".00000028.backup", "000000010000000000000004.00000000-00000064", "00000002.history", second3}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	older := []plan.Segments{{Timeline: 2, First: second3, Last: second3}}
	for _, f := range walToCopy(theirs, nil, older) {
		if f.Timeline == 1 {
			t.Errorf("%s of an older timeline is copied", f.Name())
		}
	}
}

// TestCutOffExpiry: segments left the catalog, and the process died while it deleted them. Whichever of them are left, the next look
// finds no gap, tells of no instant that is not there, and what was kept is as it was.
func TestCutOffExpiry(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(2, 12).Draw(rt, "segments")
		from := rapid.IntRange(1, n).Draw(rt, "from")
		to := rapid.IntRange(from, n).Draw(rt, "to") // the segments [from,to) expire
		var all, left []wal.Stored
		for i := 1; i <= n; i++ {
			f := came(t, fmt.Sprintf("0000000100000000%08X", i), i)
			all = append(all, f)
			if i < from || i >= to || rapid.Bool().Draw(rt, "left") {
				left = append(left, f)
			}
		}
		s := storedWAL{store: "store.a", repository: "r1", system: factsSystem, size: int64(seg), files: all}
		whole, err := s.log()
		if err != nil {
			rt.Fatal(err)
		}
		booked := whole.Without(1, state.LSN(from)*seg, state.LSN(to)*seg)
		s.files, s.before = left, &booked
		got, err := s.log()
		if err != nil {
			rt.Fatal(err)
		}
		if gaps := got.Gaps(); len(gaps) > 0 {
			rt.Fatalf("gaps %+v in %+v, booked %+v", gaps, got, booked)
		}
		for _, kept := range booked.Timelines[0].Ranges {
			r := got.Timelines[0].Holding(kept.From)
			if r == nil || r.To < kept.To {
				rt.Fatalf("%+v is not in %+v any more", kept, got)
			}
		}
		for _, r := range got.Timelines[0].Ranges {
			if last := minute(int(r.To/seg) - 1); r.Until.After(last) {
				rt.Fatalf("%+v is said to hold what was committed after its last segment came", r)
			}
		}
	})
}
