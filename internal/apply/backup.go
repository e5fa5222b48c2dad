package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

func (w *walker) initialize(ctx context.Context, a plan.Action) (result, error) {
	id, err := w.Repositories.Initialize(ctx, a.Address)
	if err != nil {
		return result{}, err
	}
	return result{}, w.book.update(ctx, func(c *state.Catalog) error {
		o := w.Objects[a.Address]
		o.Repository = id
		c.Objects[a.Address] = o
		return nil
	})
}

// backup makes one restore point: executor → repository → catalog, in this order.
func (w *walker) backup(ctx context.Context, a plan.Action) (result, error) {
	b, ok := w.Policy.Backups[a.Address]
	if !ok {
		return result{}, fmt.Errorf("back up %s: the policy does not declare it any more", a.Address)
	}
	if adopted := w.servedBy(a); adopted != "" {
		return result{point: adopted, skipped: "restore point " + adopted + " of an interrupted run serves this slot"}, nil
	}
	source := w.Policy.Sources[b.Source]
	executor, ok := w.Executors[source.Kind]
	if !ok {
		return result{}, fmt.Errorf("back up %s: this version of holdfast cannot read %s sources", a.Address, source.Kind)
	}
	repository, err := w.Repositories.Open(ctx, b.Store)
	if err != nil {
		return result{}, err
	}
	started := w.Now().UTC()
	writer, err := repository.NewPoint(ctx, PointOptions{
		Address: a.Address, Point: a.Point, Compression: b.Compression, SizeHint: a.Bytes,
		Progress: func(bytes, stored int64) { w.Events.ActionProgress(a, bytes, stored, a.Bytes) },
	})
	if err != nil {
		return result{}, fmt.Errorf("back up %s: %w", a.Address, err)
	}
	defer writer.Abort()
	res, err := executor.Backup(ctx, executors.BackupRequest{
		Source: source, Backup: b, Point: a.Point, Log: w.Log.With("address", a.Address, "backup", a.Point),
	}, writer)
	if err == nil {
		err = writer.Flush(ctx)
	}
	if err != nil {
		return result{}, fmt.Errorf("back up %s: %w", a.Address, err)
	}
	missing := w.tell(a, res.Problems)
	if res.Time.IsZero() {
		res.Time = started
	}
	info := PointInfo{
		Time: res.Time.UTC(), Slot: a.Slot, Source: b.Source, Method: b.Method(), Run: w.RunID, Version: res.Version,
		Position: res.Position, Meta: res.Meta, Incomplete: missing != nil,
	}
	receipt, err := writer.Commit(ctx, info)
	if err != nil {
		return result{}, fmt.Errorf("back up %s: %w", a.Address, err)
	}
	point := restorePoint(a.Point, b.Store, repository.ID(), Found{Info: info, Receipt: receipt})
	point.Finished = w.Now().UTC()
	if err := w.addPoint(ctx, a.Address, point); err != nil {
		return result{}, err
	}
	return result{bytes: receipt.Size, stored: receipt.Stored}, missing
}

// servedBy returns the restore point that an earlier action of this run adopted for the same slot, if any.
func (w *walker) servedBy(a plan.Action) (point string) {
	if a.Reason == plan.ReasonForced {
		return ""
	}
	w.book.read(func(c *state.Catalog) {
		for _, p := range c.Points[a.Address] {
			if !p.Incomplete && !a.Slot.IsZero() && !p.Slot.Before(a.Slot) {
				point = p.ID
			}
		}
	})
	return point
}

// toldProblems is how many problems of one backup are told one by one.
const toldProblems = 20

