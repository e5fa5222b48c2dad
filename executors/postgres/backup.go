package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// Keys of Result.Meta, which comes back as Supply.Meta.
const (
	metaPoint     = "point"
	metaDatabases = "databases" // number of dumps, so that a point that lost one is noticed
	metaTool      = "pg_dump"   // version
	metaSystemID  = executors.MetaSystem
	metaSuperuser = "superuser" // of base backups: the role that initdb made, by which a copy of the server can be entered
)

// Backup streams the globals and then one dump per database, each to its end before the next begins, so that one
// snapshot at a time holds back vacuum. Time and Position are those of the first database: everything committed
// before them is in the restore point.
func (x *Executor) Backup(ctx context.Context, req executors.BackupRequest, sink executors.Sink) (executors.Result, error) {
	if req.Backup.Physical != nil {
		return x.backupPhysical(ctx, req, sink)
	}
	if req.Backup.Logical == nil {
		return executors.Result{}, errors.New("back up PostgreSQL: the backup has neither a logical nor a physical block")
	}
	srv, conn, err := dialSource(ctx, req.Source, "holdfast "+req.Point)
	if err != nil {
		return executors.Result{}, err
	}
	defer closeConn(ctx, conn)
	b := &backup{srv: srv, sink: sink, policy: *req.Backup.Logical, lockWait: x.lockWait}
	if err := b.prepare(ctx, conn, x.tools); err != nil {
		return executors.Result{}, srv.hide(err)
	}
	b.result.Meta = map[string]string{
		metaPoint: req.Point, metaDatabases: strconv.Itoa(len(b.databases)), metaTool: b.dump.version, metaSystemID: b.facts.systemID,
	}
	if err := b.addGlobals(ctx); err != nil {
		return executors.Result{}, srv.hide(err)
	}
	for _, db := range b.databases {
		if err := b.addDatabase(ctx, db); err != nil {
			return executors.Result{}, srv.hide(fmt.Errorf("back up database %q: %w", db.name, err))
		}
		if req.Log != nil {
			req.Log.Debug("database dumped", "database", db.name, "bytes", b.result.Bytes)
		}
	}
	return b.result, nil
}

// backup is one run of Backup.
type backup struct {
	srv       *server
	sink      executors.Sink
	policy    policy.Logical
	lockWait  time.Duration
	facts     facts
	databases []database
	dump      tool
	dumpAll   tool
	result    executors.Result
}

// prepare finds everything that can be missing before the first byte is stored.
func (b *backup) prepare(ctx context.Context, conn *pgx.Conn, tools finder) error {
	var err error
	if b.facts, err = readFacts(ctx, conn); err != nil {
		return err
	}
	b.result.Version = b.facts.version
	all, err := listDatabases(ctx, conn)
	if err != nil {
		return err
	}
	if b.databases, err = selectDatabases(all, b.policy); err != nil {
		return err
	}
	if b.dump, err = tools.find(ctx, "pg_dump", b.facts.major); err != nil {
		return err
	}
	b.dumpAll, err = tools.find(ctx, "pg_dumpall", b.facts.major)
	return err
}

