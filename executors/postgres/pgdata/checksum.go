package pgdata

import (
	"encoding/binary"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// PageSize is the size of a relation's pages in bytes. PostgreSQL can be built with others; nobody ships it so.
const PageSize = 8192

// Page is one page of a relation.
type Page = [PageSize]byte

// The checksum is 32 sums side by side, each over every 32nd word of the page and each begun with a number of its own
// (src/include/storage/checksum_impl.h).
const (
	lanes = 32
	prime = 16777619
	row   = lanes * 4
	rows  = PageSize / row
)

var seeds = [lanes]uint32{
	0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
	0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
	0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
	0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
}

// checksumLane is where the page's own checksum is, in the low half of a word of the first row; it counts as zero.
const checksumLane = 2

func mix(sum, word uint32) uint32 {
	sum ^= word
	return sum*prime ^ sum>>17
}

// Checksum computes what a page that is the block-th of its relation (not of its file) must carry.
func Checksum(page *Page, block uint32) uint16 {
	var fold uint32
	for first := 0; first < lanes; first += 8 {
		fold ^= eightLanes(page, first)
	}
	return uint16((fold^block)%0xFFFF) + 1
}

// eightLanes computes eight sums and folds them. Eight are as many as the registers hold; more would go through memory.
func eightLanes(page *Page, first int) uint32 {
	var own uint32
	if first == 0 {
		own = 0xFFFF
	}
	s := (*[8]uint32)(seeds[first:])
	a, b, c, d, e, f, g, h := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	p := page[first*4:]
	c ^= binary.LittleEndian.Uint32(p[checksumLane*4:]) & own // takes the page's own checksum out of the first row
	for len(p) >= 32 {
		w := (*[32]byte)(p)
		a = mix(a, binary.LittleEndian.Uint32(w[0:]))
		b = mix(b, binary.LittleEndian.Uint32(w[4:]))
		c = mix(c, binary.LittleEndian.Uint32(w[8:]))
		d = mix(d, binary.LittleEndian.Uint32(w[12:]))
		e = mix(e, binary.LittleEndian.Uint32(w[16:]))
		f = mix(f, binary.LittleEndian.Uint32(w[20:]))
		g = mix(g, binary.LittleEndian.Uint32(w[24:]))
		h = mix(h, binary.LittleEndian.Uint32(w[28:]))
		if len(p) < row {
			break
		}
		p = p[row:]
	}
	for range 2 {
		a, b, c, d = mix(a, 0), mix(b, 0), mix(c, 0), mix(d, 0)
		e, f, g, h = mix(e, 0), mix(f, 0), mix(g, 0), mix(h, 0)
	}
	return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h
}

// Verdict is what a page's checksum says of it.
type Verdict int

// The verdicts.
const (
	PageUnknown Verdict = iota
	PageGood
	PageEmpty // all zeros: added to the relation and never used
	PageNewer // changed after the bound, so it may have been read half-written; recovery writes it anew
	PageBad
)

// PageLSN returns the end of the record that changed the page last.
func PageLSN(page *Page) wal.LSN {
	return wal.LSN(binary.LittleEndian.Uint32(page[0:]))<<32 | wal.LSN(binary.LittleEndian.Uint32(page[4:]))
}

// CheckPage judges the block-th page of a relation of a cluster with checksums. Pages changed at or after bound, the LSN at which a backup
// of the running cluster began, are not judged; a bound of 0 judges all.
func CheckPage(page *Page, block uint32, bound wal.LSN) Verdict {
	upper := binary.LittleEndian.Uint16(page[14:])
	switch {
	case upper == 0 && *page == Page{}:
		return PageEmpty
	case bound != 0 && PageLSN(page) >= bound:
		return PageNewer
	case upper != 0 && binary.LittleEndian.Uint16(page[8:]) == Checksum(page, block):
		return PageGood
	default:
		return PageBad
	}
}
