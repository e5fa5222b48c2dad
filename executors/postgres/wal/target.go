package wal

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Target is a point that recovery can stop at. Exactly one of its first four fields is set. The rules are those of
// recovery_target_* (PostgreSQL manual, section 20.5.6; src/backend/access/transam/xlogrecovery.c).
type Target struct {
	Time time.Time // recovery stops before the first commit or abort that is later
	XID  uint32    // behind the commit or abort of this transaction
	Name string    // behind this restore point
	LSN  LSN       // behind the record that begins here, or the first one later

	Exclusive bool // a time stops recovery before commits at this very time; a transaction or LSN before it. No matter to names.
}

// Check says whether the target is one.
func (t Target) Check() error {
	set := 0
	for _, is := range []bool{!t.Time.IsZero(), t.XID != 0, t.Name != "", t.LSN != 0} {
		if is {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("a recovery target is one of time, transaction, name and LSN, and not %d of them", set)
	}
	if len(t.Name) >= 64 {
		return fmt.Errorf("restore point %.20q… is longer than 63 bytes, which no name of one is", t.Name)
	}
	return nil
}

// Stop is where recovery ends for a target.
type Stop struct {
	LSN      LSN // of the record that ends it
	Behind   bool
	Timeline Timeline
	End      LSN       // behind the last record that is applied; 0 when the very first one ends it
	Commit   time.Time // of the last transaction before, as far as it was read; zero for none
}

// stops says whether recovery ends at a record, and if it applies that record first.
func (t Target) stops(rec Record, e Event) (is, behind bool) {
	ends := e.Kind == EventCommit || e.Kind == EventAbort
	switch {
	case t.LSN != 0:
		return rec.LSN >= t.LSN, !t.Exclusive
	case t.XID != 0:
		return ends && e.XID == t.XID, !t.Exclusive
	case t.Name != "":
		return e.Kind == EventRestorePoint && e.Name == t.Name, true
	case t.Exclusive:
		return ends && !e.Time.Before(t.Time), false
	default:
		return ends && e.Time.After(t.Time), false
	}
}

// Find reads on to where recovery that began at from would stop for a target. ok false says that valid WAL ends first: recovery to
// the target would fail.
func Find(r *Reader, from LSN, t Target) (s Stop, ok bool, err error) {
	if err := t.Check(); err != nil {
		return Stop{}, false, err
	}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return Stop{}, false, nil
		}
		if err != nil {
			return Stop{}, false, err
		}
		e, _, err := rec.Event()
		if err != nil {
			return Stop{}, false, err
		}
		is, behind := t.stops(rec, e)
		is = is && rec.LSN >= from
		if !is || behind {
			s.End = rec.End
			if e.Kind == EventCommit {
				s.Commit = e.Time
			}
		}
		if is {
			s.LSN, s.Behind, s.Timeline = rec.LSN, behind, rec.Timeline
			return s, true, nil
		}
	}
}
