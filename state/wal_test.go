package state_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/state"
)

func TestLSNText(t *testing.T) {
	for text, want := range map[string]state.LSN{"0/0": 0, "0/3000028": 0x3000028, "16/B374D848": 0x16B374D848, "FFFFFFFF/FFFFFFFF": 1<<64 - 1} {
		var got state.LSN
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != text {
			t.Errorf("%s: got %d, %v; want %d", text, uint64(got), err, uint64(want))
		}
	}
	for _, bad := range []string{"", "/", "0", "0/", "/0", "00/1", "0/0a", "0/a", "g/1", "0/100000000", "0/1/2", "-1/0", "0/ 1"} {
		var got state.LSN
		if err := got.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is read as %s", bad, got)
		}
	}
}

func FuzzLSN(f *testing.F) {
	for _, s := range []string{"0/0", "16/B374D848", "0/00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var l state.LSN
		if err := l.UnmarshalText([]byte(s)); err == nil && l.String() != s {
			t.Fatalf("%q is read as %s", s, l)
		}
	})
}

// The names are what pg_walfile_name says on servers with these segment sizes.
func TestSegmentNames(t *testing.T) {
	for _, tc := range []struct {
		size     int64
		timeline uint32
		at       state.LSN
		want     string
	}{
		{16 << 20, 1, 0x1000000, "000000010000000000000001"},
		{16 << 20, 1, 0x1000028, "000000010000000000000001"},
		{16 << 20, 1, 0xFFFFFFFF, "0000000100000000000000FF"},
		{16 << 20, 10, 0x16B374D848, "0000000A00000016000000B3"},
		{1 << 20, 1, 0x16B374D848, "000000010000001600000B37"},
		{1 << 30, 1, 0x16B374D848, "000000010000001600000002"},
		{0, 1, 0x1000028, "000000010000000000000001"},
		{3, 1, 0x1000028, "000000010000000000000001"},
	} {
		w := state.WAL{SegmentSize: tc.size}
		if got := w.Segment(tc.timeline, tc.at); got != tc.want {
			t.Errorf("%d bytes, %s: got %s, want %s", tc.size, tc.at, got, tc.want)
		}
	}
	w := state.WAL{SegmentSize: 16 << 20}
	if floor, ceil, same := w.Floor(0x1000028), w.Ceil(0x1000028), w.Ceil(0x1000000); floor != 0x1000000 || ceil != 0x2000000 || same != 0x1000000 {
		t.Errorf("floor %s, ceil %s, ceil of a beginning %s", floor, ceil, same)
	}
}

func moment(minute int) time.Time { return time.Date(2026, 11, 22, 2, minute, 0, 0, time.UTC) }

const seg = state.LSN(16 << 20)

func TestGapsAndFrontier(t *testing.T) {
	w := state.WAL{SegmentSize: int64(seg), Timelines: []state.Timeline{
		{ID: 1, Ranges: []state.Range{
			{From: 1 * seg, To: 4 * seg, Until: moment(4)},
			{From: 6 * seg, To: 10*seg + 100, Until: moment(10)},
		}},
		{ID: 2, Parent: 1, Switch: 10*seg + 50, Ranges: []state.Range{{From: 10 * seg, To: 12 * seg, Until: moment(12)}}},
		{ID: 3, Parent: 2, Switch: 11*seg + 50, Ranges: []state.Range{{From: 13 * seg, To: 15 * seg, Until: moment(15)}}},
		{ID: 4, Ranges: []state.Range{{From: 20 * seg, To: 21 * seg, Until: moment(20)}}},
		{ID: 5},
	}}
	want := []state.Gap{
		{Timeline: 1, From: 4 * seg, To: 6 * seg, First: "000000010000000000000004", Last: "000000010000000000000005", Since: moment(4)},
		{Timeline: 3, From: 11 * seg, To: 13 * seg, First: "00000003000000000000000B", Last: "00000003000000000000000C", Since: moment(12)},
	}
	if diff := cmp.Diff(want, w.Gaps()); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
	if timeline, end, ok := w.Frontier(); timeline != 4 || end.To != 21*seg || !ok {
		t.Errorf("frontier: %d, %+v, %t", timeline, end, ok)
	}
	if _, _, ok := (&state.WAL{Timelines: []state.Timeline{{ID: 1}}}).Frontier(); ok {
		t.Error("a frontier without WAL")
	}
}

