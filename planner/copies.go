package planner

import (
	"fmt"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// debt is what a further store lacks since before this plan.
type debt struct {
	address, store string
	points         int
	bytes          int64
	oldest         time.Time
	planned        bool
}

// copies plans to bring every complete point that stays to each further store, newest first: what is made by this plan, and
// what earlier runs could not bring there.
func (p *planner) copies(w *work, gone []int) {
	for _, store := range w.backup.Copies {
		d := &debt{address: w.address, store: store, planned: p.canCopy(w.backup.Store, store)}
		last := len(gone) - 1
		for i := len(w.after) - 1; i >= 0; i-- {
			if last >= 0 && gone[last] == i {
				last--
				continue
			}
			point := &w.after[i]
			if _, there := point.In(store); there || point.Incomplete {
				continue
			}
			made := i >= len(w.points) || point.ID == newestID
			if !made {
				if d.points == 0 || point.Time.Before(d.oldest) {
					d.oldest = point.Time
				}
				d.points++
			}
			if stored, ok := p.copy(w, point, store, made, d.planned); ok && !made {
				d.bytes += stored
			}
		}
		if d.points > 0 {
			p.debts[recoverKey(w.address, store)] = d
		}
	}
}

// canCopy tells whether this host may be able to: sealing anew needs a key that reads the source.
func (p *planner) canCopy(from, to string) bool {
	return !p.in.Sealed[from] || sameRecipients(p.in.Desired.Stores[from].Encryption, p.in.Desired.Stores[to].Encryption)
}

func (p *planner) copy(w *work, point *state.RestorePoint, store string, made, may bool) (stored int64, ok bool) {
	a := plan.Action{Kind: plan.Copy, Address: w.address, Store: store, Reason: plan.ReasonCopyMissing, Why: "missing in " + store}
	if made {
		a.ID, a.From = actionID(plan.Copy, w.address, store), w.backup.Store
		a.After = append(a.After, w.making)
		if w.proving != "" {
			a.After = append(a.After, w.proving)
		}
		a.Bytes = p.expectStored(w, w.backup.Store)
	} else {
		source, sound := p.soundCopy(w, point)
		if !sound {
			return 0, false
		}
		a.ID, a.Point, a.From, a.Bytes = actionID(plan.Copy, w.address, point.ID, store), point.ID, source.Store, source.Stored
	}
	if !may {
		return a.Bytes, true
	}
	a.After = append(a.After, p.afterInitialize(store)...)
	p.out.Actions = append(p.out.Actions, a)
	p.adding[store] += a.Bytes
	return a.Bytes, true
}

// expectStored is what the newest point added to a store: about what the next one will.
func (p *planner) expectStored(w *work, store string) int64 {
	if w.newest < 0 {
		return 0
	}
	if c, ok := w.points[w.newest].In(store); ok {
		return c.Stored
	}
	return 0
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
				plan.FormatBytes(used), plan.FormatBytes(p.adding[address]), plan.FormatBytes(capacity)))
		case float64(after) > 0.85*float64(capacity):
			p.drifted(plan.Drift{
				Address: address, Store: address, Reason: plan.DriftCapacity, Bytes: after,
				Why: fmt.Sprintf("%d %% of its capacity of %s is used", after*100/capacity, plan.FormatBytes(capacity)),
			})
		}
	}
}

// storedBytes sums what the catalog knows of each store: a stand-in for stores that were never looked at.
func (p *planner) storedBytes() map[string]int64 {
	sums := map[string]int64{}
	for _, points := range p.in.Catalog.Points {
		for i := range points {
			for _, c := range points[i].Copies {
				sums[c.Store] += c.Stored
			}
		}
	}
	return sums
}
