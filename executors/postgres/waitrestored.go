package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// postmaster is what postmaster.pid says of a server (src/include/utils/pidfile.h).
type postmaster struct {
	pid                  int
	port, socket, status string
}

// parsePostmaster reads the file. It is written line by line: what is not there yet is empty.
func parsePostmaster(text string) (p postmaster) {
	lines := strings.Split(text, "\n")
	line := func(n int) string {
		if n < len(lines) {
			return strings.TrimSpace(lines[n])
		}
		return ""
	}
	if _, err := fmt.Sscanf(line(0), "%d", &p.pid); err != nil || p.pid < 0 { // negative: a server of a single user
		p.pid = 0
	}
	p.port, p.socket, p.status = line(3), line(4), line(7)
	return p
}

// running is the process of the server on a directory, 0 when there is none.
func running(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return 0
	}
	pid := parsePostmaster(string(text)).pid
	if pid == 0 || errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return 0
	}
	return pid
}

// wait looks at the server's files, which needs no right to sign in, until recovery has ended or pauses.
func (s *restoredServer) wait(ctx context.Context) (reached, error) {
	for {
		text, _ := os.ReadFile(filepath.Join(s.dir, "postmaster.pid"))
		m := parsePostmaster(string(text))
		control, err := readControl(s.dir)
		alive := running(s.dir) != 0
		s.seen = s.seen || alive
		switch {
		case err == nil && alive && control.State == pgdata.StateProduction && m.status == "ready":
			return s.promoted(ctx, m)
		case alive && s.plan.rec.action == "pause" && (m.status == "standby" || m.status == "ready"):
			if r, is, err := s.paused(ctx, m); err != nil || is {
				return r, err
			}
		case err == nil && s.seen && !alive && s.plan.rec.action != "promote" && control.State == pgdata.StateShutDownInRecovery:
			return reached{lsn: control.MinRecovery.String(), timeline: int(control.MinRecoveryTimeline), why: "the server has shut down there, as it was told"}, nil
		case !alive && (s.seen || time.Since(s.begun) > startGrace):
			return reached{}, fmt.Errorf("it ended before it had recovered%s; what it said is in %s and where its configuration says", after(s.lastWords()), filepath.Join(s.dir, startLog))
		}
		select {
		case <-ctx.Done():
			return reached{}, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func readControl(dir string) (pgdata.Control, error) {
	raw, err := os.ReadFile(filepath.Join(dir, pgdata.ControlPath))
	if err != nil {
		return pgdata.Control{}, err
	}
	return pgdata.ParseControl(raw)
}

// notAsked is told in place of a time.
const notAsked = "the time of the last transaction is not known: no role of the source may sign in there"

// promoted tells where recovery ended. A server that lets nobody in is known by its files: the timeline that began then left its
// parent there; one that had only the base backup's own WAL stays on its timeline.
func (s *restoredServer) promoted(ctx context.Context, m postmaster) (reached, error) {
	if r, err := s.signIn(ctx, m); err == nil {
		return r, nil
	}
	if s.plan.rec.command == "" {
		return reached{lsn: s.plan.Document.End, timeline: int(s.plan.Document.Timeline), why: notAsked}, nil
	}
	h, err := newestHistory(filepath.Join(s.dir, "pg_wal"))
	if err != nil {
		return reached{}, err
	}
	parent, ok := h.Parent()
	if !ok {
		return reached{}, fmt.Errorf("%s tells of no switch", wal.HistoryName(h.Timeline))
	}
	return reached{lsn: parent.At.String(), timeline: int(h.Timeline), why: notAsked}, nil
}

// signIn asks the server itself.
func (s *restoredServer) signIn(ctx context.Context, m postmaster) (reached, error) {
	srv, conn, err := s.dial(ctx, m)
	if err != nil {
		return reached{}, err
	}
	defer closeConn(ctx, conn)
	r, err := askReached(ctx, conn)
	return r, srv.hide(err)
}

// dial connects with the name and password that the source has, which the copy has too.
func (s *restoredServer) dial(ctx context.Context, m postmaster) (*server, *pgx.Conn, error) {
	source, err := sourceParams(s.req.Source.Postgres)
	if err != nil {
		return nil, nil, err
	}
	p := params{"host": m.socket, "port": m.port, "user": source["user"], "password": source["password"], "sslmode": "disable"}
	if m.socket == "" {
		p["host"] = "localhost"
	}
	return dial(ctx, p, "holdfast restore")
}

func newestHistory(dir string) (h wal.History, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return h, err
	}
	var newest wal.Timeline
	for _, e := range entries {
		if n := wal.ParseName(e.Name()); n.Kind == wal.KindHistory {
			newest = max(newest, n.Timeline)
		}
	}
	if newest == 0 {
		return h, fmt.Errorf("no timeline began in %s when recovery ended", dir)
	}
	content, err := os.ReadFile(filepath.Join(dir, wal.HistoryName(newest)))
	if err != nil {
		return h, err
	}
	return wal.ParseHistory(newest, content)
}

// paused asks whether recovery pauses at its target. A server whose hot_standby is off shuts down instead.
func (s *restoredServer) paused(ctx context.Context, m postmaster) (reached, bool, error) {
	srv, conn, err := s.dial(ctx, m)
	if err != nil {
		return reached{}, true, fmt.Errorf("ask whether recovery pauses: %w; give the source a role that may sign in, or use -action=promote", err)
	}
	defer closeConn(ctx, conn)
	sql := "select pg_get_wal_replay_pause_state() = 'paused'"
	if majorOf(s.plan.Document.Version) < 14 {
		sql = "select pg_is_wal_replay_paused()"
	}
	var is bool
	if err := conn.QueryRow(ctx, sql).Scan(&is); err != nil || !is {
		return reached{}, false, srv.hide(err)
	}
	r, err := askReached(ctx, conn)
	r.why = "recovery pauses there: look, then select pg_wal_replay_resume()"
	return r, true, srv.hide(err)
}

// compare refuses what is not where recovery had to end.
func (s *restoredServer) compare(r reached) error {
	at, err := wal.ParseLSN(r.lsn)
	if err != nil {
		return err
	}
	if s.plan.reach != nil {
		return s.plan.reach.reached(at)
	}
	_, end, err := s.plan.Document.Positions()
	if err == nil && at < end {
		err = fmt.Errorf("recovery ended at %s, and the base backup is consistent at %s only", at, end)
	}
	return err
}

// lastWords is the end of what the server said, where it was told to say it to nobody else.
func (s *restoredServer) lastWords() string {
	raw, err := os.ReadFile(filepath.Join(s.dir, startLog))
	if err != nil {
		return ""
	}
	return fatalLines(string(raw))
}
