package repo_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/internal/repo"
)

// Many backups in one run read each index once, not each of them all indexes of those before it.
func TestIndexesAreReadOnce(t *testing.T) {
	k := classic(t)
	m := newMemory()
	initRepo(t, m, repo.InitOptions{Recipients: []string{k.public}})
	rec := blobtest.NewRecorder(m)
	r := open(t, rec, k.id)
	const backups = 10
	for i := range backups {
		backup(t, r, fmt.Sprintf("p%d", i), []file{{path: "a", data: random(uint64(i), 5000)}})
	}
	reads := 0
	for _, c := range rec.Calls(blobtest.Get) {
		if len(c.Name) > 6 && c.Name[:6] == "index/" {
			reads++
		}
	}
	if reads > 2*backups {
		t.Errorf("%d reads of indexes, want at most two for each of %d backups", reads, backups)
	}
	// The next process begins anew, and finds what is there.
	next := open(t, m, k.id)
	_, stats := backup(t, next, "again", []file{{path: "a", data: random(3, 5000)}})
	if stats.Reused != stats.Bytes {
		t.Errorf("reused %d of %d bytes", stats.Reused, stats.Bytes)
	}
}
