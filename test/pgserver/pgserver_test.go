package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestServer(t *testing.T) {
	ctx := context.Background()
	s := Start(t, Options{Config: map[string]string{"work_mem": "7MB"}})

	if err := s.Exec(ctx, "postgres", "create table t(x int); insert into t values (7)"); err != nil {
		t.Fatal(err)
	}
	if got := one(t, s, "show work_mem"); got != "7MB" {
		t.Errorf("work_mem = %s, want 7MB", got)
	}

	t.Run("passwords are real", func(t *testing.T) {
		_, err := pgx.Connect(ctx, s.DSNAs(User, "wrong", "postgres"))
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != "28P01" {
			t.Errorf("connect with a wrong password: %v, want SQLSTATE 28P01", err)
		}
	})

	t.Run("never root", func(t *testing.T) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
		if err != nil {
			t.Skipf("no /proc here: %v", err)
		}
		if strings.Contains(string(status), "\nUid:\t0\t") {
			t.Error("the server runs as root")
		}
	})

	t.Run("a crash keeps the data and leaves no process", func(t *testing.T) {
		pids := append(childrenOf(s.cmd.Process.Pid), s.cmd.Process.Pid)
		s.Kill()
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		if got := one(t, s, "select x::text from t"); got != "7" {
			t.Errorf("x = %s, want 7", got)
		}
		for _, pid := range pids {
			if running(pid) {
				t.Errorf("process %d is still there", pid)
			}
		}
	})

	t.Run("stop", func(t *testing.T) {
		for range 2 { // the second time does nothing
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Exec(ctx, "postgres", "select 1"); err == nil {
			t.Error("a stopped server answered")
		}
	})
}

func TestNoPostgreSQLIsAnError(t *testing.T) {
	_, err := Run(t.TempDir(), Options{BinDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "no initdb") {
		t.Errorf("Run without PostgreSQL: %v, want an error that says so", err)
	}
}

// running tells whether a process still does anything: one that awaits its reaping does not.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func one(t *testing.T, s *Server, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var got string
	if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil {
		t.Fatal(err)
	}
	return got
}
