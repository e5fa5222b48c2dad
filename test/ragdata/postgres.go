package ragdata

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Schema is the tables that Load fills.
const Schema = `
create table documents (
	id       bigint primary key,
	title    text not null,
	url      text not null,
	created  timestamptz not null,
	metadata jsonb not null
);
create table chunks (
	id          bigint primary key,
	document_id bigint not null,
	position    int not null,
	content     text not null,
	metadata    jsonb not null,
	embedding   float4[] not null
);
create table accounts (
	aid      bigint primary key,
	bid      int not null,
	abalance int not null,
	filler   text not null
);
create index on chunks (document_id, position);
create index on chunks using gin (metadata);
`

// Tables are the names of the tables in Schema, each with a first column that is its key.
var Tables = []string{"documents", "chunks", "accounts"}

// bytesPerChunk is about what one chunk, its share of a document and its ten accounts take in a database, with their
// indexes.
const (
	bytesPerChunk    = 6200
	accountsPerChunk = 10
)

// Database says what is in a database: how many rows of each kind a seed gives.
type Database struct {
	Seed   uint64
	Chunks int64 // documents are an eighth, accounts tenfold
}

// SizedDatabase is a database that takes about size bytes in PostgreSQL.
func SizedDatabase(seed uint64, size int64) Database {
	return Database{Seed: seed, Chunks: max(chunksPerDocument, size/bytesPerChunk)}
}

// rows returns the number of rows of one of Tables.
func (d Database) rows(table string) int64 {
	switch table {
	case "documents":
		return d.Chunks / chunksPerDocument
	case "chunks":
		return d.Chunks
	default:
		return d.Chunks * accountsPerChunk
	}
}

// appendRow appends a row in the text form of COPY.
func (d Database) appendRow(b []byte, table string, row, version int64) []byte {
	switch table {
	case "documents":
		r := rowRng(d.Seed, tableDocuments, row, version)
		b = strconv.AppendInt(b, row, 10)
		b = append(b, '\t')
		b = appendText(b, &r, 30+r.below(50))
		b = fmt.Appendf(b, "\thttps://docs.example.com/%s/%d\t", kinds[row%int64(len(kinds))], row)
		b = epoch.Add(time.Duration(row)*17*time.Second).AppendFormat(b, time.RFC3339)
		b = append(b, '\t')
		b = appendMetadata(b, &r, row)
	case "chunks":
		r := rowRng(d.Seed, tableChunks, row, version)
		b = strconv.AppendInt(b, row, 10)
		b = append(b, '\t')
		b = strconv.AppendInt(b, row/chunksPerDocument, 10)
		b = append(b, '\t')
		b = strconv.AppendInt(b, row%chunksPerDocument, 10)
		b = append(b, '\t')
		b = appendText(b, &r, 1100+r.below(600))
		b = append(b, '\t')
		b = appendMetadata(b, &r, row)
		b = append(b, "\t{"...)
		var v [Dimensions]float32
		embedding(v[:], &r)
		for i, x := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendFloat(b, float64(x), 'g', -1, 32)
		}
		b = append(b, '}')
	default:
		r := rowRng(d.Seed, tableAccounts, row, version)
		b = fmt.Appendf(b, "%d\t%d\t%d\t", row, row/100000+1, version*int64(r.below(10000)-5000))
		b = appendText(b, &r, 84)
	}
	return append(b, '\n')
}

// reader streams the rows from first to end of a table, those that want accepts, as COPY's text.
type reader struct {
	Database
	table     string
	next, end int64
	version   int64
	want      func(row int64) bool
	left, buf []byte
}

func (r *reader) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		r.left = r.buf[:0]
		for ; len(r.left) < 1<<16 && r.next < r.end; r.next++ {
			if r.want == nil || r.want(r.next) {
				r.left = r.appendRow(r.left, r.table, r.next, r.version)
			}
		}
		r.buf = r.left
		if len(r.left) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// Load creates the tables and fills them. It expects a database without them.
func (d Database) Load(ctx context.Context, conn *pgconn.PgConn) error {
	if err := exec(ctx, conn, Schema); err != nil {
		return fmt.Errorf("create tables: %w", err)
	}
	for _, table := range Tables {
		src := &reader{Database: d, table: table, end: d.rows(table)}
		if _, err := conn.CopyFrom(ctx, src, "copy "+table+" from stdin"); err != nil {
			return fmt.Errorf("load %s: %w", table, err)
		}
	}
	return exec(ctx, conn, "analyze")
}

// Change alters the database that Load made, as a day does: one document in two hundred is ingested anew with all of its
// chunks, the accounts of one branch (one in a hundred) change, a few go, and one in a hundred chunks comes. Each round
// (1, 2, …) picks others. It returns how many rows changed, went or came.
func (d Database) Change(ctx context.Context, conn *pgconn.PgConn, round int64) (int64, error) {
	total := int64(0)
	for _, table := range Tables {
		if err := exec(ctx, conn, "create temp table changed (like "+table+")"); err != nil {
			return 0, err
		}
		src := &reader{Database: d, table: table, end: d.rows(table), version: round, want: d.picked(table, round)}
		tag, err := conn.CopyFrom(ctx, src, "copy changed from stdin")
		if err != nil {
			return 0, fmt.Errorf("load changed rows of %s: %w", table, err)
		}
		total += tag.RowsAffected()
		if err := exec(ctx, conn, replaceRows(table)); err != nil {
			return 0, fmt.Errorf("change %s: %w", table, err)
		}
	}
	added := &reader{Database: d, table: "chunks", next: d.Chunks + (round-1)*d.Chunks/100, end: d.Chunks + round*d.Chunks/100}
	tag, err := conn.CopyFrom(ctx, added, "copy chunks from stdin")
	if err != nil {
		return 0, fmt.Errorf("add chunks: %w", err)
	}
	first := d.branch(round) + d.rows("accounts")/100
	gone, err := conn.Exec(ctx, fmt.Sprintf("delete from accounts where aid between %d and %d", first, first+20)).ReadAll()
	if err != nil {
		return 0, fmt.Errorf("delete accounts: %w", err)
	}
	return total + tag.RowsAffected() + gone[0].CommandTag.RowsAffected(), nil
}

// picked tells which rows of a table a round changes.
func (d Database) picked(table string, round int64) func(row int64) bool {
	document := func(row int64) bool {
		r := newRng(d.Seed, tableChange, uint64(round), uint64(row))
		return r.below(200) == 0
	}
	switch table {
	case "documents":
		return document
	case "chunks":
		return func(row int64) bool { return document(row / chunksPerDocument) }
	default:
		first := d.branch(round)
		return func(row int64) bool { return row >= first && row < first+d.rows("accounts")/100 }
	}
}

// branch is the first account that a round changes.
func (d Database) branch(round int64) int64 { return d.rows("accounts") / 100 * (round * 37 % 98) }

// replaceRows writes the rows of the table changed over those of the same key.
func replaceRows(table string) string {
	columns := map[string][]string{
		"documents": {"id", "title", "url", "created", "metadata"},
		"chunks":    {"id", "document_id", "position", "content", "metadata", "embedding"},
		"accounts":  {"aid", "bid", "abalance", "filler"},
	}[table]
	var b bytes.Buffer
	fmt.Fprintf(&b, "update %s t set ", table)
	for i, c := range columns[1:] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s = c.%s", c, c)
	}
	fmt.Fprintf(&b, " from changed c where t.%s = c.%s; drop table changed", columns[0], columns[0])
	return b.String()
}

func exec(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	_, err := conn.Exec(ctx, sql).ReadAll()
	return err
}
