package postgres

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
)

// live opens the shared server as a recovered one.
func live(t *testing.T, only ...string) (*liveDumps, error) {
	t.Helper()
	p, err := parseParams(shared.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	srv, conn, err := dial(t.Context(), p, "holdfast test")
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(t.Context(), conn)
	c := &recoveredServer{srv: srv}
	if c.facts, err = readFacts(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	return New(Options{}).openLive(t.Context(), c, only, nil)
}

func dumpOf(t *testing.T, d *liveDumps, name string) (executors.Entry, []byte, error) {
	t.Helper()
	var entry executors.Entry
	var text []byte
	err := d.Read(t.Context(), func(e executors.Entry) bool { return e.Attrs[attrDatabase] == name }, func(e executors.Entry, r io.Reader) (err error) {
		entry = e
		text, err = io.ReadAll(r)
		return err
	})
	return entry, text, err
}

// TestLiveDumps: a dump holds every definition, and of a part only the rows that are asked for.
func TestLiveDumps(t *testing.T) {
	name := uniqueName("live")
	newDatabase(t, name, richSchema, `create table "Räg Schema"."a.b""c" as select 'odd name' x`)
	for _, c := range []struct {
		only       []string
		with, less []string
	}{
		{[]string{name}, []string{"Title 7\t", "\te59", "odd name", "a large object"}, nil},
		{[]string{name + "/public.documents"}, []string{"Title 7\t", "TABLE public.events"}, []string{"\te59", "odd name", "a large object"}},
		{[]string{name + "/public.events"}, []string{"\te59", "\te3\n"}, []string{"Title 7\t", "odd name"}},
		{[]string{name + "/public.events_2025"}, []string{"\te3\n"}, []string{"\te59"}},
		{[]string{name + `/Räg Schema.*`, name + "/*.secrets"}, []string{"odd name", "postgres\ts"}, []string{"Title 7\t"}},
	} {
		d, err := live(t, c.only...)
		if err != nil {
			t.Fatal(err)
		}
		e, text, err := dumpOf(t, d, name)
		if err != nil {
			t.Fatal(err)
		}
		if e.Size != sizeUnknown || sizeOf(e) <= 0 {
			t.Errorf("%q: size %d, about %d", c.only, e.Size, sizeOf(e))
		}
		for i, parts := range [][]string{c.with, c.less} {
			for _, part := range parts {
				if has := bytes.Contains(text, []byte(part)); has != (i == 0) {
					t.Errorf("%q: the dump has %q: %t", c.only, part, has)
				}
			}
		}
	}
	_, err := live(t, "nosuch/public.x")
	wantError(t, err, "matches nothing", name)
}

// TestLiveDumpChanges: what was chosen out of one dump is never taken out of another.
func TestLiveDumpChanges(t *testing.T) {
	name := uniqueName("live_changes")
	newDatabase(t, name, "create table t as select 1 x")
	d, err := live(t, name)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := dumpOf(t, d, name); err != nil {
			t.Fatal(err)
		}
	}
	execSQL(t, shared, name, "create table a as select 1 x")
	_, _, err = dumpOf(t, d, name)
	wantError(t, err, "changed between two dumps")

	execSQL(t, shared, "postgres", "drop database "+pgx.Identifier{name}.Sanitize())
	if _, _, err = dumpOf(t, d, name); err == nil || !strings.Contains(err.Error(), "pg_dump") {
		t.Errorf("a database that is gone: %v", err)
	}
}
