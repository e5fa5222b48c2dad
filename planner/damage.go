package planner

import (
	"slices"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// damagedKey names a copy as its store knows it.
type damagedKey struct{ store, address, point string }

// observedDamage gathers which copies a refresh saw damaged, or without their manifest.
func observedDamage(in Input) map[damagedKey]string {
	damaged := map[damagedKey]string{}
	for store, seen := range in.Observed.Stores {
		if seen.Err != "" || seen.Repository != in.Catalog.Objects[store].Repository {
			continue
		}
		summaries := make(map[[2]string]bool, len(seen.Points)) // of the points whose manifest is there
		for _, p := range seen.Points {
			summaries[[2]string{p.Address, p.ID}] = p.Summary
		}
		for address, points := range in.Catalog.Points {
			for i := range points {
				p := &points[i]
				c, ok := p.In(store)
				if !ok || c.Repository != seen.Repository {
					continue
				}
				summary, manifest := summaries[[2]string{p.Stored(address), p.ID}]
				switch {
				case !manifest:
					damaged[damagedKey{store, p.Stored(address), p.ID}] = manifestMissing
				case !summary && c.Summary != "":
					damaged[damagedKey{store, p.Stored(address), p.ID}] = "its summary is not in the store"
				}
			}
		}
		for _, d := range seen.Damage {
			for _, label := range d.Points {
				if address, id, ok := cutLast(label); ok {
					damaged[damagedKey{store, address, id}] = d.Object + ": " + d.Problem
				}
			}
		}
	}
	return damaged
}

const manifestMissing = "its manifest is not in the store"

// cutLast splits "address/id"; an address may hold slashes, an id does not.
func cutLast(label string) (address, id string, ok bool) {
	for i := len(label) - 1; i >= 0; i-- {
		if label[i] == '/' {
			return label[:i], label[i+1:], true
		}
	}
	return "", "", false
}

// broken tells whether a copy is known to be damaged: by its newest proof, or by what a refresh saw. A failed rehearsal does
// not count: neither reading all of the copy again nor a new backup at every apply would help.
func (p *planner) broken(address string, point *state.RestorePoint, c *state.Copy) bool {
	if len(c.Proofs) > 0 && c.Broken() {
		return true
	}
	if len(p.damaged) == 0 {
		return false
	}
	_, seen := p.damaged[damagedKey{c.Store, point.Stored(address), point.ID}]
	return seen
}

// judged is w.after with what a refresh saw damaged as a proof that failed: such a copy takes no sound one's place, and is
// nothing that others may expire for. What this plan proves after a repair counts.
func (p *planner) judged(w *work) []state.RestorePoint {
	if len(p.damaged) == 0 {
		return w.after
	}
	var out []state.RestorePoint
	for i := range w.after {
		point := &w.after[i]
		for j := range point.Copies {
			c := &point.Copies[j]
			why, seen := p.damaged[damagedKey{c.Store, point.Stored(w.address), point.ID}]
			if !seen {
				continue
			}
			if out == nil {
				out = slices.Clone(w.after)
			}
			if &out[i].Copies[0] == &point.Copies[0] {
				out[i].Copies = slices.Clone(point.Copies)
			}
			proofs := slices.DeleteFunc(slices.Clone(c.Proofs), func(q state.Proof) bool { return q.OK && !q.At.Equal(p.now) })
			out[i].Copies[j].Proofs = append(proofs, state.Proof{Level: string(policy.VerifyStored), At: p.now.Add(-1), Error: why})
		}
	}
	if out == nil {
		return w.after
	}
	return out
}

// soundCopy returns a copy that can be read from, the one in the backup's own store before others.
func (p *planner) soundCopy(w *work, point *state.RestorePoint) (sound state.Copy, ok bool) {
	for i := range point.Copies {
		c := &point.Copies[i]
		if p.broken(w.address, point, c) || !p.reachable(*c) || p.in.Observed.Stores[c.Store].Err != "" {
			continue
		}
		if !ok || c.Store == w.backup.Store || c.Verified() && !sound.Verified() && sound.Store != w.backup.Store {
			sound, ok = *c, true
		}
	}
	return sound, ok
}

// repairs plans to mend what is known to be damaged. A copy of which everything damaged was set aside already is left to
// a good copy that may come.
func (p *planner) repairs(w *work) {
	for i := range w.points {
		for j := range w.points[i].Copies {
			if p.broken(w.address, &w.points[i], &w.points[i].Copies[j]) {
				w.hurt = append(w.hurt, i)
				break
			}
		}
	}
	for _, i := range slices.Backward(w.hurt) {
		point := &w.points[i]
		for j := range point.Copies {
			if c := &point.Copies[j]; p.broken(w.address, point, c) && p.reachable(*c) {
				p.repair(w, point, c)
			}
		}
	}
}

func repairID(address, point, store string) string {
	return actionID(plan.Repair, address, point, store)
}

func (p *planner) repair(w *work, point *state.RestorePoint, c *state.Copy) {
	a := plan.Action{
		ID: repairID(w.address, point.ID, c.Store), Kind: plan.Repair, Address: w.address, Point: point.ID, Store: c.Store,
		Reason: plan.ReasonDamaged, Bytes: point.Size,
	}
	if good, ok := p.soundCopy(w, point); ok {
		a.From, a.Why = good.Store, "damaged; "+good.Store+" has a good copy"
	} else {
		if setAside(c, w.madeAfter(point, p.now)) || p.goodOutOfReach(w, point) != "" {
			return // nothing is taken apart while a good copy may come back
		}
		a.Why = "damaged, and there is no good copy: what is damaged is set aside, so that the next backup stores it again"
		if c.Store == w.backup.Store {
			w.settingAside = append(w.settingAside, a.ID)
		}
	}
	p.out.Actions = append(p.out.Actions, a)
	if w.repairing == nil {
		w.repairing = map[string]string{}
	}
	w.repairing[a.ID] = a.From
}

// goodOutOfReach names a store that may hold a good copy and could not be looked at; empty when there is none.
func (p *planner) goodOutOfReach(w *work, point *state.RestorePoint) string {
	for i := range point.Copies {
		if c := &point.Copies[i]; !p.broken(w.address, point, c) && p.reachable(*c) && p.in.Observed.Stores[c.Store].Err != "" {
			return c.Store
		}
	}
	return ""
}

// dropRepairs leaves out the repairs of points that expire: both would work on the same objects, and nobody needs them.
func (p *planner) dropRepairs(w *work, gone []leaver) {
	if len(w.repairing) == 0 || len(gone) == 0 {
		return
	}
	leaves := map[string]bool{}
	for _, l := range gone {
		leaves[w.after[l.index].ID] = true
	}
	dropped := func(id string) bool { _, planned := w.repairing[id]; return !planned }
	mine := slices.DeleteFunc(p.out.Actions[w.first:], func(a plan.Action) bool {
		if a.Kind != plan.Repair || !leaves[a.Point] {
			return false
		}
		delete(w.repairing, a.ID)
		return true
	})
	p.out.Actions = p.out.Actions[:w.first+len(mine)]
	for i := range mine {
		if mine[i].Kind == plan.Backup {
			mine[i].After = slices.DeleteFunc(mine[i].After, func(id string) bool { return slices.Contains(w.settingAside, id) && dropped(id) })
		}
	}
}

// mended returns the ID of the planned repair of a copy from a good one; nil when there is none.
func (w *work) mended(point, store string) []string {
	id := repairID(w.address, point, store)
	if from := w.repairing[id]; from != "" {
		return []string{id}
	}
	return nil
}

// madeAfter is when the newest complete point was finished that may have stored again what another one needs; zero when
// there is none.
func (w *work) madeAfter(point *state.RestorePoint, now time.Time) time.Time {
	if w.newest < 0 || w.points[w.newest].ID == point.ID || w.points[w.newest].Finished.After(now) {
		return time.Time{}
	}
	return w.points[w.newest].Finished
}

// setAside tells whether the newest proof says that nothing can be repaired any more.
//
// A backup that was made since then may have stored again what the copy needs: then it is looked at once more.
func setAside(c *state.Copy, newest time.Time) bool {
	for _, proof := range c.Proofs {
		if !proof.OK && proof.Final && !newest.After(proof.At) {
			return true
		}
	}
	return false
}
