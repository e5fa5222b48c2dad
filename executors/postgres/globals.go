package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// maxGlobals bounds the size of globals.sql in memory; a hundred thousand roles need 30 MiB.
const maxGlobals = 256 << 20

func readGlobals(r io.Reader) (string, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxGlobals+1))
	switch {
	case err != nil:
		return "", err
	case len(raw) > maxGlobals:
		return "", errors.New("it is larger than 256 MiB")
	case !strings.Contains(string(raw), globalsEnd):
		return "", errors.New("its last line is missing: it was cut off")
	}
	return string(raw), nil
}

// statements splits pg_dumpall's SQL. Comments and psql's backslash commands are left out; quotes are respected.
func statements(sql string) ([]string, error) {
	var out []string
	start, lineStart := 0, true
	for i := 0; i < len(sql); {
		rest := sql[i:]
		switch {
		case strings.HasPrefix(rest, "--"), lineStart && rest[0] == '\\':
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				end = len(rest)
			}
			if strings.TrimSpace(sql[start:i]) == "" {
				start = i + end
			}
			i += end
			continue
		case rest[0] == '\'' || rest[0] == '"':
			escapes := rest[0] == '\'' && i > 0 && (sql[i-1] == 'E' || sql[i-1] == 'e')
			n := quotedLength(rest, escapes)
			if n < 0 {
				return nil, errors.New("a quote has no end: it was cut off")
			}
			i += n
			lineStart = false
			continue
		case rest[0] == ';':
			out = append(out, strings.TrimSpace(sql[start:i]))
			start = i + 1
		}
		lineStart = rest[0] == '\n'
		i++
	}
	if strings.TrimSpace(sql[start:]) != "" {
		return nil, errors.New("its last statement has no end: it was cut off")
	}
	return out, nil
}

// quotedLength returns the length of a quoted text at the start of s, quotes included; -1 without an end.
func quotedLength(s string, escapes bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == s[0] && i+1 < len(s) && s[i+1] == s[0]:
			i++
		case s[i] == s[0]:
			return i + 1
		}
	}
	return -1
}

const namePattern = `("(?:[^"]|"")+"|[^\s";]+)`

var (
	createRole  = regexp.MustCompile(`^CREATE ROLE ` + namePattern + `$`)
	alterRole   = regexp.MustCompile(`^(?:ALTER ROLE|COMMENT ON ROLE) ` + namePattern + ` `)
	labelOnRole = regexp.MustCompile(`^SECURITY LABEL .*ON ROLE ` + namePattern + ` `)
	grantRole   = regexp.MustCompile(`^GRANT ` + namePattern + ` TO ` + namePattern + `(?: |$)`)
)

// applyGlobals makes the roles that are missing, in one transaction. Roles that exist keep their passwords, settings and
// memberships: restoring one database must not change who may enter others. Tablespaces need folders on the server's
// disk and are left alone. It returns the names of the roles it made.
func applyGlobals(ctx context.Context, conn *pgx.Conn, sql string) ([]string, error) {
	all, err := statements(sql)
	if err != nil {
		return nil, err
	}
	have, err := roleNames(ctx, conn)
	if err != nil {
		return nil, err
	}
	var made, run []string
	isNew := map[string]bool{}
	for _, st := range all {
		switch {
		case createRole.MatchString(st):
			name := unquote(createRole.FindStringSubmatch(st)[1])
			if !have[name] {
				isNew[name] = true
				made, run = append(made, name), append(run, st)
			}
		case alterRole.MatchString(st):
			if isNew[unquote(alterRole.FindStringSubmatch(st)[1])] {
				run = append(run, st)
			}
		case labelOnRole.MatchString(st):
			if isNew[unquote(labelOnRole.FindStringSubmatch(st)[1])] {
				run = append(run, st)
			}
		case grantRole.MatchString(st):
			if isNew[unquote(grantRole.FindStringSubmatch(st)[2])] {
				run = append(run, withoutUnknownGrantor(st, have, isNew))
			}
		}
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin transaction: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	for _, st := range run {
		if _, err := conn.PgConn().Exec(ctx, st).ReadAll(); err != nil {
			// The statement may hold a password hash, so only what it is about is told.
			return nil, fmt.Errorf("run %q: %w", strings.Join(strings.Fields(st)[:3], " "), err)
		}
	}
	return made, tx.Commit(ctx)
}

var grantedBy = regexp.MustCompile(` GRANTED BY ` + namePattern + `$`)

// withoutUnknownGrantor drops a grantor that the target does not have, such as the bootstrap superuser of another server.
func withoutUnknownGrantor(st string, have, isNew map[string]bool) string {
	m := grantedBy.FindStringSubmatch(st)
	if m == nil || have[unquote(m[1])] || isNew[unquote(m[1])] {
		return st
	}
	return strings.TrimSuffix(st, m[0])
}

func roleNames(ctx context.Context, conn *pgx.Conn) (map[string]bool, error) {
	rows, err := conn.Query(ctx, "select rolname from pg_roles")
	if err != nil {
		return nil, fmt.Errorf("list roles: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list roles: %w", err)
	}
	out := map[string]bool{}
	for _, n := range names {
		out[n] = true
	}
	return out, nil
}

// unquote undoes the quoting of an identifier.
func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' {
		return strings.ReplaceAll(s[1:len(s)-1], `""`, `"`)
	}
	return s
}
