package cli

import (
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/state"
)

// TestImportAfterAMove: a point that a moved backup took along is known, whatever the store calls it.
func TestImportAfterAMove(t *testing.T) {
	made := time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)
	found := func(store string) foundPoint {
		return foundPoint{address: "backup.old", point: state.RestorePoint{ID: "p1", Time: made, Copies: []state.Copy{{Store: store, Repository: "r1"}}}}
	}
	c := &state.Catalog{}
	if points, _ := addFound(c, "backup.old", found("store.a"), movedPoints(c)); points != 1 {
		t.Fatalf("%d points", points)
	}
	if points, copies := addFound(c, "backup.new", found("store.a"), movedPoints(c)); points != 0 || copies != 0 {
		t.Errorf("under another name it is taken again: %d points, %d copies", points, copies)
	}
	c.Move("backup.old", "backup.new")
	if points, copies := addFound(c, "backup.old", found("store.a"), movedPoints(c)); points != 0 || copies != 0 {
		t.Errorf("what is known is taken again: %d points, %d copies", points, copies)
	}
	if points, copies := addFound(c, "backup.old", found("store.b"), movedPoints(c)); points != 0 || copies != 1 {
		t.Errorf("a further copy: %d points, %d copies", points, copies)
	}
	if got := c.Points["backup.new"]; len(c.Points) != 1 || len(got) != 1 || len(got[0].Copies) != 2 || got[0].StoredAs != "backup.old" {
		t.Errorf("%+v", c.Points)
	}
}
