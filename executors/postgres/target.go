package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/archive"
)

// cleanupTimeout bounds removing a failed restore's database after the request itself was cancelled.
const cleanupTimeout = 30 * time.Second

// createTemporary makes the database that the dump is restored into, removing what a killed restore left under the name.
func (r *restore) createTemporary(ctx context.Context, conn *pgx.Conn, d *dumpPlan, temp string) error {
	err := r.createDatabase(ctx, conn, d, temp)
	if hasCode(err, codeDuplicate) {
		var busy bool
		if err := conn.QueryRow(ctx, "select exists(select from pg_stat_activity where datname = $1)", temp).Scan(&busy); err != nil {
			return fmt.Errorf("look at database %q: %w", temp, err)
		}
		if busy {
			return fmt.Errorf("create database %q: another restore of this point to this target is under way", temp)
		}
		r.log.Info("removing the rest of an earlier restore", "database", temp)
		if _, err := conn.Exec(ctx, "drop database "+ident(temp)); err != nil {
			return fmt.Errorf("drop database %q of an earlier restore: %w", temp, err)
		}
		err = r.createDatabase(ctx, conn, d, temp)
	}
	if err != nil {
		return err
	}
	owner := d.entry.Attrs[attrOwner]
	if owner == "" || r.plan.opts.noOwner {
		return nil
	}
	if _, err := conn.Exec(ctx, "alter database "+ident(temp)+" owner to "+ident(owner)); err != nil {
		err = fmt.Errorf("give database to %q: %w; restore as a superuser or with -no-owner", owner, err)
		return errors.Join(err, r.dropTemporary(ctx, temp))
	}
	return nil
}

// createDatabase makes an empty database with the recorded encoding and locale, or, where the target does not know the
// locale, with its own: the data is the same, sort orders may differ.
func (r *restore) createDatabase(ctx context.Context, conn *pgx.Conn, d *dumpPlan, name string) error {
	base := "create database " + ident(name) + " template template0"
	if enc := d.entry.Attrs[attrEncoding]; enc != "" {
		base += " encoding " + literal(enc)
	}
	wanted := localeClauses(d.entry.Attrs, r.plan.facts.major)
	var refused, err error
	for _, locale := range []string{wanted, "", " lc_collate 'C' lc_ctype 'C'"} { // C goes with every encoding
		if _, err = conn.Exec(ctx, base+locale); !hasCode(err, codeInvalidArgument, codeWrongObject, codeUnsupported) {
			break
		}
		if refused == nil {
			refused = err
		}
	}
	if err == nil && refused != nil {
		r.result.Problems = append(r.result.Problems, executors.Problem{
			Path: d.entry.Path, Err: fmt.Errorf("the target does not know the locale of the original, sort orders may differ: %w", refused),
		})
	}
	if hasCode(err, codeDenied) {
		return fmt.Errorf("create database: %w; grant CREATEDB to the user, or have an empty database made and name it in the target", err)
	}
	if err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	return nil
}

func localeClauses(attrs map[string]string, major int) string {
	var b strings.Builder
	add := func(keyword, value string) {
		if value != "" {
			b.WriteString(" " + keyword + " " + literal(value))
		}
	}
	if major >= 15 {
		switch attrs[attrProvider] {
		case "i":
			b.WriteString(" locale_provider icu")
			add("icu_locale", attrs[attrLocale])
			if major >= 16 {
				add("icu_rules", attrs[attrICURules])
			}
		case "b":
			b.WriteString(" locale_provider builtin")
			add("builtin_locale", attrs[attrLocale])
		case "c":
			b.WriteString(" locale_provider libc")
		}
	}
	add("lc_collate", attrs[attrCollate])
	add("lc_ctype", attrs[attrCType])
	return b.String()
}

