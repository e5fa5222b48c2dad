package apply

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// rehearse restores a point to a scratch place and asks the policy's checks there. Stored bytes that turn out to be damaged
// on the way fail level read: a repair can mend them. What is intact and does not restore, or fails a check, fails level
// restore, which no repair helps.
func (v Verifier) rehearse(ctx context.Context, repository Repository, t VerifyTarget) (level policy.VerifyLevel, checked Checked, err error) {
	if !repository.CanRead() {
		return "", Checked{}, fmt.Errorf("%w: run `holdfast verify %s -level=restore` where the key is", ErrCannotRead, t.Address)
	}
	executor, ok := v.Executors[t.Kind].(executors.Rehearser)
	if !ok {
		return "", Checked{}, fmt.Errorf("this version of holdfast cannot rehearse the restore of %q sources", t.Kind)
	}
	var rehearsal policy.Rehearsal
	if t.Backup.Verify.Restore != nil {
		rehearsal = *t.Backup.Verify.Restore
	}
	var res executors.RehearseResult
	counted := &countingSupply{progress: t.Progress}
	counted.Supply, err = repository.Supply(ctx, t.Point.Stored(t.Address), t.Point.ID)
	if err == nil {
		req := executors.RehearseRequest{Source: t.Source, Backup: t.Backup, Rehearsal: rehearsal, Log: v.Log}
		if logs, ok := repository.(WALHolder); ok && t.Point.Base != nil {
			req.WAL = logs.WALArchive()
		}
		res, err = executor.Rehearse(ctx, req, counted)
	}
	if ctx.Err() != nil || errors.Is(err, executors.ErrScratch) {
		return "", Checked{}, errors.Join(err, ctx.Err())
	}
	if err != nil {
		// The executor stops at the first damage; the repository names all of it.
		checked, readErr := repository.VerifyRead(ctx, t.Point.Stored(t.Address), t.Point.ID, func(int64) {})
		if readErr != nil || len(checked.Damage) > 0 {
			return policy.VerifyRead, checked, readErr
		}
		err = fmt.Errorf("every stored byte is intact, but it does not restore: %w", err)
	} else {
		t.Note(fmt.Sprintf("restored to a scratch place in %.1f s", res.Seconds))
		for _, p := range res.Problems {
			if !p.Missing {
				t.Note(fmt.Sprintf("%s: %v", p.Path, p.Err))
			}
		}
		for _, c := range res.Checks {
			t.Note(c.String())
		}
		err = res.Failure()
	}
	checked = Checked{Objects: 1, Bytes: counted.bytes}
	if err != nil {
		err = &DamagedError{Damage: []Damage{{Object: t.Point.ID, Problem: err.Error()}}, Rehearsed: true}
	}
	return policy.VerifyRestore, checked, err
}
