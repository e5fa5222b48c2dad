package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

const (
	// statusInterval is the longest time between two reports; a shorter wal_sender_timeout makes it shorter.
	statusInterval = 10 * time.Second
	// stopLimit is how long the server may take to end a stream in order.
	stopLimit = 10 * time.Second
	// DefaultIdleLimit notices a dead network within the minute that PostgreSQL itself allows.
	DefaultIdleLimit = time.Minute
	// DefaultConfirmLimit is how long a server that shuts down is held up.
	DefaultConfirmLimit = 30 * time.Second
)

// ErrWALRemoved says that the server does not have the WAL any more. What is missing cannot be streamed: look for it in an
// archive, or make a new base backup.
var ErrWALRemoved = errors.New("the server has removed the WAL that was asked for")

// StreamOptions say what to stream.
type StreamOptions struct {
	Slot         string        // empty: none, and the server may remove WAL that was not sent yet
	Start        wal.LSN       // best the first byte of a segment, so that segments become whole
	Timeline     uint32        // of Start; an earlier one than the server's ends where the next begins
	IdleLimit    time.Duration // silence, after which the network counts as dead; 0: DefaultIdleLimit
	ConfirmLimit time.Duration // see Message.Confirm: after it the stream is ended; 0: DefaultConfirmLimit
}

// Stream is the WAL of one timeline as it is written. Next and Close are for one goroutine, the Set methods for any.
type Stream struct {
	s        *session
	report   *reporter
	opts     StreamOptions
	next     wal.LSN   // the first byte that did not come yet
	asked    int       // how often in a row the server has waited for a confirmation
	askedAt  time.Time // since when
	pinged   bool      // silence was answered with a question
	released bool
	end      End
	err      error // the first one stays; io.EOF after an orderly end
}

// End is how a stream ended in order.
type End struct {
	NextTimeline uint32  // 0 if the timeline did not end
	NextStart    wal.LSN // where the next timeline leaves this one
	Shutdown     bool    // the server shuts down: the connection is of no more use
}

// Stream starts to stream. When ctx ends, the stream is ended in order.
func (c *Conn) Stream(ctx context.Context, opts StreamOptions) (*Stream, error) {
	st, err := c.startStream(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("stream WAL from %s on timeline %d: %w", opts.Start, opts.Timeline, removed(err))
	}
	return st, nil
}

func (c *Conn) startStream(ctx context.Context, opts StreamOptions) (*Stream, error) {
	if opts.Timeline == 0 {
		return nil, errors.New("timeline 0 does not exist")
	}
	command := fmt.Sprintf("PHYSICAL %s TIMELINE %d", opts.Start, opts.Timeline)
	if opts.Slot != "" {
		if err := checkSlot(opts.Slot); err != nil {
			return nil, err
		}
		command = `SLOT "` + opts.Slot + `" ` + command
	}
	if opts.IdleLimit == 0 {
		opts.IdleLimit = DefaultIdleLimit
	}
	if opts.ConfirmLimit == 0 {
		opts.ConfirmLimit = DefaultConfirmLimit
	}
	if _, err := c.IdentifySystem(ctx); err != nil { // a standby before 14 refuses to stream otherwise
		return nil, err
	}
	text, err := c.Show(ctx, "wal_sender_timeout")
	if err != nil {
		return nil, err
	}
	interval, err := reportInterval(text)
	if err != nil {
		return nil, err
	}
	s, err := c.open(ctx, "stream", "START_REPLICATION "+command)
	if err != nil {
		return nil, err
	}
	st := &Stream{s: s, opts: opts, next: opts.Start}
	s.limit, s.timeout = opts.IdleLimit, opts.IdleLimit
	if err := st.start(interval); err != nil {
		s.abort()
		return nil, err
	}
	return st, nil
}

