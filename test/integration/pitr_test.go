package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/test/hfbin"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

const pitrPolicy = `
store "primary" {
  url = "file://./store"
  encryption {
    recipients = ["RECIPIENT"]
  }
}

source "postgres" "app" {
  dsn = env("APP_URL")
}

retention "standard" {
  last       = 3
  continuous = "7d"
}

backup "app" {
  source    = source.postgres.app
  store     = store.primary
  retention = retention.standard
  schedule { every = "1d" }
  objective { rpo = "1m" }
  physical {
    checkpoint = "fast"
    wal {
      mode    = "MODE"
      max_lag = "2s"
    }
  }
  verify { after = "read" }
}
`

// pitrSite is a server with an empty table "log", and a policy that protects it by base backups and WAL.
func pitrSite(t *testing.T, mode string, settings map[string]string) (*hfbin.Site, *pgserver.Server) {
	t.Helper()
	server := pgserver.Start(t, pgserver.Options{InitArgs: []string{"--data-checksums"}, Config: settings})
	s := hfbin.New(t)
	s.Write("main.hf.hcl", strings.NewReplacer("RECIPIENT", s.Recipient, "MODE", mode).Replace(pitrPolicy))
	s.Env = append(s.Env, "APP_URL="+server.DSN("postgres"))
	s.Must("init")
	sql(t, server, "CREATE TABLE log (id serial PRIMARY KEY, what text)")
	return s, server
}

func sql(t *testing.T, server *pgserver.Server, text string) {
	t.Helper()
	if err := server.Exec(t.Context(), "postgres", text); err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, server *pgserver.Server, query string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), "SELECT ("+query+")::text").Scan(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: never", what)
		}
	}
}

// recovered starts a server on what was restored and waits until it has recovered. The server's account must be able to run
// holdfast and to read its policy, key and store.
func recovered(t *testing.T, s *hfbin.Site, like *pgserver.Server, dir string) *pgserver.Server {
	t.Helper()
	s.Binary()
	if err := like.OwnAll(s.Dir); err != nil {
		t.Fatal(err)
	}
	server := pgserver.Launch(t, dir, like, nil)
	eventually(t, "recovery ends", func() bool { return ask(t, server, "pg_is_in_recovery()") == "false" })
	return server
}

// TestPointInTimeRecovery: rows are written while WAL is streamed, and the server comes back as it was at chosen times, at a name, at an
// LSN, after a transaction, and at the end.
func TestPointInTimeRecovery(t *testing.T) {
	s, server := pitrSite(t, "stream", nil)
	sql(t, server, "INSERT INTO log (what) VALUES ('before the base backup')")
	s.Prints(s.Must("apply", "-auto-approve"), "backed up", "verified")
	receive := s.Command("wal", "receive", "backup.app")
	receive.Stderr = os.Stderr
	if err := receive.Start(); err != nil {
		t.Fatal(err)
	}
	defer receive.Process.Kill() //nolint:errcheck // ended below

	type moment struct{ to, rows string }
	var moments []moment
	mark := func(to string) {
		moments = append(moments, moment{to, ask(t, server, "SELECT string_agg(what, ',' ORDER BY id) FROM log")})
	}
	sql(t, server, "INSERT INTO log (what) VALUES ('one')")
	time.Sleep(10 * time.Millisecond)
	mark(ask(t, server, "to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"))
	time.Sleep(10 * time.Millisecond)
	sql(t, server, "INSERT INTO log (what) VALUES ('two')")
	sql(t, server, "SELECT pg_create_restore_point('after two')")
	mark("name:after two")
	sql(t, server, "INSERT INTO log (what) VALUES ('three')")
	mark(ask(t, server, "pg_current_wal_lsn()"))
	sql(t, server, "SELECT pg_switch_wal()")
	sql(t, server, "INSERT INTO log (what) SELECT repeat('x', 800) FROM generate_series(1, 40000)")
	sql(t, server, "DELETE FROM log WHERE what LIKE 'xxx%'")
	sql(t, server, "BEGIN; INSERT INTO log (what) SELECT 'transaction ' || txid_current(); COMMIT")
	mark("xid:" + strings.TrimPrefix(ask(t, server, "SELECT what FROM log WHERE what LIKE 'transaction%'"), "transaction "))
	sql(t, server, "INSERT INTO log (what) VALUES ('the last')")
	mark("latest")
	end := ask(t, server, "pg_current_wal_lsn()")
	eventually(t, "everything is durable", func() bool {
		return ask(t, server, fmt.Sprintf("SELECT coalesce(bool_or(flush_lsn >= '%s'), false) FROM pg_stat_replication", end)) == "true"
	})
	if err := receive.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := receive.Wait(); err != nil && receive.ProcessState.ExitCode() != 130 {
		t.Errorf("wal receive: %v", err)
	}
	root := t.TempDir()
	if err := server.Own(root); err != nil {
		t.Fatal(err)
	}
	for i, m := range moments {
		dir := filepath.Join(root, fmt.Sprint(i))
		r := s.Must("restore", "backup.app", "-target=data_dir="+dir, "-to="+m.to, "-auto-approve")
		s.Prints(r, "recovers to", "Restore complete!")
		restored := recovered(t, s, server, dir)
		if got := ask(t, restored, "SELECT string_agg(what, ',' ORDER BY id) FROM log"); got != m.rows {
			t.Errorf("to %s: %.300s, want %.300s\n%s", m.to, got, m.rows, restored.Log())
		}
		restored.Kill()
	}
}

