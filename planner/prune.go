package planner

import (
	"fmt"

	"github.com/holdfast-io/holdfast/planner/plan"
)

// prunes plans to reclaim what points that left do not need any more, in each store that this host knows.
func (p *planner) prunes() {
	for _, store := range sortedKeys(p.in.Desired.Stores) {
		if _, there := p.repository[store]; !there || !p.scope.has(store) {
			continue
		}
		leaves := p.expiring[store]
		bytes, why := int64(0), ""
		if u := p.in.Catalog.Objects[store].Usage; u != nil {
			if u.Points > 0 {
				bytes += u.Expired
				why = count(int(u.Points), "restore point") + " left since the last prune"
			}
			if !u.Due.IsZero() && !p.now.Before(u.Due) {
				bytes += u.Condemned
				why = "the grace of condemned packs is over"
			}
		}
		if leaves != nil {
			bytes += leaves.bytes
			why = fmt.Sprintf("%s leave it; packs are deleted after a grace of %s", count(len(leaves.after), "restore point"), formatAge(p.in.Desired.Stores[store].Grace()))
		}
		if why == "" {
			continue
		}
		a := plan.Action{
			ID: actionID(plan.Prune, store), Kind: plan.Prune, Address: store, Store: store, Reason: plan.ReasonReclaim, Why: why, Bytes: bytes,
		}
		if leaves != nil {
			a.After = leaves.after
		}
		p.out.Actions = append(p.out.Actions, a)
	}
}
