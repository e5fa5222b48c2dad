package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

// logged is a server with small segments, a base backup of it, and all its WAL since in memory.
type logged struct {
	*pgserver.Server
	from    *executortest.Supply
	archive *memory
	marks   map[string]mark // by what was just inserted
}

// mark is a moment right behind a commit.
type mark struct {
	xid  string
	lsn  wal.LSN // where the next record begins
	time time.Time
}

func (m mark) text() string { return m.time.Format(time.RFC3339Nano) }

const smallSegments = 1 << 20

// startLogged inserts the rows one to five, each in a segment of its own; "three" is in the middle.
func startLogged(t *testing.T) *logged {
	t.Helper()
	s := pgserver.Start(t, pgserver.Options{InitArgs: []string{"--wal-segsize=1", "--data-checksums"}})
	l := &logged{Server: s, archive: newMemory(), marks: map[string]mark{}}
	execSQL(t, s, "postgres", "create table log (id serial, x text); insert into log (x) values ('before')")
	_, stop := receiving(t, s, l.archive, 50*time.Millisecond)
	_, l.from, _ = backedUp(t, physical(s, policy.WALStream))
	for _, row := range []string{"one", "two", "three", "four", "five"} {
		l.insert(t, s, row)
	}
	l.durable(t, s)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *logged) insert(t *testing.T, s *pgserver.Server, row string) {
	t.Helper()
	execSQL(t, s, "postgres", fmt.Sprintf("insert into log (x) values ('%s')", row))
	var m mark
	m.xid = ask(t, s, "postgres", "select xmin from log where x = '"+row+"'")
	m.lsn = position(t, ask(t, s, "postgres", "select pg_current_wal_insert_lsn()"))
	time.Sleep(20 * time.Millisecond)
	at, err := time.Parse("2006-01-02 15:04:05.999999", ask(t, s, "postgres", "clock_timestamp() at time zone 'UTC'"))
	if err != nil {
		t.Fatal(err)
	}
	m.time = at
	l.marks[row] = m
	time.Sleep(20 * time.Millisecond)
	execSQL(t, s, "postgres", fmt.Sprintf("select pg_create_restore_point('after %s')", row))
	execSQL(t, s, "postgres", "select pg_switch_wal()")
}

// durable waits until the archive has all that the server wrote.
func (l *logged) durable(t *testing.T, s *pgserver.Server) {
	t.Helper()
	end := position(t, ask(t, s, "postgres", "select pg_current_wal_lsn()"))
	eventually(t, "all is durable", func() bool {
		return position(t, ask(t, s, "postgres", "select coalesce(max(flush_lsn), '0/0') from pg_stat_replication where application_name like 'holdfast%'")) >= end
	})
}

// without is the archive less some files.
func (l *logged) without(names ...string) *memory {
	m := newMemory()
	maps.Copy(m.files, l.archive.files)
	for _, name := range names {
		delete(m.files, name)
	}
	return m
}

// segmentOf is the name of the segment in which a row was written.
func (l *logged) segmentOf(row string) string {
	return wal.Segment{Timeline: 1, Number: uint64(l.marks[row].lsn / smallSegments)}.Name(smallSegments)
}

// request asks for a data directory that recovers out of an archive.
func (l *logged) request(t *testing.T, m *memory, options ...string) executors.RestoreRequest {
	t.Helper()
	dir := outside(t, l.Server)
	req := executors.RestoreRequest{
		Source: sourceOf(l.DSN("postgres")), Target: executors.Target{Root: filepath.Join(dir, "data")}, WAL: m,
		Options: map[string]string{optionCommand: served(t, m, l.Server, filepath.Join(dir, "wal"), smallSegments)},
	}
	for i := 0; i < len(options); i += 2 {
		req.Options[options[i]] = options[i+1]
	}
	return req
}

// rows are what is in the table.
func rows(t *testing.T, s *pgserver.Server) string {
	t.Helper()
	return ask(t, s, "postgres", "select string_agg(x, ' ' order by id) from log")
}