// tell passes problems on, and returns an error when some of the source is missing from the point.
func (w *walker) tell(a plan.Action, problems []executors.Problem) error {
	missing := 0
	var first error
	for i, p := range problems {
		if p.Missing {
			missing++
			first = cmp.Or(first, fmt.Errorf("%s: %w", p.Path, p.Err))
		}
		if i < toldProblems {
			w.Events.ActionNote(a, fmt.Sprintf("%s: %v", p.Path, p.Err))
		} else {
			w.Log.Warn("problem", "address", a.Address, "path", p.Path, "err", p.Err)
		}
	}
	if n := len(problems) - toldProblems; n > 0 {
		w.Events.ActionNote(a, fmt.Sprintf("and %d more problems", n))
	}
	if missing == 0 {
		return nil
	}
	return fmt.Errorf("%d items could not be read; restore point %s is kept but incomplete (first: %w)", missing, a.Point, first)
}

func restorePoint(id, store, repository string, f Found) state.RestorePoint {
	return state.RestorePoint{
		ID: id, Time: f.Info.Time, Slot: f.Info.Slot, Finished: f.Info.Time, Run: f.Info.Run, Source: f.Info.Source,
		Method: f.Info.Method, Incomplete: f.Info.Incomplete, Size: f.Receipt.Size, Items: f.Receipt.Items,
		Version: f.Info.Version, Position: f.Info.Position,
		Copies: []state.Copy{{
			Store: store, Repository: repository, Manifest: f.Receipt.Manifest, Summary: f.Receipt.Summary, Stored: f.Receipt.Stored,
		}},
	}
}

// addPoint commits the point in its place. Adding it twice changes nothing.
func (w *walker) addPoint(ctx context.Context, address string, p state.RestorePoint) error {
	err := w.book.update(ctx, func(c *state.Catalog) error {
		points := slices.DeleteFunc(slices.Clone(c.Points[address]), func(q state.RestorePoint) bool { return q.ID == p.ID })
		points = append(points, p)
		slices.SortFunc(points, func(x, y state.RestorePoint) int {
			return cmp.Or(x.Time.Compare(y.Time), strings.Compare(x.ID, y.ID))
		})
		if c.Points == nil {
			c.Points = map[string][]state.RestorePoint{}
		}
		c.Points[address] = points
		return nil
	})
	if err != nil {
		return fmt.Errorf("record restore point %s of %s (it is stored; the next apply adopts it): %w", p.ID, address, err)
	}
	return nil
}

// recover settles one action of a run that died: a point whose manifest is whole is adopted, anything else is discarded.
func (w *walker) recover(ctx context.Context, a plan.Action) (result, error) {
	res := result{}
	if a.Store != "" && a.Point != "" {
		repository, err := w.Repositories.Open(ctx, a.Store)
		if err != nil {
			return res, err
		}
		if res, err = w.settle(ctx, a, repository); err != nil {
			return res, fmt.Errorf("recover %s of run %s: %w", a.Point, a.Run, err)
		}
	}
	return res, w.book.update(ctx, func(c *state.Catalog) error {
		settleRun(c, a)
		return nil
	})
}

func (w *walker) settle(ctx context.Context, a plan.Action, repository Repository) (result, error) {
	known, expiring := false, false
	w.book.read(func(c *state.Catalog) {
		known = slices.ContainsFunc(c.Points[a.Address], func(p state.RestorePoint) bool { return p.ID == a.Point })
		if run := runOf(c, a.Run); run != nil {
			expiring = slices.ContainsFunc(run.Actions, func(ra state.RunAction) bool {
				return ra.Kind == string(plan.Expire) && ra.Address == a.Address && ra.Point == a.Point
			})
		}
	})
	if known {
		return result{point: a.Point}, nil
	}
	if !expiring {
		found, ok, err := repository.Find(ctx, a.Address, a.Point)
		if err != nil {
			return result{}, err
		}
		if ok {
			w.Events.ActionNote(a, "restore point "+a.Point+" is whole in the store; adopted")
			point := restorePoint(a.Point, a.Store, repository.ID(), found)
			return result{point: a.Point, bytes: found.Receipt.Size, stored: found.Receipt.Stored}, w.addPoint(ctx, a.Address, point)
		}
	}
	w.Events.ActionNote(a, "what was left of "+a.Point+" is discarded")
	return result{}, repository.DeletePoint(ctx, a.Address, a.Point)
}

