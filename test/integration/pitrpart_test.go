package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestOneTableBack: a table that was dropped comes back into the database that runs on, by one command, out of base backup and WAL. The
// account of servers can read neither key nor store.
func TestOneTableBack(t *testing.T) {
	s, server := pitrSite(t, "stream", nil)
	sql(t, server, "INSERT INTO log (what) VALUES ('before the base backup')")
	s.Must("apply", "-auto-approve")
	receive := s.Command("wal", "receive", "backup.app")
	receive.Stderr = os.Stderr
	if err := receive.Start(); err != nil {
		t.Fatal(err)
	}
	defer receive.Process.Kill() //nolint:errcheck // ended below
	sql(t, server, "INSERT INTO log (what) VALUES ('after it')")
	sql(t, server, "CREATE TABLE other (x int)")
	want := ask(t, server, "SELECT string_agg(what, ',' ORDER BY id) FROM log")
	time.Sleep(10 * time.Millisecond)
	moment := ask(t, server, "to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
	time.Sleep(10 * time.Millisecond)
	sql(t, server, "DROP TABLE log")
	sql(t, server, "INSERT INTO other VALUES (1)")
	end := ask(t, server, "pg_current_wal_lsn()")
	eventually(t, "everything is durable", func() bool {
		return ask(t, server, fmt.Sprintf("SELECT coalesce(bool_or(flush_lsn >= '%s'), false) FROM pg_stat_replication", end)) == "true"
	})
	if err := receive.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = receive.Wait()

	place := t.TempDir()
	for dir := place; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) { // the server's account must get there
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(s.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Env = append(s.Env, "TMPDIR="+place)
	args := []string{"restore", "backup.app", "-target=" + server.DSN("postgres"), "-to=" + moment}
	s.Prints(s.Must(append(args, "-only=postgres/public.log", "-plan-only")...), "a scratch server is started for it on this host", place, "Nothing was done")
	s.Prints(s.Exits(1, append(args, "-only=postgres/public.lock", "-auto-approve")...), "public.lock", "it matches no table", "public.log")
	s.Prints(s.Exits(1, append(args, "-only=postgres/public.other", "-auto-approve")...), "already exists")
	s.Prints(s.Must(append(args, "-only=postgres/public.log", "-auto-approve")...), "recovered to", "on timeline 2", "Restore complete!")
	if got := ask(t, server, "SELECT string_agg(what, ',' ORDER BY id) FROM log"); got != want {
		t.Errorf("the table holds %q, want %q", got, want)
	}
	if got := ask(t, server, "SELECT count(*) FROM other"); got != "1" {
		t.Errorf("the other table has %s rows", got)
	}
	if left, err := os.ReadDir(place); err != nil || len(left) > 0 {
		t.Errorf("left in the scratch place: %v (%v)", left, err)
	}
}
