package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
	"github.com/holdfast-io/holdfast/executors/scratch"
)

// Names in a scratch folder that holds a restored cluster.
const (
	clusterData   = "data"
	clusterSpaces = "spaces"
)

// recoveredSettings are added to serverSettings. A copy of a production server must not act as one: its subscriptions would
// take changes from their publishers, and its libraries and archiver would start.
var recoveredSettings = map[string]string{
	"hot_standby": "off", "archive_mode": "off", "max_logical_replication_workers": "0", "restart_after_crash": "off",
	"shared_buffers": "128MB", "log_min_messages": "log", "log_line_prefix": "",
}

// minPrepared is how many prepared transactions a recovered server has room for, at least: their number may have been raised
// after the base backup.
const minPrepared = 64

// recoveredServer is a scratch server on a restored base backup that has recovered.
type recoveredServer struct {
	*ownServer
	wal     *walServer // nil when the WAL comes from elsewhere
	srv     *server
	facts   facts
	reached reached
}

// reached is where recovery ended.
type reached struct {
	lsn      string
	timeline int
	commit   time.Time // of the last transaction that was replayed; zero when there was none
}

// String tells a person.
func (r reached) String() string {
	last := "no transaction was committed after the base backup's checkpoint"
	if !r.commit.IsZero() {
		last = "the last transaction is of " + r.commit.UTC().Format("2006-01-02 15:04:05.999999") + " UTC"
	}
	return fmt.Sprintf("recovered to %s on timeline %d; %s", r.lsn, r.timeline, last)
}

// start restores the base backup to a scratch folder, starts a server on it and waits until it has recovered. On any error
// nothing is left.
func (p *viaPlan) start(ctx context.Context, log *slog.Logger) (*recoveredServer, error) {
	folder, err := scratch.New(p.place, log)
	if err != nil {
		return nil, err
	}
	c := &recoveredServer{ownServer: &ownServer{
		folder: folder, account: p.account, log: filepath.Join(folder.Path, "log"), exited: make(chan struct{}),
		params: params{"host": folder.Path, "port": serverPort, "sslmode": "disable"},
	}}
	if err := c.bring(ctx, p, log); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *recoveredServer) bring(ctx context.Context, p *viaPlan, log *slog.Logger) error {
	if err := c.checkSocket(); err != nil {
		return err
	}
	if err := c.restore(ctx, p); err != nil {
		return err
	}
	log.Info("the base backup is restored to a scratch folder", "path", c.folder.Path, "bytes", p.point.Bytes)
	if p.req.WAL != nil {
		var err error
		if c.wal, err = serveWAL(ctx, p.req.WAL, p.point.Document, c.folder.Path, c.account); err != nil {
			return err
		}
	}
	err := c.launch(p.bin, c.data())
	if err == nil {
		err = c.waitRecovered(ctx)
	}
	if err != nil {
		return fmt.Errorf("recover on a scratch server: %w", err)
	}
	if err := c.connect(ctx, p.superusers()); err != nil {
		return fmt.Errorf("look at the recovered server: %w", err)
	}
	return c.compare(p.point.Document)
}

func (c *recoveredServer) data() string { return filepath.Join(c.folder.Path, clusterData) }

// restore writes the cluster's files, which belong to the account from the start.
func (c *recoveredServer) restore(ctx context.Context, p *viaPlan) error {
	target := clusterIn(c.folder.Path, p.point.Document)
	dirs := append([]string{c.folder.Path, target.Dir, filepath.Join(c.folder.Path, clusterSpaces)}, slices.Sorted(maps.Values(target.Spaces))...)
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := c.account.own(dirs...); err != nil {
		return err
	}
	r, err := basebackup.Plan(ctx, p.from, target)
	if err != nil {
		return err
	}
	if p.rec.command != "" {
		r.Recover(p.rec.settings())
	}
	if err := r.Write(ctx); err != nil {
		return err
	}
	return c.configure(p)
}

