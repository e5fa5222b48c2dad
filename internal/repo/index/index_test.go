package index_test

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/pack"
)

func id(n uint32) (out chunk.ID) {
	binary.LittleEndian.PutUint32(out[:], n*2654435761)
	binary.LittleEndian.PutUint32(out[8:], n)
	return out
}

func packs() []index.Pack {
	return []index.Pack{
		{ID: index.PackID{1}, Size: 100, Records: []pack.Record{{ID: id(1), Stored: 10, Plain: 20}, {ID: id(2), Stored: 30, Plain: 40}}},
		{ID: index.PackID{2}, Size: 50, Records: []pack.Record{{ID: id(2), Stored: 5, Plain: 40}, {ID: id(3), Stored: 6, Plain: 7}}},
	}
}

func TestCodec(t *testing.T) {
	data := index.Encode(packs())
	var got []index.Pack
	err := index.Decode(data, func(p index.Pack) error { got = append(got, p); return nil })
	if diff := cmp.Diff(packs(), got); err != nil || diff != "" {
		t.Errorf("decode: %v (-want +got):\n%s", err, diff)
	}
	for n := range len(data) {
		whole := n == 8 || n == 8+44+2*pack.RecordSize // the head alone, or with one pack
		if err := index.Decode(data[:n], func(index.Pack) error { return nil }); (err == nil) != whole {
			t.Errorf("cut off at %d: %v", n, err)
		}
	}
}

func TestLookup(t *testing.T) {
	x := index.New()
	for _, p := range packs() {
		x.Add(p)
		x.Add(p)
	}
	if x.Len() != 3 || x.Packs() != 2 {
		t.Fatalf("%d chunks in %d packs, want 3 in 2", x.Len(), x.Packs())
	}
	for n, want := range map[uint32]index.Location{
		1: {Pack: 0, Offset: 0, Stored: 10, Plain: 20},
		2: {Pack: 0, Offset: 10, Stored: 30, Plain: 40}, // the first place stays
		3: {Pack: 1, Offset: 5, Stored: 6, Plain: 7},
	} {
		if got, ok := x.Lookup(id(n)); !ok || got != want {
			t.Errorf("chunk %d: %+v %v, want %+v", n, got, ok, want)
		}
	}
	if _, ok := x.Lookup(id(4)); ok {
		t.Error("found a chunk that was never added")
	}
}

func TestReserveManyAndPlace(t *testing.T) {
	x := index.New()
	const n = 100000
	number := x.NewPack()
	for i := range uint32(n) {
		x.Reserve(id(i), i)
	}
	for i := range uint32(n) {
		if loc, ok := x.Lookup(id(i)); !ok || loc != (index.Location{Pack: index.Pending, Plain: i}) {
			t.Fatalf("chunk %d: %+v %v", i, loc, ok)
		}
		x.Place(id(i), index.Location{Pack: number, Offset: i, Plain: i})
	}
	x.Finish(number, index.PackInfo{ID: index.PackID{9}, Size: 1})
	for i := range uint32(n) {
		if loc, ok := x.Lookup(id(i)); !ok || loc.Offset != i || x.Pack(loc.Pack).ID != (index.PackID{9}) {
			t.Fatalf("chunk %d: %+v %v", i, loc, ok)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(index.Encode(packs()))
	f.Add(index.Encode(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got []index.Pack
		x := index.New()
		err := index.Decode(data, func(p index.Pack) error {
			x.Add(p)
			got = append(got, p)
			return nil
		})
		var heads []index.PackInfo
		if herr := index.Heads(data, func(info index.PackInfo) { heads = append(heads, info) }); err == nil && herr != nil {
			t.Errorf("heads: %v", herr)
		}
		if err != nil {
			return
		}
		for i, p := range got {
			if len(heads) != len(got) || heads[i] != (index.PackInfo{ID: p.ID, Size: p.Size}) {
				t.Fatalf("heads are %v of %v", heads, got)
			}
		}
		var again []index.Pack
		err = index.Decode(index.Encode(got), func(p index.Pack) error { again = append(again, p); return nil })
		if err != nil || !cmp.Equal(got, again) {
			t.Errorf("encoded again: %v", err)
		}
	})
}
