package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/test/hfbin"
)

// walCopies is pitrPolicy with a further store and a window that moves on quickly.
var walCopies = strings.NewReplacer(
	`source "postgres"`, "store \"offsite\" {\n  url = \"file://./offsite\"\n  encryption {\n    recipients = [\"RECIPIENT\"]\n  }\n}\n\nsource \"postgres\"",
	`  store     = store.primary`, "  store     = store.primary\n  copies    = [store.offsite]",
	`last       = 3`, `last       = 1`, `continuous = "7d"`, `continuous = "1s"`,
).Replace(pitrPolicy)

// walStatus is what `status -json` tells of WAL.
type walStatus struct {
	Health, Why string
	WAL         []struct {
		Store      string
		Windows    []struct{ From, To time.Time }
		LagSeconds float64 `json:"lag_seconds"`
		Stored     int64   `json:"stored_bytes"`
		Gaps       []struct{ First, Last string }
	}
}

func statusOf(s *hfbin.Site) walStatus {
	s.T.Helper()
	var all struct{ Backups []walStatus }
	s.JSON(&all, "status", "-json", "-refresh=list")
	return all.Backups[0]
}

// objects lists what a store has of segments.
func objects(s *hfbin.Site, store, pattern string) []string {
	found, err := filepath.Glob(filepath.Join(s.Dir, store, "wal", "*", "*", pattern))
	if err != nil {
		s.T.Fatal(err)
	}
	return found
}

