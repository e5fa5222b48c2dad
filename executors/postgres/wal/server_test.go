package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/holdfast-io/holdfast/test/pgserver"
	"github.com/jackc/pgx/v5"
)

// work makes WAL of every kind that matters: records across pages and segments, subtransactions, prepared transactions that drop
// tables, names, aborts, switches.
const work = `
create table t(id bigint generated always as identity primary key, v text);
insert into t(v) select repeat(md5(g::text), 40) from generate_series(1, 4000) g;
begin; savepoint a; insert into t(v) values ('a'); savepoint b; insert into t(v) values ('b'); commit;
begin; insert into t(v) values ('gone'); rollback;
select pg_create_restore_point('before the upgrade');
create table d1(x int primary key); create table d2(x text);
begin; savepoint s; drop table d1, d2; prepare transaction 'dropper';
commit prepared 'dropper';
begin; insert into t(v) values ('x'); prepare transaction 'undone';
rollback prepared 'undone';
select pg_logical_emit_message(true, 'big', repeat('x', 3000000));
select pg_switch_wal();
checkpoint;
insert into t(v) values ('after');
select pg_create_restore_point('twice'); select pg_create_restore_point('twice');
update t set v = v || 'u' where id % 3 = 0;
`

type fixture struct {
	server *pgserver.Server
	wal    string
	names  []string
}

// makeWAL runs the work on a server with small segments and stops it.
func makeWAL(t *testing.T) fixture {
	t.Helper()
	s := pgserver.Start(t, pgserver.Options{
		InitArgs: []string{"--wal-segsize=1"},
		Config:   map[string]string{"max_prepared_transactions": "5", "wal_keep_size": "500MB", "full_page_writes": "on"},
	})
	for _, sql := range strings.Split(work, ";\n") {
		if err := s.Exec(t.Context(), "postgres", sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	conn, err := pgx.Connect(t.Context(), s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	f := fixture{server: s, wal: filepath.Join(s.Data, "pg_wal")}
	checkNames(t, conn)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(f.wal)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if ParseName(e.Name()).Kind == KindSegment {
			f.names = append(f.names, e.Name())
		}
	}
	return f
}

// checkNames compares with the server's own idea of names.
func checkNames(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for _, at := range []LSN{1, 0x100000 + 5, 0xFFFFFFFF, 0x16B374D848} {
		var name string
		if err := conn.QueryRow(t.Context(), "select pg_walfile_name($1::pg_lsn)", at.String()).Scan(&name); err != nil {
			t.Fatal(err)
		}
		seg := Segment{Timeline: 1, Number: MinSegmentSize.LastNumber(at)}
		if got := seg.Name(MinSegmentSize); got != name {
			t.Errorf("segment of %s is %s, want %s", at, got, name)
		}
	}
}

func (f fixture) stream(t *testing.T) io.Reader {
	t.Helper()
	var all []io.Reader
	for _, name := range f.names {
		content, err := os.ReadFile(filepath.Join(f.wal, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bytes.NewReader(content))
	}
	return io.MultiReader(all...)
}

// dumped is a line of pg_waldump: what it says of a record.
type dumped struct {
	Rmgr     string
	Length   uint32
	XID      uint32
	LSN      string
	Prev     string
	Time     string // of commits, aborts and restore points
	Name     string
	Prepared uint32
}

var (
	lineForm    = regexp.MustCompile(`^rmgr: (\S+) +len \(rec/tot\): +\d+/ *(\d+), tx: +(\d+), lsn: (\S+), prev (\S+), desc: (.*)$`)
	commitForm  = regexp.MustCompile(`^(?:COMMIT|ABORT)(?:_PREPARED)? (?:(\d+): )?(\d{4}-\S+ [0-9:.]+) UTC`)
	restoreForm = regexp.MustCompile(`^RESTORE_POINT (.*)$`)
)

func (f fixture) waldump(t *testing.T) []dumped {
	t.Helper()
	cmd := exec.Command(filepath.Join(f.server.BinDir, "pg_waldump"), "-p", f.wal, f.names[0], f.names[len(f.names)-1])
	cmd.Env = []string{"TZ=UTC", "LC_ALL=C.UTF-8"}
	out, _ := cmd.Output() // it fails at the end of WAL, as it always does
	var list []dumped
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		m := lineForm.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("line of pg_waldump: %s", line)
		}
		d := dumped{Rmgr: m[1], Length: number(m[2]), XID: number(m[3]), LSN: m[4], Prev: m[5]}
		if c := commitForm.FindStringSubmatch(m[6]); c != nil {
			d.Prepared, d.Time = number(c[1]), c[2]
		}
		if c := restoreForm.FindStringSubmatch(m[6]); c != nil {
			d.Name = c[1]
		}
		list = append(list, d)
	}
	return list
}

func number(text string) uint32 {
	n, _ := strconv.ParseUint(text, 10, 32)
	return uint32(n)
}

func padded(l LSN) string { return fmt.Sprintf("%X/%08X", uint32(l>>32), uint32(l)) }

// TestAgainstWaldump compares every record of a real server's WAL with what pg_waldump says of it.
func TestAgainstWaldump(t *testing.T) {
	f := makeWAL(t)
	want := f.waldump(t)
	r, err := NewReader(f.stream(t))
	if err != nil {
		t.Fatal(err)
	}
	var got []dumped
	events := map[EventKind]int{}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		d := dumped{Rmgr: rec.Rmgr.String(), Length: rec.Length, XID: rec.XID, LSN: padded(rec.LSN), Prev: padded(rec.Prev)}
		e, _, err := rec.Event()
		if err != nil {
			t.Fatal(err)
		}
		events[e.Kind]++
		switch e.Kind {
		case EventCommit, EventAbort:
			d.Time = e.Time.Format("2006-01-02 15:04:05.000000")
			if e.XID != rec.XID {
				d.Prepared = e.XID
			}
		case EventRestorePoint:
			d.Name = e.Name
		}
		got = append(got, d)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records differ (-pg_waldump +got):\n%.4000s", diff)
	}
	if len(f.names) < 6 || len(got) < 5000 || events[EventRestorePoint] != 3 || events[EventAbort] < 2 || events[EventCheckpoint] < 3 {
		t.Errorf("%d segments, %d records, events %v: the work was less than meant", len(f.names), len(got), events)
	}
	if end := r.End(); end.Torn || end.Kind == EndOfStream || end.Kind == EndUnknown {
		t.Errorf("WAL of a stopped server ends as %+v", end)
	}
	t.Logf("%d records in %d segments; events %v; end %+v", len(got), len(f.names), events, r.End())
	t.Run("targets", func(t *testing.T) { targets(t, f, want) })
	t.Run("segments are what they say", func(t *testing.T) { identities(t, f, r.Header()) })
	t.Run("a cut anywhere is no error", func(t *testing.T) { cuts(t, f) })
}

