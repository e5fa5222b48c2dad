package state

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// LSN is a byte position in PostgreSQL's write-ahead log (WAL), counted from its beginning. It is written as two hex
// numbers, as in 16/B374D848 (pg_lsn in the PostgreSQL manual).
type LSN uint64

// String writes the position as PostgreSQL does.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// MarshalText implements encoding.TextMarshaler.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It reads only what MarshalText writes.
func (l *LSN) UnmarshalText(text []byte) error {
	high, low, _ := strings.Cut(string(text), "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	o, err2 := strconv.ParseUint(low, 16, 32)
	if *l = LSN(h<<32 | o); err1 != nil || err2 != nil || l.String() != string(text) {
		return fmt.Errorf("%.40q is no position in the WAL; it reads like 16/B374D848", text)
	}
	return nil
}

// Base is what a restore point of a physical backup says of the WAL.
type Base struct {
	System   string `json:"system"` // the server's system identifier; another one after initdb and pg_upgrade
	Timeline uint32 `json:"timeline"`
	Start    LSN    `json:"start"`                 // recovery begins here
	End      LSN    `json:"end"`                   // from here on the data is consistent; the point's Time is that of this position
	Carries  bool   `json:"carries_wal,omitempty"` // the WAL from Start to End is stored with the point
}

// WAL is the write-ahead log of one server that a backup has in one store.
type WAL struct {
	Store       string     `json:"store"`      // address
	Repository  string     `json:"repository"` // id of the repository in it
	System      string     `json:"system"`
	SegmentSize int64      `json:"segment_size"` // bytes; 16 MiB unless initdb was told otherwise
	Timelines   []Timeline `json:"timelines"`    // ascending ID
	Seen        time.Time  `json:"seen"`         // when the source was last heard: its WAL up to the frontier's time is stored
}

// Timeline is one history of a server. A promotion or a recovery to an earlier moment begins another.
type Timeline struct {
	ID     uint32  `json:"id"`
	Parent uint32  `json:"parent,omitempty"` // the timeline it left, as its history file says; 0 while that file is not stored
	Switch LSN     `json:"switch,omitempty"` // where it left it
	Ranges []Range `json:"ranges"`           // ascending, apart from each other: what lies between two is missing
}

// Range is WAL without a gap.
type Range struct {
	From   LSN       `json:"from"`             // the beginning of a segment
	To     LSN       `json:"to"`               // the first byte that is not stored; inside of a segment where that is not finished yet
	Since  time.Time `json:"since"`            // of the range's beginning
	Until  time.Time `json:"until"`            // everything committed on this timeline up to this moment is in the range or before it
	Stored int64     `json:"stored,omitempty"` // bytes in the store
	Cut    bool      `json:"cut,omitempty"`    // what followed it has expired, so that Until is only at least; it is no gap
}

// Gap is WAL that is missing between two ranges of a timeline, or between a timeline and the one it left.
type Gap struct {
	Timeline    uint32
	From, To    LSN
	First, Last string    // names of the missing segments
	Since       time.Time // the last moment before it
}

// Segment is the name of the segment file that holds the byte at a position (XLogFileName in
// src/include/access/xlog_internal.h). An unknown segment size counts as 16 MiB.
func (w *WAL) Segment(timeline uint32, at LSN) string {
	size := w.size()
	perID := uint64(1<<32) / size
	n := uint64(at) / size
	return fmt.Sprintf("%08X%08X%08X", timeline, n/perID, n%perID)
}

// size is the size of a segment. What is not a power of two from 1 MiB to 1 GiB is no segment size of PostgreSQL.
func (w *WAL) size() uint64 {
	if n := w.SegmentSize; n < 1<<20 || n > 1<<30 || n&(n-1) != 0 {
		return 16 << 20
	}
	return uint64(w.SegmentSize)
}

// Floor is the beginning of the segment that holds a position.
func (w *WAL) Floor(at LSN) LSN { return at - at%LSN(w.size()) }

// Ceil is the end of the last segment that holds a byte before a position.
func (w *WAL) Ceil(at LSN) LSN {
	if floor := w.Floor(at); floor < at {
		return floor + LSN(w.size())
	}
	return at
}

// Timeline returns a timeline by its ID; nil when nothing of it is known.
func (w *WAL) Timeline(id uint32) *Timeline {
	for i := range w.Timelines {
		if w.Timelines[i].ID == id {
			return &w.Timelines[i]
		}
	}
	return nil
}

// Frontier is how far the WAL goes: the end of the last range of the newest timeline. ok is false while there is none.
func (w *WAL) Frontier() (timeline uint32, end Range, ok bool) {
	for i := len(w.Timelines) - 1; i >= 0; i-- {
		if t := &w.Timelines[i]; len(t.Ranges) > 0 {
			return t.ID, t.Ranges[len(t.Ranges)-1], true
		}
	}
	return 0, Range{}, false
}

// Gaps lists what is missing between the ranges, timeline by timeline. They are not stored: they are what the ranges leave
// out, so that the two never differ.
func (w *WAL) Gaps() (gaps []Gap) {
	for i := range w.Timelines {
		t := &w.Timelines[i]
		for j, r := range t.Ranges {
			switch {
			case j > 0 && t.Ranges[j-1].Cut:
			case j > 0:
				gaps = append(gaps, w.gap(t.ID, t.Ranges[j-1].To, r.From, t.Ranges[j-1].Until))
			case j == 0 && t.Parent != 0 && w.Floor(t.Switch) < r.From && w.leaves(t) != (time.Time{}):
				gaps = append(gaps, w.gap(t.ID, w.Floor(t.Switch), r.From, w.leaves(t)))
			}
		}
	}
	return gaps
}

// leaves is the last moment of the parent of a timeline that is known to be before it was left.
func (w *WAL) leaves(t *Timeline) (last time.Time) {
	if parent := w.Timeline(t.Parent); parent != nil {
		if r := parent.Holding(t.Switch); r != nil {
			return r.Until
		}
	}
	return last
}

func (w *WAL) gap(timeline uint32, from, to LSN, since time.Time) Gap {
	return Gap{Timeline: timeline, From: from, To: to, First: w.Segment(timeline, from), Last: w.Segment(timeline, to-1), Since: since}
}

// Without is a log after the WAL between two positions of a timeline went. The log itself is not changed.
func (w WAL) Without(timeline uint32, from, to LSN) WAL {
	w.Timelines = append([]Timeline(nil), w.Timelines...)
	t := w.Timeline(timeline)
	if t == nil {
		return w
	}
	ranges := t.Ranges
	t.Ranges = nil
	for _, r := range ranges {
		head, tail := r, r
		if head.To = min(r.To, from); head.To < r.To {
			head.Until, head.Cut = r.Since, true
			head.Stored = share(r, head)
		}
		if tail.From = max(r.From, to); tail.From > r.From {
			tail.Stored = share(r, tail)
		}
		if head.From < head.To {
			t.Ranges = append(t.Ranges, head)
		}
		if tail.From < tail.To && tail.From > head.To {
			t.Ranges = append(t.Ranges, tail)
		}
	}
	return w
}

// share is what a part of a range has of its bytes, as far as can be told.
func share(r, part Range) int64 {
	if part.To <= part.From {
		return 0
	}
	return int64(float64(r.Stored) * float64(part.To-part.From) / float64(r.To-r.From))
}

// Stored are the bytes that the log has in its store.
func (w *WAL) Stored() (sum int64) {
	for i := range w.Timelines {
		for _, r := range w.Timelines[i].Ranges {
			sum += r.Stored
		}
	}
	return sum
}

// StoredWAL are the bytes of WAL that each store has. Backups of one server share its WAL: it counts once.
func (c *Catalog) StoredWAL() map[string]int64 {
	sums, counted := map[string]int64{}, map[[2]string]bool{}
	for _, logs := range c.WAL {
		for i := range logs {
			if key := [2]string{logs[i].Store, logs[i].System}; !counted[key] {
				counted[key] = true
				sums[key[0]] += logs[i].Stored()
			}
		}
	}
	return sums
}

// Holding returns the range that goes up to a position or beyond it, and begins at it or before; nil when there is none.
func (t *Timeline) Holding(at LSN) *Range {
	for i := range t.Ranges {
		if r := &t.Ranges[i]; r.From <= at && at <= r.To {
			return r
		}
	}
	return nil
}
