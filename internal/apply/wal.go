package apply

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// WALKeeper is the part of a repository that holds write-ahead log.
type WALKeeper interface {
	// CopyWAL brings over what another repository holds of a server's log and this one lacks: what lies in one of the runs, and
	// what came behind the last run of its timeline since they were told. from is a value that the same Repositories opened.
	CopyWAL(ctx context.Context, from Repository, system string, runs []plan.Segments, progress func(stored int64)) (WALCopied, error)
	// DeleteWAL deletes the files of runs of segments, and returns the stored bytes of what it deleted. What is not there is no
	// error.
	DeleteWAL(ctx context.Context, system string, runs []plan.Segments) (freed int64, err error)
}

// WALCopied tells what a copy of write-ahead log did.
type WALCopied struct {
	Files  int64 // new in the store
	Stored int64 // their bytes
}

// expireWAL takes segments out of the catalog, then deletes them. The other order would leave a catalog that promises instants
// which nobody can restore, should the process die in between. In this one the store holds more than the catalog says, and the next
// look at the store finds it again.
func (w *walker) expireWAL(ctx context.Context, a plan.Action) (result, error) {
	repository, err := w.Repositories.Open(ctx, a.Store)
	if err != nil {
		return result{}, fmt.Errorf("expire WAL of %s: %w", a.Address, err)
	}
	still, err := w.forgetWAL(ctx, a, repository.ID())
	if err != nil {
		return result{}, fmt.Errorf("expire WAL of %s in %s: %w", a.Address, a.Store, err)
	}
	if len(still) == 0 {
		return result{skipped: "the WAL is needed now, or gone"}, nil
	}
	freed, err := repository.DeleteWAL(ctx, a.System, still)
	if freed > 0 {
		err = joinBooked(err, w.book.update(ctx, func(c *state.Catalog) error {
			usage(c, a.Store, func(u *state.Usage) { u.Bytes = max(0, u.Bytes-freed) })
			return nil
		}))
	}
	if err != nil {
		return result{stored: freed}, fmt.Errorf("delete WAL of %s in %s (it has left the catalog; the next look at the store finds what is left): %w", a.Address, a.Store, err)
	}
	return result{stored: freed}, nil
}

// joinBooked keeps the error of the work before that of its bookkeeping.
func joinBooked(err, booked error) error {
	if err != nil {
		return err
	}
	return booked
}

// forgetWAL takes out of the catalog what may still go of the planned segments, wherever it is booked: backups of one server share
// its WAL in a store. It returns what that is.
func (w *walker) forgetWAL(ctx context.Context, a plan.Action, repository string) (still []plan.Segments, err error) {
	err = w.book.update(ctx, func(c *state.Catalog) error {
		still = nil
		for _, s := range w.StillExpiresWAL(c, w.Now(), []plan.Action{a}) {
			still = append(still, s.WAL...)
		}
		if len(still) == 0 {
			return nil
		}
		for address, logs := range c.WAL {
			logs = slices.Clone(logs)
			for i := range logs {
				if logs[i].Store != a.Store || logs[i].System != a.System {
					continue
				}
				if logs[i].Repository != repository {
					return fmt.Errorf("it holds repository %s, the WAL is in %s: the store was swapped for another", repository, logs[i].Repository)
				}
				for _, s := range still {
					logs[i] = logs[i].Without(s.Timeline, s.From, s.To)
				}
			}
			c.WAL[address] = logs
		}
		return nil
	})
	return still, err
}

// copyWAL brings write-ahead log to a further store. What is there then is for the look at the end of the run to tell.
func (w *walker) copyWAL(ctx context.Context, a plan.Action) (result, error) {
	to, err := w.openForCopies(ctx, a.Store)
	if err != nil {
		return result{}, fmt.Errorf("copy WAL of %s: %w", a.Address, err)
	}
	from, err := w.Repositories.Open(ctx, a.From)
	if err != nil {
		return result{}, fmt.Errorf("copy WAL of %s: %w", a.Address, err)
	}
	if err := w.sameRepository(a, from.ID()); err != nil {
		return result{}, err
	}
	copied, err := to.CopyWAL(ctx, from, a.System, a.WAL, func(stored int64) { w.Events.ActionProgress(a, stored, stored, a.Bytes) })
	if copied.Stored > 0 {
		err = joinBooked(err, w.book.update(ctx, func(c *state.Catalog) error {
			grow(c, a.Store, copied.Stored)
			return nil
		}))
	}
	if err != nil {
		return result{stored: copied.Stored}, fmt.Errorf("copy WAL of %s from %s to %s: %w", a.Address, a.From, a.Store, err)
	}
	if copied.Files == 0 {
		return result{skipped: a.Store + " has it all"}, nil
	}
	w.Events.ActionNote(a, fmt.Sprintf("%d files of WAL are in %s now (%s)", copied.Files, a.Store, policy.FormatBytes(copied.Stored)))
	return result{bytes: copied.Stored, stored: copied.Stored}, nil
}

// sameRepository refuses to read from a store that was swapped for another.
func (w *walker) sameRepository(a plan.Action, id string) (err error) {
	w.book.read(func(c *state.Catalog) {
		for _, l := range c.WAL[a.Address] {
			if l.Store == a.From && l.System == a.System && l.Repository != id {
				err = fmt.Errorf("copy WAL of %s: %s holds repository %s, the WAL is in %s: the store was swapped for another", a.Address, a.From, id, l.Repository)
			}
		}
	})
	return err
}

// lookAtWAL books what the stores hold of write-ahead log when everything else has ended. That it cannot be told is no failure of
// the run: the catalog then knows what it knew before.
func (w *walker) lookAtWAL(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	catalog := state.Catalog{}
	w.book.read(func(c *state.Catalog) { catalog = *c })
	edit := w.LookAtWAL(ctx, &catalog)
	if edit == nil {
		return
	}
	if err := w.book.update(ctx, func(c *state.Catalog) error { edit(c); return nil }); err != nil {
		w.Log.Warn("record what is stored of WAL; the next run looks again", "err", err)
	}
}
