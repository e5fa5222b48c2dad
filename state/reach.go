package state

import (
	"fmt"
	"time"
)

// Piece names a range of a log by the indexes of its timeline and of the range in it.
type Piece struct{ Timeline, Range int }

// Reach lists the ranges that a base backup can be brought forward through, without a gap and across the switches to
// later timelines; its own comes first. It is empty when the WAL that makes the base consistent is not all there.
func (w *WAL) Reach(b *Base) (pieces []Piece) {
	if b.System != w.System {
		return nil
	}
	from := map[uint32]LSN{} // timeline → where it is entered
	for i := range w.Timelines {
		t := &w.Timelines[i]
		entry, follows := from[t.Parent]
		switch {
		case t.ID == b.Timeline:
			j := t.consistent(w, b)
			if j < 0 {
				return nil
			}
			pieces, from[t.ID] = append(pieces, Piece{i, j}), b.End
		case follows && t.Parent < t.ID && entry <= t.Switch:
			parent := pieceOf(w, pieces, t.Parent)
			j := t.holds(w.Floor(t.Switch), t.Switch)
			if j >= 0 && w.Floor(t.Switch) <= parent.To {
				pieces, from[t.ID] = append(pieces, Piece{i, j}), t.Switch
			}
		}
	}
	return pieces
}

func pieceOf(w *WAL, pieces []Piece, timeline uint32) Range {
	for _, p := range pieces {
		if w.Timelines[p.Timeline].ID == timeline {
			return w.Timelines[p.Timeline].Ranges[p.Range]
		}
	}
	return Range{}
}

// consistent returns the index of the range that makes a base of this timeline consistent; -1 when there is none.
func (t *Timeline) consistent(w *WAL, b *Base) int {
	if b.Carries {
		return t.holds(w.Floor(b.End), b.End)
	}
	return t.holds(w.Floor(b.Start), b.End)
}

// holds returns the index of the range that holds everything from one position to another; -1 when there is none.
func (t *Timeline) holds(from, to LSN) int {
	for j, r := range t.Ranges {
		if r.From <= from && to <= r.To {
			return j
		}
	}
	return -1
}

// At returns the range that a piece names.
func (w *WAL) At(p Piece) Range { return w.Timelines[p.Timeline].Ranges[p.Range] }

// Break tells why WAL does not go from a base backup to the frontier.
type Break struct {
	What  string    // "segment 000000010000000000000004 is missing"
	Since time.Time // the last moment before it, zero where that is not known
}

// Broken tells what stops a base backup on its way to the frontier. WAL that has only not arrived yet does not: a base that
// was just made may end beyond the frontier. ok is false when nothing stops it.
func (w *WAL) Broken(b *Base) (why Break, ok bool) {
	timeline, end, some := w.Frontier()
	switch {
	case !some:
		return Break{}, false
	case b.System != w.System:
		return Break{What: "the WAL is that of another server (system " + w.System + ", the base backup is of " + b.System + ")"}, true
	case end.To < b.End:
		return Break{}, false
	}
	path, why := w.path(b, timeline)
	if why.What != "" {
		return why, true
	}
	at := b.Start
	if b.Carries {
		at = b.End
	}
	for i, t := range path {
		upTo := end.To
		if i+1 < len(path) {
			upTo = max(at, w.Floor(path[i+1].Switch))
		}
		if why, broken := w.missing(t, at, upTo); broken {
			return why, true
		}
		if i+1 < len(path) {
			at = path[i+1].Switch
		}
	}
	return Break{}, false
}

// path lists the timelines from that of a base to another, as their histories say.
func (w *WAL) path(b *Base, to uint32) (path []*Timeline, why Break) {
	for id := to; ; {
		t := w.Timeline(id)
		if t == nil {
			return nil, Break{What: fmt.Sprintf("nothing of timeline %d is there", id)}
		}
		path = append([]*Timeline{t}, path...)
		switch {
		case id == b.Timeline:
			return path, Break{}
		case t.Parent == 0 || t.Parent >= id:
			return nil, Break{What: fmt.Sprintf("where timeline %d came from is not known: %08X.history is missing, or no host that can read it has looked", id, id)}
		case t.Parent == b.Timeline && t.Switch < b.End:
			return nil, Break{What: fmt.Sprintf("timeline %d left timeline %d at %s, before the base backup was consistent at %s", id, t.Parent, t.Switch, b.End)}
		}
		id = t.Parent
	}
}

// missing tells of the first segment that is not there between two positions of a timeline.
func (w *WAL) missing(t *Timeline, from, to LSN) (Break, bool) {
	from = w.Floor(from)
	why := Break{}
	for _, r := range t.Ranges {
		if from < r.From {
			break
		}
		if why.Since = r.Until; from < r.To {
			from = r.To
		}
	}
	if from >= to {
		return Break{}, false
	}
	why.What = "segment " + w.Segment(t.ID, from) + " is missing"
	return why, true
}