// start reads the first answer. A timeline that ends where the stream begins has no copy at all.
func (st *Stream) start(interval time.Duration) error {
	msg, err := st.s.receive()
	if err != nil {
		return err
	}
	switch msg.(type) {
	case *pgproto3.CopyBothResponse:
		st.s.limit = st.opts.IdleLimit / 2 // then the server is asked for a sign of life
		st.report = startReporter(st.s.send, interval, func() { _ = st.s.c.pg.Conn().SetReadDeadline(past) })
		return nil
	case *pgproto3.RowDescription:
		if err := st.timelineEnd(); err != nil {
			return err
		}
		st.release()
		st.err = io.EOF
		return nil
	}
	return unexpected(msg)
}

// SetFlushed says that all WAL before lsn is durable. The server may remove it, and transactions that wait for this stream
// commit. It is told at once.
func (st *Stream) SetFlushed(lsn wal.LSN) {
	if st.report != nil {
		st.report.set(0, lsn)
	}
}

// SetWritten says that all WAL before lsn has arrived. The server is told with the next report.
func (st *Stream) SetWritten(lsn wal.LSN) {
	if st.report != nil {
		st.report.set(lsn, 0)
	}
}

// End says how the stream ended, after Next has returned io.EOF.
func (st *Stream) End() End { return st.end }

// Next returns the next message: WAL without gaps, or a sign of life. It returns io.EOF when the stream has ended in order, by
// the end of the timeline or of the server; and, when ctx has ended, its cause.
func (st *Stream) Next() (Message, error) {
	if st.err != nil {
		return Message{}, st.err
	}
	m, err := st.receive()
	switch {
	case err == nil:
		return m, nil
	case errors.Is(err, io.EOF):
		st.err = err
	case st.s.ctx.Err() != nil:
		st.err = fmt.Errorf("stream WAL: %w", errors.Join(context.Cause(st.s.ctx), st.stop()))
	default:
		st.err = fmt.Errorf("stream WAL at %s: %w", st.next, removed(err))
		_ = st.Close()
	}
	return Message{}, st.err
}

// Close ends the stream, and with it the connection unless the stream has ended in order.
func (st *Stream) Close() error {
	if st.released {
		return nil
	}
	st.released = true
	if st.err == nil {
		st.err = errors.New("the stream was closed")
	}
	st.s.detach() // no more questions of the context
	_ = st.s.c.pg.Conn().SetDeadline(past)
	if st.report != nil {
		st.report.stop()
	}
	st.s.abort()
	return nil
}

func (st *Stream) receive() (Message, error) {
	for {
		if st.s.ctx.Err() != nil { // a stream that is always full would never block
			return Message{}, context.Cause(st.s.ctx)
		}
		msg, err := st.s.receive()
		if err != nil {
			if err := st.silence(err); err != nil {
				return Message{}, err
			}
			continue
		}
		st.pinged = false
		switch m := msg.(type) {
		case *pgproto3.CopyData:
			return st.message(m.Data)
		case *pgproto3.CopyDone:
			return Message{}, st.finish(&pgproto3.CopyDone{})
		case *pgproto3.CommandComplete: // without the end of the copy: the server has shut down, and all is confirmed
			st.end.Shutdown = true
			st.gone()
			return Message{}, io.EOF
		default:
			return Message{}, unexpected(msg)
		}
	}
}

// silence asks the server for a sign of life, once.
func (st *Stream) silence(err error) error {
	if failed := st.report.failure(); failed != nil {
		return failed
	}
	var stalled *StalledError
	if !errors.As(err, &stalled) {
		return err
	}
	if st.pinged {
		return &StalledError{st.opts.IdleLimit}
	}
	st.pinged = true
	return st.report.report(true)
}

// message checks that data goes on where it ended and answers what must be answered.
func (st *Stream) message(payload []byte) (Message, error) {
	m, err := parseMessage(payload)
	if err != nil {
		return Message{}, err
	}
	if m.Data != nil {
		if m.Start != st.next || m.Start+wal.LSN(len(m.Data)) < m.Start {
			return Message{}, fmt.Errorf("the server sent WAL from %s, want %s; there is a gap", m.Start, st.next)
		}
		st.next += wal.LSN(len(m.Data))
		st.asked = 0
		return m, nil
	}
	if !m.Confirm {
		st.asked = 0
		return m, nil
	}
	if err := st.report.answer(); err != nil {
		return Message{}, err
	}
	m.Confirm = !st.report.confirmed(m.ServerEnd)
	return m, st.askedAgain(m.Confirm)
}

