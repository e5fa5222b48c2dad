package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Sizes and flags of page headers (XLogPageHeaderData in src/include/access/xlog_internal.h).
const (
	shortHeader = 24
	longHeader  = 40

	firstIsContinued = 0x1 // the page begins with the rest of a record
	hasLongHeader    = 0x2
	blocksRemovable  = 0x4 // of no matter here
	firstIsOverwrite = 0x8 // the page begins anew in place of the rest of a record that a crash cut off
	allFlags         = firstIsContinued | hasLongHeader | blocksRemovable | firstIsOverwrite
)

// magics is XLOG_PAGE_MAGIC of the released major versions. It changes whenever the meaning of WAL does.
var magics = map[uint16]int{0xD106: 13, 0xD10D: 14, 0xD110: 15, 0xD113: 16, 0xD116: 17, 0xD118: 18}

// HeaderSize is how many bytes of a segment ReadHeader needs.
const HeaderSize = longHeader

// Header is the long header, which the first page of every segment begins with.
type Header struct {
	Major       int      // of the PostgreSQL that wrote it
	Timeline    Timeline // of the page, which is older than the file's own where the file begins with its parent's WAL
	Address     LSN      // of the page
	SystemID    uint64   // of the cluster
	SegmentSize SegmentSize
	BlockSize   uint32 // of the WAL's pages, in bytes
}

// ReadHeader reads the header of a segment from its first bytes, of which it needs HeaderSize.
func ReadHeader(first []byte) (Header, error) {
	if len(first) < longHeader {
		return Header{}, fmt.Errorf("%d bytes are too few for a WAL segment", len(first))
	}
	magic := binary.LittleEndian.Uint16(first)
	major, ok := magics[magic]
	if !ok {
		return Header{}, fmt.Errorf("begins with %04X, which no WAL of PostgreSQL 13 to 18 does", magic)
	}
	if flags := binary.LittleEndian.Uint16(first[2:]); flags&hasLongHeader == 0 || flags&^allFlags != 0 {
		return Header{}, fmt.Errorf("page flags %04X are not those of a segment's first page", flags)
	}
	h := Header{
		Major:       major,
		Timeline:    Timeline(binary.LittleEndian.Uint32(first[4:])),
		Address:     LSN(binary.LittleEndian.Uint64(first[8:])),
		SystemID:    binary.LittleEndian.Uint64(first[24:]),
		SegmentSize: SegmentSize(binary.LittleEndian.Uint32(first[32:])),
		BlockSize:   binary.LittleEndian.Uint32(first[36:]),
	}
	return h, h.check()
}

func (h Header) check() error {
	if err := h.SegmentSize.Check(); err != nil {
		return err
	}
	if h.BlockSize < 1<<10 || h.BlockSize > 1<<16 || bits.OnesCount32(h.BlockSize) != 1 {
		return fmt.Errorf("%d bytes is no size of WAL pages: it is a power of two from 1 to 64 KiB", h.BlockSize)
	}
	if uint64(h.Address)%uint64(h.SegmentSize) != 0 {
		return fmt.Errorf("page address %s is not at the beginning of a segment of %d bytes", h.Address, h.SegmentSize)
	}
	if h.Timeline == 0 {
		return errors.New("the page is of timeline 0, which there is not")
	}
	return nil
}

// Cluster is what all WAL of one cluster has in common.
type Cluster struct {
	SystemID    uint64
	Major       int // of PostgreSQL; 0 takes any
	SegmentSize SegmentSize
}

// Check says whether a segment with this header is the one that its name says, of the cluster c.
func (h Header) Check(name Segment, c Cluster) error {
	if h.SystemID != c.SystemID {
		return fmt.Errorf("is WAL of the cluster with system identifier %d, not %d: it belongs to another database server", h.SystemID, c.SystemID)
	}
	if c.Major != 0 && h.Major != c.Major {
		return fmt.Errorf("is WAL of PostgreSQL %d, not %d", h.Major, c.Major)
	}
	if h.SegmentSize != c.SegmentSize {
		return fmt.Errorf("is a segment of %d bytes where the cluster has segments of %d", h.SegmentSize, c.SegmentSize)
	}
	if want := c.SegmentSize.Start(name.Number); h.Address != want {
		return fmt.Errorf("holds WAL from %s on, and not from %s on as its name says", h.Address, want)
	}
	if h.Timeline > name.Timeline {
		return fmt.Errorf("holds WAL of timeline %d, which is newer than timeline %d of its name", h.Timeline, name.Timeline)
	}
	return nil
}
