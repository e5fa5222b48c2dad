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
				Address: address, Kind: plan.Forget, Reason: plan.ReasonRemoved, Why: p.forgetWhy(address, "expire by the retention that was in force"),
			})
		case !applied.Forgotten:
			p.change(plan.Change{
				Address: address, Kind: plan.Forget, Reason: plan.ReasonNotDeclared, Why: p.forgetWhy(address, "stay and never expire"),
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

func (p *planner) forgetWhy(address, fate string) string {
	if n := len(p.in.Catalog.Points[address]); n > 0 {
		return "no longer declared; " + count(n, "restore point") + " will " + fate
	}
	return "no longer declared"
}

func editWhy(address string, diff []plan.Attribute) string {
	at := map[string]plan.Attribute{}
	for _, a := range diff {
		at[a.Path] = a
	}
	var notes []string
	if _, edited := at["url"]; edited && strings.HasPrefix(address, "store.") {
		notes = append(notes, "restore points made before stay at the old URL")
	}
	_, recipients := at["encryption.recipients"]
	if _, writers := at["encryption.writers"]; (recipients || writers) && strings.HasPrefix(address, "store.") {
		notes = append(notes, "the store keeps its key holders until `holdfast key rotate "+address+"`")
	}
	stores := append(listed(at["store"].After), listed(at["copies"].After)...)
	if before := listed(at["store"].Before); len(before) > 0 && !slices.Contains(stores, before[0]) && strings.HasPrefix(address, "backup.") {
		notes = append(notes, "restore points made before stay in "+before[0])
	}
	left := slices.DeleteFunc(listed(at["copies"].Before), func(store string) bool { return slices.Contains(stores, store) })
	if len(left) > 0 {
		notes = append(notes, "no further copies go to "+strings.Join(left, ", ")+"; those that are there stay until their restore points expire")
	}
	if len(notes) == 0 {
		return plan.WhyEdited
	}
	return strings.Join(notes, "; ")
}

// listed reads the JSON text of an attribute that is a string or a list of strings.
func listed(text string) (values []string) {
	var one string
	if json.Unmarshal([]byte(text), &one) == nil && one != "" {
		return []string{one}
	}
	if json.Unmarshal([]byte(text), &values) != nil {
		return nil
	}
	return values
}

// consequence adds to a change what it makes expire.
func (p *planner) consequence(address string, lost []plan.Loss) {
	i, ok := p.byAddress[address]
	if !ok || len(lost) == 0 {
		return
	}
	c := &p.out.Changes[i]
	said := ""
	if c.Points == 0 && c.Kind == plan.Update && c.Why != plan.WhyEdited {
		said = "; " + c.Why
	} else if _, after, found := strings.Cut(c.Why, "); "); found && c.Points > 0 {
		said = "; " + after
	}
	for _, l := range lost {
		c.Points += l.Points
		c.Bytes += l.Bytes
	}
	c.Lost = append(c.Lost, lost...)
	c.Why = fmt.Sprintf("makes %s expire (%s)", count(c.Points, "more restore point"), policy.FormatBytes(c.Bytes)) + said
}

// initializations plans a repository for each declared store that was never applied, or was applied with another URL.
// Those that share the keys of another come last, for that may have to be made first.
func (p *planner) initializations() {
	var sharing []plan.Action
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
		if a.From == "" {
			p.out.Actions = append(p.out.Actions, a)
		} else {
			sharing = append(sharing, a)
		}
	}
	for _, a := range sharing {
		a.After, a.Why = p.afterInitialize(a.From), a.Why+"; it shares the keys of "+a.From
		p.out.Actions = append(p.out.Actions, a)
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
