// Package integration runs the built holdfast against real servers and compares what comes back.
package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/test/hfbin"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

func TestMain(m *testing.M) { hfbin.Main(m) }

const postgresPolicy = `
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
  last = 3
}

backup "app" {
  source    = source.postgres.app
  store     = store.primary
  retention = retention.standard
  schedule { every = "1h" }
  logical {
    databases = ["app"]
  }
  verify { after = "read" }
}
`

const appData = `
CREATE TABLE documents (id bigserial PRIMARY KEY, title text NOT NULL, meta jsonb, embedding float4[]);
INSERT INTO documents (title, meta, embedding)
  SELECT 'document ' || i, jsonb_build_object('n', i, 'tags', array['a', 'b']), array(SELECT (i * j)::float4 FROM generate_series(1, 16) j)
  FROM generate_series(1, 40000) i;
CREATE INDEX ON documents USING gin (meta);
CREATE VIEW titles AS SELECT title FROM documents;
CREATE TABLE "Odd Name" ("select" int, "ü" text);
INSERT INTO "Odd Name" VALUES (1, 'x'), (NULL, '');
`

// postgresSite is a server with a database "app" and a policy that protects it.
func postgresSite(t *testing.T) (*hfbin.Site, *pgserver.Server) {
	t.Helper()
	server := pgserver.Start(t, pgserver.Options{})
	if err := server.Exec(t.Context(), "postgres", "CREATE DATABASE app"); err != nil {
		t.Fatal(err)
	}
	if err := server.Exec(t.Context(), "app", appData); err != nil {
		t.Fatal(err)
	}
	s := hfbin.New(t)
	s.Write("main.hf.hcl", strings.ReplaceAll(postgresPolicy, "RECIPIENT", s.Recipient))
	s.Env = append(s.Env, "APP_URL="+server.DSN("app"))
	s.Must("init")
	return s, server
}

// rows returns a table as text, in order.
func rows(t *testing.T, dsn, table string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	found, err := conn.Query(t.Context(), "SELECT t::text FROM "+table+" t ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sameRows(t *testing.T, wantDSN, gotDSN string, tables ...string) {
	t.Helper()
	for _, table := range tables {
		want, got := rows(t, wantDSN, table), rows(t, gotDSN, table)
		if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
			t.Errorf("%s, %d rows (-want +got):\n%.2000s", table, len(want), diff)
		}
	}
}

func TestPostgresMainJob(t *testing.T) {
	s, server := postgresSite(t)
	first := s.Must("apply", "-auto-approve")
	s.Prints(first, "backed up", "verified", "Apply complete!")
	s.Prints(s.Must("plan"), "No changes")
	points := s.Points()
	if len(points) != 1 || !points[0].Verified || points[0].Position == "" || !strings.HasPrefix(points[0].Version, "1") {
		t.Fatalf("points %+v", points)
	}

	// A little changes: a little is stored.
	if err := server.Exec(t.Context(), "app", `UPDATE documents SET title = 'changed' WHERE id = 7`); err != nil {
		t.Fatal(err)
	}
	s.Must("apply", "-auto-approve", "-force=backup.app")
	points = s.Points()
	if len(points) != 2 || points[1].Stored >= points[0].Stored/2 {
		t.Errorf("the second point stored %d bytes, the first %d", points[1].Stored, points[0].Stored)
	}

	// Back under another name, whole.
	s.Must("restore", "backup.app", "-target="+server.DSN("restored"), "-auto-approve")
	sameRows(t, server.DSN("app"), server.DSN("restored"), "documents", `"Odd Name"`, "titles")

	// An existing database is not touched without -replace.
	before := rows(t, server.DSN("restored"), "documents")
	s.Prints(s.Exits(1, "restore", "backup.app", "-target="+server.DSN("restored"), "-auto-approve"), "-replace")
	if diff := cmp.Diff(before, rows(t, server.DSN("restored"), "documents")); diff != "" {
		t.Errorf("a refused restore changed the target:\n%.1000s", diff)
	}

	// The first point still is what it was.
	s.Must("restore", "backup.app", "-point="+points[0].ID, "-target="+server.DSN("restored"), "-auto-approve", "-replace")
	if got := rows(t, server.DSN("restored"), "(SELECT title FROM documents WHERE id = 7)"); len(got) != 1 || got[0] != "(\"document 7\")" {
		t.Errorf("title in the first point: %q", got)
	}

	// One table alone.
	if err := server.Exec(t.Context(), "postgres", "CREATE DATABASE single"); err != nil {
		t.Fatal(err)
	}
	s.Must("restore", "backup.app", "-only=public.documents", "-target="+server.DSN("single"), "-auto-approve")
	sameRows(t, server.DSN("app"), server.DSN("single"), "documents")
}

