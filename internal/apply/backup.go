package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

func (w *walker) initialize(ctx context.Context, a plan.Action) (result, error) {
	id, err := w.Repositories.Initialize(ctx, a.Address, a.From)
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
		w.served.Store(a.Point, adopted)
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
	expected := a.Bytes
	if expected == 0 {
		facts, err := executor.Inspect(ctx, source)
		if err != nil {
			return result{}, fmt.Errorf("back up %s: %w", a.Address, err)
		}
		expected = facts.Size
	}
	writer, err := repository.NewPoint(ctx, PointOptions{
		Address: a.Address, Point: a.Point, Compression: b.Compression, SizeHint: expected, MaxRate: b.MaxRate,
		Progress: func(bytes, stored int64) { w.Events.ActionProgress(a, bytes, stored, expected) },
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
	for _, warning := range receipt.Warnings {
		w.Events.ActionNote(a, warning)
	}
	point := PointOf(a.Point, b.Store, repository.ID(), Found{Info: info, Receipt: receipt})
	point.Finished = w.Now().UTC()
	if err := w.addPoint(ctx, a.Address, point); err != nil {
		return result{}, err
	}
	w.identify(ctx, executor, source)
	return result{bytes: receipt.Size, stored: receipt.Stored}, missing
}

// servedBy returns the complete restore point that an earlier action of this run adopted for the same slot, if any.
func (w *walker) servedBy(a plan.Action) string {
	adopted, ok := w.adopted.Load(a.Address)
	if !ok || a.Reason == plan.ReasonForced {
		return ""
	}
	p := adopted.(state.RestorePoint)
	if p.Incomplete || p.Slot.Before(a.Slot) {
		return ""
	}
	return p.ID
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
	what := "1 item"
	if missing > 1 {
		what = fmt.Sprintf("%d items", missing)
	}
	return fmt.Errorf("%s could not be read; restore point %s is kept but incomplete (first: %w)", what, a.Point, first)
}

// PointOf is the catalog's record of a point that is whole in a store.
func PointOf(id, store, repository string, f Found) state.RestorePoint {
	return state.RestorePoint{
		ID: id, Time: f.Info.Time, Slot: f.Info.Slot, Finished: f.Info.Time, Run: f.Info.Run, Source: f.Info.Source,
		Method: f.Info.Method, Incomplete: f.Info.Incomplete, Size: f.Receipt.Size, Items: f.Receipt.Items,
		Version: f.Info.Version, Position: f.Info.Position, Base: baseOf(f.Info.Meta),
		Copies: []state.Copy{{
			Store: store, Repository: repository, Manifest: f.Receipt.Manifest, Summary: f.Receipt.Summary, Stored: f.Receipt.Stored,
		}},
	}
}

// baseOf is where a base backup stands in the write-ahead log; nil for points of other methods, and for what cannot be read.
func baseOf(meta map[string]string) *state.Base {
	b := &state.Base{System: meta[executors.MetaSystem], Carries: meta[executors.MetaCarriesWAL] == "true"}
	timeline, err := strconv.ParseUint(meta[executors.MetaTimeline], 10, 32)
	err = errors.Join(err, b.Start.UnmarshalText([]byte(meta[executors.MetaStart])), b.End.UnmarshalText([]byte(meta[executors.MetaEnd])))
	if meta[executors.MetaMethod] != "physical" || err != nil {
		return nil
	}
	b.Timeline = uint32(timeline)
	return b
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
		if len(points) > len(c.Points[address]) {
			for _, copied := range p.Copies {
				grow(c, copied.Store, copied.Stored)
			}
		}
		c.Points[address] = points
		return nil
	})
	if err != nil {
		return fmt.Errorf("record restore point %s of %s (it is stored; the next apply adopts it): %w", p.ID, address, err)
	}
	return nil
}

// identify records what tells the source from another one. It is for drift only: a failure says nothing about the backup.
func (w *walker) identify(ctx context.Context, executor executors.Executor, source policy.Source) {
	known := ""
	w.book.read(func(c *state.Catalog) { known = c.Objects[source.Address].Identity })
	facts, err := executor.Inspect(ctx, source)
	if err != nil || facts.Identity == "" || facts.Identity == known {
		return
	}
	err = w.book.update(ctx, func(c *state.Catalog) error {
		if o, ok := c.Objects[source.Address]; ok {
			o.Identity = facts.Identity
			c.Objects[source.Address] = o
		}
		return nil
	})
	if err != nil {
		w.Log.Warn("record the identity of the source", "address", source.Address, "err", err)
	}
}
