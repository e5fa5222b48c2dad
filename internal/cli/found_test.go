package cli

import (
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/policy"
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

// TestMovedBlocksNameWhatIsFound: a store holds what was made before and after a rename, and both are one backup.
func TestMovedBlocksNameWhatIsFound(t *testing.T) {
	set := policy.Set{
		Backups: map[string]policy.Backup{"backup.new": {}, "backup.other": {}},
		Moved:   []policy.Moved{{From: "backup.older", To: "backup.old"}, {From: "backup.old", To: "backup.new"}, {From: "backup.x", To: "backup.gone"}},
	}
	for address, want := range map[string]string{
		"backup.older": "backup.new", "backup.old": "backup.new", "backup.new": "backup.new", "backup.other": "backup.other",
		"backup.x": "backup.x", "backup.unheard": "backup.unheard",
	} {
		if got := nameNow(set, address); got != want {
			t.Errorf("%s is %s now, want %s", address, got, want)
		}
	}
	c := &state.Catalog{}
	for id, address := range map[string]string{"p1": "backup.old", "p2": "backup.new"} {
		addFound(c, nameNow(set, address), foundPoint{address: address, point: state.RestorePoint{ID: id, Copies: []state.Copy{{Store: "store.a"}}}}, nil)
	}
	if got := c.Points["backup.new"]; len(got) != 2 || got[0].Stored("backup.new") != "backup.old" || got[1].Stored("backup.new") != "backup.new" {
		t.Errorf("%+v", c.Points)
	}
}
