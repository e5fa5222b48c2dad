package wal

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const system = 7301234567890123456

func TestParse(t *testing.T) {
	for name, want := range map[string]File{
		"000000010000000000000003":                   {Kind: Segment, Timeline: 1, Seg: 3},
		"0000000A000000FF000000FF":                   {Kind: Segment, Timeline: 10, Log: 255, Seg: 255},
		"FFFFFFFFFFFFFFFF00000FFF":                   {Kind: Segment, Timeline: 1<<32 - 1, Log: 1<<32 - 1, Seg: 4095},
		"000000010000000000000003.partial":           {Kind: Partial, Timeline: 1, Seg: 3},
		"000000010000000000000003.00000028.backup":   {Kind: Label, Timeline: 1, Seg: 3, From: 40},
		"000000010000000000000003.00000000-00010000": {Kind: Piece, Timeline: 1, Seg: 3, To: 65536},
		"0000000100000000000000FF.00010000-40000000": {Kind: Piece, Timeline: 1, Seg: 255, From: 65536, To: 1 << 30},
		"0000000B.history":                           {Kind: History, Timeline: 11},
	} {
		want.System = system
		got, err := Parse(system, name)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
			continue
		}
		if back, err := ParsePath(got.Path()); err != nil || back != got {
			t.Errorf("%s: path %s is told as %+v, %v", name, got.Path(), back, err)
		}
	}
	for _, name := range []string{
		"", "x", "00000001", "00000001.History", "00000000.history", "0000000b.history", "00000001000000000000000", "0000000100000000000000030",
		"00000001000000000000000g", "000000000000000000000003", "000000010000000000001000", "000000010000000000000003.", "000000010000000000000003.gz",
		"000000010000000000000003.partial.partial", "000000010000000000000003.28.backup", "000000010000000000000003.00000001-00000001",
		"000000010000000000000003.00000000-40000001", "000000010000000000000003.40000000.backup", "RECOVERYXLOG", "../00000001.history", "0x000001.history",
		"+0000001.history", "000000010000000000000003.0000000a-0000000b",
	} {
		if f, err := Parse(system, name); err == nil {
			t.Errorf("%q is taken for %+v", name, f)
		} else if !strings.Contains(err.Error(), "names read like") {
			t.Errorf("%q: the error does not tell how names read: %v", name, err)
		}
	}
	if _, err := Parse(0, "0000000B.history"); err == nil {
		t.Error("a file of system 0 is accepted")
	}
}

func TestParsePathRefuses(t *testing.T) {
	for _, path := range []string{
		"", "1/2", "7/00000002/000000010000000000000003", "07/00000001/000000010000000000000003", "0/00000001/000000010000000000000003",
		"18446744073709551616/00000001/000000010000000000000003", "7/00000001/000000010000000000000003/x", "7/1/000000010000000000000003",
	} {
		if f, err := ParsePath(path); err == nil {
			t.Errorf("%q is taken for %+v", path, f)
		}
	}
}

