package files

import (
	"os"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
)

// TestMemoryDoesNotGrowWithTheTree walks 40,000 files, on a memory file system because making them is what takes time.
func TestMemoryDoesNotGrowWithTheTree(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 40,000 files")
	}
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm")
	}
	root := manyFiles(t, 40_000)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most := heap(), uint64(0)
	c := &counting{each: func(n int) {
		if n%10_000 == 0 {
			most = max(most, heap())
		}
	}}
	res, err := New().Backup(t.Context(), executors.BackupRequest{Source: sourceOf(root)}, c)
	must(t, err)
	if d := cmp.Diff(int64(40_000+3*80+1), res.Items); d != "" {
		t.Errorf("items (-want +got):\n%s", d)
	}
	if most > before+4<<20 {
		t.Errorf("the walk holds %d KiB more than before it", (most-before)>>10)
	}
}
