package planner

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// changes compares what is declared with what was last applied. What a change costs is added by consequences.
func (p *planner) changes() {
	for address, declared := range p.declared {
		if !p.scope.has(address) {
			continue
		}
		applied, found := p.in.Catalog.Objects[address]
		switch {
		case !found:
			p.change(plan.Change{
				Address: address, Kind: plan.Add, Reason: plan.ReasonDeclared, Why: "declared, not applied yet",
				Attributes: diffAttributes(nil, declared.Attributes),
			})
		case applied.Forgotten:
			p.change(plan.Change{
				Address: address, Kind: plan.Adopt, Reason: plan.ReasonRedeclared, Why: p.adoptWhy(address),
				Attributes: diffAttributes(applied.Attributes, declared.Attributes),
			})
		case applied.Hash != declared.Hash:
			// A newer version of holdfast may encode the same policy in another way: only attributes count.
			if diff := diffAttributes(applied.Attributes, declared.Attributes); len(diff) > 0 {
				p.change(plan.Change{
					Address: address, Kind: plan.Update, Reason: plan.ReasonEdited, Why: editWhy(address, diff), Attributes: diff,
				})
			}
		}
	}
	for address, applied := range p.in.Catalog.Objects {
		if _, declared := p.declared[address]; declared || !p.scope.has(address) {
			continue
		}
		removed, said := p.removed(address)
		switch {
		case said && removed.Destroy:
			p.change(p.destroy(address))
		case said && !applied.Forgotten:
			p.change(plan.Change{
				Address: address, Kind: plan.Forget, Reason: plan.ReasonRemoved, Why: p.forgetWhy(address, "until the retention that was in force ends"),
			})
		case !applied.Forgotten:
			p.change(plan.Change{
				Address: address, Kind: plan.Forget, Reason: plan.ReasonNotDeclared, Why: p.forgetWhy(address, "and never expire"),
			})
		}
	}
	sortChanges(p.out.Changes)
	for i, c := range p.out.Changes {
		if c.Kind != plan.Move { // what an edit costs is told with the edit
			p.byAddress[c.Address] = i
		}
	}
}

func (p *planner) change(c plan.Change) { p.out.Changes = append(p.out.Changes, c) }

func sortChanges(changes []plan.Change) {
	slices.SortStableFunc(changes, func(a, b plan.Change) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.From, b.From))
	})
}

func (p *planner) adoptWhy(address string) string {
	if n := len(p.in.Catalog.Points[address]); n > 0 {
		return "declared again; " + count(n, "restore point") + " will be managed again"
	}
	return "declared again"
}

func (p *planner) forgetWhy(address, howLong string) string {
	if n := len(p.in.Catalog.Points[address]); n > 0 {
		return "no longer declared; " + count(n, "restore point") + " will stay " + howLong
	}
	return "no longer declared"
}

func editWhy(address string, diff []plan.Attribute) string {
	moved := slices.ContainsFunc(diff, func(a plan.Attribute) bool { return a.Path == "url" })
	if moved && strings.HasPrefix(address, "store.") {
		return "differs from what was applied; restore points made before stay at the old URL"
	}
	return "differs from what was applied"
}

// consequence adds to a change what it makes expire.
func (p *planner) consequence(address string, points int, bytes int64) {
	i, ok := p.byAddress[address]
	if !ok || points == 0 {
		return
	}
	c := &p.out.Changes[i]
	c.Points += points
	c.Bytes += bytes
	c.Why = fmt.Sprintf("makes %s expire (%s)", count(c.Points, "more restore point"), plan.FormatBytes(c.Bytes))
}

// initializations plans a repository for each declared store that was never applied, or was applied with another URL.
func (p *planner) initializations() {
	for _, address := range sortedKeys(p.in.Desired.Stores) {
		why := "the store has no repository yet"
		if applied, found := p.in.Catalog.Objects[address]; found {
			before := appliedURL(applied)
			if before == p.in.Desired.Stores[address].URL {
				p.repository[address] = applied.Repository
				continue
			}
			why = "the store moved from " + before
		}
		if !p.scope.has(address) {
			continue
		}
		a := plan.Action{
			ID: actionID(plan.Initialize, address), Kind: plan.Initialize, Address: address, Store: address, From: p.like(address),
			Reason: plan.ReasonNoRepository, Why: why,
		}
		p.initialize[address] = a.ID
		p.out.Actions = append(p.out.Actions, a)
	}
	for i := range p.out.Actions {
		if a := &p.out.Actions[i]; a.From != "" {
			a.After = p.afterInitialize(a.From)
		}
	}
}

func (p *planner) like(store string) string { return Like(p.in.Desired, store) }

// Like names the store whose keys a new one shares: the one whose points it will hold copies of, when the same people can
// read both. Then copies are brought over as stored. It is empty for a store that backups write to first.
func Like(set policy.Set, store string) (like string) {
	for _, address := range sortedKeys(set.Backups) {
		b := set.Backups[address]
		if b.Store == store {
			return ""
		}
		if like == "" && slices.Contains(b.Copies, store) && sameRecipients(set.Stores[b.Store].Encryption, set.Stores[store].Encryption) {
			like = b.Store
		}
	}
	return like
}

func sameRecipients(a, b policy.Encryption) bool {
	x, y := slices.Clone(a.Recipients), slices.Clone(b.Recipients)
	slices.Sort(x)
	slices.Sort(y)
	return a.None == b.None && slices.Equal(slices.Compact(x), slices.Compact(y))
}

func appliedURL(o state.Object) string {
	var s policy.Store
	if json.Unmarshal(o.Attributes, &s) != nil {
		return ""
	}
	return s.URL
}

func actionID(kind plan.ActionKind, parts ...string) string {
	return string(kind) + " " + strings.Join(parts, " ")
}

// count writes a number with its noun: "1 restore point", "31 restore points".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
