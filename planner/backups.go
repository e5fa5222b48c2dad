package planner

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/schedule"
	"github.com/holdfast-io/holdfast/state"
)

// work is one backup while it is planned.
type work struct {
	address string
	backup  policy.Backup
	rule    schedule.Rule
	points  []state.RestorePoint // of the catalog
	after   []state.RestorePoint // as they will be when the planned backup and verification succeeded
	newest  int                  // index of the newest complete point; -1 for none
	first   int                  // where its actions begin in the plan
	making  string               // ID of the planned backup
	proving string               // ID of the planned verification

	rehearsing string // ID of the planned rehearsal

	hurt         []int             // indexes of points with a copy known to be damaged, ascending
	repairing    map[string]string // planned repairs: ID → store of the good copy, empty when there is none
	settingAside []string          // IDs of the repairs without a good copy in the store the backup writes to
}

// backups plans each declared backup: make, prove, expire.
func (p *planner) backups() {
	for _, address := range p.order {
		b := p.in.Desired.Backups[address]
		points := p.in.Catalog.Points[address]
		w := &work{address: address, backup: b, rule: p.rules.of(b), points: points, newest: newestComplete(points)}
		w.after, w.first = points, len(p.out.Actions)
		p.repairs(w)
		p.backup(w)
		p.verify(w)
		p.verifyCopies(w)
		p.rehearse(w)
		gone := p.expiringPoints(w)
		p.dropRepairs(w, gone)
		p.copies(w, gone)
		p.expire(w, gone)
		p.window(w, gone)
		p.driftOf(w, gone)
	}
	p.untouched()
}

func newestComplete(points []state.RestorePoint) int {
	newest := -1
	for i := range points {
		if !points[i].Incomplete && (newest < 0 || !points[i].Time.Before(points[newest].Time)) {
			newest = i
		}
	}
	return newest
}

func newestOf(points []state.RestorePoint) int {
	newest := -1
	for i := range points {
		if newest < 0 || !points[i].Time.Before(points[newest].Time) {
			newest = i
		}
	}
	return newest
}

// due decides whether a backup is to run. The slot is the one it serves; zero for a forced run.
func (p *planner) due(w *work) (reason plan.Reason, slot time.Time, why string) {
	if p.scope.forced[w.address] {
		return plan.ReasonForced, time.Time{}, "asked for by -force"
	}
	if w.backup.Schedule == nil || w.backup.Schedule.Paused {
		return "", time.Time{}, ""
	}
	slot, ok := w.rule.LatestDue(w.address, p.now)
	last := newestOf(w.points)
	switch {
	case last < 0:
		return plan.ReasonFirst, slot, "there is no restore point yet"
	case w.points[last].Incomplete && (w.newest < 0 || !w.points[last].Time.After(p.now)):
		// One that is later than now, because the clock went back, would stay the newest whatever is made.
		return plan.ReasonIncomplete, slot, "restore point " + w.points[last].ID + " is incomplete"
	case w.newest >= 0 && p.lost(w) && !w.points[w.newest].Time.After(p.now):
		return plan.ReasonDamaged, slot, "the newest restore point is damaged, and there is no good copy of it"
	case w.newest >= 0 && p.elsewhere(w) && !w.points[w.newest].Time.After(p.now):
		return plan.ReasonFirst, slot, "no store of the policy holds its newest restore point now"
	case w.newest >= 0 && p.walBroken(w) != "" && !w.points[w.newest].Time.After(p.now):
		return plan.ReasonWALGap, slot, p.walBroken(w) + ": no instant after that can be restored"
	case !ok || serves(w.points[w.newest], slot):
		return "", time.Time{}, ""
	default:
		return plan.ReasonSlot, slot, fmt.Sprintf("newest restore point is %s old; slot %s passed",
			formatAge(p.now.Sub(w.points[w.newest].Time)), slot.In(w.rule.Location()).Format("2006-01-02 15:04 MST"))
	}
}

// elsewhere tells whether every copy of the newest complete point is in a repository that the policy does not reach any more.
func (p *planner) elsewhere(w *work) bool {
	for _, c := range w.points[w.newest].Copies {
		if p.reachable(c) {
			return false
		}
	}
	return true
}

// serves tells whether a complete point makes a slot need no other. Its data being newer than the slot is enough, whether
// it was made on demand or late for an earlier slot.
func serves(p state.RestorePoint, slot time.Time) bool {
	return !p.Incomplete && (!p.Slot.Before(slot) || !p.Time.Before(slot))
}

// newestID stands for the id of a point to be made: above those of all points of the same moment.
const newestID = "~"

