package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

// localReader is an executor that recognises files after a second, and a request that it reads the files.
func localReader(s *pgserver.Server) (*Executor, executors.BackupRequest) {
	x := New(Options{})
	x.quiet = time.Second
	return x, readBy(physical(s, policy.WALNone), policy.ReaderLocal)
}

// rests waits until what was written so far counts as left alone.
func rests(t *testing.T, s *pgserver.Server) {
	t.Helper()
	execSQL(t, s, "postgres", "checkpoint")
	time.Sleep(1500 * time.Millisecond) // file systems have no other clock
}

// pointOf makes a point into a store.
func pointOf(t *testing.T, x *Executor, req executors.BackupRequest, store *executortest.Store, faults executortest.Faults) (*executortest.Sink, executors.Result) {
	t.Helper()
	req.Point = "20261122T000000Z-" + uniqueName("p")[2:] + "abc"
	sink := store.Sink(req.Point, faults)
	res, err := x.Backup(t.Context(), req, sink)
	if err != nil {
		t.Fatal(err)
	}
	store.Commit(sink, res)
	if _, err := x.Verify(t.Context(), executors.VerifyRequest{}, executortest.NewSupply(sink.Items()...).WithMeta(res.Meta)); err != nil {
		t.Fatalf("verify: %v", err)
	}
	return sink, res
}

func itemOf(sink *executortest.Sink, path string) *executortest.Item {
	for _, it := range sink.Items() {
		if it.Entry.Path == path {
			return it
		}
	}
	return nil
}

// started restores a point and starts a server on it.
func started(t *testing.T, s *pgserver.Server, sink *executortest.Sink, res executors.Result) *pgserver.Server {
	t.Helper()
	root := filepath.Join(outside(t, s), "restored")
	req := executors.RestoreRequest{Target: executors.Target{Root: root}}
	if _, err := New(Options{}).Restore(t.Context(), req, executortest.NewSupply(sink.Items()...).WithMeta(res.Meta)); err != nil {
		t.Fatal(err)
	}
	return pgserver.Launch(t, root, s, nil)
}

func fileOf(t *testing.T, s *pgserver.Server, table string) string {
	t.Helper()
	return ask(t, s, "postgres", "select pg_relation_filepath('"+table+"')")
}