// TestReach: what is foretold of a target is what a real server then does.
func TestReach(t *testing.T) {
	l := startLogged(t)
	three := l.marks["three"]
	for _, c := range []struct {
		what    string
		options []string
		want    string // rows
	}{
		{"latest", []string{optionTo, "latest"}, "before one two three four five"},
		{"a time", []string{optionTo, three.text()}, "before one two three"},
		{"an LSN behind the commit", []string{optionTo, three.lsn.String(), optionInclusive, "false"}, "before one two three"},
		{"a name", []string{optionTo, "name:after three"}, "before one two three"},
		{"a transaction", []string{optionTo, "xid:" + three.xid}, "before one two three"},
		{"before a transaction", []string{optionTo, "xid:" + three.xid, optionInclusive, "false"}, "before one two"},
		{"the base backup's own moment", nil, "before"},
	} {
		t.Run(c.what, func(t *testing.T) {
			req := l.request(t, l.archive, c.options...)
			x := New(Options{})
			p, err := x.planPhysical(t.Context(), req, l.from)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := x.Restore(t.Context(), req, l.from); err != nil {
				t.Fatal(err)
			}
			restored := pgserver.Launch(t, req.Target.Root, l.Server, nil)
			eventually(t, "recovery ends", func() bool { return ask(t, restored, "postgres", "select pg_is_in_recovery()") == "false" })
			if got := rows(t, restored); got != c.want {
				t.Errorf("restored %q, want %q", got, c.want)
			}
			if got := position(t, ask(t, restored, "postgres", "select pg_last_wal_replay_lsn()")); got != p.reach.stop {
				t.Errorf("recovered to %s, foretold was %s", got, p.reach.stop)
			}
			if len(c.options) == 0 {
				return
			}
			commit := ask(t, restored, "postgres", "select pg_last_xact_replay_timestamp() at time zone 'UTC'")
			if got := p.reach.commit.Format("2006-01-02 15:04:05.999999"); got != commit {
				t.Errorf("the last transaction is of %s, foretold was %s", commit, got)
			}
		})
	}
}

// TestReachRefuses: what cannot be recovered to is refused before anything is written, and the refusal says why.
func TestReachRefuses(t *testing.T) {
	l := startLogged(t)
	gone := l.segmentOf("three")
	damaged := l.without()
	damaged.files[l.segmentOf("two")] = slices.Clone(damaged.files[l.segmentOf("two")])
	damaged.files[l.segmentOf("two")][100] ^= 1
	foreign := l.without()
	foreign.files[l.segmentOf("five")] = make([]byte, smallSegments)
	for _, c := range []struct {
		what    string
		archive *memory
		to      string
		want    []string
	}{
		{"a gap, to the end", l.without(gone), "latest", []string{"segment " + gone + " is missing", "from " + l.segmentOf("four") + " on", "-to="}},
		{"a target behind a gap", l.without(gone), l.marks["four"].text(), []string{"cannot be reached", "segment " + gone + " is missing"}},
		{"a target in a gap", l.without(gone), l.marks["three"].lsn.String(), []string{"cannot be reached", "segment " + gone + " is missing"}},
		{"a name behind damage", damaged, "name:after four", []string{"damaged at", "in segment " + l.segmentOf("two")}},
		{"a segment that is none", foreign, "latest", []string{l.segmentOf("five")}},
		{"a time to come", l.archive, "2099-01-01T00:00:00Z", []string{"is not in the WAL that is stored", "newest transaction is of", "-to=latest"}},
		{"a time long ago", l.archive, "2020-01-01T00:00:00Z", []string{"before the base backup is consistent", "earlier base backup"}},
		{"an LSN to come", l.archive, "FF/0", []string{"is not in the WAL that is stored", "newest LSN that can be named is"}},
		{"an LSN long ago", l.archive, "0/10", []string{"before the base backup is consistent"}},
		{"a name that is not there", l.archive, "name:nowhere", []string{"name nowhere", "is not in the WAL"}},
		{"a transaction that is not there", l.archive, "xid:4000000", []string{"xid 4000000", "is not in the WAL"}},
		{"the archive is away", func() *memory { m := l.without(); m.fail = errInjected; return m }(), "latest", []string{errInjected.Error()}},
	} {
		t.Run(c.what, func(t *testing.T) {
			req := l.request(t, l.archive, optionTo, c.to)
			req.WAL = c.archive
			for what, do := range map[string]func() error{
				"preview": func() error { _, err := New(Options{}).Preview(t.Context(), req, l.from); return err },
				"restore": func() error { _, err := New(Options{}).Restore(t.Context(), req, l.from); return err },
			} {
				err := do()
				if err == nil {
					t.Errorf("%s: no error", what)
					continue
				}
				wantError(t, err, c.want...)
			}
			if found, _ := filepath.Glob(filepath.Dir(req.Target.Root) + "/*data*"); len(found) > 0 {
				t.Errorf("something was written: %v", found)
			}
		})
	}
	t.Run("a moment before a gap", func(t *testing.T) {
		req := l.request(t, l.without(gone), optionTo, "name:after one")
		preview, err := New(Options{}).Preview(t.Context(), req, l.from)
		if err != nil {
			t.Fatal(err)
		}
		wantNotes(t, preview.Notes, "timelines [1]; WAL segments ", "recovery will stop at", "expected loss: what was committed in the", "has a gap: segment "+gone, "start it with: ", "pg_ctl start -D "+req.Target.Root)
	})
}

