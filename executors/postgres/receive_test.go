package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/faultproxy"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

// memory is a WALArchive that keeps the contract of executors.WALArchive, and fails when told to.
type memory struct {
	mu    sync.Mutex
	files map[string][]byte
	fail  error
	slow  time.Duration
}

func newMemory() *memory { return &memory{files: map[string][]byte{}} }

func (m *memory) Files(context.Context, string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.files)), m.fail
}

func (m *memory) Push(ctx context.Context, _, name string, content io.Reader, size int64) error {
	data, err := io.ReadAll(content)
	if err != nil || int64(len(data)) != size {
		return fmt.Errorf("read %s: %d bytes of %d, %v", name, len(data), size, err)
	}
	select {
	case <-time.After(m.slow):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if old, ok := m.files[name]; ok && !bytes.Equal(old, data) {
		return fmt.Errorf("%s is there with other content", name)
	}
	m.files[name] = data
	return nil
}

func (m *memory) DropPieces(_ context.Context, _, segment string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.files, func(name string, _ []byte) bool { return strings.HasPrefix(name, segment+".") })
	return nil
}

func (m *memory) Fetch(_ context.Context, _, name string, size int64, to io.Writer) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.files[name]
	real := int64(len(data))
	if !ok {
		data = make([]byte, size)
		for _, piece := range slices.Sorted(maps.Keys(m.files)) {
			var from, until int64
			if n, _ := fmt.Sscanf(piece, name+".%08X-%08X", &from, &until); n == 2 && from <= real {
				copy(data[from:], m.files[piece])
				real = max(real, until)
			}
		}
		if real == 0 {
			return 0, executors.ErrNoWAL
		}
	}
	_, err := to.Write(data)
	return real, err
}

func (m *memory) broken(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// receiving runs a receiver until stop is called.
func receiving(t *testing.T, s *pgserver.Server, to executors.WALArchive, lag time.Duration) (status func() executors.WALStatus, stop func() error) {
	t.Helper()
	req := physical(s, policy.WALStream)
	req.Backup.Physical.WAL.MaxLag = policy.Duration(lag)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var last executors.WALStatus
	done := make(chan error, 1)
	go func() {
		done <- New(Options{}).ReceiveWAL(ctx, executors.WALRequest{Source: req.Source, Backup: req.Backup, Tell: func(w executors.WALStatus) {
			mu.Lock()
			defer mu.Unlock()
			last = w
		}}, to)
	}()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() {
			cancel()
			select {
			case err = <-done:
			case <-time.After(30 * time.Second):
				err = errors.New("the receiver does not end")
			}
		})
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return func() executors.WALStatus {
		mu.Lock()
		defer mu.Unlock()
		return last
	}, stop
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: never", what)
		}
	}
}

