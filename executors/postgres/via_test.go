package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

// folderArchive is write-ahead log in a folder, as archive_command = 'cp' leaves it.
type folderArchive struct {
	executors.WALArchive // nothing else is asked for
	dir                  string
	before               func(name string) error // what happens instead; nil for nothing
}

func (a folderArchive) Fetch(_ context.Context, _, name string, _ int64, to io.Writer) (int64, error) {
	if a.before != nil {
		if err := a.before(name); err != nil {
			return 0, err
		}
	}
	f, err := os.Open(filepath.Join(a.dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return 0, executors.ErrNoWAL
	} else if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(to, f)
}

// liveSite is a server with the database "app", a base backup of it, and WAL in a folder. At "before" the table documents was
// whole; since then it is dropped.
type liveSite struct {
	*pgserver.Server
	archive, before string
	from            *executortest.Supply
	documents       []string // content of the table when it was whole
	all             []string // of the database
}

// settled leaves positions of sequences out: WAL has them up to 32 values ahead, so that they are there after any recovery.
func settled(lines []string) []string {
	return slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "sequence ") })
}

const documentsRows = "select d::text from documents d order by id"

func startProduction(t *testing.T) *liveSite {
	t.Helper()
	archive, err := os.MkdirTemp("", "hfwal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(archive) })
	s := pgserver.Start(t, pgserver.Options{Config: map[string]string{
		"archive_mode": "on", "archive_command": "cp %p " + archive + "/%f", "max_prepared_transactions": "3",
	}})
	p := &liveSite{Server: s, archive: archive}
	space := outside(t, s)
	if err := s.Own(archive); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"create role writer", "create database app", "create database other"} {
		execSQL(t, s, "postgres", sql)
	}
	execSQL(t, s, "postgres", fmt.Sprintf("create tablespace fast location '%s'", space))
	execSQL(t, s, "app", richSchema+"; alter table documents owner to writer")
	execSQL(t, s, "app", "create table placed (id int primary key, x text) tablespace fast; insert into placed select i, 'row ' || i from generate_series(1, 300) i")
	_, p.from, _ = backedUp(t, physical(s, policy.WALNone))
	execSQL(t, s, "app", "insert into documents (title) values ('after the base backup'); update documents set title = 'changed' where id = 7; delete from placed where id > 200")
	p.documents, p.all = queryAll(t, s, "app", documentsRows), settled(contents(t, s, "app"))
	time.Sleep(10 * time.Millisecond)
	p.before = ask(t, s, "app", "to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
	time.Sleep(10 * time.Millisecond)
	execSQL(t, s, "app", "drop table documents cascade")
	execSQL(t, s, "app", "insert into secrets values ('postgres', 'written after the drop')")
	p.archived(t)
	return p
}

// archived waits until everything that was written so far is in the archive.
func (p *liveSite) archived(t *testing.T) {
	t.Helper()
	segment := ask(t, p.Server, "postgres", "pg_walfile_name(pg_switch_wal())")
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(p.archive, segment)); err == nil {
			return
		} else if time.Now().After(end) {
			t.Fatalf("%s is not archived", segment)
		}
	}
}

// request asks for the moment before the drop.
func (p *liveSite) request(t *testing.T, database string, only ...string) executors.RestoreRequest {
	t.Helper()
	req := restoreRequest(p.DSN(database))
	req.Only, req.WAL = only, folderArchive{dir: p.archive}
	req.Options[optionTo], req.Options[optStagingDir] = p.before, scratchDir(t)
	return req
}

// wantNothingLeft looks at the scratch place; that no process is left scratchDir tells.
func wantNothingLeft(t *testing.T, req executors.RestoreRequest) {
	t.Helper()
	if left, err := os.ReadDir(req.Options[optStagingDir]); err != nil || len(left) > 0 {
		t.Errorf("left in the scratch place: %v (%v)", left, err)
	}
}

