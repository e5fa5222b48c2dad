package chunk_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
)

func noise(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(rng.Uint32())
	}
	return out
}

func cutAll(c *chunk.Cutter, data []byte) (sizes []int) {
	for len(data) > 0 {
		n := c.Cut(data[:min(len(data), c.Sizes().Max)])
		sizes = append(sizes, n)
		data = data[n:]
	}
	return sizes
}

func TestCutKeepsBoundsAndAverage(t *testing.T) {
	c := chunk.NewKeys([32]byte{1}).NewCutter(chunk.SizesOf(8 << 10))
	sizes := cutAll(c, noise(1, 16<<20))
	var total int
	for i, n := range sizes {
		if n > c.Sizes().Max || n < c.Sizes().Min && i < len(sizes)-1 {
			t.Fatalf("chunk %d has %d bytes, outside of %+v", i, n, c.Sizes())
		}
		total += n
	}
	if mean := total / len(sizes); mean < 6<<10 || mean > 12<<10 {
		t.Errorf("mean %d for an average of %d", mean, c.Sizes().Average)
	}
	if total != 16<<20 {
		t.Errorf("chunks cover %d bytes", total)
	}
}

// TestCutFindsItsWayBack: after bytes were inserted, all but a few chunks are the same again.
func TestCutFindsItsWayBack(t *testing.T) {
	keys := chunk.NewKeys([32]byte{1})
	c, h := keys.NewCutter(chunk.SizesOf(8<<10)), keys.NewHasher()
	ids := func(data []byte) map[chunk.ID]bool {
		out := map[chunk.ID]bool{}
		for _, n := range cutAll(c, data) {
			out[h.Sum(data[:n])] = true
			data = data[n:]
		}
		return out
	}
	data := noise(2, 4<<20)
	before, after := ids(data), ids(append(append(bytes.Clone(data[:1<<20]), 'x'), data[1<<20:]...))
	fresh := 0
	for id := range after {
		if !before[id] {
			fresh++
		}
	}
	if fresh == 0 || fresh > 8 {
		t.Errorf("one inserted byte made %d new chunks of %d", fresh, len(after))
	}
}

// TestKeysMatter: another repository cuts elsewhere and names otherwise, so that neither sizes nor ids tell of content.
func TestKeysMatter(t *testing.T) {
	a, b := chunk.NewKeys([32]byte{1}), chunk.NewKeys([32]byte{2})
	data := noise(3, 1<<20)
	sizes := chunk.SizesOf(8 << 10)
	if cmp.Equal(cutAll(a.NewCutter(sizes), data), cutAll(b.NewCutter(sizes), data)) {
		t.Error("two keys cut at the same places")
	}
	if a.NewHasher().Sum(data) == b.NewHasher().Sum(data) || a.NewHasher().Sum(data) == a.NewPathHasher().Sum(data) {
		t.Error("two keys give one id")
	}
	if diff := cmp.Diff(cutAll(a.NewCutter(sizes), data), cutAll(chunk.NewKeys([32]byte{1}).NewCutter(sizes), data)); diff != "" {
		t.Errorf("one key cuts differently the second time (-want +got):\n%s", diff)
	}
}

func TestSizesFor(t *testing.T) {
	const base = 256 << 10
	for _, c := range []struct {
		total int64
		want  int
	}{{0, base}, {64<<30 - 1, base}, {64 << 30, 2 * base}, {256 << 30, 4 * base}, {1 << 40, 8 * base}, {4 << 40, 16 * base}, {1 << 60, 16 * base}} {
		if got := chunk.SizesFor(base, c.total).Average; got != c.want {
			t.Errorf("average for %d bytes is %d, want %d", c.total, got, c.want)
		}
	}
}

func TestParseID(t *testing.T) {
	id := chunk.NewKeys([32]byte{}).NewHasher().Sum([]byte("x"))
	if got, err := chunk.ParseID(id.String()); err != nil || got != id {
		t.Errorf("parse of %s: %s, %v", id, got, err)
	}
	for _, bad := range []string{"", "00", id.String() + "0", "zz" + id.String()[2:]} {
		if _, err := chunk.ParseID(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func BenchmarkCut(b *testing.B) {
	c := chunk.NewKeys([32]byte{1}).NewCutter(chunk.SizesOf(256 << 10))
	data := noise(1, 16<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		cutAll(c, data)
	}
}

func BenchmarkSum(b *testing.B) {
	h := chunk.NewKeys([32]byte{1}).NewHasher()
	data := noise(1, 256<<10)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		h.Sum(data)
	}
}
