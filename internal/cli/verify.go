package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

var verifyCommand = &command{
	name: "verify", group: "Data", summary: "Read copies back and keep the evidence",
	usage: "[options] [ADDRESS|POINT]",
	examples: `  holdfast verify                              # every byte of every store; needs no key
  holdfast verify backup.app -level=read       # decrypt and decode every restore point of it
  holdfast verify backup.app -level=restore    # bring every restore point of it back to a scratch place, run its checks
  holdfast verify -store=store.offsite         # every byte of this store
  holdfast verify 20261121T021500Z-9fd2ma      # every copy of one restore point`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf, ids := a.policyFlags(f), a.identityFlag(f)
		level := f.choice("level", "stored", "how far: stored hashes every stored byte, read decrypts and decodes, restore brings back to a scratch place and asks the policy's checks", "stored", "read", "restore")
		stores := f.list("store", "STORE", "only the copies in this store")
		return func(ctx context.Context, args []string) error {
			what, err := optionalAddress("verify", args)
			if err != nil {
				return err
			}
			s, err := a.open(ctx, pf, ids, true)
			if err != nil {
				return err
			}
			if err := s.declares(*stores); err != nil {
				return err
			}
			return s.verify(ctx, what, *stores, policy.VerifyLevel(*level))
		}
	},
}

// declares refuses stores that the policy does not have.
func (s *session) declares(stores []string) error {
	for _, address := range stores {
		if _, ok := s.policy.Stores[address]; ok {
			continue
		}
		names := slices.Sorted(maps.Keys(s.policy.Stores))
		if near := suggest(address, names); near != "" {
			return usageError("-store: the policy declares no %s; did you mean %s?", address, near)
		}
		return usageError("-store: the policy declares no %s; there are: %s", address, strings.Join(names, ", "))
	}
	return nil
}

// copyRef is one copy of one restore point.
type copyRef struct {
	address string
	point   state.RestorePoint
	copied  state.Copy
}

// label is how a repository names the point in a report of damage.
func (r copyRef) label() string { return r.point.Stored(r.address) + "/" + r.point.ID }

// copies selects what an address, a point id or nothing stands for, in some stores or in all.
func (s *session) copies(what string, stores []string) ([]copyRef, error) {
	var refs []copyRef
	found := false
	for _, address := range slices.Sorted(maps.Keys(s.catalog.Points)) {
		for _, p := range s.catalog.Points[address] {
			if what == "" || what == address || what == p.ID {
				found = true
				for _, c := range p.Copies {
					if len(stores) == 0 || slices.Contains(stores, c.Store) {
						refs = append(refs, copyRef{address, p, c})
					}
				}
			}
		}
	}
	if !found && what != "" {
		return nil, s.knows(what)
	}
	if found && len(refs) == 0 && what != "" {
		return nil, usageError("%s has no copy in %s", what, strings.Join(stores, ", "))
	}
	return refs, nil
}

type verified struct {
	Address string         `json:"address"`
	Point   string         `json:"point"`
	Store   string         `json:"store"`
	Level   string         `json:"level"`
	OK      bool           `json:"ok"`
	Damage  []apply.Damage `json:"damage,omitempty"`
	Error   string         `json:"error,omitempty"`
}

// verify reads back what was asked for. Nothing asked for means every object of every store.
func (s *session) verify(ctx context.Context, what string, stores []string, level policy.VerifyLevel) error {
	refs, err := s.copies(what, stores)
	if err != nil {
		return err
	}
	started := s.Now().UTC()
	var done []verified
	var damage []apply.Damage
	if what == "" && level == policy.VerifyStored {
		done, damage, err = s.verifyStores(ctx, refs, stores)
	} else {
		done, err = s.verifyPoints(ctx, refs, level)
		for _, v := range done {
			damage = append(damage, v.Damage...)
		}
	}
	s.err.Status("")
	keepErr := s.keepProofs(context.WithoutCancel(ctx), started, done)
	if len(done) == 0 && len(damage) == 0 && err != nil {
		return err
	}
	return errors.Join(s.showVerified(done, dedupe(damage)), err, keepErr)
}

// dedupe lists each damaged object once.
func dedupe(damage []apply.Damage) []apply.Damage {
	seen := map[string]bool{}
	return slices.DeleteFunc(damage, func(d apply.Damage) bool {
		was := seen[d.String()]
		seen[d.String()] = true
		return was
	})
}

