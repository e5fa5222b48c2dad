package planner

import (
	"strings"

	"github.com/holdfast-io/holdfast/internal/diag"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// scope is the part of the configuration that a plan is about.
type scope struct {
	all       bool
	addresses map[string]bool
	forced    map[string]bool
}

// newScope resolves -target and -force. A target brings what it refers to. An address without a key stands for every
// instance: backup.app for backup.app["eu"].
func newScope(in Input, declared map[string]state.Object) (scope, diag.List) {
	s := scope{all: len(in.Targets) == 0, addresses: map[string]bool{}, forced: map[string]bool{}}
	var diags diag.List
	known := map[string]bool{}
	for address := range declared {
		known[address] = true
	}
	for address := range in.Catalog.Objects {
		known[address] = true
	}
	for _, target := range in.Targets {
		found := false
		for address := range known {
			if instanceOf(address, target) {
				found = true
				s.add(in.Desired, address)
			}
		}
		if !found {
			diags = append(diags, unknownAddress(target, "-target"))
		}
	}
	for _, force := range in.Force {
		found := false
		for address := range in.Desired.Backups {
			if instanceOf(address, force) && s.has(address) {
				found = true
				s.forced[address] = true
			}
		}
		if !found {
			diags = append(diags, unknownAddress(force, "-force"))
		}
	}
	return s, diags
}

func unknownAddress(address, flag string) diag.Diagnostic {
	return diag.NewError(address, flag+"="+address+" names nothing that is declared",
		"`holdfast status` lists the addresses. With -target, -force can only name backups among the targets.")
}

func instanceOf(address, target string) bool {
	return address == target || strings.HasPrefix(address, target+"[")
}

func (s *scope) add(set policy.Set, address string) {
	s.addresses[address] = true
	if b, ok := set.Backups[address]; ok {
		s.addresses[b.Source] = true
		for _, store := range b.Stores() {
			s.addresses[store] = true
		}
		if b.Retention != "" {
			s.addresses[b.Retention] = true
		}
	}
}

func (s *scope) has(address string) bool { return s.all || s.addresses[address] }

func (s *scope) warnings() diag.List {
	if s.all {
		return nil
	}
	return diag.List{diag.NewWarning("", "The plan is limited by -target",
		"It may leave out changes and actions that the whole configuration asks for. Use -target for exceptional cases; "+
			"afterwards, `holdfast plan` without it shows what is left.")}
}
