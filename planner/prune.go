package planner

import (
	"fmt"
	"strings"

	"github.com/holdfast-io/holdfast/planner/plan"
)

// prunes plans to reclaim what points that left do not need any more, in each store that this host knows. Apply prunes when
// everything else has ended, well or not.
func (p *planner) prunes() {
	for _, store := range sortedKeys(p.in.Desired.Stores) {
		if _, there := p.repository[store]; !there || !p.scope.has(store) {
			continue
		}
		leaves := p.expiring[store]
		bytes, whys := int64(0), []string{}
		if leaves != nil {
			bytes += leaves.bytes
			verb := "leave"
			if leaves.points == 1 {
				verb = "leaves"
			}
			whys = append(whys, fmt.Sprintf("%s %s it; packs are deleted after a grace of %s", count(leaves.points, "restore point"), verb, formatAge(p.in.Desired.Stores[store].Grace())))
		}
		if u := p.in.Catalog.Objects[store].Usage; u != nil {
			if u.Points > 0 {
				bytes += u.Expired
				whys = append(whys, count(int(u.Points), "restore point")+" left since the last prune")
			}
			if !u.Due.IsZero() && !p.now.Before(u.Due) {
				bytes += u.Condemned
				whys = append(whys, "the grace of condemned packs is over")
			}
		}
		if len(whys) == 0 {
			continue
		}
		p.out.Actions = append(p.out.Actions, plan.Action{
			ID: actionID(plan.Prune, store), Kind: plan.Prune, Address: store, Store: store, Reason: plan.ReasonReclaim, Why: strings.Join(whys, "; "), Bytes: bytes,
		})
	}
}