// settleRun books the dead run's matching actions as interrupted, and the run itself when none is pending any more.
func settleRun(c *state.Catalog, a plan.Action) {
	run := runOf(c, a.Run)
	if run == nil {
		return
	}
	pending := false
	for i := range run.Actions {
		ra := &run.Actions[i]
		if ra.Status == state.RunPending && ra.Address == a.Address && ra.Point == a.Point {
			ra.Status, ra.Error = state.RunInterrupted, "the run died"
		}
		pending = pending || ra.Status == state.RunPending
	}
	if !pending {
		run.Status = state.RunInterrupted
		if run.Finished.IsZero() {
			run.Finished = run.Started
		}
	}
}

// verify reads a copy back and keeps the evidence, good or bad.
func (w *walker) verify(ctx context.Context, a plan.Action) (result, error) {
	var point state.RestorePoint
	w.book.read(func(c *state.Catalog) {
		for _, p := range c.Points[a.Address] {
			if p.ID == a.Point {
				point = p
			}
		}
	})
	if point.ID == "" {
		return result{skipped: "restore point " + a.Point + " is not in the catalog"}, nil
	}
	repository, err := w.Repositories.Open(ctx, a.Store)
	if err != nil {
		return result{}, err
	}
	v := Verifier{Executors: w.Executors, Log: w.Log}
	b := w.Policy.Backups[a.Address]
	kind := w.Policy.Sources[point.Source].Kind
	proof, checked, err := v.Verify(ctx, repository, VerifyTarget{
		Address: a.Address, Point: point, Store: a.Store, Backup: b, Kind: kind, Level: policy.VerifyLevel(a.Level),
		Progress: func(n int64) { w.Events.ActionProgress(a, n, 0, a.Bytes) },
	})
	if proof.Level != "" {
		proof.At, proof.Run = w.Now().UTC(), w.RunID
		err = errors.Join(err, w.book.update(ctx, func(c *state.Catalog) error {
			AddProof(c, a.Address, a.Point, a.Store, proof)
			return nil
		}))
	}
	return result{bytes: checked.Bytes}, err
}

// expire takes a point out of the catalog, then deletes its manifest: a crash in between leaves an object that the next
// run deletes, never a catalogued point without data.
func (w *walker) expire(ctx context.Context, a plan.Action) (result, error) {
	repository, err := w.Repositories.Open(ctx, a.Store)
	if err != nil {
		return result{}, err
	}
	var size, stored int64
	allowed := false
	err = w.book.update(ctx, func(c *state.Catalog) error {
		allowed = len(w.StillExpires(c, w.Now(), []plan.Action{a})) == 1
		if !allowed {
			return nil
		}
		if err := elsewhere(c, a, repository.ID()); err != nil {
			return err
		}
		c.Points[a.Address] = slices.DeleteFunc(slices.Clone(c.Points[a.Address]), func(p state.RestorePoint) bool {
			if p.ID == a.Point {
				size = p.Size
				for _, copied := range p.Copies {
					stored += copied.Stored
				}
			}
			return p.ID == a.Point
		})
		return nil
	})
	if err != nil {
		return result{}, fmt.Errorf("expire %s of %s: %w", a.Point, a.Address, err)
	}
	if !allowed {
		return result{skipped: "retention keeps the restore point now"}, nil
	}
	if err := repository.DeletePoint(ctx, a.Address, a.Point); err != nil {
		return result{unfinished: true}, fmt.Errorf("delete the manifest of %s (it has left the catalog; the next apply tries again): %w", a.Point, err)
	}
	return result{bytes: size, stored: stored}, nil
}

// elsewhere refuses to delete by name in a repository that does not hold the copy.
func elsewhere(c *state.Catalog, a plan.Action, repository string) error {
	for _, p := range c.Points[a.Address] {
		for _, copied := range p.Copies {
			if p.ID == a.Point && copied.Store == a.Store && copied.Repository != repository {
				return fmt.Errorf("%s holds repository %s, the copy is in %s: the store was swapped for another", a.Store, repository, copied.Repository)
			}
		}
	}
	return nil
}