// TestReadersAgree: both readers hold the same files, with the same modes.
func TestReadersAgree(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{InitArgs: []string{"--data-checksums"}})
	space := outside(t, s)
	execSQL(t, s, "postgres", fmt.Sprintf("create tablespace fast location '%s'", space))
	execSQL(t, s, "postgres", "create table plain (id int); create table far (id int) tablespace fast; create unlogged table gone (id int); create unlogged table far_gone (id int) tablespace fast; insert into plain select generate_series(1, 10000); insert into gone select 1; checkpoint")
	for _, name := range []string{"base/pgsql_tmp", "base/pgsql_tmp/x", "extra.conf"} {
		path := filepath.Join(s.Data, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil && name != "base/pgsql_tmp" {
			err = os.WriteFile(path, []byte("x"), 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.OwnAll(s.Data); err != nil {
		t.Fatal(err)
	}
	got := map[policy.Reader][]string{}
	for _, reader := range []policy.Reader{policy.ReaderRemote, policy.ReaderLocal} {
		x, req := localReader(s)
		sink, _ := pointOf(t, x, readBy(req, reader), executortest.NewStore(), executortest.Faults{})
		for _, it := range sink.Items() {
			e := it.Entry
			mode := e.Mode
			if filepath.Dir(e.Path) == "data/pg_wal" && e.Type == executors.TypeFile || strings.HasSuffix(e.Path, ".done") {
				e.Path = "WAL" // each has its own
			}
			if e.Path == "data/pg_tblspc/"+ask(t, s, "postgres", "select oid from pg_tablespace where spcname = 'fast'") {
				continue // the link itself, which neither needs
			}
			got[reader] = append(got[reader], fmt.Sprintf("%s %s %o", e.Path, e.Type, mode))
		}
		slices.Sort(got[reader])
		got[reader] = slices.Compact(got[reader])
	}
	if diff := cmp.Diff(got[policy.ReaderRemote], got[policy.ReaderLocal]); diff != "" {
		t.Errorf("(-remote +local):\n%s", diff)
	}
}

// TestRecognised: a later point takes what nobody wrote to from the one before, and nothing else.
func TestRecognised(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{InitArgs: []string{"--data-checksums"}})
	x, req := localReader(s)
	for _, name := range []string{"still", "touched", "old_time", "again", "emptied"} {
		execSQL(t, s, "postgres", fmt.Sprintf("create table %s as select i as id, repeat(md5(i::text), 20) x from generate_series(1, 500) i", name))
	}
	execSQL(t, s, "postgres", "vacuum analyze")
	rests(t, s)
	store := executortest.NewStore()
	pointOf(t, x, req, store, executortest.Faults{})
	execSQL(t, s, "postgres", "update touched set x = 'new' where id = 7; drop table again; create table again as select 1 as id, 'new' x; truncate emptied; checkpoint")
	old := filepath.Join(s.Data, fileOf(t, s, "old_time"))
	before, err := os.Stat(old)
	if err != nil {
		t.Fatal(err)
	}
	execSQL(t, s, "postgres", "update old_time set x = 'new' where id = 7; checkpoint")
	if err := os.Chtimes(old, before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
	second, res := pointOf(t, x, req, store, executortest.Faults{})
	for name, want := range map[string]bool{"still": true, "touched": false, "old_time": false, "again": false, "emptied": false} {
		it := itemOf(second, "data/"+fileOf(t, s, name))
		if it == nil || it.Reused != want {
			t.Errorf("%s: recognised is not %v: %+v", name, want, it)
		}
	}
	for _, it := range second.Items() {
		if it.Reused && !strings.HasPrefix(it.Entry.Path, "data/base/") && !strings.HasPrefix(it.Entry.Path, "data/global/") {
			t.Errorf("%s was recognised", it.Entry.Path)
		}
	}
	restored := started(t, s, second, res)
	for _, name := range []string{"still", "touched", "old_time", "again"} {
		if got, want := ask(t, restored, "postgres", fmt.Sprintf(contentOf, name)), ask(t, s, "postgres", fmt.Sprintf(contentOf, name)); got != want {
			t.Errorf("%s is %s, was %s", name, got, want)
		}
	}
	verifiedByServer(t, s, second, res)
	// What was written just before a backup is read again by the next one, and what a restarted server has, too.
	execSQL(t, s, "postgres", "update still set x = 'newer' where id = 8; checkpoint")
	pointOf(t, x, req, store, executortest.Faults{})
	fourth, _ := pointOf(t, x, req, store, executortest.Faults{})
	if it := itemOf(fourth, "data/"+fileOf(t, s, "still")); it.Reused {
		t.Error("a file written just before the backup before was recognised")
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	fifth, _ := pointOf(t, x, req, store, executortest.Faults{})
	for _, it := range fifth.Items() {
		if it.Reused {
			t.Fatalf("%s was recognised after a restart", it.Entry.Path)
		}
	}
}

// verifiedByServer lets PostgreSQL's own program judge a restored directory by our manifest, with its WAL.
func verifiedByServer(t *testing.T, s *pgserver.Server, sink *executortest.Sink, res executors.Result) {
	t.Helper()
	dir := outside(t, s)
	root := filepath.Join(dir, "restored")
	if _, err := New(Options{}).Restore(t.Context(), executors.RestoreRequest{Target: executors.Target{Root: root}}, executortest.NewSupply(sink.Items()...).WithMeta(res.Meta)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "manifest")
	if err := os.WriteFile(file, itemOf(sink, "backup_manifest").Data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(s.BinDir, "pg_verifybackup"), "-m", file, root).CombinedOutput()
	if err != nil {
		t.Errorf("pg_verifybackup: %v: %s", err, out)
	}
}

// TestLocalDamage: a page whose checksum is wrong is told with its block, by every backup that holds it, and the backup is kept.
func TestLocalDamage(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{InitArgs: []string{"--data-checksums"}})
	x, req := localReader(s)
	execSQL(t, s, "postgres", "create table hurt as select i as id, repeat(md5(i::text), 20) x from generate_series(1, 500) i")
	rests(t, s)
	name := fileOf(t, s, "hurt")
	f, err := os.OpenFile(filepath.Join(s.Data, name), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for block := range int64(8) {
		if _, err := f.WriteAt([]byte("damage"), (block+2)*8192+4000); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	rests(t, s)
	store := executortest.NewStore()
	for range 3 {
		sink, res := pointOf(t, x, req, store, executortest.Faults{})
		var got []string
		for _, p := range res.Problems {
			if p.Missing {
				t.Errorf("%s counts as missing", p.Path)
			}
			got = append(got, p.Path+": "+p.Err.Error())
		}
		var want []string
		for block := 2; block < 7; block++ {
			want = append(want, fmt.Sprintf("data/%s: block %d of the relation in %s: its checksum is wrong", name, block, name))
		}
		want = append(want, fmt.Sprintf("data/%s: 3 more blocks of the relation in %s: their checksums are wrong", name, name))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		var doc basebackup.Document
		if err := json.Unmarshal(itemOf(sink, "physical.json").Data, &doc); err != nil || len(doc.Damaged) != 6 {
			t.Errorf("the document says %v, %v", doc.Damaged, err)
		}
	}
}

// TestMovingFiles: files that vanish, grow and are cut off between being listed and being read.
func TestMovingFiles(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{InitArgs: []string{"--data-checksums"}})
	x, req := localReader(s)
	for _, name := range []string{"dropped", "grown", "cut"} {
		execSQL(t, s, "postgres", fmt.Sprintf("create table %s as select i as id, repeat(md5(i::text), 20) x from generate_series(1, 3000) i", name))
	}
	execSQL(t, s, "postgres", "delete from cut where id > 10; checkpoint")
	dropped, grown, cut := "data/"+fileOf(t, s, "dropped"), "data/"+fileOf(t, s, "grown"), "data/"+fileOf(t, s, "cut")
	var once, inside sync.Once
	sink, res := pointOf(t, x, req, executortest.NewStore(), executortest.Faults{
		BeforeOpen: func(e executors.Entry) {
			if e.Path == dropped {
				once.Do(func() { execSQL(t, s, "postgres", "drop table dropped; checkpoint") })
			}
		},
		AfterRead: func(e executors.Entry, _ int64) {
			if e.Path == grown || e.Path == cut {
				inside.Do(func() {
					execSQL(t, s, "postgres", "insert into grown select i as id, repeat(md5(i::text), 20) x from generate_series(3001, 6000) i")
					execSQL(t, s, "postgres", "vacuum cut")
					execSQL(t, s, "postgres", "checkpoint")
				})
			}
		},
	})
	if it := itemOf(sink, dropped); it != nil && len(it.Data) > 0 {
		t.Errorf("%d bytes of a dropped table", len(it.Data))
	}
	if len(res.Problems) > 0 {
		t.Errorf("problems: %v", res.Problems)
	}
	restored := started(t, s, sink, res)
	for _, name := range []string{"grown", "cut"} {
		if got, want := ask(t, restored, "postgres", fmt.Sprintf(contentOf, name)), ask(t, s, "postgres", fmt.Sprintf(contentOf, name)); got != want {
			t.Errorf("%s is %s, was %s", name, got, want)
		}
	}
	if got := ask(t, restored, "postgres", "select count(*) from pg_class where relname = 'dropped'"); got != "0" {
		t.Error("a dropped table is back")
	}
}

// TestLocalUnderLoad: while tables are written, dropped and made anew, every point restores to a server that has each row that was
// committed before the point's moment, whatever was recognised in it.
func TestLocalUnderLoad(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{InitArgs: []string{"--data-checksums"}, Durable: true})
	x, req := localReader(s)
	execSQL(t, s, "postgres", "create table accounts as select i as id, 0 as balance, repeat('x', 200) as filler from generate_series(1, 20000) i; create unique index on accounts (id); create table log (id bigserial primary key, n int, account int)")
	for i := range 8 {
		execSQL(t, s, "postgres", fmt.Sprintf("create table part%d as select i as id, 0 as n from generate_series(1, 2000) i", i))
	}
	load := begin(t, s)
	store := executortest.NewStore()
	var reused int
	for round := range 4 {
		time.Sleep(1500 * time.Millisecond)
		sink, res := pointOf(t, x, req, store, executortest.Faults{})
		want := load.before(res.Time)
		for _, it := range sink.Items() {
			if it.Reused {
				reused++
			}
		}
		restored := started(t, s, sink, res)
		var missing []int
		have := map[string]bool{}
		for _, n := range queryAll(t, restored, "postgres", "select n::text from log") {
			have[n] = true
		}
		for _, n := range want {
			if !have[fmt.Sprint(n)] {
				missing = append(missing, n)
			}
		}
		if len(want) == 0 || len(missing) > 0 {
			t.Errorf("round %d: %d of %d rows are missing: %v", round, len(missing), len(want), missing[:min(len(missing), 10)])
		}
		if got := ask(t, restored, "postgres", "select (select sum(balance) from accounts) - (select count(*) from log)"); got != "0" {
			t.Errorf("round %d: balances are %s off the log", round, got)
		}
		for i := range 8 { // each is written as a whole
			if got := ask(t, restored, "postgres", fmt.Sprintf("select count(*) || ' ' || count(distinct n) from part%d", i)); got != "2000 1" {
				t.Errorf("round %d: part%d has %s", round, i, got)
			}
		}
		if err := restored.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if err := load.end(); err != nil {
		t.Fatal(err)
	}
	if reused == 0 {
		t.Error("nothing was recognised: the test shows less than it should")
	}
}

// load writes until it is ended, and remembers when each row was known to be committed.
type load struct {
	stop context.CancelFunc
	done chan error
	mu   sync.Mutex
	acks []time.Time
}

func begin(t *testing.T, s *pgserver.Server) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{stop: cancel, done: make(chan error, 1)}
	go func() { l.done <- l.run(ctx, s) }()
	t.Cleanup(func() { _ = l.end() })
	return l
}

func (l *load) run(ctx context.Context, s *pgserver.Server) error {
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for n := 0; ctx.Err() == nil; n++ {
		sql := fmt.Sprintf("begin; update accounts set balance = balance + 1 where id = %d; insert into log (n, account) values (%d, 1); commit", n*7919%20000+1, n)
		switch {
		case n%500 == 499:
			sql += fmt.Sprintf("; update part%d set n = %d", n/500%2, n) // the others are left alone
		case n%100 == 99:
			sql += "; drop table if exists again; create table again as select generate_series(1, 2000) as id"
		case n%1000 == 42:
			sql += "; checkpoint"
		}
		if _, err := conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
			return err
		}
		l.mu.Lock()
		l.acks = append(l.acks, time.Now())
		l.mu.Unlock()
	}
	return nil
}

// before lists the rows that were committed before a moment.
func (l *load) before(at time.Time) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []int
	for n, ack := range l.acks {
		if ack.Before(at) {
			out = append(out, n)
		}
	}
	return out
}

func (l *load) end() error {
	l.stop()
	err := <-l.done
	l.done <- err
	return err
}

// TestLocalRefuses: each reason that keeps the files from being read is told, and "auto" goes over the replication protocol.
func TestLocalRefuses(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{Durable: true})
	execSQL(t, s, "postgres", "create role saver login replication password 'secret'")
	_, req := localReader(s)
	req.Source = sourceOf(s.DSNAs("saver", "secret", "postgres"))
	refused := func(what, want string, req executors.BackupRequest) {
		t.Helper()
		_, sink := newPoint(req.Point)
		_, err := New(Options{}).Backup(t.Context(), req, sink)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `reader = "remote"`) {
			t.Errorf("%s: %v", what, err)
		}
		var log bytes.Buffer
		req.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		_, _, res := backedUp(t, readBy(req, policy.ReaderAuto))
		if res.Meta[metaReader] != "remote" || !strings.Contains(log.String(), "over the replication protocol") {
			t.Errorf("%s: auto takes %q and says %s", what, res.Meta[metaReader], log.String())
		}
	}
	refused("no right to begin", "GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean)", req)
	execSQL(t, s, "postgres", "grant execute on function pg_backup_start(text, boolean), pg_backup_stop(boolean) to saver")
	refused("no right to ask", "GRANT pg_read_all_settings", req)
	execSQL(t, s, "postgres", "grant pg_read_all_settings to saver")
	if _, _, res := backedUp(t, req); res.Meta[metaReader] != "local" {
		t.Errorf("with the rights the reader is %q", res.Meta[metaReader])
	}
	standby := standbyOf(t, s)
	_, req = localReader(standby)
	refused("a standby", "is a standby", req)
}

