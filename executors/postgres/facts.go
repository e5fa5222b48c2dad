package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// facts are what a server tells of itself.
type facts struct {
	version    string // such as "15.18"
	major      int
	systemID   string // empty when the role may not read it
	inRecovery bool
	roles      int
	rolesReach bool // the role may read password hashes
}

func readFacts(ctx context.Context, conn *pgx.Conn) (facts, error) {
	var f facts
	var number string
	err := conn.QueryRow(ctx, `select current_setting('server_version'), current_setting('server_version_num'), pg_is_in_recovery(),
		(select count(*) from pg_roles where rolname !~ '^pg_'), has_table_privilege('pg_catalog.pg_authid', 'select')`).
		Scan(&f.version, &number, &f.inRecovery, &f.roles, &f.rolesReach)
	if err != nil {
		return facts{}, fmt.Errorf("read server facts: %w", err)
	}
	f.version, _, _ = strings.Cut(f.version, " ") // distributions add their own version
	n, err := strconv.Atoi(number)
	if err != nil {
		return facts{}, fmt.Errorf("read server version %q: %w", number, err)
	}
	f.major = n / 10000
	// Managed services may refuse this; the identity is then unknown, which is no failure.
	_ = conn.QueryRow(ctx, `select system_identifier::text from pg_control_system()`).Scan(&f.systemID)
	return f, nil
}

// database is one row of pg_database, as much as making it again needs.
type database struct {
	name  string
	size  int64 // bytes on disk; 0 when the role may not connect
	attrs map[string]string
}

// listDatabases returns the databases that allow connections, templates aside, by name.
func listDatabases(ctx context.Context, conn *pgx.Conn) ([]database, error) {
	// As JSON, because the names and number of the locale columns differ between versions.
	rows, err := conn.Query(ctx, `select d.datname, pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding),
		case when has_database_privilege(d.oid, 'connect') then pg_database_size(d.oid) else 0 end,
		coalesce(j->>'datcollate', ''), coalesce(j->>'datctype', ''), coalesce(j->>'datlocprovider', 'c'),
		coalesce(j->>'datlocale', j->>'daticulocale', ''), coalesce(j->>'daticurules', '')
		from pg_database d, to_jsonb(d) j where d.datallowconn and not d.datistemplate order by d.datname`)
	if err != nil {
		return nil, fmt.Errorf("list databases: %w", err)
	}
	defer rows.Close()
	var out []database
	for rows.Next() {
		var db database
		var owner, encoding, collate, ctype, provider, locale, rules string
		if err := rows.Scan(&db.name, &owner, &encoding, &db.size, &collate, &ctype, &provider, &locale, &rules); err != nil {
			return nil, fmt.Errorf("list databases: %w", err)
		}
		db.attrs = map[string]string{
			attrDatabase: db.name, attrOwner: owner, attrEncoding: encoding, attrCollate: collate, attrCType: ctype, attrProvider: provider,
		}
		for k, v := range map[string]string{attrLocale: locale, attrICURules: rules} {
			if v != "" {
				db.attrs[k] = v
			}
		}
		out = append(out, db)
	}
	return out, rows.Err()
}

// Attributes of a dump's entry: what pg_dump does not keep and making the database again needs.
const (
	attrDatabase = "database"
	attrOwner    = "owner"
	attrEncoding = "encoding"
	attrCollate  = "collate"
	attrCType    = "ctype"
	attrProvider = "locale_provider" // c libc, i ICU, b builtin
	attrLocale   = "locale"          // of ICU and builtin
	attrICURules = "icu_rules"
	attrLSN      = "lsn"
	attrTime     = "time"
	attrSnapshot = "snapshot" // "exported", or why the dump had to take its own
)
