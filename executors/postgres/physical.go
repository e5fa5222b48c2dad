package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
	"github.com/holdfast-io/holdfast/executors/postgres/replication"
	"github.com/holdfast-io/holdfast/policy"
)

// isPhysical tells how a restore point was made.
func isPhysical(from executors.Supply) bool { return from.Meta()[executors.MetaMethod] == "physical" }

// stall is how long a server may be silent in the middle of a base backup.
const stall = 10 * time.Minute

// backupPhysical reads the data directory over the replication protocol. A slot holds the WAL back meanwhile, so that what
// makes the copy consistent is there at its end.
func (x *Executor) backupPhysical(ctx context.Context, req executors.BackupRequest, sink executors.Sink) (executors.Result, error) {
	srv, conn, err := dialSource(ctx, req.Source, "holdfast "+req.Point)
	if err != nil {
		return executors.Result{}, err
	}
	defer closeConn(ctx, conn)
	b := &physicalBackup{srv: srv, conn: conn, req: req, log: req.Log, quiet: x.quiet}
	if b.log == nil {
		b.log = discard
	}
	res, err := b.run(ctx, sink)
	return res, srv.hide(err)
}

// physicalBackup is one run of backupPhysical.
type physicalBackup struct {
	srv   *server
	conn  *pgx.Conn
	req   executors.BackupRequest
	log   *slog.Logger
	quiet time.Duration // of basebackup.LocalRequest
	facts facts
	pace  func(context.Context, int) error // of basebackup.Request

	superuser string
}

func (b *physicalBackup) run(ctx context.Context, sink executors.Sink) (executors.Result, error) {
	var err error
	if b.facts, err = readFacts(ctx, b.conn); err != nil {
		return executors.Result{}, err
	}
	if err := b.ready(ctx); err != nil {
		return executors.Result{}, err
	}
	holder, err := b.srv.replicate(ctx, "holdfast slot of "+b.req.Point)
	if err != nil {
		return executors.Result{}, err
	}
	defer holder.Close() //nolint:errcheck // a temporary slot goes with it
	if err := b.hold(ctx, holder); err != nil {
		return executors.Result{}, err
	}
	pace := newPacer(b.req.Backup.ImpactPercent())
	b.pace = pace.wait
	watching := b.watch(ctx, pace)
	defer watching()
	made, reader, err := b.read(ctx, holder, sink)
	if err != nil {
		return executors.Result{}, err
	}
	doc := &made.Document
	return executors.Result{
		Time: doc.Time, Items: made.Items, Bytes: made.Bytes, Version: b.facts.version, Position: doc.End, Problems: made.Problems,
		Meta: map[string]string{
			executors.MetaMethod: "physical", metaPoint: b.req.Point, metaSystemID: doc.System, metaSuperuser: b.superuser, metaReader: string(reader),
			executors.MetaTimeline: strconv.FormatUint(uint64(doc.Timeline), 10), executors.MetaStart: doc.Start, executors.MetaEnd: doc.End,
			executors.MetaSegmentSize: strconv.FormatInt(doc.SegmentSize, 10), executors.MetaCarriesWAL: strconv.FormatBool(doc.CarriesWAL),
		},
	}, nil
}

// metaReader is the key of the reader that made a restore point: "local" or "remote".
const metaReader = "reader"

// read makes the base backup as the policy says: from the files where they are at hand, else over the replication protocol.
func (b *physicalBackup) read(ctx context.Context, holder *replication.Conn, sink executors.Sink) (basebackup.Result, policy.Reader, error) {
	want := b.req.Backup.Physical.Reader
	if want != policy.ReaderRemote {
		dir, err := b.atHand(ctx, holder)
		switch {
		case err == nil:
			made, err := b.readLocal(ctx, dir, sink)
			return made, policy.ReaderLocal, err
		case ctx.Err() != nil:
			return basebackup.Result{}, "", context.Cause(ctx)
		case want == policy.ReaderLocal:
			return basebackup.Result{}, "", fmt.Errorf("read the data directory (reader = \"local\"): %w; mend that, or use reader = \"remote\"", err)
		}
		b.log.Debug("the data directory is read over the replication protocol", "err", b.srv.hide(err))
	}
	made, err := b.readRemote(ctx, sink)
	return made, policy.ReaderRemote, err
}

