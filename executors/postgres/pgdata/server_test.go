package pgdata

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
	"github.com/holdfast-io/holdfast/test/pgserver"
	"github.com/jackc/pgx/v5"
)

// start makes a server with checksums, a tablespace whose path needs escapes, and all forks.
func start(t *testing.T) *pgserver.Server {
	t.Helper()
	s := pgserver.Start(t, pgserver.Options{InitArgs: []string{"--data-checksums", "--wal-segsize=4"}, Config: map[string]string{"max_prepared_transactions": "7"}})
	space := filepath.Join(s.Socket, `sp\ace`)
	for _, sql := range []string{
		fmt.Sprintf(`copy (select 1) to program $$mkdir '%s'$$`, space),
		fmt.Sprintf(`create tablespace ts location '%s'`, space),
		"create table t(id int primary key, v text); insert into t select g, repeat(md5(g::text), 20) from generate_series(1, 20000) g",
		"create table s(v text) tablespace ts; insert into s select md5(g::text) from generate_series(1, 5000) g",
		"create unlogged table u(v text); insert into u select md5(g::text) from generate_series(1, 5000) g",
		"delete from t where id % 2 = 0", "vacuum t", "checkpoint",
	} {
		if err := s.Exec(t.Context(), "postgres", sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	return s
}

func TestAgainstServer(t *testing.T) {
	s := start(t)
	running := readControlOf(t, s)
	if running.State != StateProduction {
		t.Errorf("a running server is %s", running.State)
	}
	notes(t, s)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Run("control file", func(t *testing.T) { control(t, s) })
	t.Run("every page", func(t *testing.T) { everyPage(t, s) })
}

func readControlOf(t *testing.T, s *pgserver.Server) Control {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(s.Data, ControlPath))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseControl(content)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// notes reads the label and the tablespace map that a server gives out, and writes them as it does.
func notes(t *testing.T, s *pgserver.Server) {
	conn, err := pgx.Connect(t.Context(), s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var at, stop, label, spaces string
	if err := conn.QueryRow(t.Context(), "select pg_backup_start('a label: with colons', true)::text").Scan(&at); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(t.Context(), "select lsn::text, labelfile, spcmapfile from pg_backup_stop(false)").Scan(&stop, &label, &spaces); err != nil {
		t.Fatal(err)
	}
	l, err := ParseLabel([]byte(label))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(label, string(l.Content())); diff != "" {
		t.Errorf("label (-server +ours):\n%s", diff)
	}
	c := readControlOf(t, s)
	if l.Start.String() != at || l.Start != c.Redo || l.Checkpoint != c.Checkpoint || l.Name != "a label: with colons" || l.From != "primary" {
		t.Errorf("label %+v of a backup that began at %s", l, at)
	}
	if seg, err := wal.ParseSegment(l.Segment, c.SegmentSize); err != nil || seg.Number != c.SegmentSize.Number(l.Start) {
		t.Errorf("label names segment %s for %s: %v", l.Segment, l.Start, err)
	}
	m, err := ParseTablespaceMap([]byte(spaces))
	if err != nil || len(m) != 1 || m[0].Path != filepath.Join(s.Socket, `sp\ace`) {
		t.Errorf("tablespace map %q: %+v, %v", spaces, m, err)
	}
	if diff := cmp.Diff(strings.TrimSuffix(spaces, "\n")+"\n", string(TablespaceMap(m))); diff != "" {
		t.Errorf("tablespace map (-server +ours):\n%s", diff)
	}
}

// control compares with what pg_controldata prints.
func control(t *testing.T, s *pgserver.Server) {
	cmd := exec.Command(filepath.Join(s.BinDir, "pg_controldata"), s.Data)
	cmd.Env = []string{"TZ=UTC", "LC_ALL=C.UTF-8"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, line := range strings.Split(string(out), "\n") {
		key, value, _ := strings.Cut(line, ":")
		want[key] = strings.TrimSpace(value)
	}
	c := readControlOf(t, s)
	const clock = "Mon Jan _2 15:04:05 2006"
	got := map[string]string{
		"pg_control version number":            fmt.Sprint(c.Version),
		"Catalog version number":               fmt.Sprint(c.CatalogVersion),
		"Database system identifier":           fmt.Sprint(c.SystemID),
		"Database cluster state":               c.State.String(),
		"pg_control last modified":             c.Modified.Format(clock),
		"Latest checkpoint location":           c.Checkpoint.String(),
		"Latest checkpoint's REDO location":    c.Redo.String(),
		"Latest checkpoint's TimeLineID":       fmt.Sprint(c.Timeline),
		"Latest checkpoint's PrevTimeLineID":   fmt.Sprint(c.PreviousTimeline),
		"Time of latest checkpoint":            c.CheckpointTime.Format(clock),
		"Minimum recovery ending location":     c.MinRecovery.String(),
		"Min recovery ending loc's timeline":   fmt.Sprint(c.MinRecoveryTimeline),
		"Backup start location":                c.BackupStart.String(),
		"Backup end location":                  c.BackupEnd.String(),
		"End-of-backup record required":        map[bool]string{false: "no", true: "yes"}[c.BackupEndRequired],
		"wal_level setting":                    c.WALLevel.String(),
		"max_prepared_xacts setting":           fmt.Sprint(c.MaxPrepared),
		"Database block size":                  fmt.Sprint(c.BlockSize),
		"Blocks per segment of large relation": fmt.Sprint(c.RelSegBlocks),
		"WAL block size":                       fmt.Sprint(c.WALBlockSize),
		"Bytes per WAL segment":                fmt.Sprint(uint32(c.SegmentSize)),
		"Data page checksum version":           fmt.Sprint(c.ChecksumVersion),
	}
	for key := range want {
		if _, ours := got[key]; !ours {
			delete(want, key)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("control file (-pg_controldata +ours):\n%s", diff)
	}
	if c.State != StateShutDown || c.Major() == 0 || c.SegmentSize != 4<<20 {
		t.Errorf("%+v of PostgreSQL %d", c, c.Major())
	}
}

// everyPage checks all pages of a stopped cluster, and that a changed byte and another block number are noticed.
func everyPage(t *testing.T, s *pgserver.Server) {
	seen := map[Verdict]int{}
	forksSeen := map[Fork]int{}
	var unnoticed int
	check := func(path string, content []byte) {
		f, ok := ParseRelFile(path)
		if !ok {
			return
		}
		forksSeen[f.Fork]++
		if len(content)%PageSize != 0 {
			t.Errorf("%s has %d bytes, not whole pages", path, len(content))
		}
		for i := 0; i+PageSize <= len(content); i += PageSize {
			page := (*Page)(content[i:])
			block := f.FirstBlock() + uint32(i/PageSize)
			v := CheckPage(page, block, 0)
			seen[v]++
			if v == PageBad {
				t.Errorf("page %d of %s is bad", block, path)
			}
			if v != PageGood {
				continue
			}
			if CheckPage(page, block+1, 0) != PageBad {
				unnoticed++
			}
			page[100+i/PageSize%8000] ^= 0x10
			if CheckPage(page, block, 0) != PageBad {
				unnoticed++
			}
		}
	}
	walk(t, s.Data, "", check)
	if seen[PageGood] < 3000 || unnoticed > 0 {
		t.Errorf("verdicts %v; %d changes were not noticed", seen, unnoticed)
	}
	for f := ForkMain; f <= ForkInit; f++ {
		if forksSeen[f] == 0 {
			t.Errorf("no file of fork %d was seen", f)
		}
	}
	t.Logf("verdicts %v, forks %v", seen, forksSeen)
}

// walk hands out the files of a data directory and of its tablespaces.
func walk(t *testing.T, root, prefix string, each func(path string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		rel = filepath.ToSlash(filepath.Join(prefix, rel))
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := filepath.EvalSymlinks(name)
			if err == nil {
				walk(t, target, rel, each)
			}
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(name)
		each(rel, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
