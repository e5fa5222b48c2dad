package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-io/holdfast/test/ragdata"
)

func (d *demo) connect(ctx context.Context, database string) (*pgconn.PgConn, error) {
	conn, err := pgconn.Connect(ctx, d.server.DSN(database))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", database, err)
	}
	return conn, nil
}

// query returns the rows of a query as text.
func (d *demo) query(ctx context.Context, database, sql string) ([][][]byte, error) {
	conn, err := d.connect(ctx, database)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", database, err)
	}
	return results[0].Rows, nil
}

// fingerprint is what a database holds, a line per table and for its structure: how many rows, and a hash over all of
// them in order.
func (d *demo) fingerprint(ctx context.Context, database string) (map[string]string, error) {
	lines := map[string]string{}
	for _, table := range ragdata.Tables {
		rows, err := d.query(ctx, database, fmt.Sprintf(
			"select count(*) || ' rows, md5 ' || md5(string_agg(md5(t::text), '' order by %s)) from %s t", key(table), table))
		if err != nil {
			return nil, err
		}
		lines[table] = string(rows[0][0])
	}
	rows, err := d.query(ctx, database, `
		select format('%s.%s %s %s', table_name, column_name, data_type, is_nullable) from information_schema.columns where table_schema = 'public'
		union all select indexdef from pg_indexes where schemaname = 'public'
		union all select pg_get_viewdef(c.oid) from pg_class c where relkind = 'v' and relnamespace = 'public'::regnamespace
		order by 1`)
	if err != nil {
		return nil, err
	}
	var structure []string
	for _, r := range rows {
		structure = append(structure, string(r[0]))
	}
	lines["columns, indexes and views"] = strings.Join(structure, "; ")
	return lines, nil
}

// key is the first column of one of ragdata's tables.
func key(table string) string {
	if table == "accounts" {
		return "aid"
	}
	return "id"
}

// compareRows reads a table of two databases side by side and compares every column of every row.
func (d *demo) compareRows(ctx context.Context, table, one, other string) (int64, error) {
	var readers [2]*pgconn.ResultReader
	for i, database := range []string{one, other} {
		conn, err := d.connect(ctx, database)
		if err != nil {
			return 0, err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		readers[i] = conn.ExecParams(ctx, fmt.Sprintf("select * from %s order by %s", table, key(table)), nil, nil, nil, nil)
	}
	rows := int64(0)
	for {
		a, b := readers[0].NextRow(), readers[1].NextRow()
		if a != b {
			return rows, fmt.Errorf("%s: %s and %s differ in the number of rows, after %d", table, one, other, rows)
		}
		if !a {
			break
		}
		rows++
		va, vb := readers[0].Values(), readers[1].Values()
		if len(va) != len(vb) {
			return rows, fmt.Errorf("%s: %d columns in %s, %d in %s", table, len(va), one, len(vb), other)
		}
		for c := range va {
			if (va[c] == nil) != (vb[c] == nil) || !bytes.Equal(va[c], vb[c]) {
				return rows, fmt.Errorf("%s: row %s differs in column %d", table, va[0], c+1)
			}
		}
	}
	_, errA := readers[0].Close()
	_, errB := readers[1].Close()
	return rows, errors.Join(errA, errB)
}