// backup plans a new restore point, and adds it to those that will be.
func (p *planner) backup(w *work) {
	reason, slot, why := p.due(w)
	if reason == "" {
		return
	}
	a := plan.Action{
		ID: actionID(plan.Backup, w.address), Kind: plan.Backup, Address: w.address, Store: w.backup.Store, Slot: slot,
		Reason: reason, Why: why,
	}
	a.After = append(p.afterInitialize(w.backup.Store), p.recovering[recoverKey(w.address, w.backup.Store)]...)
	a.After = append(a.After, w.settingAside...)
	if w.newest >= 0 {
		a.Bytes = w.points[w.newest].Size
	}
	p.adding[w.backup.Store] += p.expectStored(w, w.backup.Store)
	p.out.Actions = append(p.out.Actions, a)
	w.making = a.ID
	p.copyPoints(w)
	p.scratch = append(p.scratch, state.RestorePoint{
		ID: newestID, Time: p.now, Slot: slot, Source: w.backup.Source, Copies: []state.Copy{{Store: w.backup.Store}},
	})
	w.after = p.scratch
}

// copyPoints lets w.after differ from the catalog. One buffer serves all backups: a catalog holds a million points, and few
// of their backups change at a time.
func (p *planner) copyPoints(w *work) {
	p.scratch = append(p.scratch[:0], w.points...)
	w.after = p.scratch
}

// verify plans the proof of the new copy, or of the newest complete point when that was not proven as the policy asks.
// Older points are left alone: a policy that raises the level must not read years of copies back.
func (p *planner) verify(w *work) {
	level := w.backup.Verify.After
	if level.Rank() <= policy.VerifyNone.Rank() {
		return
	}
	reads := "each new copy is read back"
	if p.in.Sealed[w.backup.Store] && level.Rank() > policy.VerifyStored.Rank() {
		reads = fmt.Sprintf("each new copy is read back, as stored: this host has no key for level %q in %s", level, w.backup.Store)
		level = policy.VerifyStored
	}
	a := plan.Action{Kind: plan.Verify, Address: w.address, Level: string(level)}
	switch {
	case w.making != "":
		a.ID, a.Store, a.After = actionID(plan.Verify, w.address), w.backup.Store, []string{w.making}
		a.Reason, a.Why = plan.ReasonVerifyAfter, reads
		p.prove(w, len(w.after)-1, 0, level)
	case w.newest >= 0 && !paused(w.backup):
		point := w.points[w.newest]
		i := copyIn(point, w.backup.Store)
		if i < 0 {
			return
		}
		why := unproven(point.Copies[i], level)
		if p.broken(w.address, &point, &point.Copies[i]) {
			// A repair proves what is stored by itself; what goes further is proven again after it.
			if a.After = w.mended(point.ID, point.Copies[i].Store); a.After == nil || level.Rank() <= policy.VerifyStored.Rank() {
				return
			}
			why = "its copy is repaired"
		}
		if why == "" || p.foreign(point.Copies[i]) {
			return
		}
		a.ID, a.Point, a.Store = actionID(plan.Verify, w.address, point.ID), point.ID, point.Copies[i].Store
		a.Reason, a.Why, a.Bytes = plan.ReasonUnverified, why, point.Size
		p.copyPoints(w)
		p.prove(w, w.newest, i, level)
	default:
		return
	}
	p.out.Actions = append(p.out.Actions, a)
	w.proving = a.ID
}

// prove adds the proof that a planned verification will give. It replaces one of the same level.
func (p *planner) prove(w *work, point, copied int, level policy.VerifyLevel) {
	copies := slices.Clone(w.after[point].Copies)
	proofs := slices.DeleteFunc(slices.Clone(copies[copied].Proofs), func(q state.Proof) bool { return q.Level == string(level) })
	copies[copied].Proofs = append(proofs, state.Proof{Level: string(level), At: p.now, OK: true})
	w.after[point].Copies = copies
}

// unproven says why a copy needs to be read back; empty when it does not.
func unproven(c state.Copy, level policy.VerifyLevel) string {
	enough := level.Rank()
	if level == policy.VerifyStored {
		enough = policy.VerifyAdded.Rank()
	}
	for _, proof := range c.Proofs {
		if proof.OK && policy.VerifyLevel(proof.Level).Rank() >= enough {
			return ""
		}
	}
	return fmt.Sprintf("never read back at level %q", level)
}

