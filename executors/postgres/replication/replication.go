// Package replication speaks PostgreSQL's physical replication protocol, versions 13 to 18: base backups, slots, timelines and
// the stream of the write-ahead log.
//
// It stores nothing, retries nothing and decides nothing: bytes and facts go to the caller in the order in which the server
// sends them. It keeps two invariants: no more than a few messages are held in memory, and nothing is called complete
// before the server has said so. The protocol is described in the PostgreSQL manual, chapter "Frontend/Backend Protocol",
// section "Streaming Replication Protocol"; the sources are src/backend/replication and src/backend/backup.
package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Versions of the server this package can talk to. Newer ones are tried: the protocol has grown by options alone.
const (
	oldestVersion      = 13
	versionTypedCopy   = 15 // one copy with typed messages, options in parentheses, READ_REPLICATION_SLOT
	versionIncremental = 17
)

const (
	// maxMessage bounds one message, in bytes: the server sends at most 16 WAL pages at once, 1 MiB with the largest ones.
	maxMessage = 4 << 20
	readBuffer = 64 << 10
	// cancelLimit is how long the server is asked to stop before the connection is dropped anyway.
	cancelLimit = 3 * time.Second
)

// Conn is one replication connection: a walsender process of the server. It is for one goroutine at a time.
type Conn struct {
	pg    *pgconn.PgConn
	feed  *feed
	major int
	busy  string // what runs on it now
}

// feed is what the connection is read through: before each read that may block, it asks whether to.
type feed struct {
	r      io.Reader
	before func() error // nil between the copies
}

func (f *feed) Read(p []byte) (int, error) {
	if f.before != nil {
		if err := f.before(); err != nil {
			return 0, err
		}
	}
	return f.r.Read(p)
}

// Connect opens a replication connection. The configuration comes from pgconn.ParseConfig and is not changed. Its
// target_session_attrs are not asked, because a physical replication connection answers no queries: name one host.
// The error holds what the server and the driver said, with whatever they quote; the caller masks secrets in it.
func Connect(ctx context.Context, config *pgconn.Config) (*Conn, error) {
	cfg, c := config.Copy(), &Conn{}
	if cfg.RuntimeParams == nil {
		cfg.RuntimeParams = map[string]string{}
	}
	cfg.RuntimeParams["replication"] = "true"
	cfg.RuntimeParams["client_min_messages"] = "notice" // warnings name the damaged pages
	cfg.ValidateConnect, cfg.AfterConnect = nil, nil
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		c.feed = &feed{r: r}
		f := pgproto3.NewFrontend(bufio.NewReaderSize(c.feed, readBuffer), w)
		f.SetMaxBodyLen(maxMessage)
		return f
	}
	var err error
	address := net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
	if c.pg, err = pgconn.ConnectConfig(ctx, cfg); err != nil {
		return nil, fmt.Errorf("connect to %s for replication: %w", address, explain(err))
	}
	if c.major, err = majorVersion(c.pg.ParameterStatus("server_version")); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("connect to %s for replication: %w", address, err)
	}
	return c, nil
}

// Major is the server's major version, such as 15.
func (c *Conn) Major() int { return c.major }

// Close ends the connection, and at once whatever runs on it. Closing twice does nothing.
func (c *Conn) Close() error {
	if c.pg.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cancelLimit)
	defer cancel()
	if c.busy != "" {
		// A server that waits, for a checkpoint or its rate limit, does not see that the connection is gone.
		_ = c.pg.CancelRequest(ctx)
		_ = c.pg.Conn().SetDeadline(time.Unix(1, 0)) // nobody reads any more: do not wait for room to say goodbye
	}
	return c.pg.Close(ctx)
}

// begin claims the connection for a command.
func (c *Conn) begin(what string) error {
	if c.pg.IsClosed() {
		return fmt.Errorf("%s: the connection is closed; connect again", what)
	}
	if c.busy != "" {
		return fmt.Errorf("%s: the connection is busy with a %s; finish or close that first", what, c.busy)
	}
	return nil
}

// majorVersion reads "15.18 (Debian 15.18-0+deb12u1)" and "18beta1".
func majorVersion(text string) (int, error) {
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(text)
	}
	major, err := strconv.Atoi(text[:end])
	if err != nil {
		return 0, fmt.Errorf("the server says its version is %.40q, which cannot be read", text)
	}
	if major < oldestVersion {
		return 0, fmt.Errorf("the server is PostgreSQL %d; physical backups need %d or newer", major, oldestVersion)
	}
	return major, nil
}

// SQLSTATE codes that change what is said or done.
const (
	codeBadPassword  = "28P01"
	codeNotAllowed   = "28000"
	codeDenied       = "42501"
	codeTooMany      = "53300"
	codeExists       = "42710"
	codeUndefined    = "42704"
	codeNoFile       = "58P01"
	codeCorrupted    = "XX001"
	codePrerequisite = "55000"
)

// explain says what a refused replication connection means and what to do.
func explain(err error) error {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		if inner := new(pgconn.ConnectError); errors.As(err, &inner) {
			return inner.Unwrap()
		}
		return err
	}
	switch pgErr.Code { // the server's own error, without the driver's list of attempts
	case codeBadPassword:
		return fmt.Errorf("%w; check the user and password", pgErr)
	case codeNotAllowed, codeDenied:
		return fmt.Errorf("%w; the user needs the REPLICATION attribute and a line for the database \"replication\" in pg_hba.conf", pgErr)
	case codeTooMany:
		return fmt.Errorf("%w; raise max_wal_senders or end another replication connection", pgErr)
	}
	return pgErr
}

func hasCode(err error, code string) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == code
}
