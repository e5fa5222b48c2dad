package retention

import (
	"slices"
	"time"

	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// DefaultContinuous is the window of backups with WAL whose retention names none.
const DefaultContinuous = policy.Duration(24 * time.Hour)

// Begin is the beginning of the continuous window of a backup with WAL.
func Begin(rule policy.Retention, now time.Time) time.Time {
	if rule.Continuous > 0 {
		return now.Add(-rule.Continuous.Std())
	}
	return now.Add(-DefaultContinuous.Std())
}

// Bases returns the indexes of the base backups that the continuous window stands on, ascending. They are the newest base
// that is at least as old as the window, so that recovery can begin before each of its instants, and those inside of the
// window that no older one of them reaches, because WAL is missing in between or the server is another. Damaged bases take
// no sound one's place, and unproven ones no proven one's.
func Bases(points []state.RestorePoint, logs []state.WAL, rule policy.Retention, now time.Time) []int {
	if len(logs) == 0 && rule.Continuous <= 0 {
		return nil
	}
	order := slices.DeleteFunc(newestFirst(points), func(i int) bool { return points[i].Base == nil || points[i].Incomplete })
	if len(order) == 0 {
		return nil
	}
	b := &bases{points: points, begin: Begin(rule, now), needed: map[int]bool{}}
	for _, counts := range []func(evidence) bool{
		func(evidence) bool { return true },
		func(e evidence) bool { return e != damaged },
		func(e evidence) bool { return e == proven },
	} {
		some := slices.DeleteFunc(slices.Clone(order), func(i int) bool { return !counts(proof(&points[i])) })
		b.first(some)
		for i := range logs {
			b.under(&logs[i], some)
		}
	}
	var list []int
	for i := range b.needed {
		list = append(list, i)
	}
	slices.Sort(list)
	return list
}

// bases gathers what the window needs.
type bases struct {
	points []state.RestorePoint
	begin  time.Time // of the window
	needed map[int]bool
}

// first marks the newest base of the newest server that is at least as old as the window. order is newest first.
func (b *bases) first(order []int) {
	for _, i := range order {
		if b.points[i].Base.System == b.points[order[0]].Base.System && !b.points[i].Time.After(b.begin) {
			b.needed[i] = true
			return
		}
	}
}

// under marks the bases that every instant of the window in one log needs.
func (b *bases) under(log *state.WAL, order []int) {
	here := b.candidates(log, order)
	covered := map[state.Piece]bool{}
	for _, i := range here { // before the window, newest first
		if b.points[i].Time.After(b.begin) {
			continue
		}
		for _, piece := range log.Reach(b.points[i].Base) {
			if !log.At(piece).Until.Before(b.begin) && !covered[piece] {
				covered[piece], b.needed[i] = true, true
			}
		}
	}
	for _, i := range slices.Backward(here) { // inside of it, oldest first
		if !b.points[i].Time.After(b.begin) {
			continue
		}
		pieces := log.Reach(b.points[i].Base)
		if len(pieces) == 0 {
			b.needed[i] = true // its own moment, if no other
		}
		for _, piece := range pieces {
			if !covered[piece] {
				covered[piece], b.needed[i] = true, true
			}
		}
	}
}

// candidates are the bases of the log's server: those in the same store, where there are any.
func (b *bases) candidates(log *state.WAL, order []int) []int {
	var here, anywhere []int
	for _, i := range order {
		if b.points[i].Base.System != log.System {
			continue
		}
		anywhere = append(anywhere, i)
		if _, there := b.points[i].In(log.Store); there {
			here = append(here, i)
		}
	}
	if len(here) > 0 {
		return here
	}
	return anywhere
}
