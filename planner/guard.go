package planner

import (
	"fmt"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

func (p *planner) block(guard plan.Guard, address, why string) {
	p.out.Blocks = append(p.out.Blocks, plan.Block{Guard: guard, Address: address, Why: why})
}

// deletionGuards judges the state as it will be after the plan. gone are indexes of w.after, ascending.
func (p *planner) deletionGuards(w *work, k keeping, gone []leaver) {
	if len(gone) == 0 {
		return
	}
	newest, verified := verifiedWithout(p.judged(w), gone)
	_, before := verifiedWithout(w.points, nil)
	orphans, first := 0, ""
	for _, l := range gone {
		if point := &w.after[l.index]; !newest.After(point.Time) {
			if orphans++; first == "" {
				first = point.ID
			}
		}
	}
	if orphans > 0 {
		p.block(plan.GuardVerifiedNewer, w.address, fmt.Sprintf("%s would expire without a newer verified one (first: %s); "+
			"`holdfast verify %s` reads copies back, `verify { after = … }` does so after each backup", count(orphans, "restore point"), first, w.address))
	}
	if floor := min(k.retention.MinVerified, before); verified < floor {
		p.block(plan.GuardMinVerified, w.address, fmt.Sprintf("%d verified restore points would remain; min_verified is %d", verified, k.retention.MinVerified))
	}
	p.guardShare(w, k.retention.MaxPrunePercent, len(gone))
}

// guardShare blocks a plan that would expire too large a share of a backup's points. One point is always allowed: by itself
// it is a large share of a young backup.
func (p *planner) guardShare(w *work, percent, expiring int) {
	if percent <= 0 || expiring <= 1 || expiring*100 <= percent*len(w.points) {
		return
	}
	p.block(plan.GuardMaxPrune, w.address, fmt.Sprintf("%d of %d restore points would expire (%d%%); %s allows %d%%. "+
		"If this is meant, save the plan and apply it (`holdfast plan -out=p.hfplan`, `holdfast apply p.hfplan`), or raise max_prune_percent",
		expiring, len(w.points), expiring*100/len(w.points), w.backup.Retention, percent))
}

// verifiedWithout returns the time of the newest verified point and how many there are, without those gone.
func verifiedWithout(points []state.RestorePoint, gone []leaver) (newest time.Time, verified int) {
	next := 0
	for i := range points {
		if next < len(gone) && gone[next].index == i {
			next++
			continue
		}
		if points[i].Verified() {
			verified++
			if points[i].Time.After(newest) {
				newest = points[i].Time
			}
		}
	}
	return newest, verified
}

// houseRules takes the evaluated checks into the plan.
func (p *planner) houseRules() {
	for _, c := range p.in.Desired.Checks {
		p.out.Checks = append(p.out.Checks, plan.Check{Address: c.Address, Severity: c.Severity, Status: c.Status, Message: c.Message})
		if c.Status != "pass" && c.Severity == "error" {
			p.block(plan.GuardCheck, c.Address, c.Message)
		}
	}
}