// selectDatabases applies the policy's globs. An include that matches nothing is an error: a database that was renamed
// or dropped must not leave its backup without a word. An exclude may well match nothing today.
func selectDatabases(all []database, p policy.Logical) ([]database, error) {
	names := make([]string, len(all))
	for i, db := range all {
		names[i] = db.name
	}
	selected := map[string]bool{}
	for _, pattern := range p.Databases {
		g, err := policy.NewGlob(pattern)
		if err != nil {
			return nil, fmt.Errorf("select databases: %w", err)
		}
		matched := false
		for _, name := range names {
			if g.Match(name) {
				selected[name], matched = true, true
			}
		}
		if !matched {
			return nil, fmt.Errorf("select databases: %q matches none of %s", pattern, strings.Join(names, ", "))
		}
	}
	if len(p.Databases) == 0 {
		for _, name := range names {
			selected[name] = true
		}
	}
	for _, pattern := range p.ExcludeDatabases {
		g, err := policy.NewGlob(pattern)
		if err != nil {
			return nil, fmt.Errorf("exclude databases: %w", err)
		}
		maps.DeleteFunc(selected, func(name string, _ bool) bool { return g.Match(name) })
	}
	var out []database
	for _, db := range all {
		if selected[db.name] {
			out = append(out, db)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("select databases: exclude_databases leaves none of %s", strings.Join(names, ", "))
	}
	return out, nil
}

// addGlobals streams roles, memberships and tablespaces.
func (b *backup) addGlobals(ctx context.Context) error {
	if !b.facts.rolesReach {
		b.result.Problems = append(b.result.Problems, executors.Problem{Path: globalsPath, Err: fmt.Errorf(
			"passwords of roles are not in the restore point: role %q may not read pg_authid; set them after a restore, or back up as a superuser", b.srv.params["user"])})
	}
	e := executors.Entry{Path: globalsPath, Type: executors.TypeStream, Attrs: map[string]string{"version": b.facts.version}}
	if err := b.stream(ctx, e, 0, "", b.dumpAll, b.globalsArgs()); err != nil {
		return fmt.Errorf("back up roles and tablespaces: %w", err)
	}
	return nil
}

func (b *backup) globalsArgs() []string {
	args := []string{
		"--globals-only", "--no-password", "--lock-wait-timeout=" + millis(b.lockWait),
		"--database=" + b.srv.params["dbname"], "--dbname=" + b.srv.params.forTools(),
	}
	if !b.facts.rolesReach {
		args = append(args, "--no-role-passwords")
	}
	return args
}

// addDatabase dumps one database in a snapshot whose time and position are known.
func (b *backup) addDatabase(ctx context.Context, db database) error {
	conn, err := b.srv.openDatabase(ctx, db.name)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	snap, err := takeSnapshot(ctx, conn, b.facts.inRecovery)
	if err != nil {
		return err
	}
	if b.result.Time.IsZero() {
		b.result.Time, b.result.Position = snap.time, snap.lsn
	}
	attrs := maps.Clone(db.attrs)
	attrs[attrLSN], attrs[attrTime], attrs[attrSnapshot] = snap.lsn, snap.time.UTC().Format(time.RFC3339Nano), snap.note
	e := executors.Entry{Path: dumpPath(db.name), Type: executors.TypeStream, ModTime: snap.time, Attrs: attrs}
	return b.stream(ctx, e, db.size, archiveMagic, b.dump, b.dumpArgs(db.name, snap.id))
}

const archiveMagic = "PGDMP"

// dumpArgs asks for the custom format without compression: compressing and deduplicating are the repository's, and both
// would be spoilt by pg_dump's own compression.
func (b *backup) dumpArgs(name, snapshot string) []string {
	args := []string{"--format=custom", "--compress=0", "--no-password", "--lock-wait-timeout=" + millis(b.lockWait)}
	if snapshot != "" {
		args = append(args, "--snapshot="+snapshot)
	}
	for _, t := range b.policy.Tables {
		args = append(args, "--table="+t)
	}
	for _, t := range b.policy.ExcludeTables {
		args = append(args, "--exclude-table="+t)
	}
	return append(args, "--dbname="+b.srv.params.with("dbname", name).forTools())
}

// stream hands a program's output to the sink and waits until it is stored.
func (b *backup) stream(ctx context.Context, e executors.Entry, size int64, magic string, t tool, args []string) error {
	out := &programOutput{ctx: ctx, child: newChild(ctx, b.srv, t, args...), magic: magic}
	defer out.Close()
	err := b.sink.Add(ctx, e, executors.Content{Open: out.open, SizeHint: size})
	if err == nil {
		err = b.sink.Flush(ctx)
	}
	if cause := out.failure(); cause != nil {
		return cause // says more than the sink, which only passes it on
	}
	if err != nil {
		return err
	}
	if !out.complete() {
		return fmt.Errorf("store %s: the stream was not read to its end", e.Path)
	}
	b.result.Items++
	b.result.Bytes += out.read()
	return nil
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// snapshot is one moment of a database.
type snapshot struct {
	id   string // empty: pg_dump takes its own, a moment later
	lsn  string
	time time.Time
	note string
}

// takeSnapshot opens a transaction that keeps the snapshot importable until the connection closes. Time and LSN are read
// before it, so that they promise less than the dump holds, never more.
func takeSnapshot(ctx context.Context, conn *pgx.Conn, inRecovery bool) (snapshot, error) {
	lsn := "pg_current_wal_lsn()"
	if inRecovery {
		lsn = "pg_last_wal_replay_lsn()"
	}
	s := snapshot{note: "exported"}
	if err := conn.QueryRow(ctx, `select clock_timestamp(), coalesce(`+lsn+`::text, '')`).Scan(&s.time, &s.lsn); err != nil {
		return snapshot{}, fmt.Errorf("read position: %w", err)
	}
	// The server must not end the idle transaction while pg_dump reads; unknown settings of older versions do not matter.
	for _, setting := range []string{"idle_in_transaction_session_timeout", "transaction_timeout", "idle_session_timeout"} {
		if _, err := conn.Exec(ctx, "set "+setting+" = 0"); err != nil && conn.IsClosed() {
			return snapshot{}, fmt.Errorf("prepare snapshot: %w", err)
		}
	}
	if _, err := conn.Exec(ctx, "begin isolation level repeatable read read only"); err != nil {
		return snapshot{}, fmt.Errorf("begin snapshot: %w", err)
	}
	if err := conn.QueryRow(ctx, "select pg_export_snapshot()").Scan(&s.id); err != nil {
		if conn.IsClosed() || ctx.Err() != nil {
			return snapshot{}, fmt.Errorf("export snapshot: %w", err)
		}
		s.id, s.note = "", "not exported: "+err.Error()
		if _, err := conn.Exec(ctx, "rollback"); err != nil {
			return snapshot{}, fmt.Errorf("end transaction: %w", err)
		}
	}
	return s, nil
}
