package planner

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/retention"
	"github.com/holdfast-io/holdfast/state"
)

// removed returns what a removed block says of an address.
func (p *planner) removed(address string) (policy.Removed, bool) {
	return removedIn(p.in.Desired, address)
}

func removedIn(set policy.Set, address string) (policy.Removed, bool) {
	for _, r := range set.Removed {
		if r.From == address {
			return r, true
		}
	}
	return policy.Removed{}, false
}

func (p *planner) destroy(address string) plan.Change {
	c := plan.Change{Address: address, Kind: plan.Destroy, Reason: plan.ReasonRemoved, Why: "removed with destroy = true"}
	for _, point := range p.in.Catalog.Points[address] {
		c.Points++
		c.Bytes += point.Size
	}
	if c.Points > 0 {
		c.Why = "removed with destroy = true; " + count(c.Points, "restore point") + " will be deleted"
	}
	return c
}

// removals plans what becomes of the restore points of removed backups.
func (p *planner) removals() {
	for i, r := range p.in.Desired.Removed {
		points := p.in.Catalog.Points[r.From]
		if slices.ContainsFunc(p.in.Desired.Removed[:i], func(before policy.Removed) bool { return before.From == r.From }) {
			continue
		}
		if _, declared := p.declared[r.From]; declared || len(points) == 0 || !p.scope.has(r.From) && !p.scope.all {
			continue
		}
		w := &work{address: r.From, points: points, after: points, newest: newestComplete(points)}
		k := p.rules.stored(p.in.Catalog.Objects, r.From)
		w.backup.Retention = "the retention that was in force"
		var gone []leaver
		if r.Destroy {
			gone = p.destroyed(w)
		} else if k.some {
			for _, v := range retention.Expiring(p.judged(w), p.in.Catalog.WAL[w.address], k.retention, p.now, k.loc) {
				if !p.leftAlone(&points[v.Index]) {
					gone = append(gone, leaver{index: v.Index})
					p.expirePoint(w, &points[v.Index], plan.ReasonRetention, strings.Join(v.Reasons, ", "), nil)
				}
			}
			slices.SortFunc(gone, func(a, b leaver) int { return a.index - b.index })
			p.deletionGuards(w, k, gone)
		}
		if r.Destroy {
			p.guardShare(w, k.retention.MaxPrunePercent, len(gone))
		}
		p.window(w, gone)
	}
}

// destroyed plans the end of every point. Held ones block the plan: they were held on purpose.
func (p *planner) destroyed(w *work) (gone []leaver) {
	held := 0
	for i := range w.points {
		if w.points[i].Hold != nil {
			held++
			continue
		}
		if !p.leftAlone(&w.points[i]) {
			gone = append(gone, leaver{index: i})
			p.expirePoint(w, &w.points[i], plan.ReasonDestroy, "removed with destroy = true", nil)
		}
	}
	if held > 0 {
		verb := " are held"
		if held == 1 {
			verb = " is held"
		}
		p.block(plan.GuardHold, w.address, count(held, "restore point")+verb+"; `holdfast release POINT` lets go of one (`holdfast points "+w.address+"` lists them)")
	}
	return gone
}

// stored is how long the points of a backup stay that is not declared: by the retention the catalog keeps for it.
func (r *rules) stored(objects map[string]state.Object, address string) keeping {
	o, ok := objects[address]
	var b policy.Backup
	if !ok || json.Unmarshal(o.Attributes, &b) != nil || b.Retention == "" {
		return keeping{}
	}
	attributes := o.Retention
	if len(attributes) == 0 && !o.Forgotten {
		attributes = objects[r.today(objects, b.Retention)].Attributes
	}
	var rule policy.Retention
	found := len(attributes) > 0 && json.Unmarshal(attributes, &rule) == nil
	return r.keepingOf(b, rule, found)
}
