package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// point returns a restore point of the catalog.
func (w *walker) point(address, id string) (point state.RestorePoint, ok bool) {
	w.book.read(func(c *state.Catalog) {
		for _, p := range c.Points[address] {
			if p.ID == id {
				point, ok = p, true
			}
		}
	})
	return point, ok
}

// change edits a point of the catalog, if it is still there.
func (w *walker) change(ctx context.Context, address, id string, edit func(c *state.Catalog, p *state.RestorePoint)) error {
	return w.book.update(ctx, func(c *state.Catalog) error {
		points := slices.Clone(c.Points[address])
		for i := range points {
			if points[i].ID == id {
				points[i].Copies = slices.Clone(points[i].Copies)
				edit(c, &points[i])
				c.Points[address] = points
			}
		}
		return nil
	})
}

// copy brings a point to a further store, reads back there what was stored, and keeps the evidence with the copy.
func (w *walker) copy(ctx context.Context, a plan.Action) (result, error) {
	point, ok := w.point(a.Address, a.Point)
	if !ok {
		return result{skipped: "restore point " + a.Point + " is not in the catalog"}, nil
	}
	if _, there := point.In(a.Store); there {
		return result{skipped: "restore point " + a.Point + " is in " + a.Store + " already"}, nil
	}
	to, err := w.openForCopies(ctx, a.Store)
	if err != nil {
		return result{}, fmt.Errorf("copy %s: %w", a.Point, err)
	}
	from, err := w.Repositories.Open(ctx, a.From)
	if err != nil {
		return result{}, fmt.Errorf("copy %s: %w", a.Point, err)
	}
	if source, ok := point.In(a.From); !ok || source.Repository != from.ID() {
		return result{}, fmt.Errorf("copy %s of %s: %s does not hold it (repository %s); it was swapped for another", a.Point, a.Address, a.From, from.ID())
	}
	stored := point.Stored(a.Address)
	receipt, err := to.CopyPoint(ctx, from, stored, a.Point, func(bytes, stored int64) { w.Events.ActionProgress(a, bytes, stored, a.Bytes) })
	if err != nil {
		return result{}, fmt.Errorf("copy %s of %s from %s to %s: %w", a.Point, a.Address, a.From, a.Store, err)
	}
	copied := state.Copy{Store: a.Store, Repository: to.ID(), Manifest: receipt.Manifest, Summary: receipt.Summary, Stored: receipt.Stored}
	if source, _ := point.In(a.From); source.Manifest != copied.Manifest {
		w.Events.ActionNote(a, a.Store+" has keys of its own, so that the point was read and sealed anew (docs/copies.md)")
	}
	point.Copies = append(slices.Clone(point.Copies), copied)
	target := VerifyTarget{Address: a.Address, Point: point, Store: a.Store, Level: policy.VerifyStored}
	w.book.read(func(c *state.Catalog) { target.Proven = recentlyProven(c.Points[a.Address], a, w.Now()) })
	if len(target.Proven) > 0 {
		target.Level = policy.VerifyAdded // what earlier copies stored there was read back not long ago
	}
	v := Verifier{Executors: w.Executors, Log: w.Log}
	proof, _, verifyErr := v.Verify(ctx, to, target)
	if proof.Level != "" {
		proof.At, proof.Run = w.Now().UTC(), w.RunID
		copied.Proofs = []state.Proof{proof}
	}
	err = w.change(ctx, a.Address, a.Point, func(c *state.Catalog, p *state.RestorePoint) {
		if _, there := p.In(a.Store); !there {
			p.Copies = append(p.Copies, copied)
			grow(c, a.Store, copied.Stored)
		}
	})
	return result{bytes: receipt.Size, stored: receipt.Stored}, errors.Join(err, verifyErr)
}