// askedAgain ends the stream when the server has waited too long for what does not come: it could not shut down. Nothing is
// lost by that, because what is not confirmed stays on the server.
func (st *Stream) askedAgain(waits bool) error {
	if !waits {
		st.asked = 0
		return nil
	}
	if st.asked++; st.asked == 1 {
		st.askedAt = time.Now()
	}
	if st.asked < 2 || time.Since(st.askedAt) < st.opts.ConfirmLimit {
		return nil
	}
	st.end.Shutdown = true
	if err := st.stop(); err != nil {
		return err
	}
	return io.EOF
}

// stop ends the stream in order: a last report, then the end of the copy from both sides. WAL that still comes is not taken.
func (st *Stream) stop() error {
	st.s.detach()
	st.report.stop()
	conn := st.s.c.pg.Conn()
	_ = conn.SetReadDeadline(time.Now().Add(stopLimit))
	st.s.limit, st.s.timeout = stopLimit, stopLimit
	st.s.ctx = context.WithoutCancel(st.s.ctx)
	err := st.report.report(false)
	if err == nil {
		err = st.s.send(&pgproto3.CopyDone{})
	}
	for err == nil {
		var msg pgproto3.BackendMessage
		if msg, err = st.s.receive(); err != nil {
			break
		}
		switch msg.(type) {
		case *pgproto3.CopyData:
		case *pgproto3.CopyDone:
			if err = st.finish(); errors.Is(err, io.EOF) {
				return nil
			}
		case *pgproto3.CommandComplete:
			st.gone()
			return nil
		default:
			err = unexpected(msg)
		}
	}
	_ = st.Close()
	if st.end.Shutdown { // it may be gone by now
		return nil
	}
	return fmt.Errorf("end the stream in order: %w", err)
}

// finish reads what follows the server's end of the copy, and answers it. It returns io.EOF.
func (st *Stream) finish(answer ...pgproto3.FrontendMessage) error {
	st.report.stop()
	if len(answer) > 0 {
		if err := st.s.send(answer...); err != nil {
			return err
		}
	}
	for {
		msg, err := st.s.receive()
		if err != nil {
			return err
		}
		switch msg.(type) {
		case *pgproto3.RowDescription:
			if err := st.timelineEnd(); err != nil {
				return err
			}
			st.release()
			return io.EOF
		case *pgproto3.CommandComplete:
		case *pgproto3.ReadyForQuery:
			st.release()
			return io.EOF
		default:
			return unexpected(msg)
		}
	}
}

// timelineEnd reads which timeline follows, up to the end of the command.
func (st *Stream) timelineEnd() error {
	rows, err := st.s.restOfRows()
	if err != nil {
		return err
	}
	if len(rows) != 1 || len(rows[0]) < 2 {
		return errors.New("the server ended the timeline without telling the next one")
	}
	if st.end.NextTimeline, err = parseTimeline(rows[0][0]); err != nil {
		return err
	}
	if st.end.NextStart, err = wal.ParseLSN(string(rows[0][1])); err != nil {
		return err
	}
	for {
		msg, err := st.s.receive()
		if err != nil {
			return err
		}
		switch msg.(type) {
		case *pgproto3.CommandComplete: // one or two, by version
		case *pgproto3.ReadyForQuery:
			return nil
		default:
			return unexpected(msg)
		}
	}
}

func (st *Stream) release() {
	st.released = true
	st.s.release()
}

// gone closes a connection whose server has left.
func (st *Stream) gone() {
	st.released = true
	st.s.detach()
	st.report.stop()
	st.s.c.busy = ""
	_ = st.s.c.Close()
}

func removed(err error) error {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == codeNoFile && strings.Contains(pgErr.Message, "WAL") {
		return fmt.Errorf("%w: %w", ErrWALRemoved, pgErr)
	}
	return err
}
