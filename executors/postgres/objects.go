package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors/postgres/archive"
)

// emptyQuery tells whether a database holds nothing of its users. What belongs to an extension does not count: many
// templates bring some.
const emptyQuery = `with own(classid, objid) as (
	select 'pg_class'::regclass, c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
	union all select 'pg_proc'::regclass, p.oid from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
	union all select 'pg_type'::regclass, t.oid from pg_type t join pg_namespace n on n.oid = t.typnamespace where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
	union all select 'pg_namespace'::regclass, oid from pg_namespace where nspname !~ '^pg_' and nspname not in ('information_schema', 'public')
	union all select 'pg_largeobject'::regclass, oid from pg_largeobject_metadata)
	select not exists(select from own where not exists(
		select from pg_depend d where d.classid = own.classid and d.objid = own.objid and d.deptype = 'e'))`

func isEmpty(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var empty bool
	if err := conn.QueryRow(ctx, emptyQuery).Scan(&empty); err != nil {
		return false, fmt.Errorf("look into the target database: %w", err)
	}
	return empty, nil
}

// objectExists tells whether the database has an object of the entry's kind and name. Kinds that are not looked up count
// as absent: making one that exists then fails, in a transaction that leaves everything as it was.
func objectExists(ctx context.Context, conn *pgx.Conn, e archive.Entry) (bool, error) {
	var sql, name string
	switch {
	case isRelation(e):
		sql, name = "select to_regclass($1) is not null", ident(e.Namespace, e.Tag)
	case e.Desc == "SCHEMA":
		sql, name = "select exists(select from pg_namespace where nspname = $1)", e.Tag
	case e.Desc == "EXTENSION":
		sql, name = "select exists(select from pg_extension where extname = $1)", e.Tag
	case e.Desc == "TYPE" || e.Desc == "DOMAIN" || e.Desc == "SHELL TYPE":
		sql, name = "select to_regtype($1) is not null", ident(e.Namespace, e.Tag)
	case e.Desc == "FUNCTION" || e.Desc == "PROCEDURE":
		// The tag is the signature, already quoted where it must be.
		sql, name = "select to_regprocedure($1) is not null", ident(e.Namespace)+"."+e.Tag
	default:
		return false, nil
	}
	var yes bool
	if err := conn.QueryRow(ctx, sql, name).Scan(&yes); err != nil {
		return false, fmt.Errorf("look for %s in the target database: %w", name, err)
	}
	return yes, nil
}

// missingTables returns which of the entries do not exist in the database.
func missingTables(ctx context.Context, conn *pgx.Conn, tables []archive.Entry) ([]string, error) {
	names := make([]string, len(tables))
	for i, e := range tables {
		names[i] = ident(e.Namespace, e.Tag)
	}
	rows, err := conn.Query(ctx, "select n from unnest($1::text[]) n where to_regclass(n) is null", names)
	if err != nil {
		return nil, fmt.Errorf("look for restored tables: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

var (
	grantee = regexp.MustCompile(`(?m) (?:TO|FROM) ` + namePattern + `(?: WITH GRANT OPTION)?;$`)
	forRole = regexp.MustCompile(`(?m)^ALTER DEFAULT PRIVILEGES FOR ROLE ` + namePattern + ` `)
	session = regexp.MustCompile(`(?m)^SET SESSION AUTHORIZATION ` + namePattern + `;$`)
)

// rolesOf returns the roles that restoring an entry names: its owner and those in its grants.
func rolesOf(e archive.Entry) []string {
	var out []string
	if e.Owner != "" {
		out = append(out, e.Owner)
	}
	if e.Desc != "ACL" && e.Desc != "DEFAULT ACL" {
		return out
	}
	for _, re := range []*regexp.Regexp{grantee, forRole, session} {
		for _, m := range re.FindAllStringSubmatch(e.Defn, -1) {
			if name := unquote(m[1]); m[1] != "PUBLIC" && m[1] != "DEFAULT" && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}
