package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

// wantError checks an error's text and that no secret is in it.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
	for _, secret := range []string{pgserver.DefaultPassword, "wrong-secret"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("error shows the password: %q", err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	x := New(Options{})
	for name, tc := range map[string]struct {
		dsn  string
		want []string
	}{
		"nobody listens":    {"postgres://u:wrong-secret@" + closed + "/db", []string{"connect to postgres://u@" + closed + "/db", "refused", "check that the server runs"}},
		"unknown host":      {"postgres://u:wrong-secret@nowhere.invalid/db", []string{"nowhere.invalid", "check that the server runs"}},
		"wrong password":    {shared.DSNAs("postgres", "wrong-secret", "postgres"), []string{"password authentication failed", "check the user and password"}},
		"unknown database":  {shared.DSN("no such"), []string{"does not exist", "name a database that exists"}},
		"not a DSN":         {"wrong-secret", []string{`env("TEST")`, "neither a postgres:// URL nor"}},
		"broken URL":        {"postgres://u:wrong-secret@host:no/db", []string{"host and port"}},
		"unknown parameter": {"postgres://u:wrong-secret@host/db?pool_max_conns=3", []string{`"pool_max_conns" is not supported`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := x.Inspect(t.Context(), sourceOf(tc.dsn))
			wantError(t, err, tc.want...)
			req := backupRequest(policy.Logical{})
			req.Source = sourceOf(tc.dsn)
			wantError(t, failedBackup(t, x, req, executortest.Faults{}), tc.want...)
		})
	}
}

func TestSecretWithoutValue(t *testing.T) {
	src := policy.Source{Postgres: &policy.PostgresSource{Host: "h", Password: policy.NewSecret(`env("X")`, func() (string, error) {
		return "", errors.New("the environment variable X is not set")
	})}}
	_, err := New(Options{}).Inspect(t.Context(), src)
	wantError(t, err, "variable X is not set")
}

// fakeTool puts a program into a folder that prints a version and otherwise runs body.
func fakeTool(t *testing.T, dir, name, version, body string) {
	t.Helper()
	script := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = --version ]; then echo '%s (PostgreSQL) %s'; exit; fi\n%s\n", name, version, body)
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
}

