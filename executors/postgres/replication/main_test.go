package replication

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

// shared is the server of the tests that do not harm it.
var shared *pgserver.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "hfpg")
	if err == nil {
		defer os.RemoveAll(dir)
		shared, err = pgserver.Run(dir, pgserver.Options{Config: map[string]string{"wal_sender_timeout": "3s"}})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start PostgreSQL:", err)
		return 1
	}
	defer shared.Kill()
	return m.Run()
}

// connect opens a replication connection that ends with the test.
func connect(t *testing.T, dsn string) *Conn {
	t.Helper()
	c, err := tryConnect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func tryConnect(ctx context.Context, dsn string) (*Conn, error) {
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	return Connect(ctx, cfg)
}

// through is the server's DSN with another address.
func through(t *testing.T, s *pgserver.Server, address string) string {
	t.Helper()
	u, err := url.Parse(s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.Host = address
	return u.String()
}

func address(s *pgserver.Server) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

func execSQL(t *testing.T, s *pgserver.Server, sql string) {
	t.Helper()
	if err := s.Exec(context.Background(), "postgres", sql); err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, s *pgserver.Server, query string) string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var text string
	if err := conn.QueryRow(ctx, query).Scan(&text); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return text
}

func askLSN(t *testing.T, s *pgserver.Server, query string) wal.LSN {
	t.Helper()
	lsn, err := wal.ParseLSN(ask(t, s, query))
	if err != nil {
		t.Fatal(err)
	}
	return lsn
}

// eventually waits for a query's answer.
func eventually(t *testing.T, s *pgserver.Server, query, want string, limit time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		got := ask(t, s, query)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s gave %q for %s, want %q", query, got, limit, want)
		}
	}
}

// own gives paths to the account that a server runs as.
func own(t *testing.T, s *pgserver.Server, paths ...string) {
	t.Helper()
	info, err := os.Stat(filepath.Dir(s.Data))
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	for _, p := range paths {
		if err := os.Lchown(p, int(st.Uid), int(st.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}
