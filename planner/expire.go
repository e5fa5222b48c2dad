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

// leaver is a restore point that leaves with this plan.
type leaver struct {
	index int // in w.after
	why   string
	after string // ID of the copy action that must have succeeded before, if any
}

// expiringPoints returns what retention no longer keeps once the planned backup and verification succeeded, by ascending
// index. Pausing a schedule keeps every point.
func (p *planner) expiringPoints(w *work) (gone []leaver) {
	k := p.rules.desired(p.in.Desired, w.address)
	p.consequences(w, k)
	if !k.some || paused(w.backup) {
		return nil
	}
	for _, v := range retention.Expiring(p.judged(w), p.in.Catalog.WAL[w.address], k.retention, p.now, k.loc) {
		if v.Index < len(w.points) && !p.leftAlone(&w.after[v.Index]) { // the point to be made is older than the rest when the clock went back
			gone = append(gone, leaver{index: v.Index, why: strings.Join(v.Reasons, ", ")})
		}
	}
	slices.SortFunc(gone, func(a, b leaver) int { return a.index - b.index })
	return p.keepLast(w, gone)
}

// expire plans the end of the points that leave.
func (p *planner) expire(w *work, gone []leaver) {
	after := w.settling()
	for _, l := range gone {
		waits := after
		if l.after != "" {
			waits = append(slices.Clone(after), l.after)
		}
		p.expirePoint(w, &w.after[l.index], plan.ReasonRetention, l.why, waits)
	}
	p.deletionGuards(w, p.rules.desired(p.in.Desired, w.address), gone)
}

// keepLast keeps the newest good point of each store that the backup names until a newer one is there: while copies fail, a
// further store must not run empty because retention goes on in the first one. Likewise the newest point that is known to
// restore stays until a newer one was rehearsed.
func (p *planner) keepLast(w *work, gone []leaver) []leaver {
	if len(gone) == 0 {
		return gone
	}
	if rehearses(w.backup) {
		if at, leaves := findLeaver(gone, newestRehearsed(w.after)); leaves {
			gone = slices.Delete(gone, at, at+1)
		}
	}
	if len(w.backup.Copies) == 0 {
		return gone
	}
	for _, store := range w.backup.Stores() {
		newest := newestIn(w.after, store, func(point *state.RestorePoint, c *state.Copy) bool { return !p.broken(w.address, point, c) })
		at, leaves := findLeaver(gone, newest)
		if !leaves {
			continue
		}
		if id := p.nextCopy(w, gone, newest, store); id != "" {
			gone[at].after = id
		} else {
			gone = slices.Delete(gone, at, at+1)
		}
	}
	return gone
}

func findLeaver(gone []leaver, index int) (at int, found bool) {
	return slices.BinarySearchFunc(gone, index, func(l leaver, index int) int { return l.index - index })
}

func rehearses(b policy.Backup) bool { return b.Verify.Restore != nil && b.Verify.Restore.Every > 0 }

// newestRehearsed returns the index of the newest point with a good proof of level restore; -1 when there is none.
func newestRehearsed(points []state.RestorePoint) int {
	newest := -1
	for i := range points {
		if (newest < 0 || !points[i].Time.Before(points[newest].Time)) && !state.LastProof(points[i:i+1], string(policy.VerifyRestore)).IsZero() {
			newest = i
		}
	}
	return newest
}

// newestIn returns the index of the newest complete point with a sound copy in a store; -1 when there is none.
func newestIn(points []state.RestorePoint, store string, sound func(*state.RestorePoint, *state.Copy) bool) int {
	newest := -1
	for i := range points {
		point := &points[i]
		if point.Incomplete || newest >= 0 && point.Time.Before(points[newest].Time) {
			continue
		}
		for j := range point.Copies {
			if c := &point.Copies[j]; c.Store == store && sound(point, c) {
				newest = i
			}
		}
	}
	return newest
}

// nextCopy returns the ID of the planned copy of a newer point that stays.
func (p *planner) nextCopy(w *work, gone []leaver, than int, store string) string {
	if !slices.Contains(w.backup.Copies, store) {
		return ""
	}
	for i := len(w.after) - 1; i >= 0; i-- {
		point := &w.after[i]
		if _, leaves := findLeaver(gone, i); leaves || !point.Time.After(w.after[than].Time) {
			continue
		}
		if a, ok := p.copyOf(w, i, store); ok {
			return a.ID
		}
	}
	return ""
}

