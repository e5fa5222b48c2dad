package postgres

import (
	"testing"

	"github.com/holdfast-io/holdfast/test/pgserver"
)

// TestWALEnd: what was committed before the question lies before the answer, and a standby does not pretend to know.
func TestWALEnd(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{InitArgs: []string{"--wal-segsize=1"}})
	before := position(t, ask(t, s, "postgres", "pg_current_wal_lsn()"))
	if err := s.Exec(t.Context(), "postgres", "create table t (i int)"); err != nil {
		t.Fatal(err)
	}
	after := position(t, ask(t, s, "postgres", "pg_current_wal_lsn()"))
	got, err := New(Options{}).WALEnd(t.Context(), sourceOf(s.DSN("postgres")))
	if err != nil {
		t.Fatal(err)
	}
	if got.System != ask(t, s, "postgres", "select system_identifier from pg_control_system()") || got.Timeline != 1 || got.SegmentSize != 1<<20 {
		t.Errorf("got %+v", got)
	}
	if end := position(t, got.LSN); end <= before || end < after {
		t.Errorf("it ends at %s; the table was made between %s and %s", end, before, after)
	}
	standby := standbyOf(t, s)
	if got, err := New(Options{}).WALEnd(t.Context(), sourceOf(standby.DSN("postgres"))); err != nil || got.LSN != "" || got.Timeline != 0 || got.System == "" {
		t.Errorf("a standby says %+v, %v", got, err)
	}
	s.Kill()
	if got, err := New(Options{}).WALEnd(t.Context(), sourceOf(s.DSN("postgres"))); err == nil {
		t.Errorf("a server that is down says %+v", got)
	}
}
