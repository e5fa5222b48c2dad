// Package planner decides: Plan(desired, observed, now) → plan. It does no I/O and reads no clock; the same input gives
// the same bytes.
//
// It carries nothing out (internal/apply does) and shows nothing (planner/plan and internal/cli/view do). Invariants, each
// proven by a property test: applying a plan and planning again finds nothing to do; an action never stands before one it
// depends on; no plan leaves a backup without its newest good restore point; forgotten backups never lose any.
package planner

import (
	"slices"
	"time"

	"github.com/holdfast-io/holdfast/internal/diag"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// Input is everything a plan depends on.
type Input struct {
	Desired policy.Set
	Catalog state.Catalog
	Now     time.Time
	Targets []string // addresses to limit the plan to; empty means all
	Force   []string // addresses of backups to run now, due or not
	// Sealed names the stores that this host has no key to read: there a copy is proven as stored, and reading it back is
	// left to a host with a key.
	Sealed map[string]bool
	// Alive holds the ids of pending runs whose lease has not ended: they are working, not dead.
	Alive []string
	// Observed is what a refresh saw of stores and sources; the zero value is a plan from the catalog alone.
	Observed Observed
}

// Plan decides what to do. It keeps no part of the input that it changes, and changes none. When the diagnostics hold an
// error there is no plan: the first result is the zero plan. Warnings are in the plan and in the second result.
func Plan(in Input) (plan.Plan, diag.List) {
	p, diags := newPlanner(in)
	if diags.HasErrors() {
		return plan.Plan{}, diags
	}
	p.moves()
	p.damaged = observedDamage(p.in)
	p.changes()
	p.initializations()
	p.recoveries()
	p.backups()
	p.removals()
	p.logs()
	p.prunes()
	p.expect()
	p.capacities()
	p.houseRules()
	p.drift()
	p.finish()
	return p.out, p.out.Diagnostics
}

// planner is a plan in the making.
type planner struct {
	in       Input         // its catalog is the one in which moves are done
	original state.Catalog // as it was given
	now      time.Time
	scope    scope
	declared map[string]state.Object
	order    []string // addresses of declared backups in scope, sorted
	rules    *rules
	out      plan.Plan

	initialize map[string]string   // store address → ID of the action that makes its repository
	repository map[string]string   // address of each store that stayed where it was → id of its repository, if known
	recovering map[string][]string // backup address and store → IDs of recover actions, see recoverKey
	alone      map[string]int      // store address → copies in another repository that were left alone
	byAddress  map[string]int      // address → index in out.Changes
	scratch    []state.RestorePoint
	then       []state.RestorePoint            // buffer of overdueExpiry
	expiring   map[string]*leaving             // store address → what this plan takes out of it
	adding     map[string]int64                // store address → stored bytes that this plan may add
	damaged    map[damagedKey]string           // copies that a refresh saw damaged
	debts      map[string]*debt                // backup and store address, see recoverKey → copies that are missing since before
	remaining  map[string][]state.RestorePoint // backup address → its base backups that stay
	history    map[string]*past                // backup address → what earlier runs did to it
}

// leaving is what a plan takes out of a store.
type leaving struct {
	bytes  int64
	points int
}

func newPlanner(in Input) (*planner, diag.List) {
	p := &planner{
		in: in, original: in.Catalog, now: in.Now.UTC(), declared: Objects(in.Desired), initialize: map[string]string{}, repository: map[string]string{},
		recovering: map[string][]string{}, alone: map[string]int{}, byAddress: map[string]int{},
		expiring: map[string]*leaving{}, adding: map[string]int64{}, debts: map[string]*debt{},
		remaining: map[string][]state.RestorePoint{},
	}
	var diags, more diag.List
	p.rules, diags = newRules(in.Desired)
	diags = append(diags, checkRenames(in.Desired, p.declared)...)
	p.scope, more = newScope(in, p.declared)
	diags = append(diags, more...)
	for _, address := range sortedKeys(in.Desired.Backups) {
		diags = append(diags, checkReferences(in.Desired, in.Desired.Backups[address])...)
		if p.scope.has(address) {
			p.order = append(p.order, address)
		}
	}
	p.out = plan.Plan{
		Lineage: in.Catalog.Lineage, Serial: in.Catalog.Serial, Now: p.now, Targets: slices.Sorted(slices.Values(in.Targets)),
		Changes: []plan.Change{}, Actions: []plan.Action{}, Windows: []plan.Window{}, Diagnostics: slices.Clone(p.scope.warnings()),
		Refresh: in.Observed.Mode,
	}
	return p, diags
}

// checkReferences guards against a Set that did not come from policy/lang.
func checkReferences(set policy.Set, b policy.Backup) (diags diag.List) {
	missing := func(what, address string) {
		diags = append(diags, diag.NewError(b.Address, "The "+what+" "+address+" is not declared",
			"Declare it, or let the backup refer to one that is."))
	}
	if _, ok := set.Sources[b.Source]; !ok {
		missing("source", b.Source)
	}
	for _, store := range b.Stores() {
		if _, ok := set.Stores[store]; !ok {
			missing("store", store)
		}
	}
	if _, ok := set.Retentions[b.Retention]; !ok && b.Retention != "" {
		missing("retention", b.Retention)
	}
	return diags
}

// finish puts changes and actions in their order and seals the plan.
func (p *planner) finish() {
	for _, store := range sortedKeys(p.alone) {
		p.out.Diagnostics = append(p.out.Diagnostics, diag.NewWarning(store,
			count(p.alone[store], "restore point")+" of "+store+" would be verified or expire, but are out of reach",
			"The store is not declared any more, or holds another repository now. They stay in the catalog and, untouched, where they "+
				"are. Declare the store as it was to manage them."))
	}
	p.out.Fingerprint = plan.Fingerprint(p.out)
	p.out.Versions = plan.Versions(p.out, p.original)
}
