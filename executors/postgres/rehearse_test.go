package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

// check expects the value of a query.
func check(name, sql string, want any) policy.Check {
	return policy.Check{Name: name, Query: sql, Expect: policy.NewCondition(fmt.Sprintf("self.value == %v", want), func(self map[string]any) (bool, error) {
		return self["value"] == want, nil
	})}
}

// scratchDir is a folder that the account of a server may enter, with a path short enough for a socket. No process of a
// server may be left that uses it.
func scratchDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hfre")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range processesAt(t, dir) {
			t.Errorf("a rehearsal left the process %s", p)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// processesAt are the processes whose arguments or working folder lie in dir.
func processesAt(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range all {
		args, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		if strings.Contains(string(args), dir) || strings.HasPrefix(cwd, dir) {
			out = append(out, p+" "+strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return out
}

func rehearse(t *testing.T, x *Executor, req executors.RehearseRequest, from executors.Supply) (executors.RehearseResult, error) {
	t.Helper()
	if req.Rehearsal.Server == nil && req.Dir == "" {
		req.Dir = scratchDir(t)
	}
	res, err := x.Rehearse(t.Context(), req, from)
	if req.Dir != "" {
		if left, lerr := os.ReadDir(req.Dir); lerr != nil || len(left) > 0 {
			t.Errorf("the rehearsal left %v (%v)", left, lerr)
		}
	}
	return res, err
}

func rehearsalOf(checks ...policy.Check) executors.RehearseRequest {
	return executors.RehearseRequest{Rehearsal: policy.Rehearsal{Checks: checks}}
}

// TestRehearseTwoDatabases: an own server has the original's names, roles and settings, and never root's rights.
func TestRehearseTwoDatabases(t *testing.T) {
	one, two, role := uniqueName("re_a"), uniqueName("re_b two"), uniqueName("re_owner")
	execSQL(t, shared, "postgres", "create role "+role)
	t.Cleanup(func() { execSQL(t, shared, "postgres", "drop role "+role) })
	newDatabase(t, two, "create table t as select generate_series(1, 7) x")
	newDatabase(t, one, "create table t as select generate_series(1, 5) x", "alter table t owner to "+role)
	_, from, _ := backedUp(t, backupRequest(only(one, two)))

	inTwo := check("rows of the other", "select count(*) from t", int64(7))
	inTwo.Database = two
	nowhere := check("no such database", "select 1", int64(1))
	nowhere.Database = "nowhere"
	res, err := rehearse(t, New(Options{}), rehearsalOf(
		check("first database by default", "select count(*) from t", int64(5)), inTwo,
		check("owner", "select tableowner from pg_tables where tablename = 't'", role),
		check("names", "select string_agg(datname, ',' order by datname) from pg_database where datname ~ '^re'", one+","+two),
		check("closed to the network", "select inet_server_addr() is null and current_setting('listen_addresses') = ''", true),
		check("version", "select current_setting('server_version_num')::int / 10000", int64(realMajor(t))),
		check("nothing can be written", "create table x()", nil), nowhere,
	), from)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range res.Checks[:6] {
		if !c.OK {
			t.Error(c)
		}
	}
	for i, want := range []string{"read-only transaction", "holds no database \"nowhere\"; it holds " + one + ", " + two} {
		if c := res.Checks[6+i]; c.OK || !strings.Contains(c.Error, want) {
			t.Errorf("%v, want an error with %q", c, want)
		}
	}
}

func TestRehearseOnGivenServer(t *testing.T) {
	one, two, role := uniqueName("given"), uniqueName("given"), uniqueName("given_owner")
	other := pgserver.Start(t, pgserver.Options{})
	execSQL(t, other, "postgres", "create table precious as select 'keep' x")
	execSQL(t, other, "postgres", "create database "+one)
	execSQL(t, other, one, "create table precious as select 'keep' x")
	execSQL(t, shared, "postgres", "create role "+role)
	t.Cleanup(func() { execSQL(t, shared, "postgres", "drop role "+role) })
	newDatabase(t, one, "create table t as select generate_series(1, 5) x", "alter table t owner to "+role)
	newDatabase(t, two, "create table t as select generate_series(1, 6) x")
	_, from, _ := backedUp(t, backupRequest(only(one, two)))

	everything := func() []string {
		return append(queryAll(t, other, "postgres", "select datname from pg_database union all select 'role ' || rolname from pg_roles order by 1"),
			queryAll(t, other, one, "select x from precious")...)
	}
	// What a killed rehearsal left goes; what a living one uses stays.
	left, living := scratchPrefix+"abcdefghijkl_1", scratchPrefix+"livinglivin2_1"
	before := everything()
	for _, name := range []string{left, left + scratchBuilding, living} {
		execSQL(t, other, "postgres", "create database "+name)
	}
	guard, err := pgx.Connect(t.Context(), other.DSN("postgres")+"&application_name="+strings.ReplaceAll(scratchApp, " ", "%20")+"livinglivin2")
	if err != nil {
		t.Fatal(err)
	}
	defer guard.Close(context.Background())

	inTwo := check("two", "select count(*) from t", int64(6))
	inTwo.Database = two
	req := rehearsalOf(check("one", "select count(*) from t", int64(5)), inTwo)
	req.Rehearsal.Server = secret(other.DSN(""))
	res, err := rehearse(t, New(Options{}), req, from)
	if err != nil || !res.OK() || len(res.Checks) != 2 {
		t.Fatalf("rehearse: %v, %v", err, res.Failure())
	}
	for _, p := range res.Problems {
		t.Errorf("problem: %+v", p)
	}
	execSQL(t, other, "postgres", "drop database "+living) // still there, or this fails
	if d := cmp.Diff(before, everything()); d != "" {
		t.Errorf("the server changed (-before +after):\n%s", d)
	}

	t.Run("damage", func(t *testing.T) {
		_, err := rehearse(t, New(Options{}), req, from.Damage(from.Size()-2, errInjected))
		if !errors.Is(err, errInjected) || errors.Is(err, executors.ErrScratch) {
			t.Errorf("got %v, want the supply's error", err)
		}
		from.Damage(math.MaxInt64, nil)
		if d := cmp.Diff(before, everything()); d != "" {
			t.Errorf("the server changed (-before +after):\n%s", d)
		}
	})
	t.Run("a role without the right to make databases", func(t *testing.T) {
		execSQL(t, other, "postgres", "create role weak login password 'weak-secret'")
		defer execSQL(t, other, "postgres", "drop role weak")
		weak := req
		weak.Rehearsal.Server = secret(other.DSNAs("weak", "weak-secret", "postgres"))
		_, err := rehearse(t, New(Options{}), weak, from)
		wantScratch(t, err, "CREATEDB")
	})
	t.Run("nobody answers", func(t *testing.T) {
		gone := req
		gone.Rehearsal.Server = secret("postgres://u:wrong-secret@127.0.0.1:1/x")
		_, err := rehearse(t, New(Options{}), gone, from)
		wantScratch(t, err, "check that the server runs")
	})
	t.Run("the server is killed meanwhile", func(t *testing.T) {
		_, err := rehearse(t, New(Options{}), req, from.OnRead(func(e executors.Entry) {
			if e.Path == dumpPath(two) {
				other.Kill()
			}
		}))
		wantScratch(t, err)
	})
}

func wantScratch(t *testing.T, err error, parts ...string) {
	t.Helper()
	if !errors.Is(err, executors.ErrScratch) {
		t.Errorf("got %v, want an error that wraps ErrScratch", err)
	}
	wantError(t, err, parts...)
}

// TestRehearseFindsWhatOnlyARestoreFinds: the dump decodes to its last byte, and its rows are refused all the same.
func TestRehearseFindsWhatOnlyARestoreFinds(t *testing.T) {
	name := uniqueName("unrestorable")
	newDatabase(t, name, "create function ok(int) returns bool language sql as 'select true'", "create table t(x int check (ok(x)))",
		"insert into t values (1)", "create or replace function ok(int) returns bool language sql as 'select false'")
	_, from, _ := backedUp(t, backupRequest(only(name)))
	if _, err := New(Options{}).Verify(t.Context(), executors.VerifyRequest{}, from); err != nil {
		t.Fatalf("the dump does not even decode: %v", err)
	}
	_, err := rehearse(t, New(Options{}), rehearsalOf(), from)
	wantError(t, err, "violates check constraint")
	if errors.Is(err, executors.ErrScratch) {
		t.Errorf("the scratch place is blamed: %v", err)
	}
}

func TestRehearseWithoutMeans(t *testing.T) {
	name := uniqueName("no_means")
	newDatabase(t, name, "create table t as select 1 x")
	_, from, _ := backedUp(t, backupRequest(only(name)))
	major := realMajor(t)
	version := fmt.Sprintf("%d.1", major)
	bin := t.TempDir()

	_, err := rehearse(t, New(Options{BinDir: bin}), rehearsalOf(), from)
	wantScratch(t, err, "find postgres", fmt.Sprintf("postgresql-%d", major))

	for dir := bin; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) { // the server's account must get there
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	serverTool := func(name, body string) {
		t.Helper()
		fakeTool(t, bin, name, version, body)
		if err := os.Chmod(filepath.Join(bin, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	serverTool("postgres", "exit 1")
	_, err = rehearse(t, New(Options{BinDir: bin}), rehearsalOf(), from)
	wantScratch(t, err, "find initdb")

	serverTool("initdb", "echo 'initdb: error: no room' >&2; exit 1")
	_, err = rehearse(t, New(Options{BinDir: bin}), rehearsalOf(), from)
	wantScratch(t, err, "initdb: error: no room")

	serverTool("initdb", `mkdir "${1#--pgdata=}"`)
	serverTool("postgres", "echo 'FATAL: no memory' >&2; exit 1")
	_, err = rehearse(t, New(Options{BinDir: bin}), rehearsalOf(), from)
	wantScratch(t, err, "ended while starting", "FATAL: no memory")

	// The real server, and no pg_restore.
	real, err := finder{}.find(t.Context(), "initdb", major)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"initdb", "postgres"} {
		if err := os.Remove(filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(filepath.Dir(real.path), name), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = rehearse(t, New(Options{BinDir: bin}), rehearsalOf(), from)
	wantScratch(t, err, "find pg_restore")

	if os.Geteuid() == 0 {
		t.Run("no account", func(t *testing.T) {
			was := serverAccounts
			defer func() { serverAccounts = was }()
			serverAccounts = []string{"holdfast-nobody-has-this-name", "root"}
			_, err := rehearse(t, New(Options{}), rehearsalOf(), from)
			wantScratch(t, err, "refuses root")
		})
	}
	t.Run("a path too long for a socket", func(t *testing.T) {
		req := rehearsalOf()
		req.Dir = filepath.Join(scratchDir(t), strings.Repeat("long", 25))
		if err := os.Mkdir(req.Dir, 0o711); err != nil {
			t.Fatal(err)
		}
		_, err := rehearse(t, New(Options{}), req, from)
		wantScratch(t, err, "too long for a socket")
	})
}

func TestRehearseSlowCheck(t *testing.T) {
	name := uniqueName("slow_check")
	newDatabase(t, name, "create table t as select 1 x")
	_, from, _ := backedUp(t, backupRequest(only(name)))
	x := New(Options{CheckTimeout: 50 * time.Millisecond})
	res, err := rehearse(t, x, rehearsalOf(check("slow", "select pg_sleep(100)", nil), check("quick", "select x from t", int64(1))), from)
	if err != nil {
		t.Fatal(err)
	}
	if c := res.Checks[0]; c.OK || !strings.Contains(c.Error, "longer than 50ms") {
		t.Errorf("%v, want an error about time", c)
	}
	if !res.Checks[1].OK {
		t.Error(res.Checks[1])
	}
}

// TestRehearsalKilled kills a process in the middle of a rehearsal: its server goes with it, and the next rehearsal
// removes its folder.
func TestRehearsalKilled(t *testing.T) {
	name := uniqueName("killed")
	newDatabase(t, name, "create table t as select 1 x")
	dir := scratchDir(t)
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "HF_TEST_REHEARSE="+shared.DSN(name), "HF_TEST_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	n, err := out.Read(line)
	if err != nil || string(line[:n]) != "asking\n" {
		t.Fatalf("the other process said %q, %v", line[:n], err)
	}
	if len(processesAt(t, dir)) == 0 {
		t.Fatal("no server runs in the other's folder")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for deadline := time.Now().Add(time.Minute); len(processesAt(t, dir)) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still there: %v", processesAt(t, dir))
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) == 0 {
		t.Fatalf("the killed rehearsal left nothing to sweep: %v, %v", left, err)
	}
	_, from, _ := backedUp(t, backupRequest(only(name)))
	req := rehearsalOf()
	req.Dir = dir
	if _, err := rehearse(t, New(Options{}), req, from); err != nil {
		t.Fatal(err)
	}
}

// rehearseUntilKilled is the other process of TestRehearsalKilled: it hangs in a check.
func rehearseUntilKilled(dsn, dir string) int {
	p, err := parseParams(dsn)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	req := executors.BackupRequest{Source: sourceOf(dsn), Backup: logical(only(p["dbname"])), Point: "20261122T000000Z-killed"}
	store, sink := newPoint(req.Point)
	res, err := New(Options{}).Backup(context.Background(), req, sink)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	store.Commit(sink, res)
	slow := check("slow", "select pg_sleep(1000)", nil)
	first := policy.Check{Name: "first", Query: "select 1", Expect: policy.NewCondition("true", func(map[string]any) (bool, error) {
		_, err := os.Stdout.WriteString("asking\n")
		return true, err
	})}
	_, err = New(Options{}).Rehearse(context.Background(), executors.RehearseRequest{
		Rehearsal: policy.Rehearsal{Checks: []policy.Check{first, slow}}, Dir: dir,
	}, store.Supply(req.Point))
	fmt.Fprintln(os.Stderr, "the rehearsal ended:", err)
	return 1
}

func TestPlainValue(t *testing.T) {
	for _, tc := range []struct {
		sql  string
		want any
	}{
		{"select 12::smallint", int64(12)},
		{"select 3.50::numeric", 3.5},
		{"select 10000000000::numeric", int64(10000000000)},
		{"select sum(x) from (values (2.00::numeric), (3.00)) v(x)", int64(5)},
		{"select 1e300::numeric", 1e300},
		{"select 0.25::real", 0.25},
		{"select 'NaN'::float8", "NaN"},
		{"select '-Infinity'::numeric", "-Infinity"},
		{"select true", true},
		{"select null::int", nil},
		{"select 'text'", "text"},
		{"select '2026-01-02'::date", "2026-01-02"},
		{"select '{\"a\": 1}'::jsonb", `{"a": 1}`},
		{"select 1 where false", nil},
	} {
		conn, err := pgx.Connect(t.Context(), shared.DSN("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		self, err := query(t.Context(), tx, tc.sql)
		if err != nil {
			t.Fatalf("%s: %v", tc.sql, err)
		}
		if d := cmp.Diff(tc.want, self["value"]); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.sql, d)
		}
		conn.Close(t.Context())
	}
}
