package wal

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Stored is one file that a store holds whole.
type Stored struct {
	File
	Bytes int64     // stored; of all its objects
	Time  time.Time // when the store says that the newest of them came
}

// Compare orders by system, timeline, segment, kind and extent; histories come before the segments of their timeline.
func Compare(a, b Stored) int {
	history := func(f Stored) int {
		if f.Kind == History {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(a.System, b.System), cmp.Compare(a.Timeline, b.Timeline), cmp.Compare(history(a), history(b)), cmp.Compare(a.Log, b.Log), cmp.Compare(a.Seg, b.Seg),
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To),
	)
}

// Switch is where a timeline left its parent: a line of a history file.
type Switch struct {
	Timeline, Parent uint32
	At               uint64 // LSN
}

// Range is write-ahead log of one timeline without a gap: the LSNs [From,To).
type Range struct {
	Timeline    uint32
	From, To    uint64
	First, Last string // names of its segments
	// Joined tells that what came before From is in a range of the parent timeline, so that recovery can cross the switch.
	Joined bool
}

// Gap is write-ahead log that is missing between what is there: the LSNs [From,To).
type Gap struct {
	Timeline    uint32
	From, To    uint64
	First, Last string // names of the segments that are missing or incomplete
	Segments    int64
}

// Continuity is what the files of one system amount to.
type Continuity struct {
	Ranges []Range // ordered by timeline and position
	Gaps   []Gap   // likewise
}

// Follow finds ranges and gaps among the files of one system, of which segments are segmentSize bytes. Whole segments count,
// and of the others the pieces from their beginning on; the .partial file of a timeline that ended does not, since recovery
// never asks for it. With the switches, what is missing on either side of one is a gap too: the child begins with the segment
// that holds the switch, and the parent is needed up to the beginning of that segment.
func Follow(files []Stored, segmentSize int64, switches []Switch) (Continuity, error) {
	if err := checkSegment("a segment", segmentSize); err != nil {
		return Continuity{}, err
	}
	spans, err := spansOf(files, uint64(segmentSize))
	if err != nil {
		return Continuity{}, err
	}
	w := walk{size: uint64(segmentSize), spans: spans, switches: map[uint32]Switch{}}
	for _, s := range switches {
		if s.Timeline == 0 || s.Parent == 0 || s.Parent >= s.Timeline {
			return Continuity{}, fmt.Errorf("timeline %d cannot have come from timeline %d", s.Timeline, s.Parent)
		}
		w.switches[s.Timeline] = s
	}
	timelines := make([]uint32, 0, len(spans))
	for t := range spans {
		timelines = append(timelines, t)
	}
	slices.Sort(timelines)
	for _, t := range timelines {
		w.timeline(t)
	}
	slices.SortFunc(w.out.Gaps, func(a, b Gap) int { return cmp.Or(cmp.Compare(a.Timeline, b.Timeline), cmp.Compare(a.From, b.From)) })
	w.out.Gaps = slices.Compact(w.out.Gaps)
	return w.out, nil
}

// span is a run of positions without a gap.
type span struct{ from, to uint64 }

// spansOf merges the files of each timeline into runs.
func spansOf(files []Stored, size uint64) (map[uint32][]span, error) {
	parts := map[uint32][]span{}
	for _, f := range files {
		if f.System != files[0].System {
			return nil, fmt.Errorf("files of systems %d and %d have nothing to do with each other", files[0].System, f.System)
		}
		if f.Kind != Segment && f.Kind != Piece {
			continue
		}
		if uint64(f.Seg) >= logBytes/size || f.Kind == Piece && uint64(f.To) > size {
			return nil, fmt.Errorf("%s cannot be where segments have %d bytes", f.File, size)
		}
		begin := uint64(f.Log)*logBytes + uint64(f.Seg)*size
		s := span{begin, begin + size}
		if f.Kind == Piece {
			s = span{begin + uint64(f.From), begin + uint64(f.To)}
		}
		parts[f.Timeline] = append(parts[f.Timeline], s)
	}
	for t, all := range parts {
		if parts[t] = merge(all, size); len(parts[t]) == 0 {
			delete(parts, t)
		}
	}
	return parts, nil
}

// merge joins what touches. A run begins at the beginning of a segment: pieces behind a hole are of no use to recovery.
func merge(all []span, size uint64) (out []span) {
	slices.SortFunc(all, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	for _, s := range all {
		last := len(out) - 1
		switch {
		case last >= 0 && s.from <= out[last].to:
			out[last].to = max(out[last].to, s.to)
		case s.from%size == 0:
			out = append(out, s)
		}
	}
	return out
}

// walk makes ranges and gaps of the runs.
type walk struct {
	size     uint64
	spans    map[uint32][]span
	switches map[uint32]Switch
	out      Continuity
}

func (w *walk) timeline(t uint32) {
	spans := w.spans[t]
	joined := false
	if s, ok := w.switches[t]; ok {
		begin := s.At - s.At%w.size
		if spans[0].from > begin {
			w.gap(t, begin, spans[0].from)
		} else {
			joined = w.parentReaches(s.Parent, begin)
		}
	}
	for i, s := range spans {
		if i > 0 {
			w.gap(t, spans[i-1].to, s.from)
		}
		w.out.Ranges = append(w.out.Ranges, Range{Timeline: t, From: s.from, To: s.to, First: w.name(t, s.from), Last: w.name(t, s.to-1), Joined: joined && i == 0})
	}
}

// parentReaches tells whether the parent's log ends where the child's begins, and notes what is missing where it does not.
// A parent of which nothing older is there is no gap: nothing says that there was anything. One that itself began in the same
// segment has handed on what its own parent has.
func (w *walk) parentReaches(parent uint32, begin uint64) bool {
	spans := w.spans[parent]
	next := slices.IndexFunc(spans, func(s span) bool { return s.from >= begin })
	if next < 0 {
		next = len(spans)
	}
	if next == 0 {
		s, ok := w.switches[parent]
		return ok && s.At-s.At%w.size >= begin && w.parentReaches(s.Parent, begin)
	}
	end := spans[next-1].to
	if end < begin && next == len(spans) { // otherwise the hole was told with the parent's own
		w.gap(parent, end, begin)
	}
	return end >= begin
}

func (w *walk) gap(t uint32, from, to uint64) {
	first, last := from/w.size, (to-1)/w.size
	w.out.Gaps = append(w.out.Gaps, Gap{
		Timeline: t, From: from, To: to, First: w.name(t, from), Last: w.name(t, to-1), Segments: int64(last - first + 1),
	})
}

// name returns the segment of a timeline that holds the position.
func (w *walk) name(t uint32, at uint64) string {
	return File{Timeline: t, Kind: Segment, Log: uint32(at / logBytes), Seg: uint32(at % logBytes / w.size)}.Name()
}