// TestFindDirectory: a directory that is not the server's own is never read for it.
func TestFindDirectory(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	execSQL(t, s, "postgres", "select pg_create_physical_replication_slot('mine')")
	var system uint64
	if _, err := fmt.Sscan(ask(t, s, "postgres", "select system_identifier from pg_control_system()"), &system); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(s.Data)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(copied, "pg_replslot/mine")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, path string
		system     uint64
		want       string
	}{
		{"its own", s.Data, system, ""},
		{"not there", s.Data + ".gone", system, "cannot be read here"},
		{"relative", "data", system, "no absolute path"},
		{"no data directory", t.TempDir(), system, "cannot be read here"},
		{"another cluster's", s.Data, system + 1, "belongs to another cluster"},
		{"a copy", copied, system, "is a copy of the server's data directory"},
	} {
		_, err := basebackup.FindDirectory(t.Context(), c.path, c.system, "mine")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
}

// TestServerStopsWhileRead: what was read of a server that ended is no backup, also when it is back before the end.
func TestServerStopsWhileRead(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	x, req := localReader(s)
	var once sync.Once
	sink := executortest.NewStore().Sink(req.Point, executortest.Faults{BeforeOpen: func(executors.Entry) {
		once.Do(func() {
			s.Kill()
			if err := s.Restart(); err != nil {
				t.Error(err)
			}
		})
	}})
	if _, err := x.Backup(t.Context(), req, sink); err == nil || !strings.Contains(err.Error(), "the server was stopped, or the connection was lost") {
		t.Errorf("got %v", err)
	}
	eventually(t, "no slot is left", func() bool { return ask(t, s, "postgres", "select count(*) from pg_replication_slots") == "0" })
}
