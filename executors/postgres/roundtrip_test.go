package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

func TestRoundTrip(t *testing.T) {
	name := `Ápp "quoted" 'name' 50%/x \ ` + uniqueName("db")
	newDatabase(t, name, richSchema, `alter database `+ident(name)+` set work_mem = '7MB'`, `comment on database `+ident(name)+` is 'the app'`)
	want := contents(t, shared, name)
	if len(want) < 1700 {
		t.Fatalf("the fixture has only %d lines", len(want))
	}
	_, supply, res := backedUp(t, backupRequest(only(globEscape(name))))
	if res.Items != 2 || res.Bytes != supply.Size() || res.Version == "" || res.Position == "" || res.Time.IsZero() || len(res.Problems) != 0 {
		t.Errorf("result of backup = %+v", res)
	}
	t.Run("verify", func(t *testing.T) {
		got, err := New(Options{}).Verify(t.Context(), executors.VerifyRequest{}, supply)
		if err != nil || got.Items != 2 || got.Bytes != supply.Size() {
			t.Errorf("Verify = %+v, %v", got, err)
		}
	})
	for _, jobs := range []string{"1", "3"} {
		t.Run("new database, jobs "+jobs, func(t *testing.T) {
			target := uniqueName("New Ñame")
			t.Cleanup(func() { dropDatabase(t, target) })
			req := restoreRequest(shared.DSN(target))
			req.Options[optJobs] = jobs
			got := mustRestore(t, req, supply)
			if got.Items != 1 || len(got.Problems) != 0 {
				t.Errorf("result of restore = %+v", got)
			}
			if diff := cmp.Diff(want, contents(t, shared, target)); diff != "" {
				t.Errorf("contents (-want +got):\n%s", diff)
			}
			if got := queryAll(t, shared, target, `show work_mem`); got[0] != "7MB" {
				t.Errorf("the database's own setting is %s, want 7MB", got[0])
			}
			if got := queryAll(t, shared, target, `select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()`); got[0] != "the app" {
				t.Errorf("the database's comment is %q", got[0])
			}
		})
	}
	t.Run("empty database", func(t *testing.T) {
		target := uniqueName("empty")
		newDatabase(t, target)
		mustRestore(t, restoreRequest(shared.DSN(target)), supply)
		if diff := cmp.Diff(want, contents(t, shared, target)); diff != "" {
			t.Errorf("contents (-want +got):\n%s", diff)
		}
	})
	t.Run("own name", func(t *testing.T) {
		dropDatabase(t, name)
		mustRestore(t, restoreRequest(shared.DSN("")), supply)
		if diff := cmp.Diff(want, contents(t, shared, name)); diff != "" {
			t.Errorf("contents (-want +got):\n%s", diff)
		}
	})
	noLeftovers(t)
}

func noLeftovers(t *testing.T) {
	t.Helper()
	if got := queryAll(t, shared, "postgres", `select datname from pg_database where datname ~ '^hf_'`); len(got) != 0 {
		t.Errorf("databases left behind: %q", got)
	}
}

func dumpSize(t *testing.T, from executors.Supply) (size int64) {
	t.Helper()
	err := from.Entries(t.Context(), func(e executors.Entry) error {
		if e.Path != globalsPath {
			size = e.Size
		}
		return nil
	})
	if err != nil || size == 0 {
		t.Fatalf("no dump: %v", err)
	}
	return size
}

