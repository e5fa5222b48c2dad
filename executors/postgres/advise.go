package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

var _ executors.Adviser = (*Executor)(nil)

// setup is how a server is set up, as far as physical backups need it.
type setup struct {
	level, archiveMode, archiveCommand string
	senders, archiveTimeout            int
	replication                        bool // the role may use the replication protocol
	user                               string

	slotThere, slotActive bool
	slotKind, slotStatus  string
	failedWAL             string // what archive_command failed with last, and has not stored since
	failedAt              time.Time
}

// Advise implements executors.Adviser for backups with a physical block.
func (x *Executor) Advise(ctx context.Context, req executors.AdviceRequest) ([]string, error) {
	if req.Backup.Physical == nil {
		return nil, nil
	}
	srv, conn, err := dialSource(ctx, req.Source, "holdfast inspect")
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	s, err := readSetup(ctx, conn, req.Backup.Physical.WAL.Slot)
	if err != nil {
		return nil, srv.hide(err)
	}
	return s.lacks(req), nil
}

func readSetup(ctx context.Context, conn *pgx.Conn, slot string) (setup, error) {
	var s setup
	err := conn.QueryRow(ctx, `select current_setting('wal_level'), current_setting('archive_mode'), current_setting('archive_command'),
		current_setting('max_wal_senders')::int, (select setting::int from pg_settings where name = 'archive_timeout'), current_user,
		(select rolreplication or rolsuper from pg_roles where rolname = current_user)`).
		Scan(&s.level, &s.archiveMode, &s.archiveCommand, &s.senders, &s.archiveTimeout, &s.user, &s.replication)
	if err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	err = conn.QueryRow(ctx, `select slot_type, coalesce(wal_status, ''), active from pg_replication_slots where slot_name = $1`, slot).
		Scan(&s.slotKind, &s.slotStatus, &s.slotActive)
	s.slotThere = err == nil
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return s, fmt.Errorf("read replication slots: %w", err)
	}
	err = conn.QueryRow(ctx, `select coalesce(last_failed_wal, ''), coalesce(last_failed_time, 'epoch') from pg_stat_archiver
		where last_failed_time > coalesce(last_archived_time, 'epoch')`).Scan(&s.failedWAL, &s.failedAt)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return s, fmt.Errorf("read the state of the archiver: %w", err)
	}
	return s, nil
}

// lacks says what must be run, in the order in which it matters.
func (s setup) lacks(req executors.AdviceRequest) []string {
	var out []string
	say := func(is bool, format string, args ...any) {
		if is {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	wal := req.Backup.Physical.WAL
	needed := 2 // the backup, and the slot that holds WAL back meanwhile
	if wal.Mode == policy.WALStream {
		needed = 3
	}
	say(s.level == "minimal", "wal_level is minimal, which writes too little WAL to restore from: ALTER SYSTEM SET wal_level = 'replica', then restart the server")
	say(s.senders < needed, "max_wal_senders is %d, and %d are needed: ALTER SYSTEM SET max_wal_senders = 10, then restart the server", s.senders, needed)
	say(!s.replication, "role %q may not use the replication protocol: ALTER ROLE %s REPLICATION, and a line for the database \"replication\" in pg_hba.conf", s.user, ident(s.user))
	switch wal.Mode {
	case policy.WALStream:
		say(s.slotThere && s.slotKind != "physical", "the replication slot %q is a %s one: name another in wal { slot = … }", wal.Slot, s.slotKind)
		say(s.slotStatus == "lost", "the replication slot %q has lost WAL: SELECT pg_drop_replication_slot('%s'); the next backup makes it anew", wal.Slot, wal.Slot)
		say(s.slotThere && s.slotStatus != "lost" && !s.slotActive, "nobody receives WAL, and the server keeps it for the slot %q until its disk is full: run `holdfast wal receive %s`", wal.Slot, req.Backup.Address)
	case policy.WALArchive:
		say(s.archiveMode == "off", "archive_mode is off: ALTER SYSTEM SET archive_mode = 'on', then restart the server")
		say(!strings.Contains(s.archiveCommand, " wal push "), "archive_command does not hand WAL to holdfast: ALTER SYSTEM SET archive_command = '%s', then SELECT pg_reload_conf()", strings.ReplaceAll(req.Push, "'", "''"))
		lag := int(time.Duration(wal.MaxLag).Seconds())
		say(s.archiveTimeout == 0 || s.archiveTimeout > lag, "archive_timeout is %d s, so that a quiet server keeps what was committed to itself for longer than max_lag: ALTER SYSTEM SET archive_timeout = %d, then SELECT pg_reload_conf()", s.archiveTimeout, max(lag/2, 1))
		say(s.failedWAL != "", "archive_command has failed since %s with %s: the server's log says why, and it keeps its WAL until its disk is full", s.failedAt.UTC().Format(time.RFC3339), s.failedWAL)
	}
	return out
}