// configure replaces the cluster's own configuration, which is for another host.
func (c *recoveredServer) configure(p *viaPlan) error {
	raw, err := os.ReadFile(filepath.Join(c.data(), pgdata.ControlPath))
	if err != nil {
		return err
	}
	control, err := pgdata.ParseControl(raw)
	if err != nil {
		return err
	}
	settings := maps.Clone(serverSettings)
	maps.Copy(settings, recoveredSettings)
	settings["unix_socket_directories"] = `"` + strings.ReplaceAll(c.folder.Path, `"`, `""`) + `"`
	settings["max_prepared_transactions"] = strconv.FormatUint(uint64(max(control.MaxPrepared, minPrepared)), 10)
	if p.major >= 17 {
		settings["event_triggers"] = "off"
	}
	auto := ""
	if p.rec.command != "" {
		auto = p.rec.settings()
	}
	for name, text := range map[string]string{
		"postgresql.conf": configLines(settings), "postgresql.auto.conf": auto,
		"pg_hba.conf": "local all all trust\n", "pg_ident.conf": "", // only the account gets to the socket
	} {
		path := filepath.Join(c.data(), name)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), c.account.own(path)); err != nil {
			return err
		}
	}
	return nil
}

// waitRecovered waits for as long as recovery takes. The server notes its state on the eighth line of postmaster.pid
// (src/include/utils/pidfile.h); without hot standby "ready" comes after recovery only.
func (c *recoveredServer) waitRecovered(ctx context.Context) error {
	for {
		text, _ := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
		if lines := strings.Split(string(text), "\n"); len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready" {
			return nil
		}
		select {
		case <-c.exited:
			err := errors.New("the server ended before it had recovered" + after(c.fatalWords()))
			if cause := c.wal.failure(); cause != nil {
				err = fmt.Errorf("%w; %w", cause, err)
			}
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// fatalWords is what the server's log says of its end.
func (c *recoveredServer) fatalWords() string {
	raw, _ := os.ReadFile(c.log)
	var out []string
	for line := range strings.Lines(string(raw)) {
		if word, _, _ := strings.Cut(line, ":"); slices.Contains([]string{"FATAL", "PANIC", "DETAIL", "HINT"}, word) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	if len(out) == 0 {
		return c.lastWords()
	}
	return strings.Join(out[max(0, len(out)-4):], "; ")
}

// connect signs in as the first role that is a superuser there.
func (c *recoveredServer) connect(ctx context.Context, roles []string) error {
	var errs []error
	for _, role := range roles {
		if role == "" {
			continue
		}
		srv, conn, err := dial(ctx, c.params.with("user", role), "holdfast restore")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		defer closeConn(ctx, conn)
		c.srv = srv
		return c.look(ctx, conn)
	}
	return fmt.Errorf("%w; restore the base backup to a data directory instead (-target=data_dir=…), and dump it from there", errors.Join(errs...))
}

func (c *recoveredServer) look(ctx context.Context, conn *pgx.Conn) error {
	var err error
	if c.facts, err = readFacts(ctx, conn); err != nil {
		return err
	}
	var commit *time.Time
	err = conn.QueryRow(ctx, `select coalesce(pg_last_wal_replay_lsn(), pg_current_wal_lsn())::text, pg_last_xact_replay_timestamp(),
		('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int`).Scan(&c.reached.lsn, &commit, &c.reached.timeline)
	if err != nil {
		return fmt.Errorf("ask how far it recovered: %w", err)
	}
	if commit != nil {
		c.reached.commit = commit.UTC()
	}
	return nil
}

// compare refuses a server that ended before its data is consistent.
func (c *recoveredServer) compare(doc *basebackup.Document) error {
	_, end, err := doc.Positions()
	if err != nil {
		return err
	}
	at, err := wal.ParseLSN(c.reached.lsn)
	if err != nil {
		return err
	}
	if at < end {
		return fmt.Errorf("the server ended its recovery at %s, and the base backup is consistent at %s only", at, end)
	}
	return nil
}

// close ends the server first, then what serves it WAL, and removes the folder.
func (c *recoveredServer) close() error {
	c.stop()
	return errors.Join(c.wal.close(), c.folder.Remove())
}

// canRun proves that the account may run the program, and may enter the folder in which it will.
func (a account) canRun(ctx context.Context, t tool, dir string) error {
	cmd := exec.CommandContext(ctx, t.path, "--version")
	cmd.Env, cmd.Dir = toolEnv(""), dir
	cmd.SysProcAttr = a.attributes()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s as %s in %s: %w; the account must be able to enter the folder: set TMPDIR to one where it can", t.path, a.name(), dir, err)
	}
	return nil
}