// TestRestoreOutOfBaseBackup: databases and tables come out of a base backup and WAL as they were at a moment, into the server
// that runs on.
func TestRestoreOutOfBaseBackup(t *testing.T) {
	p := startProduction(t)
	x := New(Options{})

	t.Run("a whole database beside", func(t *testing.T) {
		req := p.request(t, "app_restored", "app")
		preview, err := x.Preview(t.Context(), req, p.from)
		if err != nil {
			t.Fatal(err)
		}
		notes := strings.Join(preview.Notes, "\n")
		for _, want := range []string{"base backup of PostgreSQL", "recovers to recovery_target_time", "a scratch server is started", "MiB in " + req.Options[optStagingDir], `as the new database "app_restored"`} {
			if !strings.Contains(notes, want) {
				t.Errorf("the preview does not say %q:\n%s", want, notes)
			}
		}
		if d := cmp.Diff([]string{"app_restored"}, preview.Creates); d != "" {
			t.Errorf("creates (-want +got):\n%s", d)
		}
		wantNothingLeft(t, req)
		res := mustRestore(t, req, p.from)
		if d := cmp.Diff(p.all, settled(contents(t, p.Server, "app_restored"))); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if len(res.Problems) != 1 || !strings.Contains(res.Problems[0].Err.Error(), "recovered to "+res.Position+" on timeline 2; the last transaction is of ") || res.Problems[0].Missing {
			t.Errorf("problems %+v, want where recovery ended", res.Problems)
		}
		if to, err := time.Parse(time.RFC3339Nano, p.before); err != nil || res.Time.IsZero() || res.Time.After(to) {
			t.Errorf("the last transaction is of %s, after %s (%v)", res.Time, p.before, err)
		}
		wantNothingLeft(t, req)
		if _, err := x.Preview(t.Context(), req, p.from); !errors.Is(err, executors.ErrTargetExists) {
			t.Errorf("Preview onto a database that holds data: %v", err)
		}
	})

	t.Run("a dropped table into the database that runs on", func(t *testing.T) {
		req := p.request(t, "app", "app/public.documents")
		mustRestore(t, req, p.from)
		if d := cmp.Diff(p.documents, queryAll(t, p.Server, "app", documentsRows)); d != "" {
			t.Errorf("documents (-want +got):\n%s", d)
		}
		if got := ask(t, p.Server, "app", "select count(*) from secrets where what = 'written after the drop'"); got != "1" {
			t.Error("another table lost what was written since")
		}
		if got := ask(t, p.Server, "app", "select pg_get_userbyid(relowner) from pg_class where relname = 'documents'"); got != "writer" {
			t.Errorf("the table belongs to %s", got)
		}
		wantNothingLeft(t, req)

		// It is there now: the second time it is refused before anything is started, and replaced when that is asked for.
		req.WAL = folderArchive{dir: p.archive, before: func(string) error { t.Error("WAL was asked for"); return errInjected }}
		if _, err := x.Preview(t.Context(), req, p.from); !errors.Is(err, executors.ErrTargetExists) {
			t.Errorf("Preview onto a table that exists: %v", err)
		}
		execSQL(t, p.Server, "app", "delete from documents where id < 100")
		req = p.request(t, "app", "app/public.documents")
		req.Replace = true
		mustRestore(t, req, p.from)
		if d := cmp.Diff(p.documents, queryAll(t, p.Server, "app", documentsRows)); d != "" {
			t.Errorf("documents, replaced (-want +got):\n%s", d)
		}
	})

	t.Run("by a restore_command, into files, without owners", func(t *testing.T) {
		req := p.request(t, "jobs", "app/public.placed", "app/public.events")
		req.WAL = nil
		req.Options[optionCommand] = "cp " + p.archive + "/%f %p"
		req.Options[optJobs], req.Options[optNoOwner] = "2", "true"
		mustRestore(t, req, p.from)
		if got := ask(t, p.Server, "jobs", "select (select count(*) from placed) || ' ' || (select count(*) from events)"); got != "200 60" {
			t.Errorf("placed and events have %s rows", got)
		}
		if got := ask(t, p.Server, "jobs", "select count(*) from pg_class where relname in ('secrets', 'chunks')"); got != "0" {
			t.Error("other tables came along")
		}
	})

	t.Run("to the base backup's own moment, with roles, onto another server", func(t *testing.T) {
		other := pgserver.Start(t, pgserver.Options{})
		req := p.request(t, "", "app")
		req.Target.URL, req.WAL = secret(other.DSN("")), nil
		delete(req.Options, optionTo)
		req.Options[optGlobals] = "true"
		mustRestore(t, req, p.from)
		if got := ask(t, other, "app", "select count(*) || ' ' || (select count(*) from placed) from documents where title = 'Title 7'"); got != "1 300" {
			t.Errorf("got %s", got)
		}
	})
}