func TestWithout(t *testing.T) {
	one := state.Range{From: 1 * seg, To: 11*seg + 100, Since: moment(1), Until: moment(11), Stored: 1000}
	for name, tc := range map[string]struct {
		from, to state.LSN
		want     []state.Range
	}{
		"nothing": {11*seg + 100, 20 * seg, []state.Range{one}},
		"all":     {0, 20 * seg, nil},
		"head":    {1 * seg, 2 * seg, []state.Range{{From: 2 * seg, To: 11*seg + 100, Since: moment(1), Until: moment(11), Stored: 900}}},
		"middle": {2 * seg, 9 * seg, []state.Range{
			{From: 1 * seg, To: 2 * seg, Since: moment(1), Until: moment(1), Stored: 99, Cut: true},
			{From: 9 * seg, To: 11*seg + 100, Since: moment(1), Until: moment(11), Stored: 200},
		}},
	} {
		w := state.WAL{SegmentSize: int64(seg), Timelines: []state.Timeline{{ID: 1, Ranges: []state.Range{one}}, {ID: 2, Ranges: []state.Range{one}}}}
		got := w.Without(1, tc.from, tc.to)
		if diff := cmp.Diff([][]state.Range{tc.want, {one}}, [][]state.Range{got.Timelines[0].Ranges, got.Timelines[1].Ranges}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if gaps := got.Gaps(); len(gaps) > 0 {
			t.Errorf("%s: what expired is told as a gap: %+v", name, gaps)
		}
		if diff := cmp.Diff([]state.Range{one}, w.Timelines[0].Ranges); diff != "" {
			t.Errorf("%s: the log itself was changed (-want +got):\n%s", name, diff)
		}
	}
}

func TestWALMovesWithItsBackupAndStore(t *testing.T) {
	c := state.Catalog{WAL: map[string][]state.WAL{"backup.a": {{Store: "store.s", System: "7"}, {Store: "store.t", System: "7"}}}}
	before := c.WAL["backup.a"]
	if !c.Movable("backup.a", "backup.b") {
		t.Fatal("what has WAL alone cannot be moved")
	}
	c.Move("backup.a", "backup.b")
	c.Move("store.s", "store.u")
	want := map[string][]state.WAL{"backup.b": {{Store: "store.u", System: "7"}, {Store: "store.t", System: "7"}}}
	if diff := cmp.Diff(want, c.WAL); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if before[0].Store != "store.s" {
		t.Error("the list was changed in place")
	}
	if c.WAL["backup.a"] = before; c.Movable("backup.a", "backup.b") {
		t.Error("WAL would be moved onto other WAL")
	}
}

func TestStoredWALCountsSharedLogsOnce(t *testing.T) {
	log := func(store, system string, stored ...int64) state.WAL {
		w := state.WAL{Store: store, System: system}
		for i, n := range stored {
			w.Timelines = append(w.Timelines, state.Timeline{ID: uint32(i + 1), Ranges: []state.Range{{From: 1, To: 2, Stored: n}, {From: 3, To: 4, Stored: n}}})
		}
		return w
	}
	c := state.Catalog{WAL: map[string][]state.WAL{
		"backup.a": {log("store.a", "7", 1, 2), log("store.a", "8", 10), log("store.b", "7", 100)}, "backup.b": {log("store.a", "7", 1, 2)},
	}}
	if diff := cmp.Diff(map[string]int64{"store.a": 26, "store.b": 200}, c.StoredWAL()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