func (s *session) verifyPoints(ctx context.Context, refs []copyRef, level policy.VerifyLevel) ([]verified, error) {
	v := apply.Verifier{Executors: executorMap(), Log: s.log}
	progress := view.NewProgress(s.err, s.err, false, s.Now)
	var done []verified
	var failed error
	for _, ref := range refs {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		repository, err := s.stores.View(ctx, ref.copied.Store)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		a := plan.Action{ID: ref.point.ID + ref.copied.Store, Kind: plan.Verify, Address: ref.address, Point: ref.point.ID}
		if s.err.Live() {
			progress.ActionStarted(a)
		}
		proof, checked, err := v.Verify(ctx, repository, apply.VerifyTarget{
			Address: ref.address, Point: ref.point, Store: ref.copied.Store, Backup: s.policy.Backups[ref.address],
			Source: s.policy.Sources[ref.point.Source], Kind: s.kindOf(ref.point), Level: level, Note: func(note string) { s.noteVerified(ref, note) },
			Progress: func(n int64) {
				if s.err.Live() {
					progress.ActionProgress(a, n, 0, ref.point.Size)
				}
			},
		})
		if proof.Level == "" {
			failed = errors.Join(failed, err)
			continue
		}
		done = append(done, verified{
			Address: ref.address, Point: ref.point.ID, Store: ref.copied.Store, Level: proof.Level, OK: proof.OK,
			Damage: damageOf(err, checked), Error: proof.Error,
		})
	}
	return done, failed
}

// noteVerified tells what a rehearsal found; with JSON it stays out of the way of the document.
func (s *session) noteVerified(ref copyRef, note string) {
	if !s.json {
		fmt.Fprintf(s.out, "%s %s: %s\n", ref.address, ref.point.ID, note)
	}
}

func damageOf(err error, c apply.Checked) []apply.Damage {
	var damaged *apply.DamagedError
	if errors.As(err, &damaged) {
		if damaged.Rehearsed {
			return nil
		}
		return damaged.Damage
	}
	return c.Damage
}

// kindOf tells what kind of source a point came from, also when the policy does not declare it any more.
func (s *session) kindOf(p state.RestorePoint) policy.SourceKind {
	if src, ok := s.policy.Sources[p.Source]; ok {
		return src.Kind
	}
	if parts := strings.Split(p.Source, "."); len(parts) > 1 {
		return policy.SourceKind(parts[1])
	}
	return ""
}

// verifyStores hashes every object of every store once, and tells what that means for each point.
func (s *session) verifyStores(ctx context.Context, refs []copyRef, stores []string) ([]verified, []apply.Damage, error) {
	byStore := map[string][]copyRef{}
	for address := range s.policy.Stores {
		if len(stores) == 0 || slices.Contains(stores, address) {
			byStore[address] = nil
		}
	}
	for _, ref := range refs {
		byStore[ref.copied.Store] = append(byStore[ref.copied.Store], ref)
	}
	var done []verified
	var damage []apply.Damage
	var failed error
	for _, address := range slices.Sorted(maps.Keys(byStore)) {
		if len(byStore[address]) == 0 && s.catalog.Objects[address].Hash == "" {
			continue // declared, but never initialized
		}
		d, dmg, err := s.verifyStore(ctx, address, byStore[address])
		done, damage, failed = append(done, d...), append(damage, dmg...), errors.Join(failed, err)
	}
	return done, damage, failed
}

func (s *session) verifyStore(ctx context.Context, address string, refs []copyRef) ([]verified, []apply.Damage, error) {
	r, err := s.stores.View(ctx, address)
	if err != nil {
		return nil, nil, err
	}
	var points []apply.PointCopy
	for _, ref := range refs {
		if ref.copied.Repository != r.ID() {
			return nil, nil, fmt.Errorf("verify %s: it holds repository %s, but restore point %s was stored in %s: the store was swapped for another",
				address, r.ID(), ref.point.ID, ref.copied.Repository)
		}
		points = append(points, apply.PointCopy{Address: ref.point.Stored(ref.address), Point: ref.point.ID, Manifest: ref.copied.Manifest, Summary: ref.copied.Summary})
	}
	a := plan.Action{ID: address, Kind: plan.Verify, Address: address}
	progress := view.NewProgress(s.err, s.err, false, s.Now)
	if s.err.Live() {
		progress.ActionStarted(a)
	}
	checked, err := r.VerifyAll(ctx, points, func(n int64) {
		if s.err.Live() {
			progress.ActionProgress(a, n, 0, 0)
		}
	})
	if err != nil {
		return nil, checked.Damage, fmt.Errorf("verify %s: %w", address, err)
	}
	unknown := slices.ContainsFunc(checked.Damage, func(d apply.Damage) bool { return len(d.Points) == 0 })
	var done []verified
	for _, ref := range refs {
		var mine []apply.Damage
		for _, d := range checked.Damage {
			if slices.Contains(d.Points, ref.label()) {
				mine = append(mine, d)
			}
		}
		if len(mine) == 0 && unknown {
			continue // some damage cannot be told to points here: claim nothing
		}
		v := verified{Address: ref.address, Point: ref.point.ID, Store: address, Level: string(policy.VerifyStored), OK: len(mine) == 0, Damage: mine}
		if err := apply.DamageError(mine); err != nil {
			v.Error = err.Error()
		}
		done = append(done, v)
	}
	return done, checked.Damage, nil
}