func wantNotes(t *testing.T, notes []string, parts ...string) {
	t.Helper()
	text := strings.Join(notes, "\n")
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("the preview does not say %q:\n%s", p, text)
		}
	}
}

// TestReachTimelines: after a failover each timeline has its own end, and a target is looked for on the one that is asked for.
func TestReachTimelines(t *testing.T) {
	l := startLogged(t)
	standby := standbyOf(t, l.Server)
	end := position(t, ask(t, l.Server, "postgres", "select pg_current_wal_lsn()"))
	eventually(t, "the standby follows", func() bool {
		return position(t, ask(t, standby, "postgres", "select coalesce(pg_last_wal_replay_lsn(), '0/0')")) >= end
	})
	if got := ask(t, standby, "postgres", "select pg_promote()"); got != "true" {
		t.Fatalf("promoted: %s", got)
	}
	_, stopOld := receiving(t, l.Server, l.archive, 50*time.Millisecond)
	l.insert(t, l.Server, "old")
	l.durable(t, l.Server)
	_, stopNew := receiving(t, standby, l.archive, 50*time.Millisecond)
	l.insert(t, standby, "new")
	l.durable(t, standby)
	for _, stop := range []func() error{stopOld, stopNew} {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		options []string
		want    string // rows, or an error
	}{
		{[]string{optionTo, "latest"}, "before one two three four five new"},
		{[]string{optionTo, "latest", optionTimeline, "2"}, "before one two three four five new"},
		{[]string{optionTo, "latest", optionTimeline, "current"}, "before one two three four five old"},
		{[]string{optionTo, "name:after new"}, "before one two three four five new"},
		{[]string{optionTo, "name:after old", optionTimeline, "1"}, "before one two three four five old"},
		{[]string{optionTo, "name:after two"}, "before one two"},
		{[]string{optionTo, "name:after old"}, "is not in the WAL that is stored"},
		{[]string{optionTo, "latest", optionTimeline, "7"}, "timeline 7 is not in the archive"},
		{[]string{optionTo, "latest", optionTimeline, "old"}, `timeline "old" is none`},
	} {
		t.Run(strings.Join(c.options, " "), func(t *testing.T) {
			req := l.request(t, l.archive, c.options...)
			_, err := New(Options{}).Restore(t.Context(), req, l.from)
			if !strings.HasPrefix(c.want, "before") {
				wantError(t, err, c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			restored := pgserver.Launch(t, req.Target.Root, l.Server, nil)
			eventually(t, "recovery ends", func() bool { return ask(t, restored, "postgres", "select pg_is_in_recovery()") == "false" })
			if got := rows(t, restored); got != c.want {
				t.Errorf("restored %q, want %q", got, c.want)
			}
		})
	}
}

// TestChainOfPieces: of a segment that is not finished the archive has a piece, which ends the chain; one that lags behind the base
// backup gives way to what that carries.
func TestChainOfPieces(t *testing.T) {
	const s1, s2, s3 = "000000010000000000000001", "000000010000000000000002", "000000010000000000000003"
	carried := []*executortest.Item{{Entry: executors.Entry{Path: basebackup.WALPrefix + s1, Type: executors.TypeFile, Size: 1 << 20}}}
	for what, c := range map[string]struct {
		names []string
		next  uint64
		gap   string
		full  bool // becomes consistent
	}{
		"nothing but the base backup":   {nil, 2, "", true},
		"whole ones":                    {[]string{s1, s2, s3}, 4, "", true},
		"a piece at the end":            {[]string{s1, s2 + ".00000000-00001000"}, 3, "", true},
		"a piece in the middle":         {[]string{s1, s2 + ".00000000-00001000", s3}, 3, "segment " + s2 + " (only a piece", true},
		"one away in the middle":        {[]string{s1, s3}, 2, "segment " + s2 + " is missing", true},
		"a piece that lags":             {[]string{s1 + ".00000000-00000100"}, 2, "", true},
		"a piece with more":             {[]string{s1 + ".00000000-000F0000"}, 2, "", true},
		"names that are none":           {[]string{s2 + ".partial", s2 + ".00000028.backup", s2 + ".1-2", "x", s2 + ".00200000-00100000"}, 2, "", true},
		"the timeline of somebody else": {[]string{"000000090000000000000002"}, 2, "", true},
	} {
		t.Run(what, func(t *testing.T) {
			m := newMemory()
			for _, name := range c.names {
				m.files[name] = nil
			}
			doc := &basebackup.Document{System: "1", Timeline: 1, Start: "0/100028", End: "0/180000", SegmentSize: 1 << 20}
			chain, err := readChain(context.Background(), m, executortest.NewSupply(carried...), doc, "latest")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.next, chain.next); diff != "" {
				t.Errorf("the chain's end (-want +got):\n%s", diff)
			}
			if err := chain.gap(); c.gap == "" && err != nil || c.gap != "" && (err == nil || !strings.Contains(err.Error(), c.gap)) {
				t.Errorf("gap: %v, want %q", err, c.gap)
			}
			if err := chain.complete(); err == nil != c.full {
				t.Errorf("complete: %v", err)
			}
		})
	}
	t.Run("neither carried nor stored", func(t *testing.T) {
		doc := &basebackup.Document{System: "1", Timeline: 1, Start: "0/100028", End: "0/280000", SegmentSize: 1 << 20}
		chain, err := readChain(context.Background(), newMemory(), executortest.NewSupply(carried...), doc, "latest")
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, chain.complete(), "consistent at 0/280000 only", "segment "+s2)
	})
}

