package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/policy"
)

const (
	scratchPrefix   = "holdfast_scratch_"
	scratchBuilding = "_new" // ends the name of a scratch database while it is being restored
	scratchApp      = "holdfast rehearsal "
)

// scratchPlace is a server on which a restore is rehearsed. guard is a connection that lives as long as the place: it tells
// others that the scratch databases are in use, and us whether the server still lives.
type scratchPlace struct {
	params params
	srv    *server
	guard  *pgx.Conn
	facts  facts
	remove func(ctx context.Context) error

	id    string   // of a server that others use too: part of every name we make; empty on a server of our own
	names []string // databases we made, or began to make
}

// openGiven uses a server of the user's. Nothing that is there is touched, except what killed rehearsals left.
func openGiven(ctx context.Context, url *policy.Secret, log *slog.Logger) (*scratchPlace, error) {
	params, err := secretParams(url)
	if err != nil {
		return nil, fmt.Errorf("use the scratch server: %w", err)
	}
	p := &scratchPlace{params: params, id: strings.ToLower(rand.Text()[:12])}
	if p.srv, p.guard, err = dial(ctx, params, scratchApp+p.id); err != nil {
		return nil, fmt.Errorf("use the scratch server: %w", err)
	}
	p.remove = p.dropAll
	// Servers that end idle sessions must not take the guard for one; older ones do not know the setting.
	_, _ = p.guard.Exec(ctx, "set idle_session_timeout = 0")
	p.sweep(ctx, log)
	return p, nil
}

// name makes up the database that a dump is restored into; empty means its own name.
func (p *scratchPlace) name() string {
	if p.id == "" {
		return ""
	}
	name := fmt.Sprintf("%s%s_%d", scratchPrefix, p.id, len(p.names)/2+1)
	p.names = append(p.names, name, name+scratchBuilding)
	return name
}

// sweep drops scratch databases whose rehearsal is gone: no session bears its name, and none is in the database, else the
// server refuses to drop it.
func (p *scratchPlace) sweep(ctx context.Context, log *slog.Logger) {
	rows, err := p.guard.Query(ctx, `select d.datname from pg_database d where d.datname ~ '^`+scratchPrefix+`[a-z0-9]{12}_' and not exists (
		select from pg_stat_activity where application_name = `+literal(scratchApp)+` || substr(d.datname, `+fmt.Sprint(len(scratchPrefix)+1)+`, 12))`)
	var left []string
	if err == nil {
		left, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	for _, name := range left {
		if _, dropErr := p.guard.Exec(ctx, "drop database if exists "+ident(name)); dropErr == nil {
			log.Info("removed what an earlier rehearsal left", "database", name)
		} else {
			err = dropErr
		}
	}
	if err != nil {
		log.Warn("what earlier rehearsals left on the scratch server could not be removed", "err", p.srv.hide(err))
	}
}

// alive tells whether the server still answers.
func (p *scratchPlace) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return p.guard.Ping(ctx) == nil
}

// close leaves nothing behind, also after ctx ended.
func (p *scratchPlace) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	err := p.remove(ctx)
	closeConn(ctx, p.guard) // last: it is what spares the databases from another rehearsal's sweep
	return p.srv.hide(err)
}

// dropAll drops what was made on a server that stays, over a connection of its own: the guard may be lost.
func (p *scratchPlace) dropAll(ctx context.Context) error {
	_, conn, err := dial(ctx, p.params, "holdfast rehearsal")
	if err != nil {
		return fmt.Errorf("drop the scratch databases of %s: %w", p.id, err)
	}
	defer closeConn(ctx, conn)
	var errs []error
	for _, name := range p.names {
		if _, err := conn.Exec(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()", name); err != nil {
			errs = append(errs, fmt.Errorf("end connections to %q: %w", name, err))
		}
		sql := "drop database if exists " + ident(name)
		if p.facts.major >= 13 {
			sql += " with (force)"
		}
		if _, err := conn.Exec(ctx, sql); err != nil {
			errs = append(errs, fmt.Errorf("drop database %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