// leftAlone tells of a point with a copy out of reach: what is deleted by name in one repository would stay in the other.
func (p *planner) leftAlone(point *state.RestorePoint) bool {
	return slices.ContainsFunc(point.Copies, p.foreign)
}

// expirePoint plans the end of one point in every store.
func (p *planner) expirePoint(w *work, point *state.RestorePoint, reason plan.Reason, why string, after []string) {
	store := w.backup.Store
	if i := copyIn(*point, store); i >= 0 {
		store = point.Copies[i].Store
	}
	a := plan.Action{
		ID: actionID(plan.Expire, w.address, point.ID), Kind: plan.Expire, Address: w.address, Point: point.ID, Store: store,
		Reason: reason, Why: why, Bytes: point.Size, After: after,
	}
	p.out.Actions = append(p.out.Actions, a)
	for i := range point.Copies {
		c := &point.Copies[i]
		l := p.expiring[c.Store]
		if l == nil {
			l = &leaving{}
			p.expiring[c.Store] = l
		}
		l.bytes += c.Stored
		l.points++
	}
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
	expired, judged := map[int]bool{}, p.judged(w) // by the old rule too
	if old.some {
		for _, v := range retention.Expiring(judged, p.in.Catalog.WAL[w.address], old.retention, p.now, old.loc) {
			expired[v.Index] = true
		}
	}
	newly := map[int]bool{}
	for _, v := range retention.Expiring(judged, p.in.Catalog.WAL[w.address], k.retention, p.now, k.loc) {
		if v.Index < len(w.points) {
			newly[v.Index] = !expired[v.Index]
		}
	}
	cause := w.address
	if before.Retention == w.backup.Retention && (!old.some || old.loc.String() == k.loc.String()) {
		if _, edited := p.byAddress[w.backup.Retention]; edited {
			cause = w.backup.Retention
		}
	}
	p.consequence(cause, losses(w, newly))
}

// losses gathers points into the spans of time that nothing is left of: a span ends where a point stays. newly holds what
// expires by the new rule, and whether that is new.
func losses(w *work, newly map[int]bool) (lost []plan.Loss) {
	open := false
	for i := range w.points {
		point := &w.points[i]
		fresh, leaves := newly[i]
		switch {
		case !leaves && !point.Incomplete:
			open = false
		case fresh && !open:
			open = true
			lost = append(lost, plan.Loss{Address: w.address, From: point.Time, To: point.Time, Points: 1, Bytes: point.Size})
		case fresh:
			l := &lost[len(lost)-1]
			l.To, l.Points, l.Bytes = point.Time, l.Points+1, l.Bytes+point.Size
		}
	}
	return lost
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

// window tells which span can be restored before and after the plan. Incomplete points do not count, nor do base backups
// whose WAL is not there. expireWAL adds what WAL makes of it.
func (p *planner) window(w *work, gone []leaver) {
	logs := p.in.Catalog.WAL[w.address]
	before, after := plan.Span{}, plan.Span{}
	for i := range w.points {
		widen(&before, &w.points[i], logs)
	}
	next := 0
	for i := range w.after {
		if next < len(gone) && gone[next].index == i {
			next++
			continue
		}
		widen(&after, &w.after[i], logs)
		if w.after[i].Base != nil {
			p.remaining[w.address] = append(p.remaining[w.address], w.after[i])
		}
	}
	p.out.Windows = append(p.out.Windows, plan.Window{
		Address: w.address, Before: before, After: after, Lost: shrinks(before, after),
	})
}

func widen(s *plan.Span, p *state.RestorePoint, logs []state.WAL) {
	if p.Incomplete || !consistent(p, logs) {
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
	r := &rules{parsed: map[policy.Schedule]schedule.Rule{}, moved: in.Desired.Moved}
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
	expiring := retention.Expiring(points, in.Catalog.WAL[address], k.retention, now, k.loc)
	gone := make([]leaver, len(expiring))
	for i, v := range expiring {
		gone[i] = leaver{index: v.Index}
	}
	slices.SortFunc(gone, func(a, b leaver) int { return a.index - b.index })
	newest, _ := verifiedWithout(points, gone)
	for _, v := range expiring {
		ids[v.Point] = newest.After(points[v.Index].Time)
	}
	if rehearses(b) {
		if i := newestRehearsed(points); i >= 0 {
			ids[points[i].ID] = false
		}
	}
	if len(b.Copies) > 0 {
		for _, store := range b.Stores() {
			if i := newestIn(points, store, func(_ *state.RestorePoint, c *state.Copy) bool { return !c.Broken() }); i >= 0 {
				ids[points[i].ID] = false
			}
		}
	}
	return ids
}
