package planner

import (
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// recoveries plans to settle what dead runs left. A run is dead when it is pending and nobody holds its lease.
//
// Whether a point of a dead run is whole can only be seen in the store, so a slot it may serve is planned as if it were
// not: apply recovers first, and skips the backup when the adopted point serves its slot.
func (p *planner) recoveries() {
	for _, run := range p.in.Catalog.Runs {
		if run.Status != state.RunPending || slices.Contains(p.in.Alive, run.ID) {
			continue
		}
		found := false
		for _, a := range deadActions(run) {
			found = true
			if p.scope.has(a.Address) {
				p.recover(run, a)
			}
		}
		if !found && p.scope.all {
			p.recover(run, state.RunAction{Address: "run." + run.ID})
		}
	}
}

// deadActions returns the pending actions of a run, one for each restore point. Its store is named only when the run may
// have written there.
func deadActions(run state.Run) []state.RunAction {
	type subject struct{ address, point string }
	at := map[subject]int{}
	var dead []state.RunAction
	for _, a := range run.Actions {
		if a.Status != state.RunPending {
			continue
		}
		if writes := plan.ActionKind(a.Kind) == plan.Backup || plan.ActionKind(a.Kind) == plan.Expire; !writes {
			a.Store = ""
		}
		key := subject{a.Address, a.Point}
		if i, ok := at[key]; !ok {
			at[key] = len(dead)
			dead = append(dead, a)
		} else if dead[i].Store == "" {
			dead[i] = a
		}
	}
	slices.SortStableFunc(dead, func(a, b state.RunAction) int {
		if c := strings.Compare(a.Address, b.Address); c != 0 {
			return c
		}
		return strings.Compare(a.Point, b.Point)
	})
	return dead
}

func (p *planner) recover(run state.Run, dead state.RunAction) {
	parts := []string{dead.Address}
	if dead.Point != "" {
		parts = append(parts, dead.Point)
	}
	a := plan.Action{
		ID: actionID(plan.Recover, append(parts, run.ID)...), Kind: plan.Recover, Address: dead.Address, Point: dead.Point,
		Store: dead.Store, Run: run.ID, Slot: dead.Slot, Reason: plan.ReasonDeadRun,
		Why: "run " + run.ID + " of " + formatTime(run.Started) + " died before it was done", After: p.afterInitialize(dead.Store),
	}
	p.out.Actions = append(p.out.Actions, a)
	key := recoverKey(p.nameNow(dead.Address), p.nameNow(dead.Store))
	p.recovering[key] = append(p.recovering[key], a.ID)
}

// nameNow is what moved blocks made of an address.
func (p *planner) nameNow(address string) string {
	if to := policy.Destination(p.in.Desired.Moved, address); to != "" {
		return to
	}
	return address
}

// recoverKey makes a backup wait for the recovery of points of its own in the store it writes to, not for a store that it
// has left and that may be gone.
func recoverKey(address, store string) string { return address + "\x00" + store }

func (p *planner) afterInitialize(store string) []string {
	if id, ok := p.initialize[store]; ok {
		return []string{id}
	}
	return nil
}
