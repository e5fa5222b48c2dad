package ragdata

import (
	"encoding/binary"
	"math"
)

// Pages look like PostgreSQL's: a header with the position of the last change and a checksum, line pointers growing from
// the front, rows growing from the back, each behind a row header. A change alters the row where it stands, the position
// and the checksum, which is all that a block-level backup sees of an update.

const (
	pageSize   = 8192
	pageHeader = 24
	rowHeader  = 24
)

// table is how pages of one kind of row are filled.
type table struct {
	id      int
	perPage int
	row     func(b []byte, r *rng, row int64, room int) []byte // appends a row's columns, at most room bytes
}

var (
	accounts = table{tableAccounts, 61, func(b []byte, r *rng, row int64, _ int) []byte {
		b = binary.LittleEndian.AppendUint32(b, uint32(row))
		b = binary.LittleEndian.AppendUint32(b, uint32(row/100000+1))
		b = binary.LittleEndian.AppendUint32(b, uint32(r.below(3)*r.below(5000)))
		b = append(b, 85<<1|1) // the length of a short text, as PostgreSQL writes it
		return appendText(b, r, 84)
	}}
	chunks = table{tableChunks, 4, func(b []byte, r *rng, row int64, room int) []byte {
		b = binary.LittleEndian.AppendUint64(b, uint64(row))
		b = binary.LittleEndian.AppendUint64(b, uint64(row/chunksPerDocument))
		b = binary.LittleEndian.AppendUint32(b, uint32(row%chunksPerDocument))
		start := len(b)
		b = append(b, 0, 0, 0, 0)
		b = appendText(b, r, min(1200+r.below(500), room-320))
		binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start)<<2)
		return appendMetadata(b, r, row)
	}}
	embeddings = table{tableDocuments, 5, func(b []byte, r *rng, row int64, _ int) []byte {
		b = binary.LittleEndian.AppendUint64(b, uint64(row))
		for _, x := range []uint32{(24 + 4*Dimensions) << 2, 1, 0, 700, Dimensions, 1} { // an array of float4
			b = binary.LittleEndian.AppendUint32(b, x)
		}
		var v [Dimensions]float32
		embedding(v[:], r)
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		return b
	}}
	index = table{tableIndex, 400, func(b []byte, _ *rng, row int64, _ int) []byte {
		b = binary.LittleEndian.AppendUint32(b, uint32(row/61)<<16)
		b = binary.LittleEndian.AppendUint32(b, uint32(row%61)<<16|16)
		return binary.LittleEndian.AppendUint64(b, uint64(row))
	}}
)

// headerSize is that of a row: an index entry has its own inside.
func (t table) headerSize() int {
	if t.id == tableIndex {
		return 0
	}
	return rowHeader
}

// fill makes page number n of the table in p, as first loaded.
func (t table) fill(p []byte, seed uint64, n int64) {
	clear(p)
	upper, lower := pageSize, pageHeader
	scratch := make([]byte, 0, pageSize)
	for i := range t.perPage {
		row := n*int64(t.perPage) + int64(i)
		r := rowRng(seed, t.id, row, 0)
		room := (upper - lower) / (t.perPage - i)
		scratch = t.row(scratch[:0], &r, row, room-t.headerSize()-8)
		length := t.headerSize() + len(scratch)
		upper = (upper - length) &^ 7
		if t.headerSize() > 0 {
			binary.LittleEndian.PutUint32(p[upper:], uint32(700+row/50000)) // the loading transaction
			binary.LittleEndian.PutUint32(p[upper+12:], uint32(n)<<16)
			binary.LittleEndian.PutUint16(p[upper+16:], uint16(i+1))
			binary.LittleEndian.PutUint32(p[upper+18:], 0x09020004)
			p[upper+22] = rowHeader
		}
		copy(p[upper+t.headerSize():], scratch)
		binary.LittleEndian.PutUint32(p[lower:], uint32(upper)|1<<15|uint32(length)<<17)
		lower += 4
	}
	binary.LittleEndian.PutUint16(p[12:], uint16(lower))
	binary.LittleEndian.PutUint16(p[14:], uint16(upper))
	binary.LittleEndian.PutUint16(p[16:], pageSize)
	binary.LittleEndian.PutUint16(p[18:], pageSize|4)
	stamp(p, uint64(n)*pageSize)
}

// change gives row i of page p, number n of the table, the content of another version.
func (t table) change(p []byte, seed uint64, n int64, i int, version int64) {
	pointer := binary.LittleEndian.Uint32(p[pageHeader+4*i:])
	offset, length := int(pointer&0x7fff), int(pointer>>17)
	row := n*int64(t.perPage) + int64(i)
	r := rowRng(seed, t.id, row, version)
	content := p[offset+t.headerSize() : offset+length]
	fresh := t.row(nil, &r, row, len(content))
	copy(content, fresh)
	if t.headerSize() > 0 {
		binary.LittleEndian.PutUint32(p[offset:], uint32(100000*version)+uint32(n))
	}
	stamp(p, uint64(version)<<40|uint64(n)*pageSize+uint64(i)+1)
}

// stamp writes the position of the last change and a checksum of the page, FNV-1a folded to 16 bits as PostgreSQL's is.
func stamp(p []byte, position uint64) {
	binary.LittleEndian.PutUint32(p[0:], uint32(position>>32))
	binary.LittleEndian.PutUint32(p[4:], uint32(position))
	binary.LittleEndian.PutUint16(p[8:], 0)
	sum := uint32(2166136261)
	for i := 0; i < pageSize; i += 4 {
		sum = (sum ^ binary.LittleEndian.Uint32(p[i:])) * 16777619
	}
	binary.LittleEndian.PutUint16(p[8:], uint16(sum^sum>>16))
}