// listedProofs is how many single verifications a run lists; of more, only the failed ones.
const listedProofs = 100

// keepProofs records the run and what was learnt. A catalog that cannot be written does not hide the result.
func (s *session) keepProofs(ctx context.Context, started time.Time, done []verified) error {
	if len(done) == 0 {
		return nil
	}
	now := s.Now().UTC()
	run := state.Run{ID: newID(started), Operation: "verify", Who: s.holder(), Started: started, Finished: now, Status: state.RunOK}
	for _, v := range done {
		ra := state.RunAction{
			Address: v.Address, Kind: string(plan.Verify), Point: v.Point, Store: v.Store, Started: started, Finished: now, Status: state.RunOK, Error: v.Error,
		}
		if !v.OK {
			ra.Status, run.Status = state.RunFailed, state.RunFailed
		}
		if !v.OK || len(done) <= listedProofs {
			run.Actions = append(run.Actions, ra)
		}
	}
	err := s.backend.Update(ctx, func(c *state.Catalog) error {
		for _, v := range done {
			apply.AddProof(c, v.Address, v.Point, v.Store, state.Proof{Level: v.Level, At: now, OK: v.OK, Run: run.ID, Error: v.Error})
		}
		c.Runs = append(c.Runs, run)
		return nil
	})
	if err != nil {
		return fmt.Errorf("record the evidence: %w", err)
	}
	return nil
}

// countedCopies names what was counted: restore points where each has one copy.
func countedCopies(done []verified) string {
	seen := map[string]bool{}
	for _, v := range done {
		if seen[v.Point] {
			return "copies"
		}
		seen[v.Point] = true
	}
	return "restore points"
}

func (s *session) showVerified(done []verified, damage []apply.Damage) error {
	bad, rehearsed := 0, 0
	for _, v := range done {
		switch {
		case v.OK:
		case v.Level == string(policy.VerifyRestore): // nothing stored is damaged
			rehearsed++
		default:
			bad++
		}
	}
	if s.json {
		if done == nil {
			done = []verified{}
		}
		if err := s.out.Document(map[string]any{"format_version": "1.0", "ok": bad+rehearsed == 0 && len(damage) == 0, "verified": done, "damage": damage}); err != nil {
			return err
		}
	} else {
		for _, d := range damage {
			fmt.Fprintf(s.out, "%s %s\n", s.out.Red("damaged:"), d)
			for _, p := range d.Points {
				fmt.Fprintf(s.out, "  needed by %s\n", p)
			}
		}
		for _, v := range done {
			if !v.OK && v.Level == string(policy.VerifyRestore) {
				fmt.Fprintf(s.out, "%s %s in %s: %s\n", s.out.Red("does not restore:"), v.Point, v.Store, v.Error)
			}
		}
		fmt.Fprintf(s.out, "%d of %d %s verified.\n", len(done)-bad-rehearsed, len(done), countedCopies(done))
	}
	if rehearsed > 0 && bad == 0 && len(damage) == 0 {
		return exit(codeError, fmt.Errorf("%d %s not restore as the policy's checks expect; nothing stored is damaged", rehearsed, plural(rehearsed, "copy does", "copies do")))
	}
	if bad > 0 || len(damage) > 0 {
		return exit(codeError, fmt.Errorf("%d %s damaged, %d %s affected; the next apply repairs what it can (`holdfast plan` says what)", len(damage), plural(len(damage), "object is", "objects are"), bad, plural(bad, "copy is", "copies are")))
	}
	return nil
}
