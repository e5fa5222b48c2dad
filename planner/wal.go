package planner

import (
	"fmt"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// logOf is the write-ahead log that a backup goes on with: of those in the store it writes to, the one last heard of. It
// is nil where the backup stores none, and while none has arrived.
func (p *planner) logOf(w *work) *state.WAL {
	if !w.backup.KeepsWAL() {
		return nil
	}
	var newest *state.WAL
	logs := p.in.Catalog.WAL[w.address]
	for i := range logs {
		l := &logs[i]
		if l.Store == w.backup.Store && p.within(l) && (newest == nil || l.Seen.After(newest.Seen)) {
			newest = l
		}
	}
	return newest
}

// within tells whether a log is in a repository that this policy can reach.
func (p *planner) within(l *state.WAL) bool {
	return p.reachable(state.Copy{Store: l.Store, Repository: l.Repository})
}

// walBroken says what keeps the newest base backup from being brought forward to the newest WAL; empty when nothing does.
func (p *planner) walBroken(w *work) string {
	why, broken := p.walBreak(w)
	if !broken {
		return ""
	}
	return "WAL after the newest base backup is broken: " + why.What
}

func (p *planner) walBreak(w *work) (state.Break, bool) {
	log := p.logOf(w)
	if log == nil || w.newest < 0 || w.points[w.newest].Base == nil {
		return state.Break{}, false
	}
	point := &w.points[w.newest]
	if _, end, _ := log.Frontier(); log.System != point.Base.System && !end.Until.After(point.Time) {
		return state.Break{}, false // the server is another since; of its WAL none has arrived yet
	}
	return log.Broken(point.Base)
}

// walGap is drift until a new base backup is there.
func (p *planner) walGap(w *work) {
	why, broken := p.walBreak(w)
	if !broken {
		return
	}
	d := plan.Drift{Address: w.address, Store: w.backup.Store, Reason: plan.DriftWALGap, Since: why.Since, Fixed: w.making != "", Why: p.walBroken(w)}
	if !d.Fixed {
		d.Why += ". `holdfast apply -force=" + w.address + "` makes a base backup to go on from"
	}
	p.drifted(d)
}

// newestMoment is the newest moment that a backup with a complete point can be restored to, and what it is called: where
// WAL goes on from the newest base backup, the moment that WAL goes up to.
func (p *planner) newestMoment(w *work) (last time.Time, what string) {
	last, what = w.points[w.newest].Time, "the newest restore point"
	if !w.backup.KeepsWAL() {
		return last, what
	}
	log := p.logOf(w)
	if log == nil {
		return last, "no WAL has arrived, and the newest restore point"
	}
	for i := range w.points {
		if point := &w.points[i]; point.Base != nil && !point.Incomplete {
			for _, piece := range log.Reach(point.Base) {
				if until := log.At(piece).Until; until.After(last) {
					last, what = until, "the newest WAL"
				}
			}
		}
	}
	return last, what
}

// consistent tells whether a point can be restored by itself: base backups need WAL for that.
func consistent(point *state.RestorePoint, logs []state.WAL) bool {
	if point.Base == nil || point.Base.Carries {
		return true
	}
	for i := range logs {
		if len(logs[i].Reach(point.Base)) > 0 {
			return true
		}
	}
	return false
}

// logs plans what becomes of WAL, its copies and the end of what nothing kept needs, and completes the windows of backups that
// store WAL.
func (p *planner) logs() {
	if len(p.in.Catalog.WAL) == 0 {
		return
	}
	windows := map[string]*plan.Window{}
	for i := range p.out.Windows {
		windows[p.out.Windows[i].Address] = &p.out.Windows[i]
	}
	judge := newWalJudge(p.in, p.rules, func(address string) []state.RestorePoint {
		if windows[address] != nil {
			return p.remaining[address]
		}
		return p.in.Catalog.Points[address]
	})
	for _, address := range sortedKeys(p.in.Catalog.WAL) {
		w := windows[address]
		if w == nil {
			continue // not in this plan
		}
		after := append(p.copyWAL(address, judge), p.expireWAL(address, judge)...)
		stretch(&w.Before, p.in.Catalog.Points[address], p.in.Catalog.WAL[address])
		stretch(&w.After, p.remaining[address], after)
		w.Lost = shrinks(w.Before, w.After)
	}
}

// expireWAL plans the end of WAL of one backup, in every store. It returns the logs that will be left.
func (p *planner) expireWAL(address string, judge walJudge) (after []state.WAL) {
	logs := p.in.Catalog.WAL[address]
	for i := range logs {
		var drops []plan.Segments
		if p.within(&logs[i]) {
			drops = judge.drops(address, &logs[i])
		}
		if len(drops) > 0 {
			p.out.Actions = append(p.out.Actions, p.walAction(address, &logs[i], drops))
		}
		after = append(after, withoutAll(logs[i], drops))
	}
	return after
}

func (p *planner) walAction(address string, log *state.WAL, drops []plan.Segments) plan.Action {
	a := plan.Action{
		ID: actionID(plan.ExpireWAL, address, log.Store, log.System), Kind: plan.ExpireWAL, Address: address, Store: log.Store,
		System: log.System, Reason: plan.ReasonWALUnneeded, WAL: drops,
	}
	segments := int64(0)
	for _, s := range drops {
		segments += s.Count
		a.Bytes += s.Stored
	}
	a.Why = fmt.Sprintf("%s from %s to %s: nothing that is kept needs %s", count(int(segments), "segment"), drops[0].First, drops[len(drops)-1].Last, map[bool]string{true: "it", false: "them"}[segments == 1])
	for _, before := range p.out.Actions {
		if before.Address == address && (before.Kind == plan.Backup || before.Kind == plan.Expire || before.Kind == plan.Verify && before.Store == log.Store) {
			a.After = append(a.After, before.ID)
		}
	}
	return a
}
