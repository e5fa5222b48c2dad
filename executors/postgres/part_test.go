package postgres

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
)

// startingWith returns the lines that begin with any of the prefixes.
func startingWith(lines []string, prefixes ...string) []string {
	var out []string
	for _, l := range lines {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(l, p) }) {
			out = append(out, l)
		}
	}
	return out
}

// partLines are the lines of contents that are about the tables of TestParts.
var partLines = []string{
	"documents: ", "column documents.", "index CREATE INDEX documents_title", "index CREATE UNIQUE INDEX documents_pkey", "constraint documents_pkey",
	"trigger ", "sequence public.documents_id_seq", "comment ",
}

func TestParts(t *testing.T) {
	name := uniqueName("parts")
	newDatabase(t, name, richSchema)
	_, supply, _ := backedUp(t, backupRequest(only(name)))
	all := contents(t, shared, name)
	x := New(Options{})

	t.Run("table into a new database", func(t *testing.T) {
		for _, pattern := range []string{"public.documents", name + "/public.documents", name + "/public.doc*"} {
			target := uniqueName("part_new")
			t.Cleanup(func() { dropDatabase(t, target) })
			req := restoreRequest(shared.DSN(target))
			req.Only = []string{pattern}
			mustRestore(t, req, supply)
			got := contents(t, shared, target)
			if diff := cmp.Diff(startingWith(all, partLines...), startingWith(got, partLines...)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", pattern, diff)
			}
			if extra := startingWith(got, "chunks: ", "secrets: "); len(extra) > 0 {
				t.Errorf("%s brought other tables: %q", pattern, extra[0])
			}
		}
	})

	t.Run("table into an existing database", func(t *testing.T) {
		target := uniqueName("part_merge")
		newDatabase(t, target, "create table other as select 7 x")
		req := restoreRequest(shared.DSN(target))
		req.Only = []string{"public.documents"}
		mustRestore(t, req, supply)
		execSQL(t, shared, target, "delete from documents where id % 2 = 0; update documents set title = 'changed'; drop index documents_title")
		before := contents(t, shared, target)
		_, err := x.Restore(t.Context(), req, supply)
		if !errors.Is(err, executors.ErrTargetExists) || !strings.Contains(err.Error(), "public.documents") {
			t.Errorf("Restore: %v, want ErrTargetExists that names the table", err)
		}

		req.Replace = true
		damaged := supplyAgain(t, supply).Damage(dumpSize(t, supply)/2, errInjected)
		if _, err := x.Restore(t.Context(), req, damaged); !errors.Is(err, errInjected) {
			t.Errorf("Restore of a damaged point: %v", err)
		}
		if diff := cmp.Diff(before, contents(t, shared, target)); diff != "" {
			t.Errorf("a failed restore changed the target (-want +got):\n%s", diff)
		}

		preview, err := x.Preview(t.Context(), req, supply)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{target + "/public.documents", target + "/public.documents_id_seq"}, preview.Replaces); diff != "" {
			t.Errorf("preview (-want +got):\n%s", diff)
		}
		mustRestore(t, req, supply)
		got := contents(t, shared, target)
		if diff := cmp.Diff(startingWith(all, partLines...), startingWith(got, partLines...)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if len(startingWith(got, "other: (7)")) != 1 {
			t.Error("another table of the target is gone")
		}
	})

	t.Run("table onto one of another structure", func(t *testing.T) {
		target := uniqueName("part_other")
		newDatabase(t, target, "create table documents as select 'keep me' x")
		before := contents(t, shared, target)
		req := restoreRequest(shared.DSN(target))
		req.Only, req.Replace = []string{"public.documents"}, true
		_, err := x.Restore(t.Context(), req, supply)
		wantError(t, err, "nothing was changed", "another structure")
		if diff := cmp.Diff(before, contents(t, shared, target)); diff != "" {
			t.Errorf("target changed (-want +got):\n%s", diff)
		}
	})

	t.Run("lost table of the original", func(t *testing.T) {
		execSQL(t, shared, name, "delete from chunks where n = 2")
		req := restoreRequest(shared.DSN(name))
		req.Only, req.Replace = []string{"public.chunks"}, true
		// Its foreign key to documents is brought back, because documents is there; a view of it would be in the way.
		if _, err := x.Restore(t.Context(), req, supply); err == nil || !strings.Contains(err.Error(), "depend") {
			t.Errorf("Restore below a materialized view: %v, want PostgreSQL's refusal", err)
		}
		req.Only = []string{"public.chunks", "public.per_document"}
		mustRestore(t, req, supply)
		if diff := cmp.Diff(all, contents(t, shared, name)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})

	t.Run("schema", func(t *testing.T) {
		target := uniqueName("part_schema")
		newDatabase(t, target)
		req := restoreRequest(shared.DSN(target))
		req.Only = []string{"Räg Schema.*"}
		mustRestore(t, req, supply)
		if got := startingWith(contents(t, shared, target), "Tabl\"e"); len(got) != 4 {
			t.Errorf("rows = %q, want 4", got)
		}
	})

	t.Run("partitioned table brings its partitions", func(t *testing.T) {
		target := uniqueName("part_partitions")
		t.Cleanup(func() { dropDatabase(t, target) })
		req := restoreRequest(shared.DSN(target))
		req.Only = []string{"public.events"}
		mustRestore(t, req, supply)
		if got := queryAll(t, shared, target, "select count(*)::text from events"); got[0] != "60" {
			t.Errorf("events holds %s rows, want 60", got[0])
		}
	})

	t.Run("links that lead nowhere are left out and told", func(t *testing.T) {
		target := uniqueName("part_links")
		t.Cleanup(func() { dropDatabase(t, target) })
		req := restoreRequest(shared.DSN(target))
		req.Only = []string{"public.chunks"}
		res := mustRestore(t, req, supply)
		if len(res.Problems) != 1 || !strings.Contains(res.Problems[0].Err.Error(), "public.documents") {
			t.Errorf("problems = %v, want the foreign key", res.Problems)
		}
	})

	for what, tc := range map[string]struct{ only, want string }{
		"view without its table": {"public.titles", "select it too with -only=public.documents"},
		"no such table":          {"public.nothing", "database \"" + name + "\" holds Räg Schema."},
		"bad pattern":            {"public.[", "has no ]"},
	} {
		t.Run(what, func(t *testing.T) {
			req := restoreRequest(shared.DSN(uniqueName("nowhere")))
			req.Only = []string{tc.only}
			_, err := x.Preview(t.Context(), req, supply)
			wantError(t, err, tc.want)
		})
	}
	noLeftovers(t)
}

// supplyAgain is a second supply of the same items, to be damaged.
func supplyAgain(t *testing.T, from executors.Supply) *executortest.Supply {
	t.Helper()
	var items []*executortest.Item
	err := from.Read(t.Context(), nil, func(e executors.Entry, r io.Reader) error {
		data, err := io.ReadAll(r)
		items = append(items, &executortest.Item{Entry: e, Data: data})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return executortest.NewSupply(items...)
}

func TestRoles(t *testing.T) {
	role, group, name := uniqueName("Role X"), uniqueName("group"), uniqueName("roles")
	execSQL(t, shared, "postgres", "create role "+ident(role)+" login password 'it''s; secret'; create role "+group+"; grant "+group+" to "+ident(role)+
		"; alter role "+ident(role)+" set work_mem = '9MB'; comment on role "+group+" is 'a; ''comment'''")
	dropRoles := func() {
		execSQL(t, shared, "postgres", "drop role if exists "+ident(role)+"; drop role if exists "+group)
	}
	t.Cleanup(dropRoles)
	newDatabase(t, name, "create table t as select 1 x; alter table t owner to "+ident(role)+"; create table u(); grant select on u to "+group,
		"alter database "+name+" owner to "+ident(role), "revoke connect on database "+name+" from public")
	_, supply, _ := backedUp(t, backupRequest(only(name)))
	want := contents(t, shared, name)
	hash := queryAll(t, shared, "postgres", "select rolpassword from pg_authid where rolname = "+literal(role))
	dropDatabase(t, name)
	dropRoles()

	x := New(Options{})
	req := restoreRequest(shared.DSN(name))
	_, err := x.Preview(t.Context(), req, supply)
	wantError(t, err, role, group, "-globals", "-no-owner")

	req.Options[optNoOwner] = "true"
	mustRestore(t, req, supply)
	if got := queryAll(t, shared, name, "select tableowner from pg_tables where tablename = 't'"); got[0] != "postgres" {
		t.Errorf("owner = %s", got[0])
	}
	dropDatabase(t, name)

	req.Options = map[string]string{optGlobals: "true"}
	mustRestore(t, req, supply)
	if diff := cmp.Diff(want, contents(t, shared, name)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for sql, want := range map[string]string{
		"select rolpassword from pg_authid where rolname = " + literal(role):                                     hash[0],
		"select setconfig[1] from pg_db_role_setting where setrole = " + literal(ident(role)) + "::regrole":      "work_mem=9MB",
		"select roleid::regrole::text from pg_auth_members where member = " + literal(ident(role)) + "::regrole": group,
		"select pg_get_userbyid(datdba) from pg_database where datname = " + literal(name):                       role,
		"select has_database_privilege('" + group + "', '" + name + "', 'connect')::text":                        "false",
		"select shobj_description('" + group + "'::regrole, 'pg_authid')":                                        "a; 'comment'",
	} {
		if got := queryAll(t, shared, "postgres", sql); len(got) != 1 || got[0] != want {
			t.Errorf("%s = %q, want %q", sql, got, want)
		}
	}

	// Existing roles keep what they have.
	execSQL(t, shared, "postgres", "alter role "+ident(role)+" password 'changed'")
	changed := queryAll(t, shared, "postgres", "select rolpassword from pg_authid where rolname = "+literal(role))
	req.Replace = true
	mustRestore(t, req, supply)
	if got := queryAll(t, shared, "postgres", "select rolpassword from pg_authid where rolname = "+literal(role)); got[0] != changed[0] {
		t.Error("the password of an existing role was changed")
	}
	dropDatabase(t, name)
}

func TestUnprivilegedRole(t *testing.T) {
	role, name := uniqueName("plain"), uniqueName("plain_db")
	execSQL(t, shared, "postgres", "create role "+role+" login password 'pl@in'")
	newDatabase(t, name)
	t.Cleanup(func() { dropDatabase(t, name); execSQL(t, shared, "postgres", "drop role "+role) })
	execSQL(t, shared, "postgres", "alter database "+name+" owner to "+role)
	if err := execAs(role, "pl@in", name, "create table t as select 1 x"); err != nil {
		t.Fatal(err)
	}
	req := backupRequest(only(name))
	req.Source = sourceOf(shared.DSNAs(role, "pl@in", "postgres"))
	_, supply, res := backedUp(t, req)
	if len(res.Problems) != 1 || res.Problems[0].Missing || !strings.Contains(res.Problems[0].Err.Error(), "pg_authid") {
		t.Errorf("problems = %+v, want a note on passwords", res.Problems)
	}

	_, err := New(Options{}).Restore(t.Context(), restoreRequest(shared.DSNAs(role, "pl@in", uniqueName("new"))), supply)
	wantError(t, err, "CREATEDB")

	// An empty database that somebody made is enough.
	target := uniqueName("given")
	newDatabase(t, target)
	execSQL(t, shared, "postgres", "alter database "+target+" owner to "+role)
	mustRestore(t, restoreRequest(shared.DSNAs(role, "pl@in", target)), supply)
	if got := queryAll(t, shared, target, "select x::text from t"); len(got) != 1 {
		t.Errorf("rows = %q", got)
	}
}
