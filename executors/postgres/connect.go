package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-io/holdfast/policy"
)

// connectTimeout is in seconds, for both clients, where the connection string says none. A black-holed address must not
// hold a backup for the minutes that TCP takes.
const connectTimeout = "15"

// maintenanceDatabases are where to connect when no database was named: one that every server has.
var maintenanceDatabases = []string{"postgres", "template1"}

// server is one reachable server: the host that answered, and how to sign in.
type server struct {
	params   params // one host; dbname is the one connected to first
	named    bool   // the connection string named a database
	password string
}

// dialSource connects to a source. The caller closes the connection.
func dialSource(ctx context.Context, src policy.Source, app string) (*server, *pgx.Conn, error) {
	p, err := sourceParams(src.Postgres)
	if err != nil {
		return nil, nil, err
	}
	return dial(ctx, p, app)
}

// dial connects to the first host that answers, in the named database or a maintenance one.
func dial(ctx context.Context, p params, app string) (*server, *pgx.Conn, error) {
	p = p.with("application_name", app)
	if p["connect_timeout"] == "" {
		p["connect_timeout"] = connectTimeout
	}
	names := maintenanceDatabases
	named := p["dbname"] != ""
	if named {
		names = []string{p["dbname"]}
	}
	var errs []error
	for _, one := range p.hosts() {
		for _, name := range names {
			srv := &server{params: one.with("dbname", name), named: named, password: p["password"]}
			conn, err := srv.open(ctx)
			if err == nil {
				return srv, conn, nil
			}
			errs = append(errs, err)
			if !hasCode(err, codeNoDatabase) || named {
				break
			}
		}
	}
	return nil, nil, errors.Join(errs...)
}

// open connects to the server's own database and writes down what pgx found elsewhere (service and password files), so
// that the client programs reach the same server in the same way.
func (s *server) open(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(s.params.forDriver())
	if err != nil {
		// pgx's own text quotes the connection string.
		return nil, errors.New("connect to PostgreSQL: the connection parameters cannot be used; check sslmode, certificates, port and service")
	}
	s.password = cfg.Password
	s.params = s.params.with("host", cfg.Host, "port", strconv.Itoa(int(cfg.Port)), "user", cfg.User)
	// Poolers in front of a server do not keep prepared statements.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, s.describe(err)
	}
	return conn, nil
}

// openDatabase connects to another database of the same server.
func (s *server) openDatabase(ctx context.Context, name string) (*pgx.Conn, error) {
	other := *s
	other.params = s.params.with("dbname", name)
	return other.open(ctx)
}

// SQLSTATE codes that change what holdfast says or does.
const (
	codeNoDatabase      = "3D000"
	codeBadPassword     = "28P01"
	codeNotAllowed      = "28000"
	codeTooMany         = "53300"
	codeStarting        = "57P03"
	codeInUse           = "55006"
	codeDenied          = "42501"
	codeDuplicate       = "42P04"
	codeInvalidArgument = "22023"
	codeWrongObject     = "42809"
	codeUnsupported     = "0A000"
)

func hasCode(err error, codes ...string) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return false
	}
	for _, c := range codes {
		if pgErr.Code == c {
			return true
		}
	}
	return false
}

// describe says what a failed connection means and what to do.
func (s *server) describe(err error) error {
	advice := ""
	var netErr net.Error
	var opErr *net.OpError
	switch {
	case hasCode(err, codeBadPassword):
		advice = "check the user and password"
	case hasCode(err, codeNotAllowed):
		advice = "check pg_hba.conf, the user and sslmode"
	case hasCode(err, codeNoDatabase):
		advice = "name a database that exists"
	case hasCode(err, codeTooMany):
		advice = "raise max_connections or try again later"
	case hasCode(err, codeStarting):
		advice = "try again when it has started"
	case hasCode(err, codeDenied):
		advice = "grant CONNECT on the database to the user, or leave the database out with exclude_databases"
	case errors.As(err, &opErr), errors.As(err, &netErr):
		advice = "check that the server runs and that host and port can be reached from here"
	}
	cause := err
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		cause = pgErr // without the driver's list of attempts
	} else if inner := new(pgconn.ConnectError); errors.As(err, &inner) {
		cause = inner.Unwrap()
	}
	out := fmt.Errorf("connect to %s: %w", s.params.address(), cause)
	if advice != "" {
		out = fmt.Errorf("%w; %s", out, advice)
	}
	return s.hide(out)
}

// hiddenError shows an error without a secret and keeps its chain.
type hiddenError struct {
	text string
	err  error
}

func (e *hiddenError) Error() string { return e.text }
func (e *hiddenError) Unwrap() error { return e.err }

// hide returns err with the password masked in its text.
func (s *server) hide(err error) error {
	if err == nil {
		return nil
	}
	if text := s.mask(err.Error()); text != err.Error() {
		return &hiddenError{text, err}
	}
	return err
}

// mask replaces the password in a text, as it is and as URLs and connection strings write it.
func (s *server) mask(text string) string {
	if s.password == "" {
		return text
	}
	forms := []string{
		s.password, url.PathEscape(s.password), url.QueryEscape(s.password), url.UserPassword("", s.password).String()[1:],
		strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s.password), strconv.Quote(s.password),
	}
	for _, f := range forms {
		text = strings.ReplaceAll(text, f, "(sensitive)")
	}
	return text
}

// closeConn closes a connection in order even when ctx is done, so that the server does not log a lost client.
func closeConn(ctx context.Context, conn *pgx.Conn) { _ = conn.Close(context.WithoutCancel(ctx)) }