// What a person does wrong, and what they are told. Nothing counts as a restore point afterwards.
func TestPostgresTrouble(t *testing.T) {
	s, server := postgresSite(t)
	good := s.Env
	with := func(env ...string) { s.Env = append(append([]string{}, good...), env...) }

	with("APP_URL=" + server.DSNAs("postgres", "wrong-secret", "app"))
	r := s.Exits(14, "apply", "-auto-approve")
	s.Prints(r, "password")
	secret(t, s, r, "wrong-secret")

	with("APP_URL=postgres://postgres:hidden-secret@127.0.0.1:1/app")
	r = s.Exits(14, "apply", "-auto-approve")
	s.Prints(r, "127.0.0.1")
	secret(t, s, r, "hidden-secret")

	with("HOLDFAST_PG_BIN="+t.TempDir(), "PATH="+t.TempDir())
	r = s.Run("apply", "-auto-approve")
	if r.Code != 0 && !strings.Contains(r.Both(), "postgresql-client") {
		t.Errorf("no package is named:\n%s", r.Both())
	}

	with("APP_URL=")
	s.Prints(s.Exits(14, "apply", "-auto-approve", "-force=backup.app"), "APP_URL")

	s.Env = good
	for _, p := range s.Points() {
		if p.Incomplete || !p.Verified {
			t.Errorf("a failed backup left %+v", p)
		}
	}
}

// secret checks that a secret is in no output, no state, no store and no plan.
func secret(t *testing.T, s *hfbin.Site, r hfbin.Result, value string) {
	t.Helper()
	s.Must("plan", "-out=p", "-json-into=p.json", "-markdown-into=p.md", "-force=backup.app")
	leaks(t, s, r, value)
}

// leaks looks for a secret in what was printed and in every file of the site.
func leaks(t *testing.T, s *hfbin.Site, r hfbin.Result, value string) {
	t.Helper()
	if strings.Contains(r.Both(), value) {
		t.Errorf("the secret is printed:\n%s", r.Both())
	}
	err := filepath.WalkDir(s.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), value) {
			t.Errorf("the secret is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// pg_dump is killed in the middle: no restore point, a clear error, and the next apply works.
func TestPostgresDumpKilled(t *testing.T) {
	s, server := postgresSite(t)
	if err := server.Exec(t.Context(), "app", `CREATE TABLE big AS SELECT i, repeat(md5(i::text), 40) AS t FROM generate_series(1, 200000) i`); err != nil {
		t.Fatal(err)
	}
	c := s.Command("apply", "-auto-approve")
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	killed := killDump(c.Process.Pid)
	c.Wait()
	if !killed {
		t.Fatalf("pg_dump was never seen:\n%s", out.String())
	}
	if code := c.ProcessState.ExitCode(); code != 14 || !strings.Contains(out.String(), "pg_dump") {
		t.Errorf("exit code %d:\n%s", code, out.String())
	}
	if points := s.Points(); len(points) != 0 {
		t.Errorf("half a dump counts: %+v", points)
	}
	s.Must("apply", "-auto-approve")
	s.Prints(s.Must("plan"), "No changes")
}

// killDump kills the pg_dump below a process once it is at work.
func killDump(parent int) bool {
	for range 8000 {
		for _, pid := range descendants(parent) {
			if command(pid) == "pg_dump" && strings.Contains(arguments(pid), "--format") {
				time.Sleep(50 * time.Millisecond) // let it write something
				if command(pid) != "pg_dump" {
					continue
				}
				if p, err := os.FindProcess(pid); err == nil && p.Kill() == nil {
					return true
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
	return false
}
