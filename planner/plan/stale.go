package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/state"
)

// Versions returns the version of everything in the catalog that the plan is about, by address.
func Versions(p Plan, c state.Catalog) map[string]string {
	versions := map[string]string{}
	for address := range touched(p) {
		versions[address] = version(c, address)
	}
	return versions
}

func touched(p Plan) map[string]bool {
	addresses := map[string]bool{}
	for _, change := range p.Changes {
		addresses[change.Address] = true
		if change.From != "" {
			addresses[change.From] = true
		}
	}
	for _, a := range p.Actions {
		addresses[a.Address] = true
	}
	return addresses
}

// version hashes the object and the ids of the restore points under an address. Proofs are left out: a copy that was
// verified in the meantime spoils no plan, and expiries are decided again before each deletion.
func version(c state.Catalog, address string) string {
	h := sha256.New()
	o := c.Objects[address]
	fmt.Fprintf(h, "%s %t\n", o.Hash, o.Forgotten)
	line := make([]byte, 0, 64)
	for i := range c.Points[address] {
		p := &c.Points[address][i]
		line = append(append(line[:0], p.ID...), '\n')
		if p.Incomplete {
			line = append(line, "incomplete\n"...)
		}
		h.Write(line)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Stale tells whether a plan still fits the catalog. A catalog that moved on spoils it only where something that the plan
// is about is another now. The error wraps state.ErrLineage or state.ErrStale.
func Stale(p Plan, c state.Catalog) error {
	if p.Lineage != "" && p.Lineage != c.Lineage {
		return fmt.Errorf("%w: the plan was made for %q, this is %q; plan again", state.ErrLineage, p.Lineage, c.Lineage)
	}
	if p.Lineage == c.Lineage && p.Serial == c.Serial {
		return nil
	}
	if c.Serial < p.Serial {
		return fmt.Errorf("%w: it is at serial %d, before serial %d that the plan was made for; plan again", state.ErrStale, c.Serial, p.Serial)
	}
	var moved []string
	held := nowHeld(p, c)
	for _, address := range slices.Sorted(maps.Keys(touched(p))) {
		if p.Versions[address] != version(c, address) || held[address] {
			moved = append(moved, address)
		}
	}
	if len(moved) == 0 {
		return nil
	}
	told := moved[:min(3, len(moved))]
	more := ""
	if n := len(moved) - len(told); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("%w: %s%s changed between serial %d and %d; plan again", state.ErrStale, strings.Join(told, ", "), more, p.Serial, c.Serial)
}

// nowHeld are the backups of which the plan would expire a point that somebody has held since.
func nowHeld(p Plan, c state.Catalog) map[string]bool {
	expires := map[string]map[string]bool{}
	for _, a := range p.Actions {
		if a.Kind == Expire {
			if expires[a.Address] == nil {
				expires[a.Address] = map[string]bool{}
			}
			expires[a.Address][a.Point] = true
		}
	}
	for _, change := range p.Changes {
		if change.Kind == Move { // until it is applied, the points are under the old address
			expires[change.From] = expires[change.Address]
		}
	}
	held := map[string]bool{}
	for address, ids := range expires {
		for i := range c.Points[address] {
			if point := &c.Points[address][i]; point.Hold != nil && ids[point.ID] {
				held[address] = true
			}
		}
	}
	return held
}
