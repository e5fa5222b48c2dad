package wal

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const mib16 = 16 << 20

// files makes stored files of names.
func files(t testing.TB, names ...string) (out []Stored) {
	t.Helper()
	for _, name := range names {
		f, err := Parse(system, name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, Stored{File: f, Bytes: 1})
	}
	return out
}

func TestFollow(t *testing.T) {
	const s1, s2, s3, s4, s5 = "000000010000000000000001", "000000010000000000000002", "000000010000000000000003", "000000010000000000000004", "000000010000000000000005"
	const t3, t4 = "000000020000000000000003", "000000020000000000000004"
	const at = 3*mib16 + 100 // within segment 3
	two := []Switch{{Timeline: 2, Parent: 1, At: at}}
	for _, c := range []struct {
		name     string
		files    []string
		size     int64
		switches []Switch
		want     Continuity
	}{
		{name: "nothing", size: mib16},
		{name: "one run", size: mib16, files: []string{s1, s2, s3}, want: Continuity{Ranges: []Range{{1, mib16, 4 * mib16, s1, s3, false}}}},
		{
			name: "a gap of two", size: mib16, files: []string{s1, s4, s5}, want: Continuity{
				Ranges: []Range{{1, mib16, 2 * mib16, s1, s1, false}, {1, 4 * mib16, 6 * mib16, s4, s5, false}},
				Gaps:   []Gap{{1, 2 * mib16, 4 * mib16, s2, s3, 2}},
			},
		},
		{
			name: "across the end of a log", size: mib16, files: []string{"0000000100000000000000FF", "000000010000000100000000"},
			want: Continuity{Ranges: []Range{{1, 255 * mib16, 257 * mib16, "0000000100000000000000FF", "000000010000000100000000", false}}},
		},
		{
			name: "segments of 1 GiB", size: 1 << 30, files: []string{"000000010000000000000003", "000000010000000100000000", "000000010000000100000002"}, want: Continuity{
				Ranges: []Range{{1, 3 << 30, 5 << 30, "000000010000000000000003", "000000010000000100000000", false}, {1, 6 << 30, 7 << 30, "000000010000000100000002", "000000010000000100000002", false}},
				Gaps:   []Gap{{1, 5 << 30, 6 << 30, "000000010000000100000001", "000000010000000100000001", 1}},
			},
		},
		{
			name: "pieces extend a run as far as they follow one another", size: mib16, files: []string{s1, s2 + ".00000000-00000064", s2 + ".00000050-000000C8", s2 + ".000000C9-000000FF"},
			want: Continuity{Ranges: []Range{{1, mib16, 2*mib16 + 200, s1, s2, false}}},
		},
		{
			name: "a segment that is only in pieces is a gap when others follow", size: mib16, files: []string{s1, s2 + ".00000000-00000064", s3}, want: Continuity{
				Ranges: []Range{{1, mib16, 2*mib16 + 100, s1, s2, false}, {1, 3 * mib16, 4 * mib16, s3, s3, false}},
				Gaps:   []Gap{{1, 2*mib16 + 100, 3 * mib16, s2, s2, 1}},
			},
		},
		{name: "pieces that do not begin a segment are nothing", size: mib16, files: []string{s2 + ".00000010-00000064"}},
		{name: "labels, histories and partial segments are no log", size: mib16, files: []string{"00000002.history", s1 + ".partial", s1 + ".00000028.backup"}},
		{
			name: "a switch without a gap", size: mib16, switches: two, files: []string{s1, s2, t3, t4},
			want: Continuity{Ranges: []Range{{1, mib16, 3 * mib16, s1, s2, false}, {2, 3 * mib16, 5 * mib16, t3, t4, true}}},
		},
		{
			name: "the parent went on", size: mib16, switches: two, files: []string{s1, s2, s3, s4, t3},
			want: Continuity{Ranges: []Range{{1, mib16, 5 * mib16, s1, s4, false}, {2, 3 * mib16, 4 * mib16, t3, t3, true}}},
		},
		{
			name: "the parent ends early", size: mib16, switches: two, files: []string{s1, t3}, want: Continuity{
				Ranges: []Range{{1, mib16, 2 * mib16, s1, s1, false}, {2, 3 * mib16, 4 * mib16, t3, t3, false}},
				Gaps:   []Gap{{1, 2 * mib16, 3 * mib16, s2, s2, 1}},
			},
		},
		{
			name: "the parent has a hole before the switch and went on", size: mib16, switches: two, files: []string{s1, s3, t3}, want: Continuity{
				Ranges: []Range{{1, mib16, 2 * mib16, s1, s1, false}, {1, 3 * mib16, 4 * mib16, s3, s3, false}, {2, 3 * mib16, 4 * mib16, t3, t3, false}},
				Gaps:   []Gap{{1, 2 * mib16, 3 * mib16, s2, s2, 1}},
			},
		},
		{
			name: "the child begins late", size: mib16, switches: two, files: []string{s1, s2, s3, t4}, want: Continuity{
				Ranges: []Range{{1, mib16, 4 * mib16, s1, s3, false}, {2, 4 * mib16, 5 * mib16, t4, t4, false}},
				Gaps:   []Gap{{2, 3 * mib16, 4 * mib16, t3, t3, 1}},
			},
		},
		{
			name: "two switches within one segment", size: mib16, files: []string{s2, "000000030000000000000003"},
			switches: []Switch{{2, 1, at}, {3, 2, at + 8}},
			want:     Continuity{Ranges: []Range{{1, 2 * mib16, 3 * mib16, s2, s2, false}, {3, 3 * mib16, 4 * mib16, "000000030000000000000003", "000000030000000000000003", true}}},
		},
		{
			name: "nothing of the parent", size: mib16, switches: two, files: []string{t3},
			want: Continuity{Ranges: []Range{{2, 3 * mib16, 4 * mib16, t3, t3, false}}},
		},
		{
			name: "without its switch a timeline begins where it begins", size: mib16, files: []string{s1, t4},
			want: Continuity{Ranges: []Range{{1, mib16, 2 * mib16, s1, s1, false}, {2, 4 * mib16, 5 * mib16, t4, t4, false}}},
		},
		{
			name: "a switch on a border", size: mib16, switches: []Switch{{2, 1, 3 * mib16}}, files: []string{s2, t3},
			want: Continuity{Ranges: []Range{{1, 2 * mib16, 3 * mib16, s2, s2, false}, {2, 3 * mib16, 4 * mib16, t3, t3, true}}},
		},
	} {
		got, err := Follow(files(t, c.files...), c.size, c.switches)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", c.name, err, diff)
		}
	}
}

