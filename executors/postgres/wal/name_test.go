package wal

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSegmentNames(t *testing.T) {
	for _, tc := range []struct {
		size SegmentSize
		seg  Segment
		name string
		from LSN
	}{
		{DefaultSegmentSize, Segment{1, 1}, "000000010000000000000001", 0x1000000},
		{DefaultSegmentSize, Segment{10, 255}, "0000000A00000000000000FF", 0xFF000000}, // a timeline above 9 is hex
		{DefaultSegmentSize, Segment{31, 256}, "0000001F0000000100000000", 1 << 32},
		{MinSegmentSize, Segment{1, 4095}, "000000010000000000000FFF", 0xFFF00000},
		{MinSegmentSize, Segment{1, 4096}, "000000010000000100000000", 1 << 32},
		{MaxSegmentSize, Segment{1<<32 - 1, 7}, "FFFFFFFF0000000100000003", 7 << 30},
		{MaxSegmentSize, Segment{1, 1<<34 - 1}, "00000001FFFFFFFF00000003", 0xFFFFFFFFC0000000},
	} {
		if got := tc.seg.Name(tc.size); got != tc.name {
			t.Errorf("name of %+v is %s, want %s", tc.seg, got, tc.name)
		}
		got, err := ParseSegment(tc.name, tc.size)
		if err != nil || got != tc.seg {
			t.Errorf("ParseSegment(%s) = %+v, %v, want %+v", tc.name, got, err, tc.seg)
		}
		if got := tc.size.Start(tc.seg.Number); got != tc.from || tc.size.Number(got) != tc.seg.Number {
			t.Errorf("%s begins at %s, want %s", tc.name, got, tc.from)
		}
		if tc.from > 0 && tc.size.LastNumber(tc.from) != tc.seg.Number-1 {
			t.Errorf("WAL that ends at %s needs segment %d", tc.from, tc.size.LastNumber(tc.from))
		}
	}
	for _, name := range []string{"", "00000001000000000000001", "000000010000000000000001.partial", "000000010000000000000100", "0000000100000000000000g1"} {
		if got, err := ParseSegment(name, DefaultSegmentSize); err == nil {
			t.Errorf("ParseSegment(%q) = %+v, want an error", name, got)
		}
	}
	for _, size := range []SegmentSize{0, 1, 1 << 19, 3 << 20, 1 << 31, DefaultSegmentSize + 1} {
		if _, err := ParseSegment("000000010000000000000001", size); err == nil {
			t.Errorf("segments of %d bytes are accepted", size)
		}
	}
}

func TestParseName(t *testing.T) {
	for name, want := range map[string]Name{
		"000000010000000200000003":                 {Kind: KindSegment, Timeline: 1, high: 2, low: 3},
		"0000001B0000000200000003.partial":         {Kind: KindPartial, Timeline: 27, high: 2, low: 3},
		"0000001B.history":                         {Kind: KindHistory, Timeline: 27},
		"000000010000000200000003.00ABCDEF.backup": {Kind: KindBackup, Timeline: 1, high: 2, low: 3, Offset: 0xABCDEF},
		"":                                  {},
		"00000000.history":                  {},
		"0000001b.history":                  {},
		"1.history":                         {},
		"000000000000000200000003":          {}, // there is no timeline 0
		"000000010000000200000003.ready":    {},
		"000000010000000200000003.gz":       {},
		"000000010000000200000003.0.backup": {},
		"000000010000000200000003.GGGGGGGG.backup":        {},
		"00000001000000020000000a":                        {},
		"../000000010000000200000003":                     {},
		"000000010000000200000003\n":                      {},
		"000000010000000200000003.00ABCDEF.backup.backup": {},
	} {
		if diff := cmp.Diff(want, ParseName(name), cmp.AllowUnexported(Name{})); diff != "" {
			t.Errorf("ParseName(%q) (-want +got):\n%s", name, diff)
		}
	}
	if got := HistoryName(27); got != "0000001B.history" {
		t.Errorf("HistoryName(27) = %s", got)
	}
}

func TestHistory(t *testing.T) {
	h, err := ParseHistory(12, []byte("# made by hand\n1\t0/3000000\tno recovery target specified\n\n  3\t0/3000000\tbefore 2026-11-25 18:00:00+00\n11\tA/12345678\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := History{Timeline: 12, Switches: []Switch{
		{1, 0x3000000, "no recovery target specified"}, {3, 0x3000000, "before 2026-11-25 18:00:00+00"}, {11, 0xA12345678, ""},
	}}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Fatalf("history (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Timeline{1, 3, 11, 12}, h.Chain()); diff != "" {
		t.Errorf("chain (-want +got):\n%s", diff)
	}
	if p, ok := h.Parent(); !ok || p.Timeline != 11 {
		t.Errorf("parent %+v, %v", p, ok)
	}
	for at, want := range map[LSN]Timeline{0: 1, 0x2FFFFFF: 1, 0x3000000: 11, 0xA12345677: 11, 0xA12345678: 12, 1<<64 - 1: 12} {
		if got := h.At(at); got != want {
			t.Errorf("%s is on timeline %d, want %d", at, got, want)
		}
	}
	for tl, want := range map[Timeline][2]LSN{1: {0, 0x3000000}, 3: {0x3000000, 0x3000000}, 11: {0x3000000, 0xA12345678}, 12: {0xA12345678, 0}} {
		if from, end, ok := h.Range(tl); !ok || from != want[0] || end != want[1] {
			t.Errorf("timeline %d is from %s to %s, %v", tl, from, end, ok)
		}
	}
	if _, _, ok := h.Range(2); ok {
		t.Error("timeline 2 is an ancestor")
	}
	for n, want := range map[uint64]Timeline{2: 1, 3: 11, 0xA11: 11, 0xA12: 12, 0xA13: 12} {
		if got := h.SegmentAt(n, DefaultSegmentSize); got != (Segment{want, n}) {
			t.Errorf("segment %X is read from %+v, want timeline %d", n, got, want)
		}
	}
}

func TestHistoryErrors(t *testing.T) {
	for _, text := range []string{
		"1", "x\t0/1", "0\t0/1", "1\t01", "5\t0/1", "6\t0/1", "2\t0/5\n1\t0/6", "1\t0/5\n2\t0/4", "1\t0/5\n1\t0/6", "4294967297\t0/1",
	} {
		if h, err := ParseHistory(5, []byte(text)); err == nil {
			t.Errorf("ParseHistory(%q) = %+v, want an error", text, h)
		}
	}
	if _, err := ParseHistory(0, nil); err == nil {
		t.Error("there is a timeline 0")
	}
}

func FuzzParseHistory(f *testing.F) {
	f.Add(uint32(3), []byte("1\t0/3000000\treason\n2\t0/4000000\treason\n"))
	f.Fuzz(func(t *testing.T, tl uint32, content []byte) {
		h, err := ParseHistory(Timeline(tl), content)
		if err != nil {
			return
		}
		for _, s := range h.Switches {
			if h.At(s.At) == s.Timeline {
				t.Errorf("%s is still on timeline %d", s.At, s.Timeline)
			}
		}
	})
}

func FuzzParseName(f *testing.F) {
	f.Add("000000010000000200000003.00ABCDEF.backup")
	f.Add("0000001B.history")
	f.Fuzz(func(t *testing.T, name string) {
		if n := ParseName(name); n.Kind == KindSegment {
			if seg, err := n.Segment(DefaultSegmentSize); err == nil && seg.Name(DefaultSegmentSize) != name {
				t.Errorf("%q becomes %q", name, seg.Name(DefaultSegmentSize))
			}
		}
	})
}
