// Package pgserver starts real PostgreSQL servers for tests, the demo and the benchmarks.
//
// It is not for production: holdfast starts scratch servers of its own in executors/postgres. A server never runs as root and
// never outlives the process that started it, however that process ends. PostgreSQL must be installed; its absence is an error, so that a
// machine without it cannot pass the tests by skipping them.
package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options say how a server is made. The zero value is the newest installed PostgreSQL with its own defaults.
type Options struct {
	BinDir   string            // folder of initdb and postgres; empty means HOLDFAST_TEST_PG_BIN, then the newest /usr/lib/postgresql/*/bin
	Config   map[string]string // postgresql.conf settings
	InitArgs []string          // more arguments of initdb, such as "--no-data-checksums"
	Durable  bool              // false turns off fsync and its kin: fast, and lost in a power cut
	Password string            // of the superuser "postgres"; empty means DefaultPassword
}

// DefaultPassword is the superuser's password. It holds characters that URLs, shells and password files treat specially.
const DefaultPassword = `hf:p@ss/w%rd\'"1`

// User is the superuser of every server.
const User = "postgres"

// startTimeout bounds the wait for the first answer: a slow shared machine needs seconds, a hung server must not hang the tests.
const startTimeout = 90 * time.Second

// Server is one running PostgreSQL. Its methods are for one goroutine at a time.
type Server struct {
	Port   int
	Socket string // folder of the unix socket
	Data   string // data folder
	BinDir string

	opts    Options
	args    []string // more of the server's
	account account
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the postmaster is gone and was waited for
	log     string
}

// Start runs a server until the test ends. It fails the test when PostgreSQL is not installed.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	// Not t.TempDir: its path is too long for a unix socket and its parents may be closed to the server's account.
	dir, err := os.MkdirTemp("", "hfpg")
	if err != nil {
		t.Fatalf("make folder for PostgreSQL: %v", err)
	}
	s, err := Run(dir, opts)
	if err != nil {
		_ = os.RemoveAll(dir)
		t.Fatalf("start PostgreSQL: %v", err)
	}
	t.Cleanup(func() {
		s.Kill()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove folder of PostgreSQL: %v", err)
		}
	})
	return s
}

// Run makes and starts a server whose files are in dir, which must exist and whose parents the server's account must be
// able to enter. When the caller is root, dir is given to that account. The caller ends it with Stop or Kill and removes dir.
func Run(dir string, opts Options) (*Server, error) {
	bin, err := binDir(opts.BinDir)
	if err != nil {
		return nil, err
	}
	acc, err := serverAccount()
	if err != nil {
		return nil, err
	}
	if opts.Password == "" {
		opts.Password = DefaultPassword
	}
	s := &Server{Socket: dir, Data: filepath.Join(dir, "data"), BinDir: bin, opts: opts, account: acc, log: filepath.Join(dir, "server.log")}
	if err := s.initialise(dir); err != nil {
		return nil, err
	}
	return s, s.start()
}

// Launch starts a server on a data directory that is there, such as a restored one, until the test ends. settings stand before
// those of the directory. The directory must belong to the server's account already.
func Launch(t testing.TB, data string, like *Server, settings map[string]string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "hfpg")
	if err == nil {
		err = like.account.own(dir)
	}
	if err != nil {
		t.Fatalf("make folder for PostgreSQL: %v", err)
	}
	s := &Server{Socket: dir, Data: data, BinDir: like.BinDir, opts: like.opts, account: like.account, log: filepath.Join(dir, "server.log")}
	if s.Port, err = freePort(); err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	all := map[string]string{"port": strconv.Itoa(s.Port), "listen_addresses": "127.0.0.1", "unix_socket_directories": dir, "log_min_messages": "log"}
	for k, v := range settings {
		all[k] = v
	}
	for _, k := range sortedKeys(all) {
		s.args = append(s.args, "-c", k+"="+all[k])
	}
	t.Cleanup(func() {
		s.Kill()
		_ = os.RemoveAll(dir)
	})
	if err := s.launch(); err != nil {
		text, _ := os.ReadFile(s.log)
		t.Fatalf("start PostgreSQL on %s: %v\n%s", data, err, text)
	}
	return s
}

// Own gives folders and files to the server's account.
func (s *Server) Own(paths ...string) error { return s.account.own(paths...) }

// OwnAll gives a folder and all that is in it to the server's account.
func (s *Server) OwnAll(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, s.account.own(path))
	})
}

// Log returns what the server has written.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// DSN returns a URL for a database, with the superuser's password, over TCP.
func (s *Server) DSN(database string) string { return s.DSNAs(User, s.opts.Password, database) }

// DSNAs is DSN for another role. An empty password is left out.
func (s *Server) DSNAs(user, password, database string) string {
	u := url.URL{Scheme: "postgres", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), User: url.User(user)}
	if password != "" {
		u.User = url.UserPassword(user, password)
	}
	if database != "" {
		u.Path = "/" + database
	}
	u.RawQuery = "sslmode=disable"
	return u.String()
}

