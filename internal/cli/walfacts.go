package cli

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-io/holdfast/internal/repo/wal"
	"github.com/holdfast-io/holdfast/state"
)

// storedWAL is what a look at one store found of one server's write-ahead log, and what else tells of it. It becomes facts by log,
// which is pure.
type storedWAL struct {
	store, repository, system string
	size                      int64 // of segments, in bytes
	files                     []wal.Stored
	histories                 map[uint32]wal.Switch  // by timeline: of the history files that are stored and known
	commits                   map[position]time.Time // newest commit that was read before the end of a range
	before                    *state.WAL             // what the catalog knew; nil for nothing
	origin                    *storedWAL             // copies: the log that it is a copy of; nil where that was not seen
	bases                     []state.RestorePoint   // base backups of the server
	end                       position               // where the server's log ended at heard, before the look at the store
	heard                     time.Time              // zero where the server was not asked, or did not know

	facts state.WAL // what log made of it
}

// position is a place in a server's log.
type position struct {
	timeline uint32
	at       state.LSN
}

// object is a stored part of one timeline.
type object struct {
	from, to state.LSN
	bytes    int64
	came     time.Time // when the store says that it was there
}

// log makes facts of what was found. Times are conservative: everything that was committed up to a range's Until is in it.
func (s *storedWAL) log() (state.WAL, error) {
	c, err := wal.Follow(s.files, s.size, nil)
	if err != nil {
		return state.WAL{}, err
	}
	w := state.WAL{Store: s.store, Repository: s.repository, System: s.system, SegmentSize: s.size}
	timelines := map[uint32]*state.Timeline{}
	of := func(id uint32) *state.Timeline {
		if timelines[id] == nil {
			timelines[id] = &state.Timeline{ID: id}
		}
		return timelines[id]
	}
	for id, h := range s.histories {
		of(id).Parent, of(id).Switch = h.Parent, state.LSN(h.At)
	}
	for _, r := range c.Ranges {
		t := of(r.Timeline)
		t.Ranges = append(t.Ranges, state.Range{From: state.LSN(r.From), To: state.LSN(r.To)})
	}
	for _, t := range timelines {
		s.fill(t)
		w.Timelines = append(w.Timelines, *t)
	}
	slices.SortFunc(w.Timelines, func(a, b state.Timeline) int { return cmp.Compare(a.ID, b.ID) })
	w.Seen = s.seen(&w)
	s.facts = w
	return w, nil
}

// fill completes the ranges of a timeline.
func (s *storedWAL) fill(t *state.Timeline) {
	objects, old := s.objects(t.ID), rangesOf(s.before, t.ID)
	for i := range t.Ranges {
		r := &t.Ranges[i]
		inside := slices.DeleteFunc(slices.Clone(objects), func(o object) bool { return o.from < r.From || r.To < o.to })
		for _, o := range inside {
			r.Stored += o.bytes
		}
		r.Until = s.until(t.ID, *r, inside).UTC()
		r.Since = s.since(t.ID, *r, inside).UTC()
		next := state.LSN(0)
		if i+1 < len(t.Ranges) {
			next = t.Ranges[i+1].From
		}
		r.Cut = expired(old, r.To, next)
	}
}

// objects lists the parts of a timeline by their ends.
func (s *storedWAL) objects(timeline uint32) (objects []object) {
	for _, f := range s.files {
		if f.Timeline != timeline || f.Kind != wal.Segment && f.Kind != wal.Piece {
			continue
		}
		o := object{from: state.LSN(uint64(f.Log)<<32 + uint64(f.Seg)*uint64(s.size)), bytes: f.Bytes, came: f.Time}
		o.to = o.from + state.LSN(s.size)
		if f.Kind == wal.Piece {
			o.from, o.to = o.from+state.LSN(f.From), o.from+state.LSN(f.To)
		}
		objects = append(objects, o)
	}
	slices.SortFunc(objects, func(a, b object) int { return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.from, b.from)) })
	return objects
}