// TestArchiveCommand: the server hands its WAL over itself; the same again is fine, another content under the name is not.
func TestArchiveCommand(t *testing.T) {
	s, server := pitrSite(t, "archive", map[string]string{"archive_mode": "on", "archive_command": "exit 1", "archive_timeout": "60"})
	s.Prints(s.Must("apply", "-auto-approve"), "backed up")
	binary := s.Binary()
	if err := server.OwnAll(s.Dir); err != nil {
		t.Fatal(err)
	}
	command := fmt.Sprintf("HOLDFAST_IDENTITY_FILE=%s %s -chdir=%s wal push backup.app %%p", filepath.Join(s.Dir, "key"), binary, s.Dir)
	sql(t, server, fmt.Sprintf("ALTER SYSTEM SET archive_command = '%s'", command))
	sql(t, server, "SELECT pg_reload_conf()")
	sql(t, server, "INSERT INTO log (what) VALUES ('one'), ('two')")
	want := ask(t, server, "SELECT string_agg(what, ',' ORDER BY id) FROM log")
	segment := ask(t, server, "pg_walfile_name(pg_switch_wal())")
	eventually(t, "it is archived", func() bool {
		return ask(t, server, fmt.Sprintf("SELECT coalesce(last_archived_wal >= '%s', false) FROM pg_stat_archiver", segment)) == "true"
	})
	path := filepath.Join(server.Data, "pg_wal", segment)
	s.Must("wal", "push", "backup.app", path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Prints(s.Exits(1, "wal", "push", "backup.app", path), "is stored already with other content")
	dir := filepath.Join(t.TempDir(), "restored")
	s.Must("restore", "backup.app", "-target=data_dir="+dir, "-auto-approve")
	restored := recovered(t, s, server, dir)
	if got := ask(t, restored, "SELECT string_agg(what, ',' ORDER BY id) FROM log"); got != want {
		t.Errorf("restored %q, want %q", got, want)
	}
	restored.Kill()

	// What a recovery asks for is served, proven absent, or neither.
	fetch := func(name string) hfbin.Result {
		return s.Run("wal", "fetch", "backup.app", name, filepath.Join(dir, "pg_wal", "RECOVERYXLOG"))
	}
	for name, want := range map[string]int{segment: 0, "0000000100000000000000FF": 1, "00000002.history": 1, "nonsense": 126} {
		if r := fetch(name); r.Code != want {
			t.Errorf("wal fetch %s: exit %d, want %d: %s", name, r.Code, want, r.Both())
		}
	}
	if err := os.Rename(filepath.Join(s.Dir, "store"), filepath.Join(s.Dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"wal", "fetch", "backup.app", segment, filepath.Join(dir, "pg_wal", "RECOVERYXLOG")}, {"wal", "fetch", "-nonsense"}, {"wal", "fetch", "backup.none", "a", "b"}} {
		if r := s.Run(args...); r.Code != 126 {
			t.Errorf("%v: exit %d, want 126: %s", args, r.Code, r.Both())
		}
	}
}