// TestServedChain: a server is never told that something is absent when it is lost.
func TestServedChain(t *testing.T) {
	m := newMemory()
	const s1, s2, s3, s5 = "000000010000000000000001", "000000010000000000000002", "000000010000000000000003", "000000010000000000000005"
	for _, name := range []string{s1, s2, s5, "00000002.history"} {
		m.files[name] = []byte(name)
	}
	doc := &basebackup.Document{System: "1", Timeline: 1, Start: "0/100028", End: "0/180000", SegmentSize: 1 << 20}
	chain, err := readChain(t.Context(), m, executortest.NewSupply(), doc, "current")
	if err != nil {
		t.Fatal(err)
	}
	delete(m.files, s2)
	for name, want := range map[string]error{
		s1: nil, "00000002.history": nil, s3: executors.ErrNoWAL, s5: executors.ErrNoWAL, "00000003.history": executors.ErrNoWAL,
		s1 + ".partial": executors.ErrNoWAL, "nonsense": executors.ErrNoWAL,
	} {
		_, err := servedChain{m, chain}.Fetch(t.Context(), "1", name, 1<<20, &boundedBuffer{most: 1 << 20})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	_, err = servedChain{m, chain}.Fetch(t.Context(), "1", s2, 1<<20, &boundedBuffer{most: 1 << 20})
	if err == nil || errors.Is(err, executors.ErrNoWAL) {
		t.Errorf("a segment that was lost: %v", err)
	}
}

func FuzzStoredSegment(f *testing.F) {
	for _, seed := range []string{"000000010000000000000001", "000000010000000000000001.00000000-00001000", "000000010000000000000001.partial", "00000002.history", "."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		segment, upto, ok := storedSegment(name, smallSegments)
		if ok && (!strings.HasPrefix(name, segment) || upto <= 0 || upto > smallSegments || upto == smallSegments != (name == segment)) {
			t.Errorf("%q: %q up to %d", name, segment, upto)
		}
	})
}
