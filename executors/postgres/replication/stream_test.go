package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
	"github.com/holdfast-io/holdfast/test/faultproxy"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

const (
	segment   = wal.LSN(16 << 20)
	receivers = "select count(*)::text from pg_stat_replication where state <> 'startup'"
)

// boundary is the first byte of the segment being written.
func boundary(t *testing.T, s *pgserver.Server) wal.LSN {
	t.Helper()
	return askLSN(t, s, "select pg_current_wal_lsn()::text") / segment * segment
}

func startAt(t *testing.T, ctx context.Context, c *Conn, opts StreamOptions) *Stream {
	t.Helper()
	if opts.Timeline == 0 {
		opts.Timeline = 1
	}
	st, err := c.Stream(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// readTo reads WAL until the stream has reached a position, and returns it.
func readTo(t *testing.T, st *Stream, end wal.LSN) []byte {
	t.Helper()
	var got []byte
	for at := st.opts.Start; at < end; {
		m, err := st.Next()
		if err != nil {
			t.Fatal(err)
		}
		if m.Data != nil {
			got, at = append(got, m.Data...), m.Start+wal.LSN(len(m.Data))
		}
	}
	return got
}

func TestStreamIsTheServersWAL(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	c := connect(t, s.DSN(""))
	if err := c.CreateSlot(t.Context(), "holdfast", false, true); err != nil {
		t.Fatal(err)
	}
	start := boundary(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	st := startAt(t, ctx, c, StreamOptions{Slot: "holdfast", Start: start})
	execSQL(t, s, "create table t as select i, md5(i::text) from generate_series(1, 300000) i; select pg_switch_wal()")
	got := readTo(t, st, start+segment)[:segment]
	want, err := os.ReadFile(filepath.Join(s.Data, "pg_wal", fmt.Sprintf("%08X%08X%08X", 1, uint64(start>>32), uint32(start)/uint32(segment))))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the stream differs from the server's file")
	}

	restart := "select (restart_lsn - '" + (start + segment).String() + "'::pg_lsn)::text from pg_replication_slots"
	if got := ask(t, s, restart); got == "0" {
		t.Fatal("the server was told of a flush that nobody made")
	}
	st.SetFlushed(start + segment)
	eventually(t, s, restart, "0", ten)
	st.SetFlushed(start) // never back
	st.SetWritten(start + segment + 7)
	eventually(t, s, "select (write_lsn - flush_lsn)::text || ' ' || coalesce(replay_lsn::text, 'none') from pg_stat_replication", "7 none", 15*time.Second)

	// The end of the context ends the stream in order, and the connection serves on.
	cancel()
	for err == nil {
		_, err = st.Next()
	}
	if !errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) {
		t.Errorf("Next = %v, want Canceled", err)
	}
	if _, err := c.IdentifySystem(t.Context()); err != nil {
		t.Errorf("the connection after the stream: %v", err)
	}
	eventually(t, s, receivers, "0", ten)
}

// The status sender runs on its own: a caller that takes three times wal_sender_timeout for a piece is not cut off.
func TestStreamLivesWhileTheCallerIsBusy(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{Config: map[string]string{"wal_sender_timeout": "1s"}})
	st := startAt(t, t.Context(), connect(t, s.DSN("")), StreamOptions{Start: boundary(t, s)})
	if _, err := st.Next(); err != nil {
		t.Fatal(err)
	}
	execSQL(t, s, "create table t as select i, md5(i::text) from generate_series(1, 200000) i")
	time.Sleep(3 * time.Second)
	if got := ask(t, s, receivers); got != "1" {
		t.Errorf("%s streams are left, want 1", got)
	}
	readTo(t, st, askLSN(t, s, "select pg_current_wal_flush_lsn()::text"))
}