// Password returns the superuser's password.
func (s *Server) Password() string { return s.opts.Password }

// Exec runs SQL in a database as the superuser; several statements may be given.
func (s *Server) Exec(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, s.DSN(database))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", database, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("run SQL in %s: %w", database, err)
	}
	return nil
}

// Stop ends the server in order, disconnecting clients, and waits. Stopping a stopped server does nothing.
func (s *Server) Stop() error {
	if s.cmd == nil {
		return nil
	}
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-s.exited:
		s.cmd = nil
		return nil
	case <-time.After(startTimeout):
		s.Kill()
		return errors.New("stop PostgreSQL: it did not end in time and was killed")
	}
}

// Kill ends the server and its backends at once, as a crash would, and waits.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	// Backends are in sessions of their own, so a signal to the process group would miss them.
	backends := childrenOf(s.cmd.Process.Pid)
	_ = s.cmd.Process.Kill()
	for _, pid := range backends {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-s.exited
	s.cmd = nil
}

// Restart starts a stopped or killed server again on the same port and data.
func (s *Server) Restart() error {
	if s.cmd != nil {
		return errors.New("restart PostgreSQL: it is running")
	}
	return s.launch()
}

func (s *Server) initialise(dir string) error {
	pw := filepath.Join(dir, "pw")
	if err := os.WriteFile(pw, []byte(s.opts.Password+"\n"), 0o600); err != nil {
		return fmt.Errorf("write password file: %w", err)
	}
	if err := s.account.own(dir, pw); err != nil {
		return err
	}
	args := append([]string{
		"-D", s.Data, "-U", User, "-A", "scram-sha-256", "--pwfile", pw, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
	}, s.opts.InitArgs...)
	cmd := exec.Command(filepath.Join(s.BinDir, "initdb"), args...)
	s.account.apply(cmd)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run initdb: %w: %s", err, lastLines(out))
	}
	return os.Remove(pw)
}

// start picks a port and launches, again with another port when somebody took it in between.
func (s *Server) start() error {
	var err error
	for range 5 {
		if s.Port, err = freePort(); err != nil {
			return err
		}
		if err = s.configure(); err != nil {
			return err
		}
		if err = s.launch(); err == nil || !strings.Contains(err.Error(), "could not bind") {
			return err
		}
	}
	return err
}

func (s *Server) configure() error {
	settings := map[string]string{
		"port": strconv.Itoa(s.Port), "listen_addresses": "127.0.0.1", "unix_socket_directories": s.Socket,
		"log_min_messages": "fatal", "timezone": "UTC", "max_connections": "60",
	}
	if !s.opts.Durable { // commits still reach the kernel, so a crash of the server loses nothing
		for _, k := range []string{"fsync", "full_page_writes"} {
			settings[k] = "off"
		}
	}
	for k, v := range s.opts.Config {
		settings[k] = v
	}
	var b strings.Builder
	for _, k := range sortedKeys(settings) {
		fmt.Fprintf(&b, "%s = '%s'\n", k, strings.ReplaceAll(settings[k], "'", "''"))
	}
	path := filepath.Join(s.Data, "postgresql.auto.conf")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return s.account.own(path)
}

func (s *Server) launch() error {
	logFile, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("open log of PostgreSQL: %w", err)
	}
	defer logFile.Close()
	cmd := exec.Command(filepath.Join(s.BinDir, "postgres"), append([]string{"-D", s.Data}, s.args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = logFile, logFile, s.Data
	s.account.apply(cmd)
	dieWithParent(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	s.cmd, s.exited = cmd, make(chan struct{})
	go func(done chan<- struct{}) {
		_ = cmd.Wait() // how it ended is read from its log
		close(done)
	}(s.exited)
	if err := s.waitReady(); err != nil {
		s.Kill()
		out, _ := os.ReadFile(s.log)
		return fmt.Errorf("%w: %s", err, lastLines(out))
	}
	return nil
}

func (s *Server) waitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.DSN("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.exited:
			return errors.New("postgres ended while starting")
		case <-ctx.Done():
			return fmt.Errorf("wait for postgres: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// binDir finds the server programs. Debian keeps every major version in a folder of its own, outside PATH.
func binDir(explicit string) (string, error) {
	if explicit == "" {
		explicit = os.Getenv("HOLDFAST_TEST_PG_BIN")
	}
	if explicit != "" {
		if _, err := os.Stat(filepath.Join(explicit, "initdb")); err != nil {
			return "", fmt.Errorf("find PostgreSQL: no initdb in %s", explicit)
		}
		return explicit, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return majorOf(a) - majorOf(b) })
	if len(found) == 0 {
		return "", errors.New("find PostgreSQL: no /usr/lib/postgresql/*/bin/initdb; install the package postgresql or set HOLDFAST_TEST_PG_BIN to the folder of initdb")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

func majorOf(initdb string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb)))) // a folder that is no number sorts first
	return n
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func lastLines(out []byte) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte("; ")))
}
