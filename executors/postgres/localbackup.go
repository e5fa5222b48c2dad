package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
	"github.com/holdfast-io/holdfast/executors/postgres/replication"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// atHand finds the server's data directory on this host, or says why its files cannot be read here.
func (b *physicalBackup) atHand(ctx context.Context, holder *replication.Conn) (basebackup.Directory, error) {
	var dir basebackup.Directory
	if b.facts.inRecovery {
		return dir, errors.New("the server is a standby, which is read over the replication protocol: no checkpoint of its own tells when its files are at rest")
	}
	start, stop := "pg_backup_start(text, boolean)", "pg_backup_stop(boolean)"
	if b.facts.major < 15 {
		start, stop = "pg_start_backup(text, boolean, boolean)", "pg_stop_backup(boolean, boolean)"
	}
	var may bool
	err := b.conn.QueryRow(ctx, `select has_function_privilege($1::text, 'execute') and has_function_privilege($2::text, 'execute')`, start, stop).Scan(&may)
	if err != nil {
		return dir, fmt.Errorf("read rights: %w", err)
	}
	user := b.srv.params["user"]
	if !may {
		return dir, fmt.Errorf("role %q may not begin a backup: run GRANT EXECUTE ON FUNCTION %s, %s TO %s in the database that holdfast connects to", user, start, stop, ident(user))
	}
	var path string
	err = b.conn.QueryRow(ctx, `select current_setting('data_directory')`).Scan(&path)
	if hasCode(err, codeDenied) {
		return dir, fmt.Errorf("role %q may not ask for data_directory: run GRANT pg_read_all_settings TO %s", user, ident(user))
	}
	if err != nil {
		return dir, fmt.Errorf("read data_directory: %w", err)
	}
	system, err := holder.IdentifySystem(ctx)
	if err != nil {
		return dir, err
	}
	return basebackup.FindDirectory(ctx, path, system.ID, b.heldBy())
}

// readLocal makes the base backup from the files.
func (b *physicalBackup) readLocal(ctx context.Context, dir basebackup.Directory, sink executors.Sink) (basebackup.Result, error) {
	s := &backupSession{b: b}
	// The connection stays and waits: a limit on that, or on a checkpoint that is spread, is for others.
	settings := []string{"statement_timeout", "lock_timeout"}
	if b.facts.major >= 14 {
		settings = append(settings, "idle_session_timeout")
	}
	for _, name := range settings {
		if _, err := b.conn.Exec(ctx, "set "+name+" = 0"); err != nil {
			return basebackup.Result{}, fmt.Errorf("set %s: %w", name, err)
		}
	}
	var run time.Time
	if err := b.conn.QueryRow(ctx, `select pg_postmaster_start_time()`).Scan(&run); err != nil {
		return basebackup.Result{}, fmt.Errorf("ask when the server was started: %w", err)
	}
	return basebackup.ReadLocal(ctx, basebackup.LocalRequest{Dir: dir, Session: s, Version: b.facts.version, Run: run, Quiet: b.quiet, Pace: b.pace}, sink)
}

// backupSession is basebackup.Session on the executor's connection. The functions have other names before 15; the manual, chapter
// "Continuous Archiving and Point-in-Time Recovery", describes both.
type backupSession struct{ b *physicalBackup }

// Start implements basebackup.Session.
func (s *backupSession) Start(ctx context.Context) (wal.LSN, error) {
	query := `select pg_backup_start($1, $2)::text`
	if s.b.facts.major < 15 {
		query = `select pg_start_backup($1, $2, false)::text`
	}
	var at string
	if err := s.b.conn.QueryRow(ctx, query, s.b.label(), s.b.fast()).Scan(&at); err != nil {
		return 0, fmt.Errorf("begin a backup on the server: %w", s.ended(err))
	}
	return wal.ParseLSN(at)
}

// Alive implements basebackup.Session.
func (s *backupSession) Alive(ctx context.Context) error {
	if _, err := s.b.conn.Exec(ctx, `select 1`); err != nil {
		return fmt.Errorf("look after the server: %w", s.ended(err))
	}
	return nil
}

// Now implements basebackup.Session.
func (s *backupSession) Now(ctx context.Context) (time.Time, error) {
	t, err := s.b.now(ctx)
	return t, s.ended(err)
}

// Stop implements basebackup.Session. It does not wait for an archive: the WAL is taken from pg_wal.
func (s *backupSession) Stop(ctx context.Context) (basebackup.Stopped, error) {
	query := `select lsn::text, labelfile, coalesce(spcmapfile, '') from pg_backup_stop(false)`
	if s.b.facts.major < 15 {
		query = `select lsn::text, labelfile, coalesce(spcmapfile, '') from pg_stop_backup(false, false)`
	}
	var at, label, spaces string
	if err := s.b.conn.QueryRow(ctx, query).Scan(&at, &label, &spaces); err != nil {
		return basebackup.Stopped{}, fmt.Errorf("end the backup on the server: %w", s.ended(err))
	}
	end, err := wal.ParseLSN(at)
	return basebackup.Stopped{End: end, Label: []byte(label), SpaceMap: []byte(spaces)}, err
}

// ended says what a lost connection means.
func (s *backupSession) ended(err error) error {
	if err == nil || !s.b.conn.IsClosed() {
		return err
	}
	return fmt.Errorf("the server was stopped, or the connection was lost, while its files were read; what was read is of no use, make the backup again: %w", err)
}