// openForCopies opens a further store. One that is down is asked once in a run, not once for each point that waits for it.
func (w *walker) openForCopies(ctx context.Context, store string) (Repository, error) {
	if err, ok := w.down.Load(store); ok {
		return nil, err.(error)
	}
	repository, err := w.Repositories.Open(ctx, store)
	if err != nil && ctx.Err() == nil {
		w.down.Store(store, err)
	}
	return repository, err
}

// repair replaces what is damaged of a copy from a good one, reads it back, and keeps the evidence.
func (w *walker) repair(ctx context.Context, a plan.Action) (result, error) {
	point, ok := w.point(a.Address, a.Point)
	if !ok {
		return result{skipped: "restore point " + a.Point + " is not in the catalog"}, nil
	}
	copied, ok := point.In(a.Store)
	if !ok {
		return result{skipped: "restore point " + a.Point + " has no copy in " + a.Store}, nil
	}
	repository, err := w.Repositories.Open(ctx, a.Store)
	if err != nil {
		return result{}, fmt.Errorf("repair %s: %w", a.Point, err)
	}
	if copied.Repository != repository.ID() {
		return result{}, fmt.Errorf("repair %s of %s: %s holds repository %s, the copy was made in %s: the store was swapped for another",
			a.Point, a.Address, a.Store, repository.ID(), copied.Repository)
	}
	var from Repository
	if a.From != "" {
		if from, err = w.Repositories.Open(ctx, a.From); err != nil {
			return result{}, fmt.Errorf("repair %s: %w", a.Point, err)
		}
	}
	repaired, err := repository.RepairPoint(ctx, from, PointCopy{point.Stored(a.Address), a.Point, copied.Manifest, copied.Summary},
		func(bytes int64) { w.Events.ActionProgress(a, bytes, 0, a.Bytes) })
	if err != nil {
		return result{}, fmt.Errorf("repair %s of %s in %s: %w", a.Point, a.Address, a.Store, err)
	}
	for _, name := range repaired.Replaced {
		w.Events.ActionNote(a, name+" was replaced")
	}
	for _, name := range repaired.SetAside {
		w.Events.ActionNote(a, name+" was set aside; the next backup stores its content again")
	}
	if repaired.Receipt.Manifest != "" {
		copied.Manifest, copied.Summary = repaired.Receipt.Manifest, repaired.Receipt.Summary
	}
	for i := range point.Copies {
		if point.Copies[i].Store == a.Store {
			point.Copies = slices.Clone(point.Copies)
			point.Copies[i] = copied
		}
	}
	v := Verifier{Executors: w.Executors, Log: w.Log}
	proof, checked, verifyErr := v.Verify(ctx, repository, VerifyTarget{Address: a.Address, Point: point, Store: a.Store, Level: policy.VerifyStored})
	if proof.Level == "" {
		return result{bytes: repaired.Bytes}, verifyErr
	}
	proof.At, proof.Run, proof.Final = w.Now().UTC(), w.RunID, !proof.OK && from == nil
	err = w.change(ctx, a.Address, a.Point, func(_ *state.Catalog, p *state.RestorePoint) {
		for i := range p.Copies {
			if p.Copies[i].Store != a.Store {
				continue
			}
			p.Copies[i].Manifest, p.Copies[i].Summary = copied.Manifest, copied.Summary
			p.Copies[i].Proofs = slices.DeleteFunc(slices.Clone(p.Copies[i].Proofs), func(q state.Proof) bool {
				mended := proof.OK && !q.OK && q.Level != string(policy.VerifyRestore) // stored bytes were not what failed a rehearsal
				return q.Level == proof.Level || mended
			})
			p.Copies[i].Proofs = append(p.Copies[i].Proofs, proof)
		}
	})
	if proof.Final {
		w.Events.ActionNote(a, "NOT repaired: restore point "+a.Point+" cannot be restored whole from "+a.Store+"; what was damaged is out of the way of the next backup")
		verifyErr = nil // said in the notes, and in the proof: nothing more can be done here
	}
	return result{bytes: repaired.Bytes + checked.Bytes}, errors.Join(err, verifyErr)
}