// realMajor is the major version of the server under test.
func realMajor(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(queryAll(t, shared, "postgres", "select current_setting('server_version_num')::int / 10000 || ''")[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTools(t *testing.T) {
	name := uniqueName("tools")
	newDatabase(t, name, "create table t()")
	major := realMajor(t)
	pkg := fmt.Sprintf("postgresql-client-%d", major)
	dir := t.TempDir()
	req := backupRequest(only(name))

	wantError(t, failedBackup(t, New(Options{BinDir: dir}), req, executortest.Faults{}), "find pg_dump", dir, pkg)

	fakeTool(t, dir, "pg_dump", "9.6.24", "exit 0")
	wantError(t, failedBackup(t, New(Options{BinDir: dir}), req, executortest.Faults{}), "9.6.24", "too old", pkg)

	version := fmt.Sprintf("%d.1", major)
	fakeTool(t, dir, "pg_dumpall", version, "echo '"+globalsEnd+"'")
	for what, tc := range map[string]struct{ body, want string }{
		"fails at once":            {"echo 'pg_dump: error: something broke' >&2; exit 1", "something broke"},
		"fails after output":       {"printf PGDMPxxxx; exit 3", "exit status 3"},
		"ends well, says nothing":  {"exit 0", "wrote nothing"},
		"ends well, says nonsense": {"echo hello; exit 0", "is no dump"},
	} {
		t.Run(what, func(t *testing.T) {
			fakeTool(t, dir, "pg_dump", version, tc.body)
			wantError(t, failedBackup(t, New(Options{BinDir: dir}), req, executortest.Faults{}), tc.want)
		})
	}
	t.Run("password in its words", func(t *testing.T) {
		fakeTool(t, dir, "pg_dump", version, `echo "failed with $PGPASSWORD" >&2; exit 1`)
		wantError(t, failedBackup(t, New(Options{BinDir: dir}), req, executortest.Faults{}), "failed with (sensitive)")
	})
	t.Run("clean environment", func(t *testing.T) {
		t.Setenv("PGHOST", "elsewhere.invalid")
		t.Setenv("PGOPTIONS", "-c search_path=evil")
		fakeTool(t, dir, "pg_dump", version, `echo "$PGHOST$PGOPTIONS." >&2; exit 1`)
		err := failedBackup(t, New(Options{BinDir: dir}), req, executortest.Faults{})
		if strings.Contains(err.Error(), "elsewhere") || strings.Contains(err.Error(), "evil") {
			t.Errorf("the program saw the caller's variables: %v", err)
		}
	})
}

// bigTable makes dumps that can be interrupted: sockets and pipes have held six megabytes of one.
const bigTable = "create table big as select i, repeat(md5(i::text), 30) t from generate_series(1, 20000) i"

// pidOf finds the running child of this process whose command line begins with a program.
func pidOf(t *testing.T, program string) (pid int, cmdline string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err1 := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		raw, err2 := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		args := strings.Split(string(raw), "\x00")
		if err1 == nil && err2 == nil && filepath.Base(args[0]) == program && strings.Contains(string(stat), fmt.Sprintf(" %d ", os.Getpid())) {
			return n, strings.Join(args, " ")
		}
	}
	return 0, ""
}

// onceMidway calls fn once, when the first part of a dump was read.
func onceMidway(fn func()) executortest.Faults {
	var once sync.Once
	return executortest.Faults{AfterRead: func(e executors.Entry, n int64) {
		if e.Path != globalsPath && n > 200<<10 {
			once.Do(fn)
		}
	}}
}

func TestInterrupted(t *testing.T) {
	t.Run("pg_dump killed", func(t *testing.T) {
		name := uniqueName("killed")
		newDatabase(t, name, bigTable)
		err := failedBackup(t, New(Options{}), backupRequest(only(name)), onceMidway(func() {
			pid, cmdline := pidOf(t, "pg_dump")
			if pid == 0 {
				t.Error("pg_dump is not running")
				return
			}
			if strings.Contains(cmdline, pgserver.DefaultPassword) || strings.Contains(cmdline, "password=") {
				t.Errorf("the password is on the command line: %s", cmdline)
			}
			if !strings.Contains(cmdline, "holdfast 2026") {
				t.Errorf("the application name is not on the command line: %s", cmdline)
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}))
		wantError(t, err, name, "killed by a signal")
	})
	t.Run("database dropped", func(t *testing.T) {
		name := uniqueName("dropped")
		newDatabase(t, name, bigTable)
		err := failedBackup(t, New(Options{}), backupRequest(only(name)), onceMidway(func() { dropDatabase(t, name) }))
		wantError(t, err, name, "run pg_dump")
	})
	t.Run("database dropped before its turn", func(t *testing.T) {
		first, second := uniqueName("turn_a"), uniqueName("turn_b")
		// Small enough for the sockets: DROP DATABASE waits for every backend, and one that cannot send does not answer it.
		newDatabase(t, first, strings.Replace(bigTable, "20000", "3000", 1))
		newDatabase(t, second, "create table little (id int)")
		err := failedBackup(t, New(Options{}), backupRequest(only(first, second)), onceMidway(func() { dropDatabase(t, second) }))
		wantError(t, err, second, "does not exist")
	})
	t.Run("server stopped", func(t *testing.T) {
		own := pgserver.Start(t, pgserver.Options{})
		execSQL(t, own, "postgres", bigTable)
		req := backupRequest(only("postgres"))
		req.Source = sourceOf(own.DSN("postgres"))
		wantError(t, failedBackup(t, New(Options{}), req, onceMidway(own.Kill)), "run pg_dump")
	})
	t.Run("cancelled", func(t *testing.T) {
		name := uniqueName("cancelled")
		newDatabase(t, name, bigTable)
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("stopped by the test")
		req := backupRequest(only(name))
		_, err := New(Options{}).Backup(ctx, req, executortest.NewStore().Sink(req.Point, onceMidway(func() { cancel(stop) })))
		if !errors.Is(err, stop) {
			t.Errorf("Backup: %v, want the cause of the cancellation", err)
		}
		if pid, _ := pidOf(t, "pg_dump"); pid != 0 {
			t.Error("pg_dump still runs")
		}
	})
	t.Run("sink fails", func(t *testing.T) {
		name := uniqueName("sink")
		newDatabase(t, name, bigTable)
		err := failedBackup(t, New(Options{}), backupRequest(only(name)), executortest.Faults{FailContent: 300 << 10, Err: errInjected})
		if !errors.Is(err, errInjected) {
			t.Errorf("Backup: %v, want the sink's error", err)
		}
		if pid, _ := pidOf(t, "pg_dump"); pid != 0 {
			t.Error("pg_dump still runs")
		}
	})
	t.Run("table locked for long", func(t *testing.T) {
		name := uniqueName("locked")
		newDatabase(t, name, bigTable)
		conn, err := pgx.Connect(t.Context(), shared.DSN(name))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		if _, err := conn.PgConn().Exec(t.Context(), "begin; lock table big").ReadAll(); err != nil {
			t.Fatal(err)
		}
		x := New(Options{LockWait: 200 * time.Millisecond})
		wantError(t, failedBackup(t, x, backupRequest(only(name)), executortest.Faults{}), "timeout", "LOCK TABLE public.big", "pg_locks")
	})
}

// TestSnapshotIsOneMoment proves that rows committed while the dump runs are not in it, and that Time and Position come
// before them.
func TestSnapshotIsOneMoment(t *testing.T) {
	name := uniqueName("moment")
	newDatabase(t, name, bigTable, "create table z_last as select 1 x")
	store := executortest.NewStore()
	req := backupRequest(only(name))
	sink := store.Sink(req.Point, onceMidway(func() { execSQL(t, shared, name, "insert into z_last values (2)") }))
	res, err := New(Options{}).Backup(t.Context(), req, sink)
	if err != nil {
		t.Fatal(err)
	}
	store.Commit(sink, res)
	target := uniqueName("moment_restored")
	t.Cleanup(func() { dropDatabase(t, target) })
	mustRestore(t, restoreRequest(shared.DSN(target)), store.Supply(req.Point))
	if got := queryAll(t, shared, target, "select x::text from z_last"); len(got) != 1 {
		t.Errorf("rows = %q, want only the first", got)
	}
	if a := sink.Items()[1].Entry.Attrs; a[attrSnapshot] != "exported" || a[attrLSN] != res.Position {
		t.Errorf("attributes = %v, result %+v", a, res)
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	name := uniqueName("damage")
	newDatabase(t, name, bigTable)
	x := New(Options{})
	// damaged makes a supply whose dump is changed by fn while its entry stays.
	damaged := func(t *testing.T, fn func(data []byte) []byte) executors.Supply {
		t.Helper()
		store := executortest.NewStore()
		req := backupRequest(only(name))
		sink := store.Sink(req.Point, executortest.Faults{})
		res, err := x.Backup(t.Context(), req, sink)
		if err != nil {
			t.Fatal(err)
		}
		store.Commit(sink, res)
		items := sink.Items()
		last := items[len(items)-1]
		last.Data = fn(last.Data)
		return store.Supply(req.Point)
	}
	for what, fn := range map[string]func([]byte) []byte{
		"cut to 60 %":        func(b []byte) []byte { return b[:len(b)*6/10] },
		"cut by one byte":    func(b []byte) []byte { return b[:len(b)-1] },
		"cut in the head":    func(b []byte) []byte { return b[:100] },
		"empty":              func([]byte) []byte { return nil },
		"longer":             func(b []byte) []byte { return append(bytes.Clone(b), 0) },
		"not a dump":         func(b []byte) []byte { return append([]byte("XXXXX"), b[5:]...) },
		"zeros in the block": func(b []byte) []byte { b = bytes.Clone(b); clear(b[len(b)-200000:]); return b },
	} {
		t.Run(what, func(t *testing.T) {
			if _, err := x.Verify(t.Context(), executors.VerifyRequest{}, damaged(t, fn)); err == nil {
				t.Error("damage was not found")
			} else {
				wantError(t, err, "verify databases/"+name+".dump")
			}
		})
	}
	t.Run("globals cut", func(t *testing.T) {
		item := &executortest.Item{Entry: executors.Entry{Path: globalsPath}, Data: []byte("CREATE ROLE x;\n")}
		_, err := x.Verify(t.Context(), executors.VerifyRequest{}, executortest.NewSupply(item))
		wantError(t, err, "verify globals.sql", "cut off")
	})
	t.Run("a dump is missing", func(t *testing.T) {
		item := &executortest.Item{Entry: executors.Entry{Path: globalsPath, Size: int64(len(globalsEnd))}, Data: []byte(globalsEnd)}
		_, err := x.Verify(t.Context(), executors.VerifyRequest{}, executortest.NewSupply(item))
		wantError(t, err, "holds no dump")
	})
}