func targets(t *testing.T, f fixture, records []dumped) {
	var commit, prepared, name dumped
	for _, d := range records {
		switch {
		case d.Prepared != 0 && prepared.LSN == "":
			prepared = d
		case d.Time != "" && d.XID != 0 && prepared.LSN == "":
			commit = d
		case d.Name == "twice" && name.LSN == "":
			name = d
		}
	}
	at, err := time.Parse("2006-01-02 15:04:05.000000", commit.Time)
	if err != nil {
		t.Fatal(err)
	}
	lsn, _ := ParseLSN(name.LSN)
	for label, tc := range map[string]struct {
		target Target
		want   string
		behind bool
	}{
		"time, inclusive":     {Target{Time: at}, prepared.LSN, false},
		"time, exclusive":     {Target{Time: at, Exclusive: true}, commit.LSN, false},
		"transaction":         {Target{XID: commit.XID}, commit.LSN, true},
		"before transaction":  {Target{XID: commit.XID, Exclusive: true}, commit.LSN, false},
		"prepared":            {Target{XID: prepared.Prepared}, prepared.LSN, true},
		"the first of a name": {Target{Name: "twice"}, name.LSN, true},
		"LSN":                 {Target{LSN: lsn}, name.LSN, true},
		"LSN within a record": {Target{LSN: lsn - 1, Exclusive: true}, name.LSN, false},
		"a time to come":      {Target{Time: at.Add(time.Hour)}, "", false},
		"no such name":        {Target{Name: "thrice"}, "", false},
		"no such transaction": {Target{XID: 1 << 30}, "", false},
		"an LSN to come":      {Target{LSN: 1 << 40}, "", false},
	} {
		r, err := NewReader(f.stream(t))
		if err != nil {
			t.Fatal(err)
		}
		s, ok, err := Find(r, 0, tc.target)
		got := ""
		if ok {
			got = padded(s.LSN)
		}
		if err != nil || got != tc.want || s.Behind != tc.behind {
			t.Errorf("%s: stops at %q, behind %v, %v; want %q, %v", label, got, s.Behind, err, tc.want, tc.behind)
		}
	}
}

func identities(t *testing.T, f fixture, first Header) {
	c := Cluster{SystemID: first.SystemID, Major: first.Major, SegmentSize: MinSegmentSize}
	last := ParseName(f.names[len(f.names)-1])
	for _, name := range f.names {
		content, err := os.ReadFile(filepath.Join(f.wal, name))
		if err != nil {
			t.Fatal(err)
		}
		h, err := ReadHeader(content)
		if err != nil {
			t.Logf("%s was never used: %v", name, err)
			continue
		}
		seg, err := ParseSegment(name, c.SegmentSize)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Check(seg, c); err != nil {
			t.Logf("%s was used before: %v", name, err) // files for WAL to come keep their old content
		}
		if other, _ := last.Segment(c.SegmentSize); h.Check(Segment{1, other.Number + 1}, c) == nil {
			t.Errorf("%s passes for another segment", name)
		}
	}
}

// cuts ends the stream at many places: the records before are the same, and there is no error.
func cuts(t *testing.T, f fixture) {
	all, err := io.ReadAll(io.LimitReader(f.stream(t), 3<<20))
	if err != nil {
		t.Fatal(err)
	}
	whole := lsns(t, all)
	for cut := longHeader; cut < len(all); cut += 40009 {
		got := lsns(t, all[:cut])
		if !slices.Equal(whole[:len(got)], got) {
			t.Fatalf("cut at %d: the records before are others", cut)
		}
		zeroed := append(bytes.Clone(all[:cut]), make([]byte, len(all)-cut)...)
		if again := lsns(t, zeroed); len(again) < len(got) || len(again) > len(got)+1 {
			t.Fatalf("zeros from %d on: %d records, and %d when the stream ends there", cut, len(again), len(got))
		}
	}
}

func lsns(t *testing.T, stream []byte) []LSN {
	t.Helper()
	r, err := NewReader(bytes.NewReader(stream))
	if err != nil {
		return nil // not even a page's header
	}
	var list []LSN
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rec.LSN)
	}
}
