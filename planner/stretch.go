package planner

import (
	"slices"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// stretch adds to a span what WAL makes of its points: the stretches of time inside of which every instant can be
// restored. Base backup and WAL are taken from one store.
func stretch(s *plan.Span, points []state.RestorePoint, logs []state.WAL) {
	var all []plan.Stretch
	for i := range points {
		point := &points[i]
		if point.Base == nil || point.Incomplete {
			continue
		}
		for j := range logs {
			if _, there := point.In(logs[j].Store); !there {
				continue
			}
			to := time.Time{}
			for _, piece := range logs[j].Reach(point.Base) {
				if until := logs[j].At(piece).Until; until.After(to) {
					to = until
				}
			}
			if to.After(point.Time) {
				all = append(all, plan.Stretch{From: point.Time, To: to})
			}
		}
	}
	slices.SortFunc(all, func(a, b plan.Stretch) int { return a.From.Compare(b.From) })
	for _, one := range all {
		if n := len(s.Continuous); n > 0 && !one.From.After(s.Continuous[n-1].To) {
			if last := &s.Continuous[n-1]; one.To.After(last.To) {
				last.To = one.To
			}
			continue
		}
		s.Continuous = append(s.Continuous, one)
	}
	for _, one := range s.Continuous {
		if s.Points > 0 && one.To.After(s.To) {
			s.To = one.To
		}
	}
}

// Continuous lists the stretches of time inside of which every instant can be restored from the points and logs given.
func Continuous(points []state.RestorePoint, logs []state.WAL) []plan.Stretch {
	var s plan.Span
	stretch(&s, points, logs)
	return s.Continuous
}

// shrinks tells whether something that can be restored before a plan cannot be after it.
func shrinks(before, after plan.Span) bool {
	return before.Points > 0 && (after.Points == 0 || after.From.After(before.From) || after.To.Before(before.To)) ||
		len(before.Without(after.Continuous)) > 0
}
