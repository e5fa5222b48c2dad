package chunk

import (
	"encoding/binary"
	"math/bits"

	"github.com/zeebo/blake3"
)

// table is the gear table twice: plain, and shifted by one so that two bytes are rolled in per step.
type table struct {
	g  [256]uint64
	g2 [256]uint64
}

func newTable(repositoryKey [32]byte) table {
	var raw [256 * 8]byte
	blake3.DeriveKey(contextGear, repositoryKey[:], raw[:])
	var t table
	for i := range t.g {
		t.g[i] = binary.LittleEndian.Uint64(raw[8*i:])
		t.g2[i] = t.g[i] << 1
	}
	return t
}

// Sizes bound chunks, in bytes. Average is a power of two.
type Sizes struct {
	Min, Average, Max int
}

// MaxChunk is the largest chunk of any class, in bytes. Decoders refuse larger ones.
const MaxChunk = 8 << 20

// SizesFor returns the sizes for an amount of data: base up to 64 GiB, then growing with it so that a repository of 1 TiB
// has about a million chunks, up to 4 MiB. The class has no memory: a source that grows over a border is stored anew once.
func SizesFor(base int, total int64) Sizes {
	average := base
	for limit := int64(64 << 30); total >= limit && average < 4<<20; limit *= 4 {
		average *= 2
	}
	return SizesOf(average)
}

// SizesOf returns the bounds that belong to an average.
func SizesOf(average int) Sizes {
	return Sizes{Min: average / 4, Average: average, Max: min(4*average, MaxChunk)}
}

// Cutter finds where content is cut. It holds no state between calls and may be used concurrently.
type Cutter struct {
	t     *table
	sizes Sizes
	hard  uint64 // mask before the average
	easy  uint64 // mask after it
}

// NewCutter returns a cutter for sizes.
func (k *Keys) NewCutter(sizes Sizes) *Cutter {
	n := bits.Len(uint(sizes.Average)) - 1
	return &Cutter{t: &k.gear, sizes: sizes, hard: topBits(n + 1), easy: topBits(n - 1)}
}

// Sizes returns the bounds the cutter was made for.
func (c *Cutter) Sizes() Sizes { return c.sizes }

// topBits has its n bits just below the highest: the top bits depend on the last 64 bytes, and the one left free lets the
// mask be shifted when two bytes are rolled in at once.
func topBits(n int) uint64 { return (1<<n - 1) << (63 - n) }

// Cut returns the length of the first chunk of data. data must hold Sizes().Max bytes or all that is left.
func (c *Cutter) Cut(data []byte) int {
	n := len(data)
	if n <= c.sizes.Min {
		return n
	}
	n = min(n, c.sizes.Max)
	middle := min(n, c.sizes.Average)
	h, i := uint64(0), c.sizes.Min
	if h, i = c.scan(data[:middle], h, i, c.hard); i >= 0 {
		return i
	}
	if _, i = c.scan(data[:n], h, middle&^1, c.easy); i >= 0 {
		return i
	}
	return n
}

// scan rolls data[i:] into h and returns the end of the chunk, or -1 when no place fits mask. An odd last byte is left
// out: it could only be a cut at the very end.
func (c *Cutter) scan(data []byte, h uint64, i int, mask uint64) (uint64, int) {
	t, mask2 := c.t, mask<<1
	for ; i+1 < len(data); i += 2 {
		h = h<<2 + t.g2[data[i]]
		if h&mask2 == 0 {
			return h, i + 1
		}
		h += t.g[data[i+1]]
		if h&mask == 0 {
			return h, i + 2
		}
	}
	return h, -1
}
