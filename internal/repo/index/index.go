package index

import (
	"encoding/binary"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
)

// Pending is the pack number of a chunk that is on its way into a pack.
const Pending = 1<<32 - 1

// Location says where a chunk's frame is: in the plain inside of a pack.
type Location struct {
	Pack   uint32 // number within this index, or Pending
	Offset uint32
	Stored uint32
	Plain  uint32
}

type entry struct {
	id  chunk.ID
	loc Location
}

const blockSize = 8192

// Index is the table in memory: 48 bytes per chunk in blocks that never move, and a hash table of 4-byte numbers. It is
// not safe for concurrent use while it is changed.
type Index struct {
	packs   []PackInfo
	numbers map[PackID]uint32
	blocks  [][]entry
	count   uint32
	table   []uint32 // entry number + 1; 0 is free. Its length is a power of two
	marks   []uint64 // one bit per entry
}

// PackInfo describes a pack of the index.
type PackInfo struct {
	ID   PackID
	Size int64
}

// New returns an empty index.
func New() *Index {
	return &Index{numbers: map[PackID]uint32{}, table: make([]uint32, 1024)}
}

// Len returns the number of chunks.
func (x *Index) Len() int { return int(x.count) }

// NewPack adds a pack whose hash is not known yet and returns its number.
func (x *Index) NewPack() uint32 {
	x.packs = append(x.packs, PackInfo{})
	return uint32(len(x.packs) - 1)
}

// Finish tells the hash and size of a pack made by NewPack.
func (x *Index) Finish(number uint32, info PackInfo) {
	x.packs[number] = info
	x.numbers[info.ID] = number
}

// Pack describes a pack by number.
func (x *Index) Pack(number uint32) PackInfo { return x.packs[number] }

// Packs returns how many packs there are.
func (x *Index) Packs() int { return len(x.packs) }

// HasPack tells whether a pack was added.
func (x *Index) HasPack(id PackID) bool {
	_, ok := x.numbers[id]
	return ok
}

// Add adds a pack's chunks. A pack that is known already is ignored, and so are chunks that have a place.
func (x *Index) Add(p Pack) {
	if x.HasPack(p.ID) {
		return
	}
	number := x.NewPack()
	x.Finish(number, PackInfo{p.ID, p.Size})
	var offset uint32
	for _, r := range p.Records {
		if _, ok := x.Lookup(r.ID); !ok {
			x.insert(r.ID, Location{Pack: number, Offset: offset, Stored: r.Stored, Plain: r.Plain})
		}
		offset += r.Stored
	}
}

// Lookup finds a chunk.
func (x *Index) Lookup(id chunk.ID) (Location, bool) {
	if e := x.find(id); e != nil {
		return e.loc, true
	}
	return Location{}, false
}

// Reserve adds a chunk that is on its way. It must not be there yet.
func (x *Index) Reserve(id chunk.ID, plain uint32) {
	x.insert(id, Location{Pack: Pending, Plain: plain})
}

// Place tells where a reserved chunk went.
func (x *Index) Place(id chunk.ID, loc Location) {
	if e := x.find(id); e != nil {
		e.loc = loc
	}
}

// Mark remembers a chunk that has a place.
func (x *Index) Mark(id chunk.ID) {
	n, ok := x.number(id)
	if !ok {
		return
	}
	for int(n/64) >= len(x.marks) {
		x.marks = append(x.marks, 0)
	}
	x.marks[n/64] |= 1 << (n % 64)
}

// Marked tells whether Mark was called for a chunk.
func (x *Index) Marked(id chunk.ID) bool {
	n, ok := x.number(id)
	return ok && int(n/64) < len(x.marks) && x.marks[n/64]&(1<<(n%64)) != 0
}

func (x *Index) at(number uint32) *entry { return &x.blocks[number/blockSize][number%blockSize] }

func (x *Index) find(id chunk.ID) *entry {
	if n, ok := x.number(id); ok {
		return x.at(n)
	}
	return nil
}

func (x *Index) number(id chunk.ID) (uint32, bool) {
	mask := uint32(len(x.table) - 1)
	for slot := hash(id) & mask; x.table[slot] != 0; slot = (slot + 1) & mask {
		if n := x.table[slot] - 1; x.at(n).id == id {
			return n, true
		}
	}
	return 0, false
}

func (x *Index) insert(id chunk.ID, loc Location) {
	if int(x.count) >= len(x.table)/4*3 {
		x.grow()
	}
	if x.count%blockSize == 0 {
		x.blocks = append(x.blocks, make([]entry, blockSize))
	}
	*x.at(x.count) = entry{id, loc}
	x.count++
	x.link(id, x.count)
}

func (x *Index) link(id chunk.ID, value uint32) {
	mask := uint32(len(x.table) - 1)
	slot := hash(id) & mask
	for x.table[slot] != 0 {
		slot = (slot + 1) & mask
	}
	x.table[slot] = value
}

func (x *Index) grow() {
	x.table = make([]uint32, 2*len(x.table))
	for n := range x.count {
		x.link(x.at(n).id, n+1)
	}
}

// hash needs no mixing: ids are keyed hashes already.
func hash(id chunk.ID) uint32 { return binary.LittleEndian.Uint32(id[:]) }
