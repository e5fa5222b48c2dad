package wal

import (
	"fmt"
	"strconv"
	"strings"
)

// History is where a timeline came from: the content of its history file.
type History struct {
	Timeline Timeline
	Switches []Switch // oldest first; none for a timeline that came from nowhere
}

// Switch is the end of an ancestor: the next timeline, of the next Switch or of the History, goes on from there.
type Switch struct {
	Timeline Timeline
	At       LSN    // the first byte that is no longer the ancestor's
	Reason   string // for people
}

// ParseHistory reads the history file of a timeline: lines of an ancestor's number, the LSN at which it was left, and a
// reason (src/backend/access/transam/timeline.c).
func ParseHistory(t Timeline, content []byte) (History, error) {
	h := History{Timeline: t}
	for i, line := range strings.Split(string(content), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseSwitch(line)
		if err == nil {
			err = h.accepts(s)
		}
		if err != nil {
			return History{}, fmt.Errorf("line %d of %s: %w", i+1, HistoryName(t), err)
		}
		h.Switches = append(h.Switches, s)
	}
	if t == 0 {
		return History{}, fmt.Errorf("there is no timeline 0")
	}
	return h, nil
}

func parseSwitch(line string) (Switch, error) {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return Switch{}, fmt.Errorf("%.80q is no timeline with the LSN at which it ended", line)
	}
	tli, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil || tli == 0 {
		return Switch{}, fmt.Errorf("%.20q is no timeline", fields[0])
	}
	at, err := ParseLSN(fields[1])
	if err != nil {
		return Switch{}, err
	}
	return Switch{Timeline: Timeline(tli), At: at, Reason: strings.Join(fields[2:], " ")}, nil
}

// accepts says whether s can be the next switch: ancestors are older than their descendants, and are left in order.
func (h History) accepts(s Switch) error {
	if s.Timeline >= h.Timeline {
		return fmt.Errorf("timeline %d cannot come from timeline %d, which is not older", h.Timeline, s.Timeline)
	}
	if len(h.Switches) == 0 {
		return nil
	}
	last := h.Switches[len(h.Switches)-1]
	if s.Timeline <= last.Timeline || s.At < last.At {
		return fmt.Errorf("timeline %d, left at %s, cannot follow timeline %d, left at %s", s.Timeline, s.At, last.Timeline, last.At)
	}
	return nil
}

// Chain returns the timelines from the oldest ancestor to the timeline itself.
func (h History) Chain() []Timeline {
	chain := make([]Timeline, 0, len(h.Switches)+1)
	for _, s := range h.Switches {
		chain = append(chain, s.Timeline)
	}
	return append(chain, h.Timeline)
}

// Parent returns the timeline this one left, and where; ok is false for one that came from nowhere.
func (h History) Parent() (s Switch, ok bool) {
	if len(h.Switches) == 0 {
		return Switch{}, false
	}
	return h.Switches[len(h.Switches)-1], true
}

// At returns the timeline whose WAL holds the byte at an LSN, on the way to this timeline.
func (h History) At(at LSN) Timeline {
	for _, s := range h.Switches {
		if at < s.At {
			return s.Timeline
		}
	}
	return h.Timeline
}

// Range returns the part of the log that is t's on the way to this timeline: from its first byte to the first byte that is no
// longer its own. The last timeline has no end, which is the LSN 0. ok is false when t is no ancestor: what was written on it
// cannot be reached.
func (h History) Range(t Timeline) (from, end LSN, ok bool) {
	for _, s := range h.Switches {
		if s.Timeline == t {
			return from, s.At, true
		}
		from = s.At
	}
	return from, 0, t == h.Timeline
}

// SegmentAt returns the file that recovery on the way to this timeline reads for a segment number. A segment with a switch
// in it is read from the newest timeline that begins in it: its file holds the ancestors' part too.
func (h History) SegmentAt(number uint64, size SegmentSize) Segment {
	chain := h.Chain()
	for i := len(h.Switches) - 1; i >= 0; i-- {
		if size.Number(h.Switches[i].At) <= number {
			return Segment{Timeline: chain[i+1], Number: number}
		}
	}
	return Segment{Timeline: chain[0], Number: number}
}