func rangesOf(w *state.WAL, timeline uint32) []state.Range {
	if w == nil {
		return nil
	}
	if t := w.Timeline(timeline); t != nil {
		return t.Ranges
	}
	return nil
}

// until is the latest moment of which it is known that what was committed by then is in a range. What was known of a part of it
// holds still, base backups tell the moments of their ends, and a server that had nothing more tells that of the question.
func (s *storedWAL) until(timeline uint32, r state.Range, objects []object) time.Time {
	last := s.guess(timeline, r, objects)
	raise := func(t time.Time) {
		if t.After(last) {
			last = t
		}
	}
	for _, p := range s.bases {
		if p.Base.Timeline == timeline && p.Base.Start >= r.To && p.Time.Before(last) {
			last = p.Time // a base backup began behind the range
		}
	}
	for _, old := range rangesOf(s.before, timeline) {
		if r.From <= old.From && old.To <= r.To {
			raise(old.Until)
		}
	}
	for _, p := range s.bases {
		if p.Base.Timeline == timeline && r.From <= p.Base.End && p.Base.End <= r.To {
			raise(p.Time)
		}
	}
	if s.end.timeline == timeline && r.From <= s.end.at && s.end.at <= r.To {
		raise(s.heard)
	}
	return last
}

// guess is what the objects of a range tell of its end: the newest commit where it was read; else the store's time of the object
// before the last one, since an object is begun when the one before it is there. The times of a copy tell when it was copied: it
// takes those of the log that it is a copy of.
func (s *storedWAL) guess(timeline uint32, r state.Range, objects []object) time.Time {
	if t, ok := s.commits[position{timeline, r.To}]; ok {
		return t
	}
	if s.origin == nil {
		return beforeLast(objects)
	}
	for _, o := range rangesOf(&s.origin.facts, timeline) {
		if o.To == r.To {
			return o.Until
		}
	}
	return beforeLast(slices.DeleteFunc(s.origin.objects(timeline), func(o object) bool { return r.To < o.to || o.from < r.From }))
}

func beforeLast(objects []object) time.Time {
	n := len(objects)
	if n < 2 {
		return time.Time{}
	}
	if last := objects[n-1].came; last.Before(objects[n-2].came) {
		return last
	}
	return objects[n-2].came
}

// since is when a range begins, about.
func (s *storedWAL) since(timeline uint32, r state.Range, objects []object) time.Time {
	first := time.Time{}
	if len(objects) > 0 {
		first = objects[0].came
	}
	known := rangesOf(s.before, timeline)
	if s.origin != nil {
		known = append(slices.Clone(known), rangesOf(&s.origin.facts, timeline)...)
	}
	for _, old := range known {
		if old.From == r.From {
			first = old.Since
			break
		}
	}
	if first.After(r.Until) && !r.Until.IsZero() {
		return r.Until
	}
	return first
}

// expired tells whether what lies between the end of a range and the beginning of the next one (0: nothing follows) went because
// it expired, as the catalog knew. What an expiry that was cut off has left may lie between.
func expired(old []state.Range, from, to state.LSN) bool {
	if to != 0 && len(old) > 0 && to <= old[0].From {
		return true
	}
	for i, o := range old {
		if !o.Cut || o.To > from {
			continue
		}
		if to == 0 && o.To == from || i+1 == len(old) && to != 0 || i+1 < len(old) && to != 0 && to <= old[i+1].From {
			return true
		}
	}
	return false
}

// seen is when the server was last heard of: the newest object of the store, and the server itself where it was asked. Objects
// that were only stored anew, as after a rotation of keys, tell nothing new.
func (s *storedWAL) seen(w *state.WAL) (last time.Time) {
	for _, f := range s.files {
		if f.Time.After(last) {
			last = f.Time
		}
	}
	if s.before != nil {
		t1, end1, _ := s.before.Frontier()
		if t2, end2, _ := w.Frontier(); t1 == t2 && end1.To == end2.To {
			last = s.before.Seen
		}
	}
	if s.heard.After(last) {
		last = s.heard
	}
	return last.UTC()
}
