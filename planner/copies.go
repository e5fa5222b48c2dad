package planner

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// debt is what a further store lacks since before this plan.
type debt struct {
	points int
	bytes  int64
	oldest time.Time
	sealed int // points that this host has no key to bring there
	lost   int // points without any good copy to bring there
}

// copies plans to bring every complete point that stays to each further store, newest first: what is made by this plan, and
// what earlier runs could not bring there.
func (p *planner) copies(w *work, gone []leaver) {
	for _, store := range w.backup.Copies {
		d := debt{}
		last := len(gone) - 1
		for i := len(w.after) - 1; i >= 0; i-- {
			if last >= 0 && gone[last].index == i {
				last--
				continue
			}
			point := &w.after[i]
			if _, there := point.In(store); there || point.Incomplete {
				continue
			}
			a, ok := p.copyOf(w, i, store)
			if ok {
				p.out.Actions = append(p.out.Actions, a)
				p.adding[store] += a.Bytes
			}
			if i < len(w.points) {
				d.add(point, a, ok)
			}
		}
		if d.points > 0 {
			p.debts[recoverKey(w.address, store)] = &d
		}
	}
}

func (d *debt) add(point *state.RestorePoint, a plan.Action, ok bool) {
	if d.points == 0 || point.Time.Before(d.oldest) {
		d.oldest = point.Time
	}
	d.points++
	d.bytes += a.Bytes
	switch {
	case ok:
	case a.From == "":
		d.lost++
	default:
		d.sealed++
	}
}

// canCopy tells whether this host may be able to: sealing anew needs a key that reads the source.
func (p *planner) canCopy(from, to string) bool {
	return !p.in.Sealed[from] || sameRecipients(p.in.Desired.Stores[from].Encryption, p.in.Desired.Stores[to].Encryption)
}

// copyOf is the action that brings a point of w.after to a further store. Where that cannot be done, From tells whether
// there is a good copy at all.
func (p *planner) copyOf(w *work, i int, store string) (a plan.Action, ok bool) {
	point := &w.after[i]
	if _, there := point.In(store); there || point.Incomplete {
		return a, false
	}
	a = plan.Action{Kind: plan.Copy, Address: w.address, Store: store, Reason: plan.ReasonCopyMissing, Why: "missing in " + store}
	if i >= len(w.points) {
		a.ID, a.From, a.Bytes = actionID(plan.Copy, w.address, store), w.backup.Store, p.expectStored(w, store)
		a.After = append(a.After, w.making)
		if w.proving != "" {
			a.After = append(a.After, w.proving)
		}
	} else {
		source, sound := p.soundCopy(w, point)
		if !sound {
			return a, false
		}
		a.ID, a.Point, a.From, a.Bytes = actionID(plan.Copy, w.address, point.ID, store), point.ID, source.Store, source.Stored
	}
	a.After = append(a.After, p.afterInitialize(store)...)
	return a, p.canCopy(a.From, store)
}

// expectStored is what the next point will add to a store: about what the newest there did. Where the backup has none yet,
// everything is new to the store: at most what its points came to elsewhere.
func (p *planner) expectStored(w *work, store string) int64 {
	elsewhere := int64(0)
	for i := len(w.points) - 1; i >= 0; i-- {
		if c, ok := w.points[i].In(store); ok && p.reachable(c) {
			return c.Stored
		}
		if len(w.points[i].Copies) > 0 {
			elsewhere += w.points[i].Copies[0].Stored
		}
	}
	if w.newest < 0 || slices.Contains(w.backup.Copies, store) {
		// What is copied of the older points comes first and is counted for itself; the new one adds what it adds elsewhere.
		if w.newest >= 0 && len(w.points[w.newest].Copies) > 0 {
			return w.points[w.newest].Copies[0].Stored
		}
		return 0
	}
	return min(w.points[w.newest].Size, elsewhere)
}

// capacities blocks what would overflow a store, and tells of those that are nearly full.
func (p *planner) capacities() {
	var sums map[string]int64
	for _, address := range sortedKeys(p.in.Desired.Stores) {
		capacity := p.in.Desired.Stores[address].Capacity
		if capacity <= 0 || !p.scope.has(address) {
			continue
		}
		if sums == nil {
			sums = p.storedBytes()
		}
		used := sums[address]
		if u := p.in.Catalog.Objects[address].Usage; u != nil {
			used = u.Bytes
		}
		if seen, ok := p.in.Observed.Stores[address]; ok && seen.Err == "" {
			used = seen.Bytes
		}
		after := used + p.adding[address]
		switch {
		case p.adding[address] > 0 && after > capacity:
			p.block(plan.GuardCapacity, address, fmt.Sprintf("it holds %s and this plan adds about %s; its capacity is %s. Raise the capacity, shorten the retention, or prune",
				policy.FormatBytes(used), policy.FormatBytes(p.adding[address]), policy.FormatBytes(capacity)))
		case float64(after) > 0.85*float64(capacity):
			p.drifted(plan.Drift{
				Address: address, Store: address, Reason: plan.DriftCapacity, Bytes: after,
				Why: fmt.Sprintf("%d %% of its capacity of %s is used", after*100/capacity, policy.FormatBytes(capacity)),
			})
		}
	}
}

// storedBytes sums what the catalog knows of each store: a stand-in for stores that were never looked at.
func (p *planner) storedBytes() map[string]int64 {
	sums := p.in.Catalog.StoredWAL()
	for _, points := range p.in.Catalog.Points {
		for i := range points {
			for _, c := range points[i].Copies {
				sums[c.Store] += c.Stored
			}
		}
	}
	return sums
}