func TestCheckSize(t *testing.T) {
	segment := File{System: system, Timeline: 1, Kind: Segment}
	partial, history := segment, File{System: system, Timeline: 2, Kind: History}
	partial.Kind = Partial
	for _, c := range []struct {
		f    File
		size int64
		ok   bool
	}{
		{segment, 16 << 20, true},
		{segment, 1 << 20, true},
		{segment, 1 << 30, true},
		{segment, 0, false},
		{segment, 16<<20 - 1, false},
		{segment, 3 << 20, false},
		{segment, 512 << 10, false},
		{segment, 2 << 30, false},
		{segment, -1 << 63, false},
		{partial, 16 << 20, true},
		{partial, 5, false},
		{segment.PieceOf(5, 9), 4, true},
		{segment.PieceOf(5, 9), 5, false},
		{history, 41, true},
		{history, 0, false},
		{history, MaxText + 1, false},
	} {
		if err := c.f.CheckSize(c.size); (err == nil) != c.ok {
			t.Errorf("%s of %d bytes: %v", c.f, c.size, err)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	for _, f := range []File{
		{},
		{System: 1, Timeline: 1},
		{Timeline: 1, Kind: Segment},
		{System: 1, Kind: Segment},
		{System: 1, Timeline: 1, Kind: Segment, To: 1},
		{System: 1, Timeline: 1, Kind: Segment, Seg: 4096},
		{System: 1, Timeline: 1, Kind: History, Seg: 1},
		{System: 1, Timeline: 1, Kind: Piece, From: 5, To: 5},
		{System: 1, Timeline: 1, Kind: Piece, From: -1, To: 5},
		{System: 1, Timeline: 1, Kind: Label, From: 1 << 40},
		{System: 1, Timeline: 1, Kind: Kind(99)},
	} {
		if f.Check() == nil {
			t.Errorf("%+v is accepted", f)
		}
	}
}

func TestCover(t *testing.T) {
	whole := File{System: system, Timeline: 1, Kind: Segment, Seg: 3}
	for _, c := range []struct {
		name     string
		in, want [][2]int64
	}{
		{"nothing", nil, nil},
		{"one", [][2]int64{{0, 5}}, [][2]int64{{0, 5}}},
		{"in any order", [][2]int64{{5, 9}, {0, 5}}, [][2]int64{{0, 5}, {5, 9}}},
		{"not from the beginning", [][2]int64{{1, 5}}, nil},
		{"a hole", [][2]int64{{0, 5}, {6, 9}}, [][2]int64{{0, 5}}},
		{"inside another", [][2]int64{{0, 9}, {0, 5}, {3, 7}}, [][2]int64{{0, 9}}},
		{"overlapping", [][2]int64{{0, 5}, {3, 7}, {4, 12}, {7, 8}}, [][2]int64{{0, 5}, {4, 12}}},
	} {
		var in, want []File
		for _, e := range c.in {
			in = append(in, whole.PieceOf(e[0], e[1]))
		}
		for _, e := range c.want {
			want = append(want, whole.PieceOf(e[0], e[1]))
		}
		if diff := cmp.Diff(want, Cover(in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// FuzzParse: a name or a path that is taken for a file is written back the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"000000010000000000000003", "000000010000000000000003.partial", "000000010000000000000003.00000028.backup", "000000010000000000000003.00000000-00010000", "0000000A.history", "7/00000001/00000001.history", "é.history"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := Parse(system, s); err == nil && (got.Name() != s || got.Check() != nil) {
			t.Errorf("%q is told as %q", s, got.Name())
		}
		if got, err := ParsePath(s); err == nil && got.Path() != s {
			t.Errorf("%q is told as %q", s, got.Path())
		}
	})
}

// FuzzClaim: what is taken for a claim comes back the same.
func FuzzClaim(f *testing.F) {
	whole := File{System: system, Timeline: 1, Kind: Segment, Seg: 3}
	object := strings.Repeat("ab", 32)
	for _, c := range []Claim{
		{File: whole, Size: 16 << 20, Object: object, Stored: 5, Sealed: "x", Who: "a@b"},
		{File: whole.PieceOf(1, 2), Size: 1, Sum: Sum{1}, Object: object, Stored: 1 << 40},
	} {
		data, err := c.Encode()
		if err != nil {
			f.Fatal(err)
		}
		if got, err := DecodeClaim(data); err != nil || got != c {
			f.Fatalf("%v (-want +got):\n%s", err, cmp.Diff(c, got))
		}
		f.Add(data)
	}
	f.Add([]byte(`{"format":"holdfast-wal-claim","format_version":1,"size":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := DecodeClaim(data)
		if err != nil {
			return
		}
		again, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeClaim(again); err != nil || back != c && strings.ToValidUTF8(c.Sealed+c.Who, "") == c.Sealed+c.Who {
			t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(c, back))
		}
	})
}

// FuzzTrailer: the same of trailers, whose bytes leave no choice.
func FuzzTrailer(f *testing.F) {
	f.Add(AppendTrailer(nil, 16<<20, Sum{1, 2, 3}))
	f.Add(make([]byte, TrailerSize))
	f.Fuzz(func(t *testing.T, data []byte) {
		size, sum, err := DecodeTrailer(data)
		if err == nil && (size < 0 || string(AppendTrailer(nil, size, sum)) != string(data)) {
			t.Errorf("%x is told as %d bytes with %x", data, size, sum)
		}
	})
}
