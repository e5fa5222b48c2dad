package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/replication"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

var _ executors.WALReceiver = (*Executor)(nil)

// How a receiver behaves when the server is not there.
const (
	reconnectFirst = time.Second
	reconnectMost  = 30 * time.Second
	finalFlush     = 30 * time.Second // for what came before the receiver was told to end
)

// ReceiveWAL implements executors.WALReceiver over a physical replication slot.
func (x *Executor) ReceiveWAL(ctx context.Context, req executors.WALRequest, to executors.WALArchive) error {
	if req.Backup.Physical == nil || req.Backup.Physical.WAL.Slot == "" {
		return fmt.Errorf("receive WAL of %s: its physical block has no wal { mode = \"stream\" }", req.Backup.Address)
	}
	r := &receiver{req: req, to: to, log: req.Log}
	if r.log == nil {
		r.log = discard
	}
	pause := reconnectFirst
	for {
		err := r.session(ctx)
		var fatal *fatalError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &fatal):
			return fmt.Errorf("receive WAL of %s: %w", req.Backup.Address, fatal.error)
		case err == nil && req.Once:
			return nil
		case err == nil: // the server has shut down, or a timeline ended
			pause = reconnectFirst
		default:
			r.log.Warn("WAL is not received; trying again", "address", req.Backup.Address, "err", err, "pause", pause)
		}
		if r.progressed {
			pause, r.progressed = reconnectFirst, false
		}
		r.tell(err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		pause = min(2*pause, reconnectMost)
	}
}

// fatalError is what no reconnecting mends.
type fatalError struct{ error }

func (e *fatalError) Unwrap() error { return e.error }

// receiver is one run of ReceiveWAL.
type receiver struct {
	req        executors.WALRequest
	to         executors.WALArchive
	log        *slog.Logger
	system     string // of the first session; later ones must be of the same
	size       wal.SegmentSize
	status     executors.WALStatus
	progressed bool
}

func (r *receiver) tell(problem error) {
	r.status.Problem = problem
	if r.req.Tell != nil {
		r.req.Tell(r.status)
	}
}

// session connects and receives until the connection ends.
func (r *receiver) session(ctx context.Context) error {
	srv, conn, err := dialSource(ctx, r.req.Source, "holdfast wal receive")
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	c, err := srv.replicate(ctx, "holdfast wal receive")
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the stream was ended in order, or not at all
	return srv.hide(r.connected(ctx, srv, conn, c))
}

func (r *receiver) connected(ctx context.Context, srv *server, conn *pgx.Conn, c *replication.Conn) error {
	sys, err := c.IdentifySystem(ctx)
	if err != nil {
		return err
	}
	id := strconv.FormatUint(sys.ID, 10)
	if r.system != "" && r.system != id {
		return &fatalError{fmt.Errorf("the server at %s is another one now: its system identifier is %s, before it was %s. Start the receiver anew when that is right", srv.params.address(), id, r.system)}
	}
	r.system, r.status.System = id, id
	if err := r.readSize(ctx, c); err != nil {
		return err
	}
	slot := r.req.Backup.Physical.WAL.Slot
	if err := srv.ensureSlot(ctx, conn, c, slot); err != nil {
		return err
	}
	history, err := r.keepHistory(ctx, c, wal.Timeline(sys.Timeline))
	if err != nil {
		return err
	}
	at, err := r.begin(ctx, conn, history, slot, sys)
	if err != nil {
		return err
	}
	for {
		next, err := r.timeline(ctx, c, at, slot, sys.Flush)
		if err != nil || next.Timeline == 0 {
			return err
		}
		if _, err = r.keepHistory(ctx, c, next.Timeline); err != nil {
			return err
		}
		at = next
	}
}

func (r *receiver) readSize(ctx context.Context, c *replication.Conn) error {
	n, err := c.SegmentSize(ctx)
	if err != nil {
		return err
	}
	r.size = wal.SegmentSize(n)
	return r.size.Check()
}

