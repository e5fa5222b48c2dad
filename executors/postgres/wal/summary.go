package wal

import (
	"errors"
	"io"
	"time"
)

// Summary is what a stream of WAL holds.
type Summary struct {
	Records       int64
	First, Last   LSN // of the first and the last record; 0 for none
	Commits       int64
	Oldest        time.Time // commit or abort; zero for none
	Newest        time.Time // commit or abort: a target time must be earlier to be reached
	NewestCommit  time.Time
	RestorePoints []RestorePoint // in the order of the log
	End           End
}

// RestorePoint is a name that pg_create_restore_point gave to a place in the log. Names may repeat: recovery stops at the first.
type RestorePoint struct {
	Name string
	Time time.Time
	LSN  LSN
}

// Summarise reads a stream to the end of its valid WAL.
func Summarise(r *Reader) (Summary, error) {
	var s Summary
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			s.End = r.End()
			return s, nil
		}
		if err != nil {
			return Summary{}, err
		}
		if err := s.add(rec); err != nil {
			return Summary{}, err
		}
	}
}

func (s *Summary) add(rec Record) error {
	if s.Records++; s.Records == 1 {
		s.First = rec.LSN
	}
	s.Last = rec.LSN
	e, _, err := rec.Event()
	if err != nil {
		return err
	}
	switch e.Kind {
	case EventRestorePoint:
		s.RestorePoints = append(s.RestorePoints, RestorePoint{Name: e.Name, Time: e.Time, LSN: rec.LSN})
		return nil
	case EventCommit:
		s.Commits++
		s.NewestCommit = later(s.NewestCommit, e.Time)
	case EventAbort:
	default:
		return nil
	}
	s.Newest = later(s.Newest, e.Time)
	if s.Oldest.IsZero() || e.Time.Before(s.Oldest) {
		s.Oldest = e.Time
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