func TestFastShutdown(t *testing.T) {
	t.Run("ends when all is confirmed", func(t *testing.T) {
		s := pgserver.Start(t, pgserver.Options{})
		st := startAt(t, t.Context(), connect(t, s.DSN("")), StreamOptions{Start: boundary(t, s)})
		readTo(t, st, askLSN(t, s, "select pg_current_wal_flush_lsn()::text"))
		st.SetFlushed(st.opts.Start) // the caller makes things durable only now and then
		execSQL(t, s, "create table t as select 1")
		stopped := stop(s)
		asked := false
		for {
			m, err := st.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.Confirm {
				asked = true
				st.SetFlushed(m.ServerEnd)
			}
		}
		if !asked || !st.End().Shutdown {
			t.Errorf("asked %t, end %+v, want a question and a shutdown", asked, st.End())
		}
		wait(t, stopped, 2*time.Second)
	})
	t.Run("is not held up for long by what is not confirmed", func(t *testing.T) {
		s := pgserver.Start(t, pgserver.Options{Config: map[string]string{"wal_sender_timeout": "3s"}})
		st := startAt(t, t.Context(), connect(t, s.DSN("")), StreamOptions{Start: boundary(t, s), ConfirmLimit: 2 * time.Second})
		readTo(t, st, askLSN(t, s, "select pg_current_wal_flush_lsn()::text"))
		st.SetFlushed(st.opts.Start)
		began := time.Now()
		stopped := stop(s)
		questions := 0
		var err error
		for err == nil {
			var m Message
			if m, err = st.Next(); m.Confirm {
				questions++
			}
		}
		if !errors.Is(err, io.EOF) || !st.End().Shutdown {
			t.Errorf("Next = %v, end %+v, want EOF and a shutdown", err, st.End())
		}
		if took := time.Since(began); took < 2*time.Second || questions > 30 {
			t.Errorf("ended after %s and %d questions, want 2 s and few", took, questions)
		}
		wait(t, stopped, 2*time.Second)
	})
}

func stop(s *pgserver.Server) <-chan error {
	done := make(chan error, 1)
	go func() { done <- s.Stop() }()
	return done
}

func wait(t *testing.T, done <-chan error, limit time.Duration) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(limit):
		t.Errorf("the server has not stopped within %s", limit)
		<-done
	}
}

func TestStalledNetworkIsNoticed(t *testing.T) {
	link := faultproxy.StartLink(t, address(shared))
	const limit = time.Second
	t.Run("stream", func(t *testing.T) {
		st := startAt(t, t.Context(), connect(t, through(t, shared, link.Addr)), StreamOptions{Start: boundary(t, shared), IdleLimit: limit})
		quiet, cancel := context.WithTimeout(t.Context(), 3*limit)
		defer cancel()
		for quiet.Err() == nil { // silence alone is no stall: the server answers when asked
			if _, err := st.Next(); err != nil {
				t.Fatal(err)
			}
		}
		link.Stall()
		defer link.Resume()
		expectStall(t, limit, func() error {
			for {
				if _, err := st.Next(); err != nil {
					return err
				}
			}
		})
	})
	t.Run("backup", func(t *testing.T) {
		b, err := connect(t, through(t, shared, link.Addr)).BaseBackup(t.Context(), BackupOptions{Checkpoint: Fast, NoWait: true, IdleLimit: limit})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Next(); err != nil {
			t.Fatal(err)
		}
		link.Stall()
		defer link.Resume()
		expectStall(t, limit, func() error { _, err := b.Finish(); return err })
	})
}

func expectStall(t *testing.T, limit time.Duration, run func() error) {
	t.Helper()
	began := time.Now()
	err := run()
	var stalled *StalledError
	if !errors.As(err, &stalled) || stalled.Limit != limit {
		t.Errorf("error %v, want a stall of %s", err, limit)
	}
	if took := time.Since(began); took > 3*limit+cancelLimit {
		t.Errorf("noticed after %s", took)
	}
}

