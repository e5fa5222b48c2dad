package wal

import (
	"fmt"
	"math/bits"
)

// Timeline is one history of a cluster: each recovery that ends before the end of WAL begins a new one. Counted from 1.
type Timeline uint32

// SegmentSize is the size of every WAL file of a cluster in bytes, chosen by initdb.
type SegmentSize uint32

// Segment sizes PostgreSQL allows (IsValidWalSegSize in src/include/access/xlog_internal.h).
const (
	MinSegmentSize     SegmentSize = 1 << 20
	DefaultSegmentSize SegmentSize = 16 << 20
	MaxSegmentSize     SegmentSize = 1 << 30
)

// Check says whether a cluster can have segments of this size.
func (s SegmentSize) Check() error {
	if s < MinSegmentSize || s > MaxSegmentSize || bits.OnesCount32(uint32(s)) != 1 {
		return fmt.Errorf("%d bytes is no size of WAL segments: it is a power of two from 1 MiB to 1 GiB", s)
	}
	return nil
}

// perLog is how many segments share the middle part of their names.
func (s SegmentSize) perLog() uint64 { return 1 << 32 / uint64(s) }

// Number returns the segment that holds the byte at an LSN.
func (s SegmentSize) Number(at LSN) uint64 { return uint64(at) / uint64(s) }

// LastNumber returns the segment that holds the byte before an LSN: the last one needed for WAL that ends there. It is 0 for the LSN 0.
func (s SegmentSize) LastNumber(end LSN) uint64 {
	if end == 0 {
		return 0
	}
	return s.Number(end - 1)
}

// Start returns the LSN of a segment's first byte.
func (s SegmentSize) Start(number uint64) LSN { return LSN(number * uint64(s)) }

// Segment is one WAL file: a timeline's bytes from Number times the segment size on.
type Segment struct {
	Timeline Timeline
	Number   uint64
}

// Name returns the file's name: 24 hex digits, eight each for the timeline and the two parts of the number.
func (s Segment) Name(size SegmentSize) string {
	return fmt.Sprintf("%08X%08X%08X", uint32(s.Timeline), uint32(s.Number/size.perLog()), uint32(s.Number%size.perLog()))
}

// ParseSegment reads the name of a complete segment. What such a name means depends on the segment size.
func ParseSegment(name string, size SegmentSize) (Segment, error) {
	n := ParseName(name)
	if n.Kind != KindSegment {
		return Segment{}, fmt.Errorf("%.80q is no name of a WAL segment: it reads like 000000010000000000000001", name)
	}
	return n.Segment(size)
}