// TestWALIsKnownCopiedAndExpires: what is streamed makes windows, an idle server stays within its objective, further stores get the
// WAL, a lost segment is named and mended by a base backup, and what nothing needs goes in every store.
func TestWALIsKnownCopiedAndExpires(t *testing.T) {
	s, server := pitrSite(t, "stream", nil)
	s.Write("main.hf.hcl", strings.NewReplacer("RECIPIENT", s.Recipient, "MODE", "stream").Replace(walCopies))
	s.Must("apply", "-auto-approve")
	receive := func() { s.Must("wal", "receive", "backup.app", "-once") }
	write := func() (segment string) {
		sql(t, server, "INSERT INTO log (what) VALUES ('some')")
		return ask(t, server, "pg_walfile_name(pg_switch_wal())")
	}
	lost := write()
	write()
	receive()
	st := statusOf(s)
	if len(st.WAL) != 1 || st.WAL[0].Store != "store.primary" || len(st.WAL[0].Windows) != 1 || st.WAL[0].Stored == 0 || len(st.WAL[0].Gaps) != 0 || st.Health == "at risk" && !strings.Contains(st.Why, "store.offsite") {
		t.Fatalf("status %+v", st)
	}

	// Nothing is written for longer than everything so far took: the server's own word keeps the lag small.
	time.Sleep(3 * time.Second)
	if st := statusOf(s); st.WAL[0].LagSeconds > 2.5 || time.Since(st.WAL[0].Windows[0].To) > 20*time.Second {
		t.Errorf("an idle server lags: %+v", st)
	}

	// The catalog learns of it by apply, which brings it to the further store.
	s.Prints(s.Must("plan"), "No changes")
	s.Prints(s.Must("apply", "-auto-approve"), "copy WAL in store.offsite", "WAL copied after", "from store.primary to store.offsite")
	st = statusOf(s)
	if len(st.WAL) != 2 || len(st.WAL[0].Windows) != 1 || !st.WAL[0].Windows[0].To.After(st.WAL[0].Windows[0].From) {
		t.Errorf("the further store tells %+v", st)
	}
	s.Prints(s.Must("status"), "EVERY INSTANT (UTC)", "nothing")
	s.Prints(s.Must("points"), "EVERY INSTANT (UTC)")
	s.Prints(s.Must("show"), "WAL OF")
	s.Prints(s.Must("plan", "-refresh=list"), "No changes")

	// A segment is lost.
	write()
	receive()
	for _, name := range objects(s, "store", lost+".*") {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	s.Prints(s.Must("plan", "-refresh=list"), "wal_gap", "segment "+lost+" is missing", "back up")
	if st := statusOf(s); st.Health != "at risk" || !strings.Contains(st.Why, lost+" is missing") {
		t.Errorf("status after a loss: %s (%s)", st.Health, st.Why)
	}
	s.Prints(s.Must("apply", "-auto-approve"), "backed up")

	// The window has moved on to the new base backup: the old one and its WAL go, in both stores.
	receive()
	time.Sleep(1500 * time.Millisecond)
	write()
	receive()
	r := s.Must("apply", "-auto-approve")
	s.Prints(r, "expire WAL in store.primary", "expire WAL in store.offsite", "WAL expired after")
	for _, store := range []string{"store", "offsite"} {
		if left := objects(s, store, lost+".*"); len(left) > 0 {
			t.Errorf("%v is left in %s", left, store)
		}
	}
	for range 3 {
		receive()
		s.Must("apply", "-auto-approve")
	}
	s.Prints(s.Must("plan", "-refresh=list"), "No changes")
	st = statusOf(s)
	for _, w := range st.WAL {
		if len(w.Windows) != 1 || len(w.Gaps) > 0 {
			t.Errorf("afterwards: %+v", w)
		}
	}

	// The newest moment comes back from the further store alone.
	if err := os.Rename(filepath.Join(s.Dir, "store"), filepath.Join(s.Dir, "gone")); err != nil {
		t.Fatal(err)
	}
	want := ask(t, server, "SELECT count(*) FROM log")
	dir := filepath.Join(t.TempDir(), "restored")
	s.Must("restore", "backup.app", "-from=store.offsite", "-target=data_dir="+dir, "-auto-approve")
	restored := recovered(t, s, server, dir)
	defer restored.Kill()
	if got := ask(t, restored, "SELECT count(*) FROM log"); got != want {
		t.Errorf("%s rows came back, want %s%s", got, want, fmt.Sprint("\n", restored.Log()))
	}
}

// TestLagIsThatOfTheNewestCommit: where the server cannot be asked, the newest commit that is stored tells how far WAL goes, not the
// moment at which it was brought there.
func TestLagIsThatOfTheNewestCommit(t *testing.T) {
	s, server := pitrSite(t, "stream", nil)
	s.Must("apply", "-auto-approve")
	sql(t, server, "INSERT INTO log (what) VALUES ('the last')")
	committed := time.Now()
	time.Sleep(3 * time.Second)
	sql(t, server, "SELECT pg_switch_wal()")
	s.Must("wal", "receive", "backup.app", "-once")
	reached := time.Now()
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	windows := statusOf(s).WAL[0].Windows
	if len(windows) != 1 {
		t.Fatalf("windows %+v", windows)
	}
	if to := windows[0].To; to.After(committed) || to.Before(committed.Add(-time.Second)) {
		t.Errorf("the window ends at %s; the newest commit was at %s, and was brought at %s", to, committed, reached)
	}
}

// TestWindowsCrossAPromotion: a server that went on on a timeline of its own is one window with what was before, and no gap.
func TestWindowsCrossAPromotion(t *testing.T) {
	s, server := pitrSite(t, "stream", nil)
	s.Must("apply", "-auto-approve")
	sql(t, server, "INSERT INTO log (what) VALUES ('on timeline 1')")
	sql(t, server, "SELECT pg_switch_wal()")
	s.Must("wal", "receive", "backup.app", "-once")
	dir := filepath.Join(t.TempDir(), "promoted")
	s.Must("restore", "backup.app", "-target=data_dir="+dir, "-auto-approve")
	promoted := recovered(t, s, server, dir)
	defer promoted.Kill()
	server.Kill()
	s.Env = append(s.Env, "APP_URL="+promoted.DSN("postgres"))
	sql(t, promoted, "INSERT INTO log (what) VALUES ('on timeline 2')")
	committed := time.Now()
	sql(t, promoted, "SELECT pg_switch_wal()")
	s.Must("wal", "receive", "backup.app", "-once")
	st := statusOf(s)
	if len(st.WAL) != 1 || len(st.WAL[0].Gaps) > 0 || len(st.WAL[0].Windows) != 1 || st.WAL[0].Windows[0].To.Before(committed) {
		t.Errorf("after a promotion: %+v", st)
	}
	s.Must("apply", "-auto-approve")
	s.Prints(s.Must("plan", "-refresh=list"), "No changes")
}

// TestHostThatOnlyWrites: a host without a key that reads knows the windows by the store's times, and brings WAL to the further store.
func TestHostThatOnlyWrites(t *testing.T) {
	s, server := pitrSite(t, "stream", nil)
	var host struct{ Recipient string }
	s.JSON(&host, "key", "generate", "-out=host", "-json")
	sealed := fmt.Sprintf("recipients = [%q]\n    writers    = [%q]", s.Recipient, host.Recipient)
	s.Write("main.hf.hcl", strings.NewReplacer(`recipients = ["RECIPIENT"]`, sealed, "MODE", "stream", `after = "read"`, `after = "stored"`).Replace(walCopies))
	s.Env = append(s.Env, "HOLDFAST_IDENTITY_FILE="+filepath.Join(s.Dir, "host"))
	for _, made := range []string{"store", ".holdfast"} {
		if err := os.RemoveAll(filepath.Join(s.Dir, made)); err != nil {
			t.Fatal(err)
		}
	}
	s.Must("init")
	s.Must("apply", "-auto-approve")
	for range 3 {
		sql(t, server, "INSERT INTO log (what) VALUES ('some')")
		sql(t, server, "SELECT pg_switch_wal()")
		time.Sleep(100 * time.Millisecond)
		s.Must("wal", "receive", "backup.app", "-once")
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	s.Must("apply", "-auto-approve")
	st := statusOf(s)
	if len(st.WAL) != 2 {
		t.Fatalf("WAL %+v", st.WAL)
	}
	for _, w := range st.WAL {
		if len(w.Windows) != 1 || len(w.Gaps) > 0 || !w.Windows[0].To.After(w.Windows[0].From) {
			t.Errorf("%+v", w)
		}
	}
}
