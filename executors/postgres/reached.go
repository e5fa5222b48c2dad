package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// reached is where recovery ended.
type reached struct {
	lsn      string
	timeline int
	commit   time.Time // of the last transaction that was replayed; zero when there was none
	why      string    // more for people; empty for nothing
}

// String tells a person.
func (r reached) String() string {
	last := "no transaction was committed after the base backup's checkpoint"
	switch {
	case !r.commit.IsZero():
		last = "the last transaction is of " + r.commit.UTC().Format("2006-01-02 15:04:05.999999") + " UTC"
	case r.why == notAsked:
		return fmt.Sprintf("recovered to %s on timeline %d; %s", r.lsn, r.timeline, notAsked)
	}
	if r.why != "" {
		last += "; " + r.why
	}
	return fmt.Sprintf("recovered to %s on timeline %d; %s", r.lsn, r.timeline, last)
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
	return fatalLines(string(raw))
}

// fatalLines are the last of a log's lines that tell of an end; where there is none, the last lines.
func fatalLines(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		_, message, prefixed := strings.Cut(line, "] ") // of log_line_prefix, where it ends as it does by default
		if !prefixed {
			message = line
		}
		if word, _, _ := strings.Cut(message, ":"); slices.Contains([]string{"FATAL", "PANIC", "DETAIL", "HINT"}, word) {
			out = append(out, strings.TrimSpace(message))
		}
	}
	if len(out) == 0 {
		return (&tail{[]byte(text)}).String()
	}
	return strings.Join(out[max(0, len(out)-4):], "; ")
}

// connect signs in as the first role that is a superuser there.
func (c *recoveredServer) connect(ctx context.Context, roles []string) error {
	var errs []error
	for _, role := range slices.Compact(roles) {
		if role == "" {
			continue
		}
		err := c.enter(ctx, role)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("no superuser of the base backup is known: %w; restore it to a data directory instead (-target=data_dir=…), and dump it from there", errors.Join(errs...))
}

func (c *recoveredServer) enter(ctx context.Context, role string) error {
	srv, conn, err := dial(ctx, c.params.with("user", role), "holdfast restore")
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	var super bool
	if err := conn.QueryRow(ctx, "select rolsuper from pg_roles where rolname = current_user").Scan(&super); err != nil {
		return fmt.Errorf("look at role %q: %w", role, err)
	}
	if !super {
		return fmt.Errorf("role %q is none", role)
	}
	c.srv = srv
	return c.look(ctx, conn)
}

func (c *recoveredServer) look(ctx context.Context, conn *pgx.Conn) error {
	var err error
	if c.facts, err = readFacts(ctx, conn); err != nil {
		return err
	}
	c.reached, err = askReached(ctx, conn)
	return err
}

// askReached asks a server where its recovery ended, or pauses.
func askReached(ctx context.Context, conn *pgx.Conn) (r reached, err error) {
	var commit *time.Time
	err = conn.QueryRow(ctx, `select coalesce(pg_last_wal_replay_lsn(), pg_current_wal_lsn())::text, pg_last_xact_replay_timestamp(),
		case when pg_is_in_recovery() then (select min_recovery_end_timeline from pg_control_recovery())
		else ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int end`).Scan(&r.lsn, &commit, &r.timeline)
	if err != nil {
		return reached{}, fmt.Errorf("ask how far it recovered: %w", err)
	}
	if commit != nil {
		r.commit = commit.UTC()
	}
	return r, nil
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
