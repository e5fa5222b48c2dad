package postgres

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

// TestAdvice: what is said, done as it says, is not said any more.
func TestAdvice(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{Config: map[string]string{"wal_level": "minimal", "max_wal_senders": "0"}})
	req := physical(s, policy.WALArchive)
	req.Backup.Physical.WAL.MaxLag = policy.Duration(5 * time.Minute)
	advise := func() string {
		t.Helper()
		out, err := New(Options{}).Advise(t.Context(), executors.AdviceRequest{Source: req.Source, Backup: req.Backup, Push: "holdfast -chdir=/etc/holdfast wal push backup.test %p"})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(out, "\n")
	}
	said := advise()
	for _, want := range []string{"SET wal_level = 'replica'", "SET max_wal_senders = 10", "SET archive_mode = 'on'", "SET archive_command = 'holdfast -chdir=/etc/holdfast wal push backup.test %p'", "SET archive_timeout = 150"} {
		at := strings.Index(said, want)
		if at < 0 {
			t.Fatalf("%s is not said: %s", want, said)
		}
		execSQL(t, s, "postgres", "ALTER SYSTEM "+want)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if said := advise(); said != "" {
		t.Errorf("said is still: %s", said)
	}
	execSQL(t, s, "postgres", "ALTER SYSTEM SET archive_command = 'false wal push %p'")
	execSQL(t, s, "postgres", "SELECT pg_reload_conf()")
	execSQL(t, s, "postgres", "SELECT pg_switch_wal()")
	eventually(t, "the archiver fails, and it is said", func() bool { return strings.Contains(advise(), "archive_command has failed since") })

	execSQL(t, s, "postgres", "CREATE ROLE plain LOGIN PASSWORD 'plain'")
	req = physical(s, policy.WALStream)
	req.Source = sourceOf(s.DSNAs("plain", "plain", "postgres"))
	if said := advise(); !strings.Contains(said, `ALTER ROLE "plain" REPLICATION`) {
		t.Errorf("said is %q", said)
	}
	execSQL(t, s, "postgres", "ALTER ROLE plain REPLICATION")
	execSQL(t, s, "postgres", "SELECT pg_create_physical_replication_slot('holdfast_test', true)")
	if said := advise(); !strings.Contains(said, "holdfast wal receive backup.test") {
		t.Errorf("said is %q", said)
	}
}