func (b *physicalBackup) readRemote(ctx context.Context, sink executors.Sink) (basebackup.Result, error) {
	reader, err := b.srv.replicate(ctx, "holdfast "+b.req.Point)
	if err != nil {
		return basebackup.Result{}, err
	}
	defer reader.Close() //nolint:errcheck // a backup that failed ends with it
	return basebackup.Make(ctx, basebackup.Request{
		Conn: reader, Label: b.label(), Fast: b.fast(), Version: b.facts.version, Standby: b.facts.inRecovery, IdleLimit: stall, Now: b.now, Pace: b.pace,
	}, sink)
}

func (b *physicalBackup) label() string { return "holdfast " + b.req.Point }
func (b *physicalBackup) fast() bool {
	return b.req.Backup.Physical.Checkpoint == policy.CheckpointFast
}

// heldBy is the name of the slot that holds WAL back while a base backup is made.
func (b *physicalBackup) heldBy() string { return "holdfast_" + pointSuffix(b.req.Point) + "_tmp" }

// ready finds what a server must be told before it can be backed up so, and says how.
func (b *physicalBackup) ready(ctx context.Context) error {
	var level, senders string
	var replication bool
	err := b.conn.QueryRow(ctx, `select current_setting('wal_level'), current_setting('max_wal_senders'),
		(select rolreplication or rolsuper from pg_roles where rolname = current_user), (select rolname from pg_roles where oid = 10)`).
		Scan(&level, &senders, &replication, &b.superuser)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	switch n, _ := strconv.Atoi(senders); { // a number, as the server says
	case level == "minimal":
		return errors.New("the server's wal_level is minimal, which writes too little WAL to restore from: run ALTER SYSTEM SET wal_level = 'replica' and restart it")
	case n < 2:
		return fmt.Errorf("the server's max_wal_senders is %s, and a backup needs two: run ALTER SYSTEM SET max_wal_senders = 10 and restart it", senders)
	case !replication:
		return fmt.Errorf("role %q may not use the replication protocol: run ALTER ROLE %s REPLICATION, and let it connect to the database \"replication\" in pg_hba.conf", b.srv.params["user"], ident(b.srv.params["user"]))
	}
	return nil
}

// hold keeps the server from removing WAL: by the policy's slot, which is made when it is not there, or by a temporary one.
func (b *physicalBackup) hold(ctx context.Context, c *replication.Conn) error {
	wal := b.req.Backup.Physical.WAL
	if wal.Mode != policy.WALStream {
		return c.CreateSlot(ctx, b.heldBy(), true, true)
	}
	if err := b.srv.ensureSlot(ctx, b.conn, c, wal.Slot); err != nil {
		return err
	}
	// The slot lets go of WAL that was received meanwhile, also of what this backup needs.
	return c.CreateSlot(ctx, b.heldBy(), true, true)
}

// ensureSlot makes the slot that WAL is streamed from, with WAL held back from now on, when it is not there.
func (s *server) ensureSlot(ctx context.Context, conn *pgx.Conn, c *replication.Conn, name string) error {
	var kind, status string
	err := conn.QueryRow(ctx, `select slot_type, coalesce(wal_status, '') from pg_replication_slots where slot_name = $1`, name).Scan(&kind, &status)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		// A receiver that has just begun may have made it meanwhile.
		if err := c.CreateSlot(ctx, name, false, true); err != nil && !errors.Is(err, replication.ErrSlotExists) {
			return fmt.Errorf("make the replication slot %q: %w", name, err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("look for the replication slot %q: %w", name, err)
	case kind != "physical":
		return fmt.Errorf("the replication slot %q is a %s one: name another in wal { slot = … }", name, kind)
	case status == "lost":
		return fmt.Errorf("the replication slot %q has lost WAL (max_slot_wal_keep_size): drop it (select pg_drop_replication_slot('%s')), and the next backup makes it anew; what was committed in between can be restored to the base backups only", name, name)
	}
	return nil
}

// replicate opens a replication connection to the host that answered.
func (s *server) replicate(ctx context.Context, app string) (*replication.Conn, error) {
	cfg, err := pgconn.ParseConfig(s.params.with("application_name", app).forDriver())
	if err != nil {
		return nil, errors.New("connect to PostgreSQL for replication: the connection parameters cannot be used")
	}
	c, err := replication.Connect(ctx, cfg)
	return c, s.hide(err)
}

// now is the moment up to which the server has everything that was committed.
func (b *physicalBackup) now(ctx context.Context) (time.Time, error) {
	var t time.Time
	err := b.conn.QueryRow(ctx, `select case when pg_is_in_recovery() then coalesce(pg_last_xact_replay_timestamp(), (select checkpoint_time from pg_control_checkpoint())) else clock_timestamp() end`).Scan(&t)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the server's clock: %w", err)
	}
	return t.UTC(), nil
}
