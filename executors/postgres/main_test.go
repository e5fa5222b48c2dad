package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

// shared is the server of all tests that do not harm it; each makes databases of its own names.
var shared *pgserver.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if dsn := os.Getenv("HF_TEST_REHEARSE"); dsn != "" {
		return rehearseUntilKilled(dsn, os.Getenv("HF_TEST_DIR"))
	}
	if dsn := os.Getenv("HF_TEST_VIA"); dsn != "" {
		return recoverUntilKilled(dsn, os.Getenv("HF_TEST_DIR"))
	}
	dir, err := os.MkdirTemp("", "hfpg")
	if err == nil {
		defer os.RemoveAll(dir)
		shared, err = pgserver.Run(dir, pgserver.Options{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start PostgreSQL:", err)
		return 1
	}
	defer shared.Kill()
	return m.Run()
}

var names atomic.Int64

// newDatabase makes a database for one test.
func newDatabase(t *testing.T, name string, sql ...string) {
	t.Helper()
	execSQL(t, shared, "postgres", "create database "+ident(name))
	t.Cleanup(func() { dropDatabase(t, name) })
	for _, s := range sql {
		execSQL(t, shared, name, s)
	}
}

// uniqueName is a name no other test uses.
func uniqueName(prefix string) string { return fmt.Sprintf("%s_%d", prefix, names.Add(1)) }

func dropDatabase(t *testing.T, name string) {
	t.Helper()
	execSQL(t, shared, "postgres", "drop database if exists "+ident(name)+" with (force)")
}

func execSQL(t *testing.T, s *pgserver.Server, db, sql string) {
	t.Helper()
	if err := s.Exec(context.Background(), db, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// execAs runs SQL as another role of the shared server.
func execAs(role, password, db, sql string) error {
	conn, err := pgx.Connect(context.Background(), shared.DSNAs(role, password, db))
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(context.Background(), sql)
	return err
}

func secret(text string) *policy.Secret {
	return policy.NewSecret(`env("TEST")`, func() (string, error) { return text, nil })
}

func sourceOf(dsn string) policy.Source {
	return policy.Source{Address: "source.postgres.test", Kind: policy.KindPostgres, Postgres: &policy.PostgresSource{DSN: secret(dsn)}}
}

func logical(l policy.Logical) policy.Backup {
	return policy.Backup{Address: "backup.test", Logical: &l}
}

// only is a policy of the given databases, taken literally.
func only(names ...string) policy.Logical { return policy.Logical{Databases: names} }

func backupRequest(l policy.Logical) executors.BackupRequest {
	return executors.BackupRequest{Source: sourceOf(shared.DSN("postgres")), Backup: logical(l), Point: "20261122T000000Z-" + uniqueName("p")[2:] + "abc"}
}

func newPoint(point string) (*executortest.Store, *executortest.Sink) {
	store := executortest.NewStore()
	return store, store.Sink(point, executortest.Faults{})
}

// backedUp makes a restore point.
func backedUp(t *testing.T, req executors.BackupRequest) (*executortest.Store, *executortest.Supply, executors.Result) {
	t.Helper()
	store, sink := newPoint(req.Point)
	res, err := New(Options{}).Backup(t.Context(), req, sink)
	if err != nil {
		t.Fatalf("Backup: %v", err)
	}
	store.Commit(sink, res)
	return store, store.Supply(req.Point), res
}

func failedBackup(t *testing.T, x *Executor, req executors.BackupRequest, faults executortest.Faults) error {
	t.Helper()
	_, err := x.Backup(t.Context(), req, executortest.NewStore().Sink(req.Point, faults))
	if err == nil {
		t.Fatal("Backup succeeded, want an error")
	}
	return err
}

func restoreRequest(dsn string) executors.RestoreRequest {
	return executors.RestoreRequest{Target: executors.Target{URL: secret(dsn)}, Options: map[string]string{}}
}

func mustRestore(t *testing.T, req executors.RestoreRequest, from executors.Supply) executors.Result {
	t.Helper()
	x := New(Options{})
	if _, err := x.Preview(t.Context(), req, from); err != nil {
		t.Fatalf("Preview: %v", err)
	}
	res, err := x.Restore(t.Context(), req, from)
	if err != nil {
		t.Fatalf("Restore: %v", err)
	}
	return res
}

func queryAll(t *testing.T, s *pgserver.Server, db, sql string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DSN(db))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

// contents is every row of every table, every sequence's position, every large object, and every definition pg_get_* knows.
func contents(t *testing.T, s *pgserver.Server, db string) []string {
	t.Helper()
	out := queryAll(t, s, db, `select format('select %L || '': '' || t::text from only %I.%I t order by 1', relname, nspname, relname)
		from pg_class c join pg_namespace n on n.oid = relnamespace where nspname !~ '^pg_' and nspname <> 'information_schema' and relkind in ('r', 'm') order by nspname, relname`)
	var all []string
	for _, sql := range out {
		all = append(all, queryAll(t, s, db, sql)...)
	}
	for _, sql := range []string{
		`select 'sequence ' || schemaname || '.' || sequencename || ' ' || coalesce(last_value::text, '-') from pg_sequences order by 1`,
		`select 'large object ' || oid || ' ' || encode(lo_get(oid), 'hex') from pg_largeobject_metadata order by oid`,
		`select 'index ' || pg_get_indexdef(indexrelid) from pg_index i join pg_class c on c.oid = indrelid join pg_namespace n on n.oid = relnamespace where nspname !~ '^pg_' order by 1`,
		`select 'constraint ' || conname || ' ' || pg_get_constraintdef(oid) from pg_constraint where connamespace::regnamespace::text !~ '^pg_|information_schema' order by 1`,
		`select 'trigger ' || pg_get_triggerdef(oid) from pg_trigger where not tgisinternal order by 1`,
		`select 'view ' || viewname || ' ' || definition from pg_views where schemaname !~ '^pg_|information_schema' order by 1`,
		`select 'column ' || attrelid::regclass || '.' || attname || ' ' || format_type(atttypid, atttypmod) || attgenerated::text || attidentity::text || coalesce(pg_get_expr(adbin, adrelid), '') from pg_attribute a
			join pg_class c on c.oid = attrelid join pg_namespace n on n.oid = relnamespace left join pg_attrdef on adrelid = attrelid and adnum = attnum where nspname !~ '^pg_|information_schema' and attnum > 0 and not attisdropped order by attrelid::regclass::text, attname`,
		`select 'comment ' || description from pg_description where classoid = 'pg_class'::regclass and objoid >= 16384 order by 1`,
		`select 'acl ' || oid::regclass || ' ' || relowner::regrole || coalesce(relacl::text, '') from pg_class where relacl is not null and oid >= 16384 order by 1`,
		`select 'extension ' || extname from pg_extension order by 1`,
		`select 'policy ' || polname from pg_policy order by 1`,
	} {
		all = append(all, queryAll(t, s, db, sql)...)
	}
	return all
}

var errInjected = errors.New("injected fault")

// richSchema has one of everything a RAG platform's database may hold.
const richSchema = `
create extension pg_trgm;
create schema "Räg Schema";
create type status as enum ('new', 'done');
create domain score as real check (value >= 0);
create function touch() returns trigger language plpgsql as $$ begin new.touched := 'yes'; return new; end $$;
create table documents (id bigserial primary key, title text not null, body text, meta jsonb default '{}', embedding real[], state status default 'new', touched text,
	words int generated always as (length(body)) stored);
comment on table documents is 'what was read; with a ''quote''';
create index documents_title on documents using gin (title gin_trgm_ops);
create trigger touch before insert on documents for each row execute function touch();
create table chunks (id int generated by default as identity primary key, document_id bigint not null references documents(id), n int, text text, s score, unique (document_id, n));
create materialized view per_document as select document_id, count(*) n from chunks group by 1;
create unique index on per_document (document_id);
create view titles as select id, title from documents;
create table events (at date not null, what text) partition by range (at);
create table events_2025 partition of events for values from ('2025-01-01') to ('2026-01-01');
create table "events Ünd 2026" partition of events for values from ('2026-01-01') to ('2027-01-01');
create index on events (at);
create table "Räg Schema"."Tabl""e 'x' \ 文書" ("Col umn" text, "select" int);
create table secrets (who text, what text);
alter table secrets enable row level security;
create policy mine on secrets using (who = current_user);
insert into documents (title, body, meta, embedding) select 'Title ' || i, repeat('text ' || i || E'\n\t\\', 20), jsonb_build_object('i', i, 'nested', array[i, null]), array[i / 3.0, 'NaN', '-Infinity'] from generate_series(1, 400) i;
insert into chunks (document_id, n, text, s) select id, n, md5(id::text || n), n / 7.0 from documents, generate_series(1, 3) n;
insert into events select '2025-12-01'::date + i, 'e' || i from generate_series(1, 60) i;
insert into "Räg Schema"."Tabl""e 'x' \ 文書" values ('a''b"c\d', 1), (null, 2), ('', 3), (E'\x01\t', 4);
insert into secrets values ('postgres', 's');
refresh materialized view per_document;
select lo_from_bytea(0, decode(repeat('00ff', 3000), 'hex')), lo_from_bytea(4242, 'a large object');
select setval('documents_id_seq', 900);
create sequence lonely start 17;
select nextval('lonely');
`