func globEscape(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

func TestReplace(t *testing.T) {
	source, target := uniqueName("source"), uniqueName("target")
	newDatabase(t, source, "create table t as select x, repeat('x', 100) from generate_series(1, 5000) x")
	newDatabase(t, target, "create table precious as select 1 x")
	_, supply, _ := backedUp(t, backupRequest(only(source)))
	before := contents(t, shared, target)

	t.Run("refused without replace", func(t *testing.T) {
		x := New(Options{})
		_, err := x.Preview(t.Context(), restoreRequest(shared.DSN(target)), supply)
		if !errors.Is(err, executors.ErrTargetExists) {
			t.Errorf("Preview: %v, want ErrTargetExists", err)
		}
		_, err = x.Restore(t.Context(), restoreRequest(shared.DSN(target)), supply)
		if !errors.Is(err, executors.ErrTargetExists) || !strings.Contains(err.Error(), "-replace") {
			t.Errorf("Restore: %v, want ErrTargetExists and advice", err)
		}
		if diff := cmp.Diff(before, contents(t, shared, target)); diff != "" {
			t.Errorf("target changed (-want +got):\n%s", diff)
		}
	})

	t.Run("damage keeps what was there", func(t *testing.T) {
		_, damaged, _ := backedUp(t, backupRequest(only(source)))
		damaged.Damage(dumpSize(t, damaged)-10, errInjected)
		req := restoreRequest(shared.DSN(target))
		req.Replace = true
		if _, err := New(Options{}).Restore(t.Context(), req, damaged); !errors.Is(err, errInjected) {
			t.Errorf("Restore of a damaged point: %v, want the damage", err)
		}
		if diff := cmp.Diff(before, contents(t, shared, target)); diff != "" {
			t.Errorf("target changed (-want +got):\n%s", diff)
		}
		noLeftovers(t)
	})

	t.Run("replaced although somebody is connected", func(t *testing.T) {
		srv := &server{params: params{}, password: ""}
		p, err := parseParams(shared.DSN(target))
		if err != nil {
			t.Fatal(err)
		}
		srv.params = p
		idle, err := srv.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer closeConn(t.Context(), idle)
		req := restoreRequest(shared.DSN(target))
		req.Replace = true
		preview, err := New(Options{}).Preview(t.Context(), req, supply)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{target}, preview.Replaces); diff != "" {
			t.Errorf("preview (-want +got):\n%s", diff)
		}
		mustRestore(t, req, supply)
		if diff := cmp.Diff(contents(t, shared, source), contents(t, shared, target)); diff != "" {
			t.Errorf("contents (-want +got):\n%s", diff)
		}
		noLeftovers(t)
	})
}

func TestSeveralDatabases(t *testing.T) {
	a, b, c := uniqueName("multi_a"), uniqueName("multi_b"), uniqueName("multi_c")
	for _, n := range []string{a, b, c} {
		newDatabase(t, n, "create table "+n+"_t as select 1 x")
	}
	l := policy.Logical{Databases: []string{"multi_*"}, ExcludeDatabases: []string{c, "nothing today"}}
	_, supply, res := backedUp(t, backupRequest(l))
	if res.Items != 3 {
		t.Fatalf("items = %d, want globals and two databases", res.Items)
	}
	x := New(Options{})
	_, err := x.Preview(t.Context(), restoreRequest(shared.DSN("one_target")), supply)
	if err == nil || !strings.Contains(err.Error(), a) || !strings.Contains(err.Error(), b) {
		t.Errorf("two databases into one: %v, want an error that lists them", err)
	}
	req := restoreRequest(shared.DSN("one_target"))
	req.Only = []string{"nope/*"}
	if _, err = x.Preview(t.Context(), req, supply); err == nil || !strings.Contains(err.Error(), a) {
		t.Errorf("a pattern that matches nothing: %v, want what there is", err)
	}
	dropDatabase(t, a)
	dropDatabase(t, b)
	mustRestore(t, restoreRequest(shared.DSN("")), supply)
	for _, n := range []string{a, b} {
		if got := queryAll(t, shared, n, "select x::text from "+n+"_t"); len(got) != 1 {
			t.Errorf("database %s holds %q", n, got)
		}
	}
}

func TestSelectDatabases(t *testing.T) {
	all := []database{{name: "app"}, {name: "app_test"}, {name: "postgres"}}
	for name, tc := range map[string]struct {
		policy policy.Logical
		want   []string
		err    string
	}{
		"everything":          {policy.Logical{}, []string{"app", "app_test", "postgres"}, ""},
		"globs":               {policy.Logical{Databases: []string{"app*"}, ExcludeDatabases: []string{"*_test"}}, []string{"app"}, ""},
		"matched twice":       {policy.Logical{Databases: []string{"app", "a*"}}, []string{"app", "app_test"}, ""},
		"nothing matches":     {policy.Logical{Databases: []string{"app", "gone"}}, nil, `"gone" matches none of app, app_test, postgres`},
		"everything excluded": {policy.Logical{ExcludeDatabases: []string{"*"}}, nil, "leaves none"},
		"bad pattern":         {policy.Logical{Databases: []string{"a["}}, nil, "has no ]"},
	} {
		t.Run(name, func(t *testing.T) {
			dbs, err := selectDatabases(all, tc.policy)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error = %v, want %q", err, tc.err)
				}
				return
			}
			var got []string
			for _, db := range dbs {
				got = append(got, db.name)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}
