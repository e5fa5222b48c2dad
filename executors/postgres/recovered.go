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

	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
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
