package planner

import (
	"slices"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy/retention"
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
		there := make(map[[2]string]bool, len(seen.Points))
		for _, p := range seen.Points {
			there[[2]string{p.Address, p.ID}] = true
		}
		for address, points := range in.Catalog.Points {
			for _, p := range points {
				if c, ok := p.In(store); ok && c.Repository == seen.Repository && !there[[2]string{p.Stored(address), p.ID}] {
					damaged[damagedKey{store, p.Stored(address), p.ID}] = "its manifest is not in the store"
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

// cutLast splits "address/id"; an address may hold slashes, an id does not.
func cutLast(label string) (address, id string, ok bool) {
	for i := len(label) - 1; i >= 0; i-- {
		if label[i] == '/' {
			return label[:i], label[i+1:], true
		}
	}
	return "", "", false
}

// broken tells whether a copy is known to be damaged: by its newest proof, or by what a refresh saw.
func (p *planner) broken(address string, point *state.RestorePoint, c *state.Copy) bool {
	if len(c.Proofs) > 0 && c.Damaged() {
		return true
	}
	if len(p.damaged) == 0 {
		return false
	}
	_, seen := p.damaged[damagedKey{c.Store, point.Stored(address), point.ID}]
	return seen
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
	var hurt []int
	for i := range w.points {
		for j := range w.points[i].Copies {
			if p.broken(w.address, &w.points[i], &w.points[i].Copies[j]) {
				hurt = append(hurt, i)
				break
			}
		}
	}
	if len(hurt) == 0 {
		return
	}
	leaving := map[int]bool{}
	if k := p.rules.desired(p.in.Desired, w.address); k.some && !paused(w.backup) {
		for _, v := range retention.Expiring(w.points, k.retention, p.now, k.loc) {
			leaving[v.Index] = true
		}
	}
	for _, i := range slices.Backward(hurt) {
		point := &w.points[i]
		for j := range point.Copies {
			if c := &point.Copies[j]; !leaving[i] && p.broken(w.address, point, c) && p.reachable(*c) {
				p.repair(w, point, c)
			}
		}
	}
}

func (p *planner) repair(w *work, point *state.RestorePoint, c *state.Copy) {
	a := plan.Action{
		ID: actionID(plan.Repair, w.address, point.ID, c.Store), Kind: plan.Repair, Address: w.address, Point: point.ID, Store: c.Store,
		Reason: plan.ReasonDamaged, Bytes: point.Size,
	}
	if good, ok := p.soundCopy(w, point); ok {
		a.From, a.Why = good.Store, "damaged; "+good.Store+" has a good copy"
	} else {
		if setAside(c) {
			return
		}
		a.Why = "damaged, and there is no good copy: what is damaged is set aside, so that the next backup stores it again"
	}
	p.out.Actions = append(p.out.Actions, a)
	w.repairing = append(w.repairing, a.ID)
}

// mended returns the ID of the planned repair of a copy from a good one; nil when there is none.
func (p *planner) mended(w *work, point, store string) []string {
	for _, a := range p.out.Actions {
		if a.Kind == plan.Repair && a.Address == w.address && a.Point == point && a.Store == store && a.From != "" {
			return []string{a.ID}
		}
	}
	return nil
}

// setAside tells whether the newest proof says that nothing can be repaired any more.
func setAside(c *state.Copy) bool {
	for _, proof := range c.Proofs {
		if !proof.OK && proof.Final {
			return true
		}
	}
	return false
}