func position(t *testing.T, text string) wal.LSN {
	t.Helper()
	if text == "" {
		return 0
	}
	l, err := wal.ParseLSN(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// served writes a script that is a restore_command out of files, and fills the folder from an archive.
func served(t *testing.T, m *memory, s *pgserver.Server, dir string, size int64) (command string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	names, _ := m.Files(t.Context(), "")
	for _, name := range names {
		whole, _, _ := strings.Cut(name, ".")
		if strings.HasSuffix(name, ".history") {
			whole = name
		}
		var b bytes.Buffer
		if _, err := m.Fetch(t.Context(), "", whole, size, &b); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, whole), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Own(dir); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("cp %s/%%f %%p", dir)
}

// recovered restores a base backup and lets it recover from an archive.
func recovered(t *testing.T, s *pgserver.Server, from executors.Supply, m *memory, options ...string) *pgserver.Server {
	t.Helper()
	dir := outside(t, s)
	req := executors.RestoreRequest{Target: executors.Target{Root: filepath.Join(dir, "data")}, Options: map[string]string{
		optionCommand: served(t, m, s, filepath.Join(dir, "wal"), 16<<20), optionTo: "latest",
	}}
	for i := 0; i < len(options); i += 2 {
		req.Options[options[i]] = options[i+1]
	}
	if _, err := New(Options{}).Restore(t.Context(), req, from); err != nil {
		t.Fatal(err)
	}
	restored := pgserver.Launch(t, req.Target.Root, s, nil)
	eventually(t, "recovery ends", func() bool { return ask(t, restored, "postgres", "select pg_is_in_recovery()") == "false" })
	return restored
}

// TestReceiveWAL: what is committed is durable within the lag, also in the middle of a segment; a base backup and what was
// received give every row back.
func TestReceiveWAL(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	execSQL(t, s, "postgres", "create table log (id serial, x text)")
	m := newMemory()
	status, stop := receiving(t, s, m, 200*time.Millisecond)
	eventually(t, "the receiver begins", func() bool {
		return status().System != "" || ask(t, s, "postgres", "select count(*) from pg_stat_replication") == "1"
	})
	_, from, _ := backedUp(t, physical(s, policy.WALStream))
	for i := range 5 {
		execSQL(t, s, "postgres", fmt.Sprintf("insert into log (x) select repeat(md5(i::text), 30) from generate_series(%d, %d) i", i*8000, i*8000+7999))
	}
	execSQL(t, s, "postgres", "insert into log (x) values ('the last one')")
	end := position(t, ask(t, s, "postgres", "select pg_current_wal_lsn()"))
	eventually(t, "the last row is durable", func() bool { return position(t, status().Durable) >= end })
	want := ask(t, s, "postgres", fmt.Sprintf(contentOf, "log"))
	restored := recovered(t, s, from, m)
	if got := ask(t, restored, "postgres", fmt.Sprintf(contentOf, "log")); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	// It goes on where it ended, and the server can stop while it runs.
	_, stop = receiving(t, s, m, 200*time.Millisecond)
	execSQL(t, s, "postgres", "insert into log (x) values ('after a pause')")
	begun := time.Now()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the server needed %s to stop", took)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	execSQL(t, s, "postgres", "insert into log (x) values ('after a restart')")
	want = ask(t, s, "postgres", fmt.Sprintf(contentOf, "log"))
	end = position(t, ask(t, s, "postgres", "select pg_current_wal_lsn()"))
	eventually(t, "it is durable", func() bool {
		return position(t, ask(t, s, "postgres", "select coalesce(max(flush_lsn), '0/0') from pg_stat_replication")) >= end
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
	restored = recovered(t, s, from, m)
	if got := ask(t, restored, "postgres", fmt.Sprintf(contentOf, "log")); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// TestReceiveFailover: after a standby was promoted, twice, the log goes on over the timelines, and every row that either
// server committed before its end comes back.
func TestReceiveFailover(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	execSQL(t, s, "postgres", "create table log (id serial, x text)")
	m := newMemory()
	_, stop := receiving(t, s, m, 100*time.Millisecond)
	_, from, _ := backedUp(t, physical(s, policy.WALStream))
	current := s
	for n := range 2 {
		execSQL(t, current, "postgres", fmt.Sprintf("insert into log (x) select 'before %d ' || i from generate_series(1, 1000) i", n))
		end := position(t, ask(t, current, "postgres", "select pg_current_wal_lsn()"))
		eventually(t, "it is durable", func() bool {
			return position(t, ask(t, current, "postgres", "select coalesce(max(flush_lsn), '0/0') from pg_stat_replication where application_name like 'holdfast%'")) >= end
		})
		standby := standbyOf(t, current)
		eventually(t, "the standby follows", func() bool {
			return position(t, ask(t, standby, "postgres", "select coalesce(pg_last_wal_replay_lsn(), '0/0')")) >= end
		})
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		current.Kill()
		if got := ask(t, standby, "postgres", "select pg_promote()"); got != "true" {
			t.Fatalf("promoted: %s", got)
		}
		current = standby
		_, stop = receiving(t, current, m, 100*time.Millisecond)
	}
	execSQL(t, current, "postgres", "insert into log (x) values ('on timeline 3')")
	want := ask(t, current, "postgres", fmt.Sprintf(contentOf, "log"))
	end := position(t, ask(t, current, "postgres", "select pg_current_wal_lsn()"))
	eventually(t, "it is durable", func() bool {
		return position(t, ask(t, current, "postgres", "select coalesce(max(flush_lsn), '0/0') from pg_stat_replication")) >= end
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"00000002.history", "00000003.history"} {
		if m.files[name] == nil {
			t.Errorf("%s is not archived", name)
		}
	}
	restored := recovered(t, s, from, m)
	if got := ask(t, restored, "postgres", fmt.Sprintf(contentOf, "log")); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// standbyOf starts a standby of a server.
func standbyOf(t *testing.T, s *pgserver.Server) *pgserver.Server {
	t.Helper()
	data := filepath.Join(outside(t, s), "data")
	cmd := exec.Command(filepath.Join(s.BinDir, "pg_basebackup"), "-d", s.DSN("postgres"), "-D", data, "-X", "stream", "-c", "fast", "-R")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("pg_basebackup: %v %s", err, out)
	}
	if err := s.OwnAll(data); err != nil {
		t.Fatal(err)
	}
	return pgserver.Launch(t, data, s, map[string]string{"hot_standby": "on"})
}

// TestReceiveStore: while the store fails nothing is confirmed; when it works again nothing is missing.
func TestReceiveStore(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	execSQL(t, s, "postgres", "create table log (id serial, x text)")
	m := newMemory()
	status, stop := receiving(t, s, m, 100*time.Millisecond)
	_, from, _ := backedUp(t, physical(s, policy.WALStream))
	eventually(t, "the receiver works", func() bool { return status().Durable != "" })
	m.broken(errors.New("no space left"))
	execSQL(t, s, "postgres", "insert into log (x) select repeat(md5(i::text), 30) from generate_series(1, 40000) i")
	eventually(t, "the failure is told", func() bool { p := status().Problem; return p != nil && strings.Contains(p.Error(), "no space left") })
	durable := position(t, status().Durable)
	if got := position(t, ask(t, s, "postgres", "select restart_lsn from pg_replication_slots")); got > durable {
		t.Errorf("the server may remove WAL before %s, durable is what is before %s", got, durable)
	}
	m.broken(nil)
	end := position(t, ask(t, s, "postgres", "select pg_current_wal_lsn()"))
	eventually(t, "it goes on", func() bool { return position(t, status().Durable) >= end })
	want := ask(t, s, "postgres", fmt.Sprintf(contentOf, "log"))
	if err := stop(); err != nil {
		t.Error(err)
	}
	restored := recovered(t, s, from, m)
	if got := ask(t, restored, "postgres", fmt.Sprintf(contentOf, "log")); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// TestReceiveGap: WAL that the server has removed before it was archived is told, and what comes behind it is received all the same.
func TestReceiveGap(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{Config: map[string]string{"min_wal_size": "32MB", "max_wal_size": "48MB", "wal_keep_size": "0"}})
	m := newMemory()
	status, stop := receiving(t, s, m, 100*time.Millisecond)
	execSQL(t, s, "postgres", "create table log (id serial, x text)")
	eventually(t, "the receiver works", func() bool { return status().Durable != "" })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the slot is free", func() bool {
		return ask(t, s, "postgres", "select bool_or(active) from pg_replication_slots") == "false"
	})
	execSQL(t, s, "postgres", "select pg_drop_replication_slot('holdfast_test')")
	for range 6 {
		execSQL(t, s, "postgres", "insert into log (x) select repeat(md5(i::text), 30) from generate_series(1, 12000) i")
		execSQL(t, s, "postgres", "select pg_switch_wal()")
		execSQL(t, s, "postgres", "checkpoint")
	}
	var mu sync.Mutex
	var problems []string
	req := physical(s, policy.WALStream)
	req.Backup.Physical.WAL.MaxLag = policy.Duration(100 * time.Millisecond)
	err := New(Options{}).ReceiveWAL(t.Context(), executors.WALRequest{Source: req.Source, Backup: req.Backup, Once: true, Tell: func(w executors.WALStatus) {
		mu.Lock()
		defer mu.Unlock()
		if w.Problem != nil {
			problems = append(problems, w.Problem.Error())
		}
	}}, m)
	if err != nil {
		t.Fatal(err)
	}
	if said := strings.Join(problems, "\n"); !strings.Contains(said, "is missing: the server has removed it; make a new base backup") {
		t.Errorf("said was %q", said)
	}
	end := position(t, ask(t, s, "postgres", "select pg_current_wal_flush_lsn()"))
	last := wal.Segment{Timeline: 1, Number: wal.DefaultSegmentSize.Number(end)}.Name(wal.DefaultSegmentSize)
	if _, err := m.Fetch(t.Context(), "", last, int64(wal.DefaultSegmentSize), io.Discard); err != nil {
		t.Errorf("the newest segment %s is not archived: %v", last, err)
	}
}

// TestReceiveBrokenNetwork: connections that break, again and again, cost nothing.
func TestReceiveBrokenNetwork(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	execSQL(t, s, "postgres", "create table log (id serial, x text)")
	link := faultproxy.StartLink(t, fmt.Sprintf("127.0.0.1:%d", s.Port))
	m := newMemory()
	_, from, _ := backedUp(t, physical(s, policy.WALStream))
	req := physical(s, policy.WALStream)
	req.Source = sourceOf(strings.Replace(s.DSN("postgres"), fmt.Sprintf("127.0.0.1:%d", s.Port), link.Addr, 1))
	req.Backup.Physical.WAL.MaxLag = policy.Duration(100 * time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- New(Options{}).ReceiveWAL(ctx, executors.WALRequest{Source: req.Source, Backup: req.Backup}, m)
	}()
	for i := range 4 {
		execSQL(t, s, "postgres", fmt.Sprintf("insert into log (x) select repeat(md5(i::text), 30) from generate_series(%d, %d) i", i*5000, i*5000+4999))
		time.Sleep(300 * time.Millisecond)
		link.Cut()
	}
	want := ask(t, s, "postgres", fmt.Sprintf(contentOf, "log"))
	end := position(t, ask(t, s, "postgres", "select pg_current_wal_lsn()"))
	eventually(t, "everything is durable", func() bool {
		return position(t, ask(t, s, "postgres", "select coalesce(max(flush_lsn), '0/0') from pg_stat_replication")) >= end
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	restored := recovered(t, s, from, m)
	if got := ask(t, restored, "postgres", fmt.Sprintf(contentOf, "log")); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// TestStandbyAsSource: base backups and WAL come from a standby just as well, and its promotion in the middle of a base backup is an error.
func TestStandbyAsSource(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{Config: map[string]string{"full_page_writes": "on"}})
	execSQL(t, s, "postgres", "create table log as select i as id, repeat(md5(i::text), 20) x from generate_series(1, 20000) i")
	standby := standbyOf(t, s)
	caughtUp := func() {
		t.Helper()
		end := position(t, ask(t, s, "postgres", "select pg_current_wal_flush_lsn()"))
		eventually(t, "the standby follows", func() bool {
			return position(t, ask(t, standby, "postgres", "select coalesce(pg_last_wal_replay_lsn(), '0/0')")) >= end
		})
	}
	caughtUp()
	m := newMemory()
	status, stop := receiving(t, standby, m, 100*time.Millisecond)
	_, from, res := backedUp(t, physical(standby, policy.WALStream))
	if res.Time.IsZero() {
		t.Error("the backup has no time")
	}
	if _, err := New(Options{}).Verify(t.Context(), executors.VerifyRequest{}, from); err != nil {
		t.Error(err)
	}
	execSQL(t, s, "postgres", "insert into log select i, 'later ' || i from generate_series(20001, 21000) i")
	caughtUp()
	end := position(t, ask(t, s, "postgres", "select pg_current_wal_flush_lsn()"))
	eventually(t, "it is durable", func() bool { return position(t, status().Durable) >= end })
	want := ask(t, s, "postgres", fmt.Sprintf(contentOf, "log"))
	if err := stop(); err != nil {
		t.Error(err)
	}
	restored := recovered(t, s, from, m)
	if got := ask(t, restored, "postgres", fmt.Sprintf(contentOf, "log")); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
	req := physical(standby, policy.WALNone)
	var once sync.Once
	err := failedBackup(t, New(Options{}), req, executortest.Faults{AfterRead: func(executors.Entry, int64) {
		once.Do(func() { execSQL(t, standby, "postgres", "select pg_promote()") })
	}})
	if !strings.Contains(err.Error(), "promoted") {
		t.Errorf("promotion in the middle: %v", err)
	}
}