// makeSchemas makes the schemas that entries lie in but the dump does not hold: a dump of chosen tables has none.
func makeSchemas(ctx context.Context, conn *pgx.Conn, entries []archive.Entry) error {
	known := map[string]bool{"": true, "public": true, "pg_catalog": true, "information_schema": true}
	for _, e := range entries {
		if e.Desc == "SCHEMA" {
			known[e.Tag] = true
		}
	}
	for _, e := range entries {
		if known[e.Namespace] {
			continue
		}
		known[e.Namespace] = true
		if _, err := conn.Exec(ctx, "create schema "+ident(e.Namespace)); err != nil {
			return fmt.Errorf("create schema %q: %w", e.Namespace, err)
		}
	}
	return nil
}

// applyProperties brings back what belongs to the database itself: settings, grants and comment. The dump names the
// original database in them, so that name is replaced.
func (r *restore) applyProperties(ctx context.Context, conn *pgx.Conn, d *dumpPlan, name string) error {
	if d.part != nil {
		return nil
	}
	for _, e := range d.head.Entries {
		own := e.Desc == "DATABASE PROPERTIES"
		own = own || (e.Desc == "COMMENT" || e.Desc == "ACL" && !r.plan.opts.noOwner) && strings.HasPrefix(e.Tag, "DATABASE ")
		if !own {
			continue
		}
		// A name that needs no quotes is written without them.
		sql := strings.NewReplacer(
			"DATABASE "+ident(d.head.Database)+" ", "DATABASE "+ident(name)+" ",
			"DATABASE "+d.head.Database+" ", "DATABASE "+ident(name)+" ",
		).Replace(e.Defn)
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			if conn.IsClosed() {
				return fmt.Errorf("restore settings of the database: %w", err)
			}
			r.result.Problems = append(r.result.Problems, executors.Problem{
				Path: d.entry.Path, Err: fmt.Errorf("settings, grants or comment of the database itself were not restored: %w", err), Missing: true,
			})
		}
	}
	return nil
}

// takeName gives the finished database its name. An old one of that name steps aside in the same transaction, so that
// at every instant there is a complete database of the name or an error; it is dropped after that.
func (r *restore) takeName(ctx context.Context, d *dumpPlan, temp string) error {
	old := ""
	if d.way == waySwap {
		old = r.plan.temporaryName("hf_old_", d.target)
		// One that is there was replaced by a restore that was killed after its rename.
		if err := r.dropTemporary(ctx, old); err != nil {
			return err
		}
	}
	err := r.withServer(ctx, func(conn *pgx.Conn) error {
		var err error
		for range 3 { // clients may come back between being sent away and the rename
			if err = rename(ctx, conn, temp, d.target, old); !hasCode(err, codeInUse) {
				break
			}
		}
		return err
	})
	if err != nil {
		if hasCode(err, codeDuplicate) {
			return fmt.Errorf("%w: %w; it was made while the restore ran", executors.ErrTargetExists, err)
		}
		return err
	}
	if old == "" {
		return nil
	}
	if err := r.dropTemporary(ctx, old); err != nil {
		r.result.Problems = append(r.result.Problems, executors.Problem{
			Path: d.entry.Path, Err: fmt.Errorf("the replaced database is still there as %q and may be dropped: %w", old, err),
		})
	}
	return nil
}

func rename(ctx context.Context, conn *pgx.Conn, temp, target, old string) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if old != "" {
		if _, err := tx.Exec(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()", target); err != nil {
			return fmt.Errorf("end connections to %q: %w", target, err)
		}
		if _, err := tx.Exec(ctx, "alter database "+ident(target)+" rename to "+ident(old)); err != nil {
			return fmt.Errorf("rename database %q to %q: %w", target, old, err)
		}
	}
	if _, err := tx.Exec(ctx, "alter database "+ident(temp)+" rename to "+ident(target)); err != nil {
		return fmt.Errorf("rename database %q to %q: %w", temp, target, err)
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("rename databases: %w", err)
	}
	return nil
}

// dropTemporary removes a database of ours, whoever is connected, also after the request was cancelled.
func (r *restore) dropTemporary(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return r.withServer(ctx, func(conn *pgx.Conn) error {
		sql := "drop database if exists " + ident(name)
		if r.plan.facts.major >= 13 {
			sql += " with (force)"
		}
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("drop database %q: %w", name, err)
		}
		return nil
	})
}