func TestStreamErrors(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{Config: map[string]string{"max_wal_size": "32MB", "min_wal_size": "32MB"}})
	start := boundary(t, s)
	for range 4 {
		execSQL(t, s, "create table t as select 1; drop table t")
		execSQL(t, s, "select pg_switch_wal()")
		execSQL(t, s, "checkpoint")
	}
	for name, test := range map[string]struct {
		opts StreamOptions
		is   error
		part string
	}{
		"WAL is gone":         {StreamOptions{Start: start, Timeline: 1}, ErrWALRemoved, start.String()},
		"no timeline":         {StreamOptions{Start: start}, nil, "timeline 0"},
		"unknown timeline":    {StreamOptions{Start: start, Timeline: 7}, nil, "timeline 7"},
		"no such slot":        {StreamOptions{Slot: "nobody", Start: start, Timeline: 1}, nil, "nobody"},
		"no name of a slot":   {StreamOptions{Slot: "No Body", Start: start, Timeline: 1}, nil, "is no name"},
		"beyond the server's": {StreamOptions{Start: start + 100*segment, Timeline: 1}, nil, "ahead of the WAL flush position"},
	} {
		t.Run(name, func(t *testing.T) {
			st, err := connect(t, s.DSN("")).Stream(t.Context(), test.opts)
			for err == nil {
				_, err = st.Next()
			}
			checkError(t, err, test.part)
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
		})
	}
}

// A standby is promoted while its WAL is streamed: the old timeline ends, the new one goes on where it left.
func TestStreamFollowsAPromotion(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	execSQL(t, s, "create role rep replication login password 'rep'; create table t (i int)")
	b, err := connect(t, s.DSN("")).BaseBackup(t.Context(), BackupOptions{Checkpoint: Fast, NoWait: true, WAL: true})
	if err != nil {
		t.Fatal(err)
	}
	standby, _ := restored(t, b, fmt.Sprintf("primary_conninfo = 'host=127.0.0.1 port=%d user=rep password=rep'\n", s.Port), "standby.signal")
	execSQL(t, s, "insert into t values (1)")
	eventually(t, standby, "select count(*)::text from t", "1", ten)

	c := connect(t, standby.DSN(""))
	start := b.Start / segment * segment
	st := startAt(t, t.Context(), c, StreamOptions{Start: start})
	s.Kill()
	execSQL(t, standby, "select pg_promote()")
	at := start
	for err == nil {
		var m Message
		if m, err = st.Next(); m.Data != nil {
			at = m.Start + wal.LSN(len(m.Data))
		}
	}
	end := st.End()
	if !errors.Is(err, io.EOF) || end.NextTimeline != 2 || end.NextStart != at || end.Shutdown {
		t.Fatalf("Next = %v, end %+v at %s, want EOF, timeline 2 and the same place", err, end, at)
	}
	name, history, err := c.TimelineHistory(t.Context(), 2)
	if err != nil || name != "00000002.history" || !bytes.Contains(history, []byte("1\t"+at.String()+"\t")) {
		t.Errorf("history %s = %q, %v", name, history, err)
	}
	// From its end on the old timeline has nothing more, and says so at once.
	none := startAt(t, t.Context(), c, StreamOptions{Start: at})
	if m, err := none.Next(); !errors.Is(err, io.EOF) || none.End() != end {
		t.Errorf("the old timeline from its end = %+v, %v, %+v", m, err, none.End())
	}
	execSQL(t, standby, "insert into t values (2)")
	next := startAt(t, t.Context(), c, StreamOptions{Start: at, Timeline: 2})
	if got := readTo(t, next, askLSN(t, standby, "select pg_current_wal_flush_lsn()::text")); len(got) == 0 {
		t.Error("the new timeline has no WAL")
	}
	if sys, err := connect(t, standby.DSN("")).IdentifySystem(t.Context()); err != nil || sys.Timeline != 2 {
		t.Errorf("IdentifySystem = %+v, %v, want timeline 2", sys, err)
	}
}
