package planner

import (
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/retention"
	"github.com/holdfast-io/holdfast/policy/schedule"
	"github.com/holdfast-io/holdfast/state"
)

// expire plans what retention no longer keeps once the planned backup and verification succeeded, and returns the indexes
// of those points. Pausing a schedule also keeps every point.
func (p *planner) expire(w *work) (gone []int) {
	k := p.rules.desired(p.in.Desired, w.address)
	p.consequences(w, k)
	if !k.some || paused(w.backup) {
		return nil
	}
	after := w.settling()
	for _, v := range retention.Expiring(w.after, k.retention, p.now, k.loc) {
		if v.Index >= len(w.points) {
			continue // the point to be made: when the clock went back, it is older than the rest
		}
		if p.expirePoint(w, &w.after[v.Index], plan.ReasonRetention, strings.Join(v.Reasons, ", "), after) {
			gone = append(gone, v.Index)
		}
	}
	slices.Sort(gone)
	p.deletionGuards(w, k, gone)
	return gone
}

// expirePoint plans the end of one point in every store. A point with a copy out of reach is left alone: what is deleted by
// name in one repository would stay in the other.
func (p *planner) expirePoint(w *work, point *state.RestorePoint, reason plan.Reason, why string, after []string) bool {
	for _, c := range point.Copies {
		if p.foreign(c) {
			return false
		}
	}
	store := w.backup.Store
	if i := copyIn(*point, store); i >= 0 {
		store = point.Copies[i].Store
	}
	a := plan.Action{
		ID: actionID(plan.Expire, w.address, point.ID), Kind: plan.Expire, Address: w.address, Point: point.ID, Store: store,
		Reason: reason, Why: why, Bytes: point.Size, After: after,
	}
	p.out.Actions = append(p.out.Actions, a)
	for _, c := range point.Copies {
		l := p.expiring[c.Store]
		if l == nil {
			l = &leaving{}
			p.expiring[c.Store] = l
		}
		l.bytes += c.Stored
		l.after = append(l.after, a.ID)
	}
	return true
}

// consequences charges points that expire now but would not have by the policy last applied to the change that causes it.
func (p *planner) consequences(w *work, k keeping) {
	_, edited := p.byAddress[w.address]
	if _, ruled := p.byAddress[w.backup.Retention]; !edited && !ruled {
		return
	}
	old, before := p.rules.applied(p.in.Catalog.Objects, w.address)
	if !k.some || paused(w.backup) || k.equal(old) || len(w.points) == 0 {
		return
	}
	expired := map[int]bool{} // by the old rule too
	if old.some {
		for _, v := range retention.Expiring(w.after, old.retention, p.now, old.loc) {
			expired[v.Index] = true
		}
	}
	points, bytes := 0, int64(0)
	for _, v := range retention.Expiring(w.after, k.retention, p.now, k.loc) {
		if v.Index < len(w.points) && !expired[v.Index] {
			points++
			bytes += w.after[v.Index].Size
		}
	}
	cause := w.address
	if before.Retention == w.backup.Retention && (!old.some || old.loc.String() == k.loc.String()) {
		if _, edited := p.byAddress[w.backup.Retention]; edited {
			cause = w.backup.Retention
		}
	}
	p.consequence(cause, points, bytes)
}

// untouched tells what a change of retention costs backups that -target leaves out of the plan.
func (p *planner) untouched() {
	if p.scope.all {
		return
	}
	for _, address := range sortedKeys(p.in.Desired.Backups) {
		if p.scope.has(address) {
			continue
		}
		b := p.in.Desired.Backups[address]
		points := p.in.Catalog.Points[address]
		p.consequences(&work{address: address, backup: b, points: points, after: points}, p.rules.desired(p.in.Desired, address))
	}
}

// window tells which span can be restored before and after the plan. Incomplete points do not count.
func (p *planner) window(w *work, gone []int) {
	before, after := plan.Span{}, plan.Span{}
	for i := range w.points {
		widen(&before, &w.points[i])
	}
	next := 0
	for i := range w.after {
		if next < len(gone) && gone[next] == i {
			next++
			continue
		}
		widen(&after, &w.after[i])
	}
	p.out.Windows = append(p.out.Windows, plan.Window{
		Address: w.address, Before: before, After: after,
		Lost: before.Points > 0 && (after.Points == 0 || after.From.After(before.From) || after.To.Before(before.To)),
	})
}

func widen(s *plan.Span, p *state.RestorePoint) {
	if p.Incomplete {
		return
	}
	if s.Points == 0 || p.Time.Before(s.From) {
		s.From = p.Time
	}
	if s.Points == 0 || p.Time.After(s.To) {
		s.To = p.Time
	}
	s.Points++
}

// StillExpires returns those of the planned expiries that hold for the catalog and the moment of in, in the given order:
// fewer than planned, never others. Apply asks it again before each deletion. What is forgotten, paused or without a
// retention by now keeps every point.
func StillExpires(in Input, planned []plan.Action) []plan.Action {
	r := &rules{parsed: map[policy.Schedule]schedule.Rule{}}
	holds := map[string]map[string]bool{} // backup address → points that no rule keeps
	var still []plan.Action
	for _, a := range planned {
		if a.Kind != plan.Expire {
			continue
		}
		if holds[a.Address] == nil {
			holds[a.Address] = r.expiring(in, a.Address, in.Now)
		}
		if holds[a.Address][a.Point] {
			still = append(still, a)
		}
	}
	return still
}

// expiring returns the ids of the points of a backup that no rule keeps now and that have a newer verified one.
func (r *rules) expiring(in Input, address string, now time.Time) map[string]bool {
	ids := map[string]bool{}
	points := in.Catalog.Points[address]
	b, declared := in.Desired.Backups[address]
	k := r.desired(in.Desired, address)
	if removed, said := removedIn(in.Desired, address); said && !declared {
		if removed.Destroy {
			for i := range points {
				ids[points[i].ID] = points[i].Hold == nil
			}
			return ids
		}
		k = r.stored(in.Catalog.Objects, address)
	} else if !declared || paused(b) || in.Catalog.Objects[address].Forgotten {
		return ids
	}
	if !k.some {
		return ids
	}
	expiring := retention.Expiring(points, k.retention, now, k.loc)
	gone := make([]int, len(expiring))
	for i, v := range expiring {
		gone[i] = v.Index
	}
	slices.Sort(gone)
	newest, _ := verifiedWithout(points, gone)
	for _, v := range expiring {
		ids[v.Point] = newest.After(points[v.Index].Time)
	}
	return ids
}
