package postgres

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

// TestRehearseBaseBackup: a base backup is started and recovered to the end of the WAL, and asked; what is wrong with it, with its WAL or with
// the data is found, and nothing is left.
func TestRehearseBaseBackup(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{InitArgs: []string{"--data-checksums"}})
	execSQL(t, s, "postgres", "create database app")
	execSQL(t, s, "app", "create table log (id serial, x text)")
	m := newMemory()
	status, stop := receiving(t, s, m, 100*time.Millisecond)
	req := physical(s, policy.WALStream)
	store, sink := newPoint(req.Point)
	made, err := New(Options{}).Backup(t.Context(), req, sink)
	if err != nil {
		t.Fatal(err)
	}
	store.Commit(sink, made)
	for range 4 {
		execSQL(t, s, "app", "insert into log (x) select repeat(md5(i::text), 30) from generate_series(1, 9000) i")
		execSQL(t, s, "app", "select pg_switch_wal()")
	}
	end := position(t, ask(t, s, "postgres", "select pg_current_wal_flush_lsn()"))
	eventually(t, "everything is durable", func() bool { return position(t, status().Durable) >= end })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	rows := func(n int) policy.Check {
		return policy.Check{Name: "rows", Query: "select count(*) from log", Expect: policy.NewCondition(fmt.Sprintf("self.value == %d", n), func(self map[string]any) (bool, error) {
			return fmt.Sprint(self["value"]) == fmt.Sprint(n), nil
		})}
	}
	rehearse := func(from executors.Supply, to executors.WALArchive, check policy.Check) (executors.RehearseResult, error) {
		t.Helper()
		dir := outside(t, s)
		res, err := New(Options{}).Rehearse(t.Context(), executors.RehearseRequest{
			Source: sourceOf(s.DSN("app")), Backup: req.Backup, WAL: to, Dir: dir, Rehearsal: policy.Rehearsal{Checks: []policy.Check{check}},
		}, from)
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left in the scratch folder: %v", left)
		}
		return res, err
	}
	good := store.Supply(req.Point)
	res, err := rehearse(good, m, rows(36000))
	if err != nil || !res.OK() || res.Seconds <= 0 {
		t.Errorf("with its WAL: %v %v", err, res.Failure())
	}
	if res, err = rehearse(good, nil, rows(0)); err != nil || !res.OK() {
		t.Errorf("by itself: %v %v", err, res.Failure())
	}
	if res, err = rehearse(good, m, rows(5)); err != nil || res.OK() {
		t.Errorf("a check that does not hold: %v %v", err, res.Failure())
	}
	var items []*executortest.Item
	for _, it := range sink.Items() {
		changed := *it
		if it.Entry.Path == "data/global/pg_control" {
			changed.Data = slices.Clone(it.Data)
			changed.Data[100] ^= 1
		}
		items = append(items, &changed)
	}
	if _, err = rehearse(executortest.NewSupply(items...).WithMeta(good.Meta()), m, rows(36000)); err == nil || errors.Is(err, executors.ErrScratch) {
		t.Errorf("a damaged pg_control: %v", err)
	}
	// A segment in the middle is gone, and later ones are there.
	var whole []string
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		if len(name) == 24 {
			whole = append(whole, name)
		}
	}
	if len(whole) < 4 {
		t.Fatalf("only %v are archived", whole)
	}
	delete(m.files, whole[len(whole)-2])
	res, err = rehearse(good, m, rows(36000))
	if err == nil && res.OK() {
		t.Error("a missing segment is not noticed")
	}
	t.Setenv("HOLDFAST_PG_BIN", t.TempDir())
	if _, err = rehearse(good, m, rows(36000)); !errors.Is(err, executors.ErrScratch) || !strings.Contains(err.Error(), "postgres") {
		t.Errorf("without a server's programs: %v", err)
	}
}