// keepHistory archives the history files of a timeline and of its ancestors, before any WAL of it.
func (r *receiver) keepHistory(ctx context.Context, c *replication.Conn, t wal.Timeline) (wal.History, error) {
	if t == 1 {
		return wal.History{Timeline: 1}, nil
	}
	name, content, err := c.TimelineHistory(ctx, uint32(t))
	if err != nil {
		return wal.History{}, err
	}
	h, err := wal.ParseHistory(t, content)
	if err != nil {
		return wal.History{}, err
	}
	for _, ancestor := range h.Chain() {
		if ancestor != t && ancestor != 1 {
			name, content, err := c.TimelineHistory(ctx, uint32(ancestor))
			if err != nil {
				r.log.Warn("the history of an earlier timeline is not on the server any more", "timeline", ancestor, "err", err)
				continue
			}
			if err := r.push(ctx, name, content); err != nil {
				return wal.History{}, err
			}
		}
	}
	return h, r.push(ctx, name, content)
}

// place is where a stream begins.
type place struct {
	wal.Timeline
	LSN wal.LSN
}

// begin decides where to go on: behind what is archived, on the server's way; with nothing there, where the slot begins.
func (r *receiver) begin(ctx context.Context, conn *pgx.Conn, h wal.History, slot string, sys replication.System) (place, error) {
	stored, err := r.stored(ctx, h)
	if err != nil {
		return place{}, err
	}
	var kept string
	if err := conn.QueryRow(ctx, `select coalesce(restart_lsn::text, '') from pg_replication_slots where slot_name = $1`, slot).Scan(&kept); err != nil {
		return place{}, fmt.Errorf("read the replication slot %q: %w", slot, err)
	}
	oldest := sys.Flush
	if kept != "" {
		if oldest, err = wal.ParseLSN(kept); err != nil {
			return place{}, err
		}
	}
	oldest = r.size.Start(r.size.Number(oldest))
	at := stored
	switch {
	case stored == 0:
		at = oldest
	case stored > sys.Flush && r.size.Number(stored) > r.size.Number(sys.Flush):
		return place{}, fmt.Errorf("the archive goes to %s on timeline %d, and the server only to %s: it is an earlier copy, or a standby that lags. Nothing is received until it has passed that", stored, h.Timeline, sys.Flush)
	}
	if at < oldest {
		if has, err := r.serverHas(ctx, conn, h, at); err != nil || !has {
			r.log.Error("WAL is missing: the server has removed what was not archived; make a new base backup", "from", at, "to", oldest, "err", err)
			r.tell(fmt.Errorf("WAL from %s to %s is missing: the server has removed it; make a new base backup", at, oldest))
			at = oldest
		}
	}
	return place{h.At(at), at}, nil
}

// serverHas tells whether a segment is still in the server's pg_wal although no slot keeps it. Roles that may not look are told
// no.
func (r *receiver) serverHas(ctx context.Context, conn *pgx.Conn, h wal.History, at wal.LSN) (has bool, err error) {
	name := h.SegmentAt(r.size.Number(at), r.size).Name(r.size)
	err = conn.QueryRow(ctx, `select exists (select from pg_ls_waldir() where name = $1)`, name).Scan(&has)
	return has, err
}

// stored is the beginning of the segment that is to be received next, on the way to a timeline: behind the newest whole one, or
// the newest that pieces are there of. 0 when nothing is there.
func (r *receiver) stored(ctx context.Context, h wal.History) (wal.LSN, error) {
	names, err := r.to.Files(ctx, r.system)
	if err != nil {
		return 0, err
	}
	var next uint64
	for _, name := range names {
		segment, _, piece := strings.Cut(name, ".")
		n := wal.ParseName(segment)
		if n.Kind != wal.KindSegment || wal.ParseName(name).Kind == wal.KindBackup {
			continue
		}
		s, err := n.Segment(r.size)
		if err != nil {
			return 0, err
		}
		if _, _, ok := h.Range(s.Timeline); !ok || h.SegmentAt(s.Number, r.size) != s {
			continue
		}
		if !piece {
			s.Number++
		}
		next = max(next, s.Number)
	}
	return r.size.Start(next), nil
}

func (r *receiver) push(ctx context.Context, name string, content []byte) error {
	return r.to.Push(ctx, r.system, name, bytesReader(content), int64(len(content)))
}
