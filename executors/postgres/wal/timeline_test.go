package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

// TestAcrossTimelines lets a server recover to the end of its WAL twice, which begins a timeline each time, and follows its
// history through the files: no record is missing and the newest commit is on the newest timeline.
func TestAcrossTimelines(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{
		InitArgs: []string{"--wal-segsize=1"},
		Config:   map[string]string{"wal_keep_size": "500MB", "restore_command": "false", "hot_standby": "off"}, // no connection before recovery ends
	})
	dir := filepath.Join(s.Data, "pg_wal")
	for tl := Timeline(1); ; tl++ {
		if err := s.Exec(t.Context(), "postgres", fmt.Sprintf(
			"create table t%d as select md5(g::text) from generate_series(1, 20000) g; select pg_create_restore_point('on %d')", tl, tl)); err != nil {
			t.Fatal(err)
		}
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		if tl == 3 {
			break
		}
		if err := os.WriteFile(filepath.Join(s.Data, "recovery.signal"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(filepath.Join(dir, HistoryName(3)))
	if err != nil {
		t.Fatal(err)
	}
	h, err := ParseHistory(3, content)
	if err != nil {
		t.Fatal(err)
	}
	follow(t, dir, h)
}

func follow(t *testing.T, dir string, h History) {
	var all []io.Reader
	number := MinSegmentSize.Number(h.Switches[0].At) // begin well before the first switch
	for n := number - 1; ; n++ {
		f, err := os.Open(filepath.Join(dir, h.SegmentAt(n, MinSegmentSize).Name(MinSegmentSize)))
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		all = append(all, f)
	}
	r, err := NewReader(io.MultiReader(all...))
	if err != nil {
		t.Fatal(err)
	}
	points, begun := []string{}, []Timeline{}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, _, err := rec.Event()
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == EventRestorePoint {
			points = append(points, e.Name)
			if want := fmt.Sprintf("on %d", h.At(rec.LSN)); e.Name != want {
				t.Errorf("restore point %q is at %s, which is on timeline %d", e.Name, rec.LSN, h.At(rec.LSN))
			}
		}
		if e.Timeline != e.Parent {
			begun = append(begun, e.Timeline)
		}
	}
	if diff := cmp.Diff([]string{"on 1", "on 2", "on 3"}, points); diff != "" {
		t.Errorf("restore points (-want +got):\n%s\nend %+v", diff, r.End())
	}
	if diff := cmp.Diff([]Timeline{2, 3}, begun); diff != "" {
		t.Errorf("timelines that began (-want +got):\n%s", diff)
	}
}
