package postgres

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

// TestStandby backs up a server in recovery: it has no current WAL position to ask for, only a replayed one.
func TestStandby(t *testing.T) {
	own := pgserver.Start(t, pgserver.Options{})
	execSQL(t, own, "postgres", bigTable)
	want := contents(t, own, "postgres")
	if err := own.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(own.Data, "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := own.Restart(); err != nil {
		t.Fatal(err)
	}
	src := sourceOf(own.DSN("postgres"))
	facts, err := New(Options{}).Inspect(t.Context(), src)
	if err != nil || facts.Extra["in_recovery"] != "true" || facts.Identity == "" {
		t.Errorf("Inspect = %+v, %v; want a server in recovery", facts, err)
	}
	req := backupRequest(policy.Logical{})
	req.Source = src
	store := executortest.NewStore()
	sink := store.Sink(req.Point, executortest.Faults{})
	res, err := New(Options{}).Backup(t.Context(), req, sink)
	if err != nil {
		t.Fatal(err)
	}
	store.Commit(sink, res)
	if res.Position == "" {
		t.Error("no position")
	}
	target := uniqueName("from_standby")
	t.Cleanup(func() { dropDatabase(t, target) })
	mustRestore(t, restoreRequest(shared.DSN(target)), store.Supply(req.Point))
	if diff := cmp.Diff(want, contents(t, shared, target)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestKilledRestore proves that what a killed restore left behind stands in nobody's way, and that one that lives does.
func TestKilledRestore(t *testing.T) {
	name, target := uniqueName("left"), uniqueName("left_target")
	newDatabase(t, name, "create table t as select 1 x")
	newDatabase(t, target, "create table old as select 1 x")
	_, supply, _ := backedUp(t, backupRequest(only(name)))
	plan := &restorePlan{point: pointSuffix(supply.Meta()[metaPoint])}
	temp, old := plan.temporaryName("hf_restore_", target), plan.temporaryName("hf_old_", target)
	for _, n := range []string{temp, old} {
		newDatabase(t, n, "create table half as select 1 x")
	}
	req := restoreRequest(shared.DSN(target))
	req.Replace = true

	p, err := parseParams(shared.DSN(temp))
	if err != nil {
		t.Fatal(err)
	}
	_, alive, err := dial(t.Context(), p, "another restore")
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(Options{}).Restore(t.Context(), req, supply)
	wantError(t, err, "another restore of this point to this target is under way")
	closeConn(t.Context(), alive)

	// The server takes a moment to notice that the connection is gone.
	for len(queryAll(t, shared, "postgres", "select pid::text from pg_stat_activity where datname = "+literal(temp))) > 0 {
		if t.Context().Err() != nil {
			t.Fatal("the connection stays")
		}
	}
	mustRestore(t, req, supply)
	if diff := cmp.Diff(contents(t, shared, name), contents(t, shared, target)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	noLeftovers(t)
}

func TestStaging(t *testing.T) {
	name, dir := uniqueName("staged"), t.TempDir()
	newDatabase(t, name, bigTable)
	_, supply, _ := backedUp(t, backupRequest(only(name)))
	for _, withDamage := range []bool{false, true} {
		target := uniqueName("staged_target")
		req := restoreRequest(shared.DSN(target))
		req.Options = map[string]string{optJobs: "2", optStagingDir: dir}
		from := executors.Supply(supply)
		if withDamage {
			from = supplyAgain(t, supply).Damage(dumpSize(t, supply)-1, errInjected)
		}
		_, err := New(Options{}).Restore(t.Context(), req, from)
		if (err != nil) != withDamage {
			t.Errorf("damaged %v: Restore: %v", withDamage, err)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 0 {
			t.Errorf("left in the staging folder: %v, %v", left, err)
		}
		dropDatabase(t, target)
	}
	r := &restore{plan: &restorePlan{opts: options{jobsAsked: true, stagingDir: dir}}, log: discard}
	if r.staged(1<<60, 4) {
		t.Error("a dump of an exabyte would be staged")
	}
}

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		in   map[string]string
		want string
	}{
		{map[string]string{"job": "2"}, `option "job"`},
		{map[string]string{"jobs": "0"}, "between 1 and 128"},
		{map[string]string{"jobs": "many"}, "jobs"},
		{map[string]string{"globals": "perhaps"}, "globals"},
	} {
		if _, err := readOptions(tc.in); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v, want %q", tc.in, err, tc.want)
		}
	}
}

// TestLocale proves that another encoding and locale come back, and that a locale the target lacks is told, not fatal.
func TestLocale(t *testing.T) {
	name := uniqueName("latin")
	execSQL(t, shared, "postgres", "create database "+name+" template template0 encoding 'LATIN1' locale 'C'")
	t.Cleanup(func() { dropDatabase(t, name) })
	execSQL(t, shared, name, "create table t as select 'größer' x")
	store := executortest.NewStore()
	req := backupRequest(only(name))
	sink := store.Sink(req.Point, executortest.Faults{})
	res, err := New(Options{}).Backup(t.Context(), req, sink)
	if err != nil {
		t.Fatal(err)
	}
	store.Commit(sink, res)
	target := uniqueName("latin_target")
	t.Cleanup(func() { dropDatabase(t, target) })
	mustRestore(t, restoreRequest(shared.DSN(target)), store.Supply(req.Point))
	const how = "select pg_encoding_to_char(encoding) || ' ' || datcollate from pg_database where datname = current_database()"
	if diff := cmp.Diff(queryAll(t, shared, name, how), queryAll(t, shared, target, how)); diff != "" {
		t.Errorf("encoding and locale (-want +got):\n%s", diff)
	}
	if got := queryAll(t, shared, target, "select x from t"); got[0] != "größer" {
		t.Errorf("text = %q", got)
	}

	sink.Items()[1].Entry.Attrs[attrCollate] = "xx_XX.UTF-8"
	other := uniqueName("latin_other")
	t.Cleanup(func() { dropDatabase(t, other) })
	got := mustRestore(t, restoreRequest(shared.DSN(other)), store.Supply(req.Point))
	if len(got.Problems) != 1 || got.Problems[0].Missing || !strings.Contains(got.Problems[0].Err.Error(), "locale") {
		t.Errorf("problems = %+v, want a note on the locale", got.Problems)
	}
}

// TestTables proves that a backup of some tables holds those only, and that a name without a table is an error.
func TestTables(t *testing.T) {
	name := uniqueName("tables")
	newDatabase(t, name, `create schema audit; create table audit.log as select 1 x; create table a as select 1 x; create table b as select 2 x`)
	for _, tc := range []struct {
		policy policy.Logical
		want   []string
	}{
		{policy.Logical{Tables: []string{"public.*"}}, []string{"public.a", "public.b"}},
		{policy.Logical{ExcludeTables: []string{"audit.*"}}, []string{"public.a", "public.b"}},
		{policy.Logical{Tables: []string{"audit.*", "public.?"}, ExcludeTables: []string{"public.b"}}, []string{"audit.log", "public.a"}},
	} {
		tc.policy.Databases = []string{name}
		_, supply, _ := backedUp(t, backupRequest(tc.policy))
		p := &restorePlan{}
		if _, err := p.readPoint(t.Context(), executors.RestoreRequest{}, supply); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, relationNames(p.dumps[0].head)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tc.policy, diff)
		}
		target := uniqueName("tables_target")
		t.Cleanup(func() { dropDatabase(t, target) })
		mustRestore(t, restoreRequest(shared.DSN(target)), supply)
		for _, table := range tc.want {
			if got := queryAll(t, shared, target, "select x::text from "+table); len(got) != 1 {
				t.Errorf("%s holds %q", table, got)
			}
		}
	}
	err := failedBackup(t, New(Options{}), backupRequest(policy.Logical{Databases: []string{name}, Tables: []string{"nothing"}}), executortest.Faults{})
	wantError(t, err, "no matching tables")
}