func TestFollowRefuses(t *testing.T) {
	one := files(t, "000000010000000000000001")
	other := one[0]
	other.System++
	for name, c := range map[string]struct {
		files    []Stored
		size     int64
		switches []Switch
	}{
		"segment size":      {one, 3 << 20, nil},
		"no size":           {one, 0, nil},
		"number too high":   {files(t, "000000010000000000000100"), mib16, nil},
		"piece too long":    {files(t, "000000010000000000000001.00000000-02000000"), mib16, nil},
		"two systems":       {[]Stored{one[0], other}, mib16, nil},
		"its own parent":    {one, mib16, []Switch{{2, 2, 5}}},
		"a younger parent":  {one, mib16, []Switch{{2, 3, 5}}},
		"parent 0":          {one, mib16, []Switch{{2, 0, 5}}},
		"segment size of 2": {one, 2, nil},
	} {
		if got, err := Follow(c.files, c.size, c.switches); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestFollowTellsEverySegment: of any set of segments, each that is there is in one range and in no gap, and each that is not
// there between others is in one gap.
func TestFollowTellsEverySegment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		there := map[uint64]bool{}
		var in []Stored
		for _, n := range rapid.SliceOfN(rapid.Uint64Range(250, 280), 1, 20).Draw(t, "numbers") {
			f := File{System: system, Timeline: 1, Kind: Segment, Log: uint32(n / 256), Seg: uint32(n % 256)}
			in, there[n] = append(in, Stored{File: f}), true
		}
		got, err := Follow(in, mib16, nil)
		if err != nil {
			t.Fatal(err)
		}
		told := map[uint64]string{}
		for _, r := range got.Ranges {
			for n := r.From / mib16; n < r.To/mib16; n++ {
				told[n] += "range"
			}
		}
		for _, g := range got.Gaps {
			if g.Segments != int64(g.To-g.From)/mib16 {
				t.Errorf("%+v miscounts", g)
			}
			for n := g.From / mib16; n < g.To/mib16; n++ {
				told[n] += "gap"
			}
		}
		first, last := got.Ranges[0].From/mib16, got.Ranges[len(got.Ranges)-1].To/mib16
		for n := uint64(240); n < 290; n++ {
			want := ""
			switch {
			case there[n]:
				want = "range"
			case first <= n && n < last:
				want = "gap"
			}
			if told[n] != want {
				t.Errorf("segment %d is told as %q, want %q", n, told[n], want)
			}
		}
	})
}

func ExampleFile_Path() {
	f, _ := Parse(7301234567890123456, "000000010000000000000003.partial")
	fmt.Println(f.Path())
	// Output: 7301234567890123456/00000001/000000010000000000000003.partial
}
