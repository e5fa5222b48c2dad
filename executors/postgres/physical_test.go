package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

// physical is a request for a base backup.
func physical(s *pgserver.Server, wal policy.WALMode) executors.BackupRequest {
	p := &policy.Physical{Reader: policy.ReaderAuto, Checkpoint: policy.CheckpointFast, WAL: policy.WAL{Mode: wal}}
	if wal == policy.WALStream {
		p.WAL.Slot = "holdfast_test"
	}
	return executors.BackupRequest{
		Source: sourceOf(s.DSN("postgres")), Backup: policy.Backup{Address: "backup.test", Physical: p}, Point: "20261122T000000Z-" + uniqueName("p")[2:] + "abc",
	}
}

// readBy is a request for a reader.
func readBy(req executors.BackupRequest, reader policy.Reader) executors.BackupRequest {
	p := *req.Backup.Physical
	p.Reader = reader
	req.Backup.Physical = &p
	return req
}

// ask returns one text.
func ask(t testing.TB, s *pgserver.Server, database, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), s.DSN(database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var out string
	if err := conn.QueryRow(context.Background(), "select ("+sql+")::text").Scan(&out); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// outside makes a folder that the server's account can use.
func outside(t testing.TB, s *pgserver.Server) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hfpgrestore")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := s.Own(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

const contentOf = "select count(*) || ' ' || md5(string_agg(t.*::text, '' order by t.id)) from %s t"

// TestBaseBackup: what was committed before the base backup ended is there when its directory is started, with every table
// space, wherever it is put.
func TestBaseBackup(t *testing.T) {
	for _, reader := range []policy.Reader{policy.ReaderLocal, policy.ReaderRemote} {
		t.Run(string(reader), func(t *testing.T) { testBaseBackup(t, reader) })
	}
}

func testBaseBackup(t *testing.T, reader policy.Reader) {
	s := pgserver.Start(t, pgserver.Options{InitArgs: []string{"--data-checksums"}})
	dir := outside(t, s)
	space := filepath.Join(dir, "fast")
	if err := os.Mkdir(space, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Own(space); err != nil {
		t.Fatal(err)
	}
	execSQL(t, s, "postgres", fmt.Sprintf("create tablespace fast location '%s'", space))
	execSQL(t, s, "postgres", "create database app")
	execSQL(t, s, "app", "create table big as select i as id, repeat(md5(i::text), 20) x from generate_series(1, 20000) i; create table small (id int, x text) tablespace fast; insert into small select i, 'row ' || i from generate_series(1, 500) i; create unlogged table gone (id int)")
	want := map[string]string{}
	for _, table := range []string{"big", "small"} {
		want[table] = ask(t, s, "app", fmt.Sprintf(contentOf, table))
	}
	_, from, res := backedUp(t, readBy(physical(s, policy.WALNone), reader))
	if res.Meta[metaReader] != string(reader) {
		t.Errorf("made by the reader %q", res.Meta[metaReader])
	}
	if res.Time.IsZero() || res.Position == "" || res.Meta[executors.MetaSystem] == "" || res.Meta[executors.MetaCarriesWAL] != "true" {
		t.Fatalf("result %+v", res)
	}
	x := New(Options{})
	if _, err := x.Verify(t.Context(), executors.VerifyRequest{}, from); err != nil {
		t.Fatal(err)
	}
	req := executors.RestoreRequest{Target: executors.Target{Root: filepath.Join(dir, "restored"), Spaces: map[string]string{space: filepath.Join(dir, "moved")}}}
	preview, err := x.Preview(t.Context(), req, from)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(preview.Creates, "\n"); !strings.Contains(got, "restored") || !strings.Contains(got, "moved (tablespace ") || len(preview.Replaces) > 0 {
		t.Errorf("preview %+v", preview)
	}
	if _, err := x.Restore(t.Context(), req, from); err != nil {
		t.Fatal(err)
	}
	restored := pgserver.Launch(t, req.Target.Root, s, nil)
	for table, content := range want {
		if got := ask(t, restored, "app", fmt.Sprintf(contentOf, table)); got != content {
			t.Errorf("%s is %s, was %s", table, got, content)
		}
	}
	if got := ask(t, restored, "app", "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'fast'"); got != filepath.Join(dir, "moved") {
		t.Errorf("the tablespace is at %s", got)
	}
	// Nothing is overwritten, and a server that runs is not touched.
	if _, err := x.Restore(t.Context(), req, from); !errors.Is(err, executors.ErrTargetExists) {
		t.Errorf("a second restore: %v", err)
	}
	req.Replace = true
	req.Target.Spaces = map[string]string{space: filepath.Join(dir, "moved again")}
	if _, err := x.Restore(t.Context(), req, from); err == nil || !strings.Contains(err.Error(), "a server runs on") {
		t.Errorf("restore under a running server: %v", err)
	}
	if err := restored.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Restore(t.Context(), req, from); err != nil {
		t.Errorf("restore with replace: %v", err)
	}
	if _, err := os.Stat(req.Target.Root + ".holdfast-old/PG_VERSION"); err != nil {
		t.Errorf("what was there is not kept: %v", err)
	}
}

// TestBaseBackupFails: a sink that fails, a server that dies and a context that ends leave nothing on the server.
func TestBaseBackupFails(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	execSQL(t, s, "postgres", "create table big as select i as id, repeat(md5(i::text), 20) x from generate_series(1, 60000) i")
	broken := errors.New("the store is full")
	for what, faults := range map[string]executortest.Faults{
		"at once": {FailAdd: 1}, "later": {FailAdd: 700}, "in a small file": {FailContent: 100}, "in a large file": {FailContent: 20 << 20},
	} {
		for _, reader := range []policy.Reader{policy.ReaderLocal, policy.ReaderRemote} {
			t.Run(what+", "+string(reader), func(t *testing.T) {
				faults.Err = broken
				req := readBy(physical(s, policy.WALNone), reader)
				sink := executortest.NewStore().Sink(req.Point, faults)
				if _, err := New(Options{}).Backup(t.Context(), req, sink); !errors.Is(err, broken) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
	eventually(t, "no slot is left", func() bool { return ask(t, s, "postgres", "select count(*) from pg_replication_slots") == "0" })
	execSQL(t, s, "postgres", "select 1")
}

// TestDeltaRestore: what is right already is taken from what is there, which stays as it is; what differs comes from the backup.
func TestDeltaRestore(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	execSQL(t, s, "postgres", "create table big as select i as id, repeat(md5(i::text), 20) x from generate_series(1, 20000) i; create table little as select 1 as id, 'one' as x; checkpoint")
	want := ask(t, s, "postgres", fmt.Sprintf(contentOf, "big"))
	_, from, _ := backedUp(t, physical(s, policy.WALNone))
	dir := outside(t, s)
	req := executors.RestoreRequest{Target: executors.Target{Root: filepath.Join(dir, "data")}}
	if _, err := New(Options{}).Restore(t.Context(), req, from); err != nil {
		t.Fatal(err)
	}
	used := pgserver.Launch(t, req.Target.Root, s, nil)
	execSQL(t, used, "postgres", "update little set x = 'two'; create table more (id int); checkpoint")
	path := ask(t, used, "postgres", "select pg_relation_filepath('little')")
	if err := used.Stop(); err != nil {
		t.Fatal(err)
	}
	changed, err := os.ReadFile(filepath.Join(req.Target.Root, path))
	if err != nil {
		t.Fatal(err)
	}
	req.Options = map[string]string{optionDelta: "true"}
	if _, err := New(Options{}).Restore(t.Context(), req, from); err == nil || !strings.Contains(err.Error(), "-replace") {
		t.Errorf("without -replace: %v", err)
	}
	req.Replace = true
	read := map[string]bool{}
	res, err := New(Options{}).Restore(t.Context(), req, from.OnRead(func(e executors.Entry) { read[e.Path] = true }))
	if err != nil || len(res.Problems) != 1 {
		t.Fatalf("restore: %v %v", err, res.Problems)
	}
	if big := "data/" + ask(t, s, "postgres", "select pg_relation_filepath('big')"); read[big] || !read["data/"+path] {
		t.Errorf("read from the backup: big %v, little %v", read[big], read["data/"+path])
	}
	if kept, err := os.ReadFile(filepath.Join(req.Target.Root+".holdfast-old", path)); err != nil || !bytes.Equal(kept, changed) {
		t.Errorf("what was there is not what it was (%v)", err)
	}
	restored := pgserver.Launch(t, req.Target.Root, s, nil)
	if got := ask(t, restored, "postgres", fmt.Sprintf(contentOf, "big")); got != want {
		t.Errorf("big is %s, was %s", got, want)
	}
	if got := ask(t, restored, "postgres", "select x from little"); got != "one" {
		t.Errorf("little is %s", got)
	}
}

// TestVerifyBaseBackup: a change of any kind is found and named.
func TestVerifyBaseBackup(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{InitArgs: []string{"--data-checksums"}})
	execSQL(t, s, "postgres", "create table pages as select i as id, repeat(md5(i::text), 20) x from generate_series(1, 300) i; checkpoint")
	table := "data/" + ask(t, s, "postgres", "select pg_relation_filepath('pages')")
	req := physical(s, policy.WALNone)
	store, sink := newPoint(req.Point)
	res, err := New(Options{}).Backup(t.Context(), req, sink)
	if err != nil {
		t.Fatal(err)
	}
	store.Commit(sink, res)
	start, err := wal.ParseLSN(res.Meta[executors.MetaStart])
	if err != nil {
		t.Fatal(err)
	}
	segment := ""
	for _, it := range sink.Items() {
		if strings.HasPrefix(it.Entry.Path, "data/pg_wal/0") {
			segment = it.Entry.Path
		}
	}
	for _, c := range []struct {
		what, item string
		change     func(*executortest.Item) *executortest.Item
		want       string
	}{
		{"nothing", "", nil, ""},
		{"a byte of a table", table, flip(5000), "where the backup manifest says"},
		{"a file is away", table, func(*executortest.Item) *executortest.Item { return nil }, "are not in it: " + table[5:]},
		{"a file is cut", table, func(it *executortest.Item) *executortest.Item { it.Data = it.Data[:8192]; return it }, "where the backup manifest says"},
		{"a byte of pg_control", "data/global/pg_control", flip(40), "verify global/pg_control"},
		{"a byte of the manifest", "backup_manifest", flip(300), "verify backup_manifest"},
		{"the WAL is away", segment, func(*executortest.Item) *executortest.Item { return nil }, "verify the WAL of the base backup"},
		{"a byte of the WAL", segment, flip(int(start%(16<<20)) + 20), "verify the WAL of the base backup"},
		{"another backup's document", "physical.json", func(it *executortest.Item) *executortest.Item {
			it.Data = []byte(strings.Replace(string(it.Data), `"system_identifier": "`, `"system_identifier": "1`, 1))
			return it
		}, "it is of system"},
	} {
		t.Run(c.what, func(t *testing.T) {
			var items []*executortest.Item
			for _, it := range sink.Items() {
				if it.Entry.Path == c.item {
					changed := *it
					changed.Data = append([]byte(nil), it.Data...)
					if it = c.change(&changed); it == nil {
						continue
					}
					it.Entry.Size = int64(len(it.Data))
				}
				items = append(items, it)
			}
			_, err := New(Options{}).Verify(t.Context(), executors.VerifyRequest{}, executortest.NewSupply(items...).WithMeta(res.Meta))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func flip(at int) func(*executortest.Item) *executortest.Item {
	return func(it *executortest.Item) *executortest.Item {
		it.Data[at] ^= 1
		return it
	}
}

// TestSlotOfBackups: WAL is held back from the first backup on, and a slot that lost WAL is told.
func TestSlotOfBackups(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	_, _, _ = backedUp(t, physical(s, policy.WALStream))
	if got := ask(t, s, "postgres", "select slot_name || ' ' || (restart_lsn is not null) from pg_replication_slots where not temporary"); got != "holdfast_test true" {
		t.Errorf("slots: %s", got)
	}
	_, _, _ = backedUp(t, physical(s, policy.WALStream))
	eventually(t, "one slot is left", func() bool { return ask(t, s, "postgres", "select count(*) from pg_replication_slots") == "1" })
}
