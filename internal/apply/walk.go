package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// commitGrace is how long the last commits of an interrupted run may take.
const commitGrace = 20 * time.Second

// walker runs single actions and books their outcomes.
type walker struct {
	*Runner
	book    *book
	actions map[string]plan.Action
	index   map[string]int // action ID → position in the run's record
	adopted sync.Map       // backup address → state.RestorePoint that this run found whole
	served  sync.Map       // point that a backup was to make → the adopted one that made it needless
	down    sync.Map       // store address → why copies cannot be brought there in this run

	begunOnce sync.Once
	begun     map[string][]string // see begunCopies
}

// result is what one action achieved.
type result struct {
	bytes, stored int64
	point         string
	skipped       string       // why nothing had to be done
	deletes       []state.Left // what a later run must still delete
}

// do runs one action and books it. Its error makes dependants be skipped.
func (w *walker) do(ctx context.Context, id string) error {
	a := w.actions[id]
	// What was planned for the new point is done to the one that takes its place.
	if adopted, ok := w.served.Load(a.Point); ok && (a.Kind == plan.Verify || a.Kind == plan.Copy) {
		a.Point = adopted.(string)
	}
	started := w.Now().UTC()
	w.Events.ActionStarted(a)
	res, err := w.perform(ctx, a)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", errInterrupted, err)
	}
	done, bookErr := w.finish(ctx, a, started, res, err)
	w.Events.ActionFinished(a, done)
	return errors.Join(err, bookErr)
}

func (w *walker) perform(ctx context.Context, a plan.Action) (result, error) {
	switch a.Kind {
	case plan.Initialize:
		return w.initialize(ctx, a)
	case plan.Recover:
		return w.recover(ctx, a)
	case plan.Backup:
		return w.backup(ctx, a)
	case plan.Verify:
		return w.verify(ctx, a)
	case plan.Copy:
		return w.copy(ctx, a)
	case plan.Repair:
		return w.repair(ctx, a)
	case plan.CopyWAL:
		return w.copyWAL(ctx, a)
	case plan.Expire:
		return w.expire(ctx, a)
	case plan.ExpireWAL:
		return w.expireWAL(ctx, a)
	case plan.Prune:
		return w.prune(ctx, a)
	default:
		return result{}, fmt.Errorf("apply %q: this version of holdfast does not know the action", a.Kind)
	}
}

// finish books how the action ended. It commits even when ctx has ended, so that an interruption is on record.
func (w *walker) finish(ctx context.Context, a plan.Action, started time.Time, res result, err error) (state.RunAction, error) {
	done := state.RunAction{
		Address: a.Address, Kind: string(a.Kind), Point: a.Point, Store: a.Store, Slot: a.Slot,
		Started: started, Finished: w.Now().UTC(), Bytes: res.bytes, Stored: res.stored, Status: state.RunOK,
	}
	if res.point != "" {
		done.Point = res.point
	}
	switch {
	case errors.Is(err, errInterrupted):
		done.Status, done.Error = state.RunInterrupted, "interrupted"
	case err != nil:
		done.Status, done.Error = state.RunFailed, oneLine(err)
	case res.skipped != "":
		done.Status, done.Error = state.RunSkipped, res.skipped
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitGrace)
	defer cancel()
	bookErr := w.book.update(ctx, func(c *state.Catalog) error {
		if run := runOf(c, w.RunID); run != nil {
			booked := done
			left := res.deletes
			if noted := run.Actions[w.index[a.ID]].Deletes; err != nil && len(left) == 0 {
				left = noted // the commit that took the point out was made, although it seemed to fail
			}
			if len(left) > 0 {
				booked.Status, booked.Deletes = state.RunPending, left
			}
			run.Actions[w.index[a.ID]] = booked
		}
		return nil
	})
	if bookErr != nil {
		bookErr = fmt.Errorf("record the outcome of %s: %w", a.ID, bookErr)
		done.Status, done.Error = state.RunFailed, oneLine(errors.Join(err, bookErr))
	}
	return done, bookErr
}

// oneLine keeps joined errors readable in a table.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// close books the run's end. Actions that never began are skipped or interrupted; a run with an action that must be
// recovered stays pending.
func (w *walker) close(ctx context.Context) (Outcome, error) {
	interrupted := ctx.Err() != nil
	leaseErr := w.Lease.Context().Err()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitGrace)
	defer cancel()
	var out Outcome
	err := w.book.update(ctx, func(c *state.Catalog) error {
		run := runOf(c, w.RunID)
		if run == nil {
			return fmt.Errorf("run %s is not in the state any more", w.RunID)
		}
		out = Outcome{Counts: map[state.RunStatus]int{}}
		status := state.RunOK
		for i := range run.Actions {
			ra := &run.Actions[i]
			if ra.Status == state.RunPending && ra.Started.IsZero() {
				ra.Status, ra.Error = state.RunSkipped, "an action it depends on did not succeed"
				if interrupted {
					ra.Status, ra.Error = state.RunInterrupted, "interrupted before it began"
				}
			}
			out.Counts[ra.Status]++
			switch ra.Status {
			case state.RunFailed:
				status = state.RunFailed
			case state.RunInterrupted:
				if status == state.RunOK {
					status = state.RunInterrupted
				}
			}
		}
		if run.Status = status; out.Counts[state.RunPending] > 0 {
			run.Status = state.RunPending
		}
		run.Finished = w.Now().UTC()
		out.Run = *run
		out.Run.Actions = slices.Clone(run.Actions)
		return nil
	})
	if err != nil && leaseErr != nil {
		err = fmt.Errorf("%w (the lock on the state was lost: %w)", err, context.Cause(w.Lease.Context()))
	}
	return out, err
}