// TestRestoreOutOfBaseBackupFails: whatever goes wrong is told, as early as can be, and leaves no file, no process and no change
// of the target.
func TestRestoreOutOfBaseBackupFails(t *testing.T) {
	p := startProduction(t)
	x := New(Options{})
	before := contents(t, p.Server, "app")
	asked := func(change func(*executors.RestoreRequest)) executors.RestoreRequest {
		req := p.request(t, "app", "app/public.documents")
		change(&req)
		return req
	}
	// Early: Preview refuses too, so that no base backup is restored and no server started.
	for what, c := range map[string]struct {
		change func(*executors.RestoreRequest)
		want   string
	}{
		"a database that holds data": {func(r *executors.RestoreRequest) { r.Only = nil }, "holds data"},
		"an option of directories":   {func(r *executors.RestoreRequest) { r.Options[optionAction] = "pause" }, "is for a target that is a data directory"},
		"no moment":                  {func(r *executors.RestoreRequest) { r.Options[optionTo] = "yesterday" }, "is no moment"},
		"no WAL":                     {func(r *executors.RestoreRequest) { r.WAL = nil }, "leave -to away"},
		"an unknown option":          {func(r *executors.RestoreRequest) { r.Options["speed"] = "high" }, `read option "speed"`},
		"a broken pattern":           {func(r *executors.RestoreRequest) { r.Only = []string{"app/[x"} }, "app/[x"},
		"nobody answers":             {func(r *executors.RestoreRequest) { r.Target.URL = secret("postgres://u@127.0.0.1:1/app") }, "check that the server runs"},
		"no scratch place":           {func(r *executors.RestoreRequest) { r.Options[optStagingDir] = "/nowhere/at/all" }, "/nowhere/at/all"},
	} {
		t.Run(what, func(t *testing.T) {
			req := asked(c.change)
			_, err := x.Preview(t.Context(), req, p.from)
			wantError(t, err, c.want)
			_, err = x.Restore(t.Context(), req, p.from)
			wantError(t, err, c.want)
		})
	}
	// Late: only the recovered server knows.
	for what, c := range map[string]struct {
		change func(*executors.RestoreRequest)
		want   []string
	}{
		"a wrong database": {func(r *executors.RestoreRequest) { r.Only = []string{"ap/public.documents"} }, []string{"app, other, postgres"}},
		"a wrong table":    {func(r *executors.RestoreRequest) { r.Only = []string{"app/public.dokuments"} }, []string{`database "app" holds`, "public.documents"}},
		"a moment to come": {func(r *executors.RestoreRequest) { r.Options[optionTo] = "2126-01-01T00:00:00Z" }, []string{"before it had recovered", "recovery ended before configured recovery target was reached"}},
		"a moment before":  {func(r *executors.RestoreRequest) { r.Options[optionTo] = "0/1000000" }, []string{"before it had recovered"}},
		"a store that breaks": {func(r *executors.RestoreRequest) {
			r.WAL = folderArchive{before: func(string) error { return errInjected }}
		}, []string{errInjected.Error(), "before it had recovered"}},
	} {
		t.Run(what, func(t *testing.T) {
			req := asked(c.change)
			if _, err := x.Preview(t.Context(), req, p.from); err != nil {
				t.Errorf("Preview: %v", err)
			}
			_, err := x.Restore(t.Context(), req, p.from)
			wantError(t, err, c.want...)
			wantNothingLeft(t, req)
		})
	}
	t.Run("a damaged base backup", func(t *testing.T) {
		req := asked(func(*executors.RestoreRequest) {})
		defer p.from.Damage(1<<62, nil)
		_, err := x.Restore(t.Context(), req, p.from.Damage(p.from.Size()/2, errInjected))
		if !errors.Is(err, errInjected) {
			t.Errorf("got %v", err)
		}
		wantNothingLeft(t, req)
	})
	t.Run("interrupted while it recovers", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		req := asked(func(r *executors.RestoreRequest) {
			r.WAL = folderArchive{dir: p.archive, before: func(name string) error {
				if strings.HasSuffix(name, ".history") {
					return nil
				}
				cancel()
				return ctx.Err()
			}}
		})
		if _, err := x.Restore(ctx, req, p.from); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		wantNothingLeft(t, req)
	})
	t.Run("no server of that version", func(t *testing.T) {
		bin := t.TempDir()
		_, err := New(Options{BinDir: bin}).Preview(t.Context(), asked(func(*executors.RestoreRequest) {}), p.from)
		wantError(t, err, "find postgres", fmt.Sprintf("postgresql-%d", realMajor(t)))
		fakeTool(t, bin, "postgres", fmt.Sprintf("%d.1", realMajor(t)+1), "exit 1")
		_, err = New(Options{BinDir: bin}).Preview(t.Context(), asked(func(*executors.RestoreRequest) {}), p.from)
		wantError(t, err, "needs a server of that version", fmt.Sprintf("postgresql-%d", realMajor(t)))
	})
	if d := cmp.Diff(before, contents(t, p.Server, "app")); d != "" {
		t.Errorf("the target changed (-before +after):\n%s", d)
	}
}

