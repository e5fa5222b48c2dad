package planner

import (
	"fmt"
	"maps"

	"github.com/holdfast-io/holdfast/internal/diag"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// moves follows the moved blocks: the rest of the plan sees a catalog in which they are done. A chain of them (a to b in
// one version of the policy, b to c in the next) is one move, whatever the order of the blocks.
func (p *planner) moves() {
	copied := false
	for _, m := range p.in.Desired.Moved {
		m.To = policy.Destination(p.in.Desired.Moved, m.From)
		_, declared := p.declared[m.To]
		if _, removed := p.removed(m.To); !declared && !removed || !p.scope.has(m.To) {
			continue
		}
		if !p.in.Catalog.Movable(m.From, m.To) {
			p.unmoved(m)
			continue
		}
		if !copied {
			copied = true
			p.in.Catalog.Objects, p.in.Catalog.Points = maps.Clone(p.in.Catalog.Objects), maps.Clone(p.in.Catalog.Points)
			p.in.Catalog.WAL = maps.Clone(p.in.Catalog.WAL)
			if p.in.Catalog.Objects == nil {
				p.in.Catalog.Objects = map[string]state.Object{}
			}
		}
		p.in.Catalog.Move(m.From, m.To)
		why := "moved from " + m.From
		if n := len(p.in.Catalog.Points[m.To]); n == 1 {
			why += "; 1 restore point goes with it"
		} else if n > 1 {
			why += fmt.Sprintf("; %d restore points go with it", n)
		}
		p.change(plan.Change{Address: m.To, Kind: plan.Move, From: m.From, Reason: plan.ReasonMoved, Why: why})
	}
}

// checkRenames refuses blocks that contradict what is declared.
func checkRenames(set policy.Set, declared map[string]state.Object) (diags diag.List) {
	for _, m := range set.Moved {
		if _, still := declared[m.From]; still {
			diags = append(diags, diag.NewError(m.From, "A moved block says that "+m.From+" is "+m.To+" now, but it is still declared",
				"Remove the moved block, or the block of "+m.From+"."))
		}
	}
	for _, r := range set.Removed {
		if _, still := declared[r.From]; still {
			diags = append(diags, diag.NewError(r.From, "A removed block says that "+r.From+" is gone, but it is still declared",
				"Remove one of the two blocks."))
		}
	}
	return diags
}

// unmoved warns when a move cannot be followed although there is something to move.
func (p *planner) unmoved(m policy.Moved) {
	if len(p.in.Catalog.Points[m.From]) == 0 {
		return // done before, or nothing there
	}
	p.out.Diagnostics = append(p.out.Diagnostics, diag.NewWarning(m.To,
		fmt.Sprintf("%s cannot be moved to %s", m.From, m.To),
		fmt.Sprintf("%s was applied already and has %s of its own. The %s of %s stay under their old address; remove the moved block, or give one of the two backups another name.",
			m.To, count(len(p.in.Catalog.Points[m.To]), "restore point"), count(len(p.in.Catalog.Points[m.From]), "restore point"), m.From)))
}
