package planner

import (
	"fmt"
	"maps"

	"github.com/holdfast-io/holdfast/internal/diag"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// moves follows the moved blocks: the rest of the plan sees a catalog in which they are done.
func (p *planner) moves() {
	copied := false
	for _, m := range p.in.Desired.Moved {
		if _, still := p.declared[m.From]; still || !p.scope.has(m.To) {
			continue
		}
		if !p.in.Catalog.Movable(m.From, m.To) {
			p.unmoved(m)
			continue
		}
		if !copied {
			copied = true
			p.in.Catalog.Objects, p.in.Catalog.Points = maps.Clone(p.in.Catalog.Objects), maps.Clone(p.in.Catalog.Points)
			if p.in.Catalog.Objects == nil {
				p.in.Catalog.Objects = map[string]state.Object{}
			}
		}
		p.in.Catalog.Move(m.From, m.To)
		why := "moved from " + m.From
		if n := len(p.in.Catalog.Points[m.To]); n > 0 {
			why += "; " + count(n, "restore point") + " go with it"
		}
		p.change(plan.Change{Address: m.To, Kind: plan.Move, From: m.From, Reason: plan.ReasonMoved, Why: why})
	}
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
