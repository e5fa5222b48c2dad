package replication

import (
	"errors"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

func TestIdentifySystem(t *testing.T) {
	c := connect(t, shared.DSN(""))
	got, err := c.IdentifySystem(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := ask(t, shared, "select system_identifier::text from pg_control_system()")
	now := askLSN(t, shared, "select pg_current_wal_flush_lsn()::text")
	if strconv.FormatUint(got.ID, 10) != id || got.Timeline != 1 || got.Flush == 0 || got.Flush > now {
		t.Errorf("IdentifySystem = %+v, want id %s, timeline 1, at most %s", got, id, now)
	}
	if want := ask(t, shared, "select (current_setting('server_version_num')::int / 10000)::text"); strconv.Itoa(c.Major()) != want {
		t.Errorf("Major = %d, want %s", c.Major(), want)
	}
}

func TestShow(t *testing.T) {
	c := connect(t, shared.DSN(""))
	if got, err := c.Show(t.Context(), "wal_segment_size"); err != nil || got != "16MB" {
		t.Errorf("Show = %q, %v, want 16MB", got, err)
	}
	_, err := c.Show(t.Context(), "no_such.setting")
	checkError(t, err, "no_such.setting")
	_, err = c.Show(t.Context(), "x; DROP_REPLICATION_SLOT y")
	checkError(t, err, "is no name")
	if got, err := c.Show(t.Context(), "wal_level"); err != nil || got != "replica" {
		t.Errorf("Show after errors = %q, %v, want replica", got, err)
	}
}

func TestTimelineHistoryOfTheFirst(t *testing.T) {
	_, _, err := connect(t, shared.DSN("")).TimelineHistory(t.Context(), 1)
	checkError(t, err, "read the history of timeline 1: ")
}

func TestSlots(t *testing.T) {
	c, ctx := connect(t, shared.DSN("")), t.Context()
	for _, err := range []error{c.CreateSlot(ctx, "kept", false, true), c.CreateSlot(ctx, "lazy", false, false), c.CreateSlot(ctx, "fleeting", true, true)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := ask(t, shared, "select string_agg(slot_name || ' ' || slot_type || ' ' || temporary || ' ' || (restart_lsn is not null), ', ' order by slot_name) from pg_replication_slots"); got != "fleeting physical true true, kept physical false true, lazy physical false false" {
		t.Errorf("the server has %s", got)
	}
	if err := c.CreateSlot(ctx, "kept", false, true); !errors.Is(err, ErrSlotExists) {
		t.Errorf("create twice: %v, want ErrSlotExists", err)
	}
	if c.Major() >= versionTypedCopy {
		readSlots(t, c)
	} else if _, err := c.ReadSlot(ctx, "kept"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("read a slot of PostgreSQL %d: %v, want ErrUnsupported", c.Major(), err)
	}
	for _, name := range []string{"kept", "lazy"} {
		if err := c.DropSlot(ctx, name); err != nil {
			t.Error(err)
		}
	}
	if err := c.DropSlot(ctx, "kept"); !errors.Is(err, ErrNoSlot) {
		t.Errorf("drop twice: %v, want ErrNoSlot", err)
	}
	for _, name := range []string{"", "Upper", `a" LOGICAL`, "a-b"} {
		checkError(t, c.CreateSlot(ctx, name, false, true), "is no name of a replication slot")
	}
	_ = c.Close()
}

func readSlots(t *testing.T, c *Conn) {
	t.Helper()
	got, err := c.ReadSlot(t.Context(), "kept")
	want := askLSN(t, shared, "select restart_lsn::text from pg_replication_slots where slot_name = 'kept'")
	if err != nil || got != (Slot{Restart: want, Timeline: 1}) {
		t.Errorf("ReadSlot = %+v, %v, want %s on timeline 1", got, err, want)
	}
	if got, err := c.ReadSlot(t.Context(), "lazy"); err != nil || got != (Slot{}) {
		t.Errorf("ReadSlot of one without WAL = %+v, %v, want nothing", got, err)
	}
	if got, err := c.ReadSlot(t.Context(), "other"); !errors.Is(err, ErrNoSlot) {
		t.Errorf("ReadSlot of none = %+v, %v, want ErrNoSlot", got, err)
	}
}

func TestConnectErrorsSayWhatToDo(t *testing.T) {
	execSQL(t, shared, "drop role if exists plain; create role plain login password 'plain'")
	_, err := tryConnect(t.Context(), shared.DSNAs("plain", "plain", "postgres"))
	checkError(t, err, "REPLICATION attribute")
	_, err = tryConnect(t.Context(), shared.DSNAs("postgres", "wrong", "postgres"))
	checkError(t, err, "check the user and password")
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		t.Errorf("%v has lost the server's error", err)
	}
	_, err = tryConnect(t.Context(), "host=127.0.0.1 port=1 sslmode=disable user=x")
	checkError(t, err, "connect to 127.0.0.1:1 for replication: ")
}

func TestTargetSessionAttributesAreNotAsked(t *testing.T) {
	c := connect(t, shared.DSN("")+"&target_session_attrs=read-write")
	if _, err := c.IdentifySystem(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOneCommandAtATime(t *testing.T) {
	c := connect(t, shared.DSN(""))
	b, err := c.BaseBackup(t.Context(), BackupOptions{Checkpoint: Fast})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Show(t.Context(), "port")
	checkError(t, err, "busy with a base backup")
	_, err = c.Stream(t.Context(), StreamOptions{Timeline: 1, Start: wal.LSN(1 << 24)})
	checkError(t, err, "busy with a base backup")
	_ = b.Close()
	_, err = c.Show(t.Context(), "port")
	checkError(t, err, "the connection is closed; connect again")
}
