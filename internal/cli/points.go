package cli

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/retention"
	"github.com/holdfast-io/holdfast/state"
)

var pointsCommand = &command{
	name: "points", group: "Inspect", summary: "List restore points, newest last",
	usage: "[options] [ADDRESS]",
	examples: `  holdfast points
  holdfast points backup.app -json`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf := a.policyFlags(f)
		return func(ctx context.Context, args []string) error {
			address, err := optionalAddress("points", args)
			if err != nil {
				return err
			}
			s, err := a.open(ctx, pf, nil, false)
			if err != nil {
				return err
			}
			if err := s.knows(address); err != nil {
				return err
			}
			return s.points(address)
		}
	},
}

func optionalAddress(name string, args []string) (string, error) {
	switch len(args) {
	case 0:
		return "", nil
	case 1:
		return args[0], nil
	default:
		return "", usageError("%s takes one address, not %d", name, len(args))
	}
}

// knows refuses an address that neither the policy nor the catalog has.
func (s *session) knows(address string) error {
	if address == "" {
		return nil
	}
	if _, ok := s.policy.Backups[address]; ok {
		return nil
	}
	if _, ok := s.catalog.Points[address]; ok {
		return nil
	}
	names := slices.Collect(maps.Keys(s.policy.Backups))
	names = append(names, slices.Collect(maps.Keys(s.catalog.Points))...)
	slices.Sort(names)
	names = slices.Compact(names)
	if near := suggest(address, names); near != "" {
		return usageError("there is no backup %s; did you mean %s?", address, near)
	}
	if _, ok := s.policy.Backups["backup."+address]; ok {
		return usageError("there is no backup %s; did you mean backup.%s?", address, address)
	}
	return usageError("there is no backup %s; there are: %s", address, strings.Join(names, ", "))
}

// listedPoint is a restore point as `points -json` prints it.
type listedPoint struct {
	Address string `json:"address"`
	state.RestorePoint
	Stored   int64    `json:"stored"`
	Verified bool     `json:"verified"`
	KeptBy   []string `json:"kept_by,omitempty"`

	RestorableUntil time.Time `json:"restorable_until,omitzero"` // base backups with WAL: every instant from its time up to this one
}

// listed yields the restore points of one backup, or of all, in order: a catalog may hold a million.
func (s *session) listed(only string) iter.Seq[listedPoint] {
	return func(yield func(listedPoint) bool) {
		for _, address := range slices.Sorted(maps.Keys(s.catalog.Points)) {
			if only != "" && only != address {
				continue
			}
			kept := s.keepers(address, s.Now())
			for _, p := range s.catalog.Points[address] {
				l := listedPoint{Address: address, RestorePoint: p, Verified: p.Verified(), KeptBy: keptBy(p, kept[p.ID]), RestorableUntil: s.reach(address, p)}
				for _, copied := range p.Copies {
					l.Stored += copied.Stored
				}
				if !yield(l) {
					return
				}
			}
		}
	}
}

// keptBy puts the reason of a hold beside the rules that keep a point.
func keptBy(p state.RestorePoint, rules []string) []string {
	if p.Hold == nil {
		return rules
	}
	return append([]string{"held: " + p.Hold.Reason}, slices.DeleteFunc(slices.Clone(rules), func(r string) bool { return r == "held" })...)
}

// keepers tells for each point of a backup which rules keep it.
func (s *session) keepers(address string, now time.Time) map[string][]string {
	b, ok := s.policy.Backups[address]
	if !ok || b.Retention == "" {
		return nil
	}
	kept := map[string][]string{}
	for _, v := range retention.Apply(s.catalog.Points[address], s.catalog.WAL[address], s.policy.Retentions[b.Retention], now, location(b)).Keep {
		kept[v.Point] = v.Reasons
	}
	return kept
}

func (s *session) points(address string) error {
	if s.json {
		return view.List(s.out, "points", s.listed(address))
	}
	var rows [][]string
	for l := range s.listed(address) {
		rows = append(rows, []string{
			l.Address, l.ID, view.Time(l.Time), view.Bytes(l.Size), view.Bytes(l.Stored), s.proven(l.Address, l.RestorePoint), strings.Join(l.KeptBy, ", "),
		})
	}
	if len(rows) == 0 {
		fmt.Fprintln(s.out, "There are no restore points yet.")
		return nil
	}
	s.out.Table([]string{"BACKUP", "POINT", "TIME (UTC)", "SIZE", "STORED", "PROVEN", "KEPT BY"}, rows)
	addresses := []string{address}
	if address == "" {
		addresses = slices.Sorted(maps.Keys(s.catalog.WAL))
	}
	s.walTable(addresses, s.Now())
	return nil
}

// proven says what the evidence for a point is: of each copy in a word, by its store's name where there are to be several.
func (s *session) proven(address string, p state.RestorePoint) string {
	if p.Incomplete {
		return s.out.Red("incomplete")
	}
	wanted := s.policy.Backups[address].Copies
	var words []string
	for _, c := range p.Copies {
		word := s.copyProven(c)
		if len(p.Copies)+len(wanted) > 1 {
			word = strings.TrimPrefix(c.Store, "store.") + " " + word
		}
		words = append(words, word)
	}
	for _, store := range wanted {
		if _, there := p.In(store); !there {
			words = append(words, strings.TrimPrefix(store, "store.")+" "+s.out.Yellow("missing"))
		}
	}
	return strings.Join(words, ", ")
}

// copyProven says that a copy's newest verification failed, or the furthest that succeeded.
func (s *session) copyProven(c state.Copy) string {
	best, ok := furthest(c)
	switch {
	case c.Broken():
		return s.out.Red("damaged")
	case c.Damaged():
		return s.out.Red("does not restore")
	case !ok:
		return s.out.Yellow("not verified")
	default:
		return s.out.Green(best.Level)
	}
}

// furthest is the good proof of the highest level; ok is false when there is none.
func furthest(c state.Copy) (best state.Proof, ok bool) {
	for _, proof := range c.Proofs {
		if level := policy.VerifyLevel(proof.Level); proof.OK && (!ok || level.Rank() > policy.VerifyLevel(best.Level).Rank()) {
			best, ok = proof, true
		}
	}
	return best, ok
}
