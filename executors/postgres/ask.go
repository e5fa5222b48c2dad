package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// DefaultCheckTimeout is how long one check's query may run.
const DefaultCheckTimeout = 10 * time.Minute

const codeCanceled = "57014"

// ask asks every check. A check that cannot be answered is a result; only a lost server is an error.
func (r *rehearsal) ask(ctx context.Context) error {
	for _, c := range r.req.Rehearsal.Checks {
		self, err := r.askOne(ctx, c)
		switch {
		case err == nil:
			r.result.Checks = append(r.result.Checks, executors.Judge(c, self, "value", "rows"))
		case ctx.Err() != nil, errors.Is(err, executors.ErrScratch), lacked(err) && !hasCode(err, codeDenied), !r.place.alive(ctx):
			return executors.Scratch(fmt.Errorf("ask check %q: %w", c.Name, r.place.srv.hide(err)))
		default:
			if hasCode(err, codeCanceled) {
				err = fmt.Errorf("its query took longer than %s", r.executor.checkTimeout)
			}
			r.result.Checks = append(r.result.Checks, executors.Unanswered(c, r.place.srv.hide(err)))
		}
	}
	return nil
}

// askOne runs a check's query in a transaction that can write nothing.
func (r *rehearsal) askOne(ctx context.Context, c policy.Check) (map[string]any, error) {
	if c.Query == "" {
		return nil, errors.New("a check of PostgreSQL needs a query")
	}
	database := c.Database
	if database == "" {
		database = r.dumps[0].database
	}
	name, ok := r.databases[database]
	if !ok {
		return nil, fmt.Errorf("the restore point holds no database %q; it holds %s", database, r.databaseNames())
	}
	conn, err := r.place.srv.openDatabase(ctx, name)
	if err != nil {
		return nil, executors.Scratch(err)
	}
	defer closeConn(ctx, conn)
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, executors.Scratch(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, "set local statement_timeout = "+millis(r.executor.checkTimeout)); err != nil {
		return nil, executors.Scratch(err)
	}
	return query(ctx, tx, c.Query)
}

func (r *rehearsal) databaseNames() string {
	names := make([]string, len(r.dumps))
	for i, d := range r.dumps {
		names[i] = d.database
	}
	return executors.ListSome(names, 10)
}

// query returns the first column of the first row and the number of rows, of which it keeps no more than one.
func query(ctx context.Context, tx pgx.Tx, sql string) (map[string]any, error) {
	rows, err := tx.Query(ctx, sql, pgx.QueryResultFormats{pgx.TextFormatCode})
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	self := map[string]any{"value": nil, "rows": int64(0)}
	n := int64(0)
	for rows.Next() {
		if raw := rows.RawValues(); n == 0 && len(raw) > 0 && raw[0] != nil {
			self["value"] = plainValue(rows.FieldDescriptions()[0].DataTypeOID, string(raw[0]))
		}
		n++
	}
	self["rows"] = n
	return self, rows.Err()
}

// plainValue turns a value's text into what conditions compare: integers, other numbers, truth values, and text for all
// the rest. Infinities and NaN stay text: no number of a policy equals them.
func plainValue(oid uint32, text string) any {
	switch oid {
	case pgtype.BoolOID:
		return text == "t"
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.NumericOID:
		if n, err := strconv.ParseInt(wholeNumber(text), 10, 64); err == nil {
			return n
		}
		fallthrough
	case pgtype.Float4OID, pgtype.Float8OID:
		if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f
		}
	}
	return text
}

// wholeNumber drops a fraction of zeros, such as numeric division and sums of money leave.
func wholeNumber(text string) string {
	if whole, fraction, ok := strings.Cut(text, "."); ok && strings.Trim(fraction, "0") == "" {
		return whole
	}
	return text
}
