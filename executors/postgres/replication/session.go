package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// StalledError says that the server was silent for too long while it should have spoken: the network or the server hangs.
type StalledError struct{ Limit time.Duration }

func (e *StalledError) Error() string {
	return fmt.Sprintf("the server has sent nothing for %s; check the network and the server, then connect again", e.Limit)
}

// past is a deadline that ends a read at once.
var past = time.Unix(1, 0)

// session is one long command on a connection: it owns the connection until it is over.
type session struct {
	c      *Conn
	ctx    context.Context
	limit  time.Duration // of one blocked read; 0 is none
	notice func(*pgconn.Notice)

	unwatch func() bool
	woken   chan struct{} // closed when the end of ctx has been dealt with

	writing sync.Mutex // the stream reports its progress while it reads
	timeout time.Duration
}

// open sends a command and makes the session the owner of the connection.
func (c *Conn) open(ctx context.Context, what, command string) (*session, error) {
	if err := c.begin(what); err != nil {
		return nil, err
	}
	s := &session{c: c, ctx: ctx, woken: make(chan struct{})}
	c.busy = what
	c.feed.before = s.beforeRead
	s.unwatch = context.AfterFunc(ctx, func() {
		_ = c.pg.Conn().SetReadDeadline(past)
		close(s.woken)
	})
	if err := s.send(&pgproto3.Query{String: command}); err != nil {
		s.abort()
		return nil, err
	}
	return s, nil
}

// beforeRead sets the deadline first and looks at the context then: an end in between sets its own deadline afterwards.
func (s *session) beforeRead() error {
	var deadline time.Time
	if s.limit > 0 {
		deadline = time.Now().Add(s.limit)
	}
	if err := s.c.pg.Conn().SetReadDeadline(deadline); err != nil {
		return err
	}
	return s.ctx.Err()
}

// release gives the connection back, ready for the next command.
func (s *session) release() {
	s.detach()
	_ = s.c.pg.Conn().SetDeadline(time.Time{})
	s.c.busy = ""
}

// abort ends the command by ending the connection.
func (s *session) abort() {
	s.detach()
	_ = s.c.Close()
}

func (s *session) detach() {
	if s.c.feed.before == nil {
		return
	}
	if !s.unwatch() {
		<-s.woken
	}
	s.c.feed.before = nil
}

// send writes messages in one piece. It may be called from several goroutines.
func (s *session) send(messages ...pgproto3.FrontendMessage) error {
	var buf []byte
	for _, m := range messages {
		var err error
		if buf, err = m.Encode(buf); err != nil {
			return err
		}
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	conn := s.c.pg.Conn()
	if s.timeout > 0 {
		_ = conn.SetWriteDeadline(time.Now().Add(s.timeout))
	}
	if _, err := conn.Write(buf); err != nil {
		if timedOut(err) {
			return &StalledError{s.timeout}
		}
		return fmt.Errorf("the connection is lost: %w", err)
	}
	return nil
}

// receive returns the next message that is of the command's own. It is valid until the next call.
func (s *session) receive() (pgproto3.BackendMessage, error) {
	for {
		msg, err := s.c.pg.Frontend().Receive()
		if err != nil {
			return nil, s.readError(err)
		}
		switch m := msg.(type) {
		case *pgproto3.ErrorResponse:
			return nil, pgconn.ErrorResponseToPgError(m)
		case *pgproto3.NoticeResponse:
			if s.notice != nil {
				s.notice((*pgconn.Notice)(pgconn.ErrorResponseToPgError((*pgproto3.ErrorResponse)(m))))
			}
		case *pgproto3.ParameterStatus: // after a reload of the configuration
		default:
			return msg, nil
		}
	}
}

func (s *session) readError(err error) error {
	switch {
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	case timedOut(err):
		return &StalledError{s.limit}
	}
	return fmt.Errorf("the connection is lost: %w", err)
}

func timedOut(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}

// rows reads one result: its rows, up to the end of the command that gave it.
func (s *session) rows() ([][][]byte, error) {
	if _, err := expect[*pgproto3.RowDescription](s); err != nil {
		return nil, err
	}
	return s.restOfRows()
}

func (s *session) restOfRows() ([][][]byte, error) {
	var rows [][][]byte
	for {
		msg, err := s.receive()
		if err != nil {
			return nil, err
		}
		switch m := msg.(type) {
		case *pgproto3.DataRow:
			rows = append(rows, cloneRow(m.Values))
		case *pgproto3.CommandComplete:
			return rows, nil
		default:
			return nil, unexpected(msg)
		}
	}
}

func cloneRow(values [][]byte) [][]byte {
	row := make([][]byte, len(values))
	for i, v := range values {
		if v != nil {
			row[i] = append([]byte{}, v...)
		}
	}
	return row
}

// expect receives a message that must be of one type.
func expect[T pgproto3.BackendMessage](s *session) (T, error) {
	var zero T
	msg, err := s.receive()
	if err != nil {
		return zero, err
	}
	m, ok := msg.(T)
	if !ok {
		return zero, unexpected(msg)
	}
	return m, nil
}

func unexpected(msg pgproto3.BackendMessage) error {
	return fmt.Errorf("the server sent a %T where the protocol allows none; is it PostgreSQL?", msg)
}