// copyIn finds the copy in the store the backup writes to, or any other; -1 when there is none.
func copyIn(point state.RestorePoint, store string) int {
	for i, c := range point.Copies {
		if c.Store == store {
			return i
		}
	}
	return min(0, len(point.Copies)-1)
}

// verifyCopies plans the proof of the newest complete point's further copies that lack one: imported ones, for example. As
// stored is enough: that what is stored can be read is proven by the first copy.
func (p *planner) verifyCopies(w *work) {
	if w.making != "" || w.newest < 0 || paused(w.backup) || w.backup.Verify.After.Rank() <= policy.VerifyNone.Rank() {
		return
	}
	point := w.points[w.newest]
	for i := range point.Copies {
		c := point.Copies[i]
		if c.Store == w.backup.Store || !slices.Contains(w.backup.Copies, c.Store) || len(c.Proofs) > 0 || p.broken(w.address, &point, &c) || !p.reachable(c) {
			continue
		}
		p.out.Actions = append(p.out.Actions, plan.Action{
			ID: actionID(plan.Verify, w.address, point.ID, c.Store), Kind: plan.Verify, Address: w.address, Point: point.ID, Store: c.Store,
			Level: string(policy.VerifyStored), Reason: plan.ReasonUnverified, Why: unproven(c, policy.VerifyStored), Bytes: c.Stored,
		})
	}
}

// rehearse plans to bring the newest point back to a scratch place when that was not done for too long.
func (p *planner) rehearse(w *work) {
	r := w.backup.Verify.Restore
	if r == nil || r.Every <= 0 || paused(w.backup) || p.in.Sealed[w.backup.Store] || w.backup.Verify.After == policy.VerifyRestore && w.making != "" {
		return
	}
	last := state.LastProof(w.points, string(policy.VerifyRestore))
	if !last.IsZero() && p.now.Sub(last) < r.Every.Std() {
		return
	}
	a := plan.Action{
		Kind: plan.Verify, Address: w.address, Store: w.backup.Store, Level: string(policy.VerifyRestore), Reason: plan.ReasonRehearsal,
		Why: "never restored to a scratch place",
	}
	if !last.IsZero() {
		a.Why = "last restored to a scratch place " + formatAge(p.now.Sub(last)) + " ago; the policy says every " + r.Every.String()
	}
	switch {
	case w.making != "":
		a.ID, a.After = actionID(plan.Verify, w.address, "restore"), w.settling()
		p.prove(w, len(w.after)-1, 0, policy.VerifyRestore)
	default:
		i, good, ok := p.newestSound(w)
		if !ok {
			return
		}
		point := &w.points[i]
		a.ID, a.Point, a.Store, a.Bytes = actionID(plan.Verify, w.address, point.ID, "restore"), point.ID, good.Store, point.Size
		if w.proving == "" {
			p.copyPoints(w)
		}
		p.prove(w, i, copyIn(*point, good.Store), policy.VerifyRestore)
	}
	p.out.Actions = append(p.out.Actions, a)
	w.rehearsing = a.ID
}

// newestSound finds the newest complete point that can be read, and its copy. Stores that this host cannot read are no help.
func (p *planner) newestSound(w *work) (index int, good state.Copy, ok bool) {
	for i := len(w.points) - 1; i >= 0; i-- {
		if w.points[i].Incomplete {
			continue
		}
		if good, ok = p.soundCopy(w, &w.points[i]); ok && !p.in.Sealed[good.Store] {
			return i, good, true
		}
	}
	return 0, state.Copy{}, false
}

// settling are the IDs of the actions that make and prove the new point.
func (w *work) settling() (ids []string) {
	for _, id := range []string{w.making, w.proving, w.rehearsing} {
		if id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// lost tells whether no copy of the newest complete point is sound.
func (p *planner) lost(w *work) bool {
	point := &w.points[w.newest]
	for i := range point.Copies {
		if !p.broken(w.address, point, &point.Copies[i]) {
			return false
		}
	}
	return len(point.Copies) > 0
}

// reachable tells whether a copy is in a repository that this policy can reach.
func (p *planner) reachable(c state.Copy) bool {
	id, declared := p.repository[c.Store]
	return declared && (id == "" || c.Repository == "" || c.Repository == id)
}

// foreign tells a copy that is not in a repository this policy can reach: its store was moved, or is not declared any more.
// Such copies are left alone, for what is deleted by name in one repository would stay in the other.
func (p *planner) foreign(c state.Copy) bool {
	if p.reachable(c) {
		return false
	}
	p.alone[c.Store]++
	return true
}

func paused(b policy.Backup) bool { return b.Schedule != nil && b.Schedule.Paused }
