package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// reach is where recovery will stop, as the stored WAL says.
type reach struct {
	chain  *walChain
	stop   wal.LSN     // behind the last record that is applied
	commit time.Time   // of the last transaction that is applied; zero when it is not known
	tail   wal.Summary // of the end of the stored WAL
}

// reach finds out whether recovery gets to where it shall stop. Nothing but WAL is read, and of that only what the answer needs.
func (c *walChain) reach(ctx context.Context, rec recovery) (reach, error) {
	r := reach{chain: c}
	if err := c.complete(); err != nil {
		return r, err
	}
	var err error
	if r.tail, err = c.tail(ctx); err != nil {
		return r, err
	}
	if r.tail.End.LSN < c.consistent {
		return r, fmt.Errorf("the stored WAL ends at %s (%s), and the base backup is consistent at %s only: choose another base backup", r.tail.End.LSN, r.tail.End.Why, c.consistent)
	}
	switch rec.setting {
	case "recovery_target": // immediate
		r.stop, r.commit = c.consistent, c.doc.Time
		return r, nil
	case "":
		r.stop, r.commit = r.tail.End.LSN, r.tail.NewestCommit
		if err := c.gap(); err != nil {
			return r, fmt.Errorf("%w; restore to a moment before it (-to=%s, or a time%s), or from a base backup behind it", err, r.tail.Last, before(r.tail.Newest))
		}
		return r, nil
	}
	return r, r.find(ctx, rec)
}

// before tells a time target's limit.
func before(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " before " + stamp(t)
}

// stamp writes a time as -to reads it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999Z") }

// find looks for a target.
func (r *reach) find(ctx context.Context, rec recovery) error {
	c := r.chain
	begin := c.first
	var err error
	switch t := rec.target; {
	case !t.Time.IsZero() && t.Time.Before(c.doc.Time): // recovery would end all the same, with what was committed in between
		return r.early(rec)
	case t.LSN != 0: // one segment earlier, for the last commit before it
		if n := c.size.Number(t.LSN); n > c.first {
			begin = min(n, c.next) - 1
		}
	case !t.Time.IsZero():
		begin, err = c.segmentBefore(ctx, t.Time)
	}
	if err != nil {
		return err
	}
	records, err := c.read(ctx, begin, c.next)
	if err != nil {
		return err
	}
	defer records.Close()
	stop, ok, err := wal.Find(records.Reader, c.start, rec.target)
	if err != nil {
		return err
	}
	if !ok {
		return r.unreached(rec, records.End())
	}
	if stop.End < c.consistent {
		return r.early(rec)
	}
	r.stop, r.commit = stop.End, stop.Commit
	return nil
}

func (r *reach) early(rec recovery) error {
	return fmt.Errorf("%s is before the base backup is consistent, at %s (%s): choose an earlier base backup (-point), or a later moment", rec.what(), r.chain.consistent, stamp(r.chain.doc.Time))
}

// unreached says why a target is not in the WAL that is there, and what is.
func (r *reach) unreached(rec recovery, end wal.End) error {
	c := r.chain
	if end.LSN < r.tail.End.LSN {
		return fmt.Errorf("%s cannot be reached: the WAL is damaged at %s, in segment %s (%s), and nothing behind that can be recovered", rec.what(), end.LSN, c.name(c.size.Number(end.LSN)), end.Why)
	}
	if err := c.gap(); err != nil {
		return fmt.Errorf("%s cannot be reached: it is not in the WAL up to %s, and %w", rec.what(), end.LSN, err)
	}
	return fmt.Errorf("%s is not in the WAL that is stored, which goes from %s to %s on timeline %d; its newest transaction is of %s, and the newest LSN that can be named is %s: name an earlier moment, or restore with -to=latest",
		rec.what(), c.start, end.LSN, c.history.Timeline, known(r.tail.Newest), r.tail.Last)
}

func known(t time.Time) string {
	if t.IsZero() {
		return "a time that is not known"
	}
	return stamp(t)
}

// notes tell a person before anything is written.
func (r *reach) notes() []string {
	c := r.chain
	count := c.next - c.first
	notes := []string{fmt.Sprintf("timelines %v; WAL segments %s to %s: %d, %s", c.history.Chain(), c.name(c.first), c.name(c.next-1), count, mebibytes(int64(count)*int64(c.size)))}
	for _, t := range c.unused {
		notes = append(notes, "timeline "+t+" has begun, but none of its WAL is stored yet: it is not followed")
	}
	what := fmt.Sprintf("recovery will stop at %s", r.stop)
	if !r.commit.IsZero() {
		what += ", with the transactions up to " + stamp(r.commit)
	}
	notes = append(notes, what)
	switch loss := r.tail.NewestCommit.Sub(r.commit); {
	case r.stop == r.tail.End.LSN:
		notes = append(notes, "expected loss: nothing of what is stored")
	case !r.commit.IsZero() && !r.tail.NewestCommit.IsZero() && loss >= 0:
		notes = append(notes, fmt.Sprintf("expected loss: what was committed in the %s up to %s, the newest transaction that is stored", loss.Round(time.Millisecond), stamp(r.tail.NewestCommit)))
	default:
		notes = append(notes, fmt.Sprintf("expected loss: what was committed behind %s; the stored WAL goes to %s", r.stop, r.tail.End.LSN))
	}
	if err := c.gap(); err != nil {
		notes = append(notes, err.Error())
	}
	return notes
}

// reached compares where recovery ended with where it had to.
func (r *reach) reached(at wal.LSN) error {
	if at >= r.stop {
		return nil
	}
	c := r.chain
	return fmt.Errorf("recovery ended at %s, before %s to which the stored WAL goes: segment %s cannot be replayed further; verify the archive, and make a new base backup", at, r.stop, c.name(c.size.Number(at)))
}