// TestRestoreOutOfBaseBackupKilled kills a process while its scratch server recovers: the server goes with it, and the next restore
// removes its folder.
func TestRestoreOutOfBaseBackupKilled(t *testing.T) {
	dir := scratchDir(t)
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "HF_TEST_VIA="+shared.DSN("via_killed"), "HF_TEST_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	if n, err := out.Read(line); err != nil || string(line[:n]) != "asked\n" {
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
		t.Fatalf("the killed restore left nothing to sweep: %v, %v", left, err)
	}
	target := uniqueName("via_next")
	t.Cleanup(func() { dropDatabase(t, target) })
	_, from, _ := backedUp(t, physical(shared, policy.WALNone))
	req := restoreRequest(shared.DSN(target))
	req.Only, req.Options[optStagingDir] = []string{"postgres"}, dir
	mustRestore(t, req, from)
	wantNothingLeft(t, req)
}

// recoverUntilKilled is the other process: its store hangs.
func recoverUntilKilled(dsn, dir string) int {
	ctx := context.Background()
	p := &policy.Physical{Reader: policy.ReaderAuto, Checkpoint: policy.CheckpointFast, WAL: policy.WAL{Mode: policy.WALNone}}
	maintenance := strings.Replace(dsn, "/via_killed", "/postgres", 1)
	backup := executors.BackupRequest{Source: sourceOf(maintenance), Backup: policy.Backup{Physical: p}, Point: "20261122T000000Z-killed"}
	store, sink := newPoint(backup.Point)
	x := New(Options{})
	res, err := x.Backup(ctx, backup, sink)
	if err == nil {
		store.Commit(sink, res)
		req := restoreRequest(dsn)
		req.Options[optionTo], req.Options[optStagingDir] = "latest", dir
		req.WAL = folderArchive{dir: dir, before: func(name string) error {
			if !strings.HasSuffix(name, ".history") {
				_, _ = os.Stdout.WriteString("asked\n")
				select {}
			}
			return nil
		}}
		_, err = x.Restore(ctx, req, store.Supply(backup.Point))
	}
	fmt.Fprintln(os.Stderr, "the restore ended:", err)
	return 1
}

