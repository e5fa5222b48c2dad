package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors/scratch"
)

const (
	serverUser = "postgres" // the usual bootstrap superuser, so that what the original one owned finds its owner
	serverPort = "5432"     // only names the socket

	// startTimeout bounds the wait for a server's first answer: slow shared machines need seconds.
	startTimeout = 90 * time.Second
	// stopTimeout is more than the 5 s after which PostgreSQL kills its own stuck processes.
	stopTimeout = 15 * time.Second
	// maxSocket is the longest path of a socket that every system takes.
	maxSocket = 103
	// serverSpace is what an empty server and its log of changes need.
	serverSpace = 256 << 20
)

// serverSettings make a server that is fast, small and closed: it holds copies, so nothing of it needs to be durable.
var serverSettings = map[string]string{
	"listen_addresses": "", "port": serverPort, "unix_socket_permissions": "0700",
	"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off",
	"wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "128MB",
	"max_connections": "20", "shared_buffers": "32MB", "maintenance_work_mem": "64MB", "huge_pages": "off",
	"max_locks_per_transaction": "1024", // a whole database goes in by one transaction at times
	"logging_collector":         "off", "log_destination": "stderr", "log_min_messages": "fatal", "log_min_error_statement": "panic",
}

// ownServer is a PostgreSQL server in a private folder, reachable through a socket in it with a random password. It never
// runs as root and does not outlive the process.
type ownServer struct {
	folder  *scratch.Folder
	account account
	params  params
	log     string
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the server is gone and was waited for
}

// startOwn makes and starts a server of the major version, or the nearest newer one that is installed. On any error
// nothing is left.
func startOwn(ctx context.Context, tools finder, major int, dir string, need int64, log *slog.Logger) (*ownServer, error) {
	bin, initdb, err := findServer(ctx, tools, major)
	if err != nil {
		return nil, err
	}
	free, err := freeSpace(dir)
	if err != nil {
		return nil, err
	}
	if need += serverSpace; free < need {
		return nil, fmt.Errorf("start a scratch server: it needs about %d bytes, and %d are free in its folder; make room, or choose another folder", need, free)
	}
	s := &ownServer{exited: make(chan struct{})}
	if s.account, err = serverAccount(); err != nil {
		return nil, err
	}
	if s.folder, err = scratch.New(dir, log); err != nil {
		return nil, err
	}
	s.log = filepath.Join(s.folder.Path, "log")
	s.params = params{
		"host": s.folder.Path, "port": serverPort, "user": serverUser, "password": rand.Text(), "sslmode": "disable",
	}
	if err := s.start(ctx, bin, initdb); err != nil {
		return nil, errors.Join(fmt.Errorf("start a scratch server: %w", err), s.close())
	}
	return s, nil
}

// findServer finds the server's program and, beside it, the one that makes its files.
func findServer(ctx context.Context, tools finder, major int) (bin, initdb tool, err error) {
	if bin, err = tools.find(ctx, "postgres", major); err != nil {
		return bin, initdb, err
	}
	if real, err := filepath.EvalSymlinks(bin.path); err == nil {
		bin.path = real
	}
	initdb, err = finder{only: filepath.Dir(bin.path)}.find(ctx, "initdb", bin.major)
	return bin, initdb, err
}

func (s *ownServer) start(ctx context.Context, bin, initdb tool) error {
	if err := s.checkSocket(); err != nil {
		return err
	}
	data := filepath.Join(s.folder.Path, "data")
	if err := s.initialise(ctx, initdb, data); err != nil {
		return err
	}
	if err := s.launch(bin, data); err != nil {
		return err
	}
	return s.waitReady(ctx)
}

// checkSocket refuses a folder in which no socket can be.
func (s *ownServer) checkSocket() error {
	if strings.Contains(s.folder.Path, ",") || len(s.folder.Path)+len("/.s.PGSQL."+serverPort) > maxSocket {
		return fmt.Errorf("the path of its folder, %s, is too long for a socket or holds a comma; choose another folder", s.folder.Path)
	}
	return nil
}

// initialise makes the server's files.
func (s *ownServer) initialise(ctx context.Context, initdb tool, data string) error {
	password := filepath.Join(s.folder.Path, "password")
	if err := os.WriteFile(password, []byte(s.params["password"]+"\n"), 0o600); err != nil {
		return err
	}
	if err := s.account.own(s.folder.Path, password); err != nil {
		return err
	}
	// C is the locale that every system has; each database gets the one it was dumped with.
	c := newChild(ctx, nil, initdb, "--pgdata="+data, "--username="+serverUser, "--auth=scram-sha-256", "--pwfile="+password,
		"--encoding=UTF8", "--locale=C", "--no-sync")
	s.prepare(c.cmd)
	if err := c.run(ctx, nil); err != nil {
		return err
	}
	settings := maps.Clone(serverSettings)
	settings["unix_socket_directories"] = `"` + strings.ReplaceAll(s.folder.Path, `"`, `""`) + `"`
	conf := filepath.Join(data, "postgresql.auto.conf")
	if err := os.WriteFile(conf, []byte(configLines(settings)), 0o600); err != nil {
		return err
	}
	return errors.Join(s.account.own(conf), os.Remove(password))
}

// configLines writes settings as a configuration file has them.
func configLines(settings map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", k, quoteConfig(settings[k]))
	}
	return b.String()
}

// prepare makes cmd run as the server's account, with nothing of holdfast's environment, which may hold secrets.
func (s *ownServer) prepare(cmd *exec.Cmd) {
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "TZ=UTC"}
	cmd.Dir = s.folder.Path
	cmd.SysProcAttr.Credential = s.account.cred
}

func (s *ownServer) launch(bin tool, data string) error {
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(bin.path, "-D", data)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.prepare(cmd)
	dieWithParent(cmd.SysProcAttr, syscall.SIGQUIT) // at once, without waiting for clients
	cmd.Stdout, cmd.Stderr = out, out
	started := make(chan error)
	go func() {
		// The kernel ends the child with the thread that started it, so that thread stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is read from its log
			close(s.exited)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("run %s: %w", bin.path, err)
	}
	s.cmd = cmd
	return nil
}

func (s *ownServer) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("it did not answer within %s", startTimeout))
	defer cancel()
	for {
		_, conn, err := dial(ctx, s.params, "holdfast rehearsal")
		if err == nil {
			closeConn(ctx, conn)
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("it ended while starting%s", after(s.lastWords()))
		case <-ctx.Done():
			return fmt.Errorf("%w%s", context.Cause(ctx), after(s.lastWords()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lastWords is the end of the server's log.
func (s *ownServer) lastWords() string {
	raw, err := os.ReadFile(s.log)
	if err != nil {
		return ""
	}
	return (&tail{raw}).String()
}

// close ends the server, whatever it does, waits for it and removes its folder. It does not depend on a context: nothing
// may be left when the call that made the server was cancelled.
func (s *ownServer) close() error {
	s.stop()
	return s.folder.Remove()
}

func (s *ownServer) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-s.exited:
		case <-time.After(stopTimeout):
			_ = s.cmd.Process.Kill() // its processes notice and end
			<-s.exited
		}
	}
}

// open tells how the server is used: each database under its own name, with the roles of the point.
func (s *ownServer) open(ctx context.Context) (*scratchPlace, error) {
	p := &scratchPlace{params: s.params, remove: func(context.Context) error { return s.close() }}
	var conn *pgx.Conn
	var err error
	if p.srv, conn, err = dial(ctx, s.params, "holdfast rehearsal"); err != nil {
		return nil, errors.Join(err, s.close())
	}
	p.guard = conn
	return p, nil
}