// TestCopiesTakeNothingFromPublishers: the recovered copy of a server with a subscription does not connect to the publisher, where
// it would take changes that the original waits for.
func TestCopiesTakeNothingFromPublishers(t *testing.T) {
	publisher, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer publisher.Close()
	var calls atomic.Int64
	go func() {
		for {
			conn, err := publisher.Accept()
			if err != nil {
				return
			}
			calls.Add(1)
			conn.Close()
		}
	}()
	s := pgserver.Start(t, pgserver.Options{})
	execSQL(t, s, "postgres", "create table t as select 1 x")
	execSQL(t, s, "postgres", fmt.Sprintf("create subscription s connection 'host=127.0.0.1 port=%d' publication p with (connect = false, slot_name = 's')", publisher.Addr().(*net.TCPAddr).Port))
	execSQL(t, s, "postgres", "alter subscription s enable")
	_, from, _ := backedUp(t, physical(s, policy.WALNone))
	if calls.Load() == 0 {
		t.Fatal("the original does not call its publisher: this test shows nothing")
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	calls.Store(0)
	target := uniqueName("via_subscriber")
	t.Cleanup(func() { dropDatabase(t, target) })
	req := restoreRequest(shared.DSN(target))
	req.Only, req.Options[optStagingDir] = []string{"postgres/public.t"}, scratchDir(t)
	mustRestore(t, req, from)
	if n := calls.Load(); n > 0 {
		t.Errorf("the copy called the publisher %d times", n)
	}
}

// TestSuperuserOfAnotherName: the copy is entered by the role that initdb made, whatever it is called; of points that do not name
// it, by the source's own role where that is a superuser; and a stranger is told what to do.
func TestSuperuserOfAnotherName(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	execSQL(t, s, "postgres", "create table t as select 1 x")
	execSQL(t, s, "postgres", "create role boss superuser login password 'boss-secret'")
	boss, err := pgx.Connect(t.Context(), s.DSNAs("boss", "boss-secret", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer boss.Close(context.Background())
	if _, err := boss.Exec(t.Context(), "alter role postgres rename to founder"); err != nil {
		t.Fatal(err)
	}
	backup := physical(s, policy.WALNone)
	backup.Source = sourceOf(s.DSNAs("boss", "boss-secret", "postgres"))
	_, from, res := backedUp(t, backup)
	if res.Meta[metaSuperuser] != "founder" {
		t.Errorf("the point names the superuser %q", res.Meta[metaSuperuser])
	}
	nameless := maps.Clone(res.Meta)
	delete(nameless, metaSuperuser)
	for _, c := range []struct {
		what   string
		from   executors.Supply
		source policy.Source
		want   string
	}{
		{"named", from, policy.Source{}, ""},
		{"not named", from.WithMeta(nameless), backup.Source, ""},
		{"unknown", from.WithMeta(nameless), policy.Source{}, "no superuser of the base backup is known"},
	} {
		t.Run(c.what, func(t *testing.T) {
			target := uniqueName("via_boss")
			t.Cleanup(func() { dropDatabase(t, target) })
			req := restoreRequest(shared.DSN(target))
			req.Source, req.Only, req.Options[optNoOwner] = c.source, []string{"postgres/public.t"}, "true"
			req.Options[optStagingDir] = scratchDir(t)
			_, err := New(Options{}).Restore(t.Context(), req, c.from)
			if c.want == "" && err != nil {
				t.Fatal(err)
			}
			if c.want != "" {
				wantError(t, err, c.want, "-target=data_dir=")
			}
			wantNothingLeft(t, req)
		})
	}
}
