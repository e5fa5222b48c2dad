package backend

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/statefile"
)

// How many segments each kind is spread over, by hash. More make a commit smaller and a load of a far bucket longer.
// Readers do not depend on the numbers.
const (
	pointShards  = 64
	objectShards = 16
	walShards    = 16
	runShards    = 32
)

// pendingRuns is apart from the finished ones, because it changes with every action.
const pendingRuns = "runs/pending"

// part is one segment's share of a catalog.
type part struct {
	name   string
	encode func(dst []byte) ([]byte, error)
	share  func(into *state.Catalog) // hands the part's values to another catalog
}

func shard(kind, key string, n byte) string {
	sum := sha256.Sum256([]byte(key))
	return fmt.Sprintf("%s/%02x", kind, sum[0]%n)
}

// split divides a catalog into parts, none of them empty, ordered by name.
func split(cat *state.Catalog) []part {
	var parts []part
	for name, addresses := range group(cat.Points, "points", pointShards, func(p []state.RestorePoint) bool { return len(p) > 0 }) {
		parts = append(parts, part{name, func(dst []byte) ([]byte, error) {
			return statefile.AppendPoints(dst, addresses, cat.Points)
		}, func(into *state.Catalog) {
			for _, a := range addresses {
				into.Points[a] = cat.Points[a]
			}
		}})
	}
	for name, addresses := range group(cat.WAL, "wal", walShards, func(w []state.WAL) bool { return len(w) > 0 }) {
		parts = append(parts, part{name, func(dst []byte) ([]byte, error) {
			return statefile.AppendWAL(dst, addresses, cat.WAL)
		}, func(into *state.Catalog) {
			for _, a := range addresses {
				into.WAL[a] = cat.WAL[a]
			}
		}})
	}
	for name, addresses := range group(cat.Objects, "objects", objectShards, func(state.Object) bool { return true }) {
		parts = append(parts, part{name, func(dst []byte) ([]byte, error) {
			return statefile.AppendObjects(dst, addresses, cat.Objects)
		}, func(into *state.Catalog) {
			for _, a := range addresses {
				into.Objects[a] = cat.Objects[a]
			}
		}})
	}
	for name, runs := range groupRuns(cat.Runs) {
		parts = append(parts, part{name, func(dst []byte) ([]byte, error) {
			return statefile.AppendRuns(dst, runs)
		}, func(into *state.Catalog) {
			into.Runs = append(into.Runs, runs...)
		}})
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.name, b.name) })
	return parts
}

// group returns the keys of each shard in order.
func group[T any](all map[string]T, kind string, n byte, wanted func(T) bool) map[string][]string {
	shards := map[string][]string{}
	for key, value := range all {
		if wanted(value) {
			name := shard(kind, key, n)
			shards[name] = append(shards[name], key)
		}
	}
	for _, keys := range shards {
		slices.Sort(keys)
	}
	return shards
}

func groupRuns(runs []state.Run) map[string][]state.Run {
	shards := map[string][]state.Run{}
	for _, run := range runs {
		name := pendingRuns
		if run.Status != state.RunPending {
			name = shard("runs", run.ID, runShards)
		}
		shards[name] = append(shards[name], run)
	}
	return shards
}

// normalize orders points, logs and runs and forgets the oldest finished runs beyond state.KeepRuns, so that a catalog is the
// same before a commit and after the next load. It never changes a slice in place, which others may hold.
func normalize(cat *state.Catalog) {
	for address, points := range cat.Points {
		if !sorted(points) {
			points = slices.Clone(points)
			slices.SortStableFunc(points, comparePoints)
			cat.Points[address] = points
		}
	}
	for address, logs := range cat.WAL {
		if !slices.IsSortedFunc(logs, compareLogs) {
			logs = slices.Clone(logs)
			slices.SortStableFunc(logs, compareLogs)
			cat.WAL[address] = logs
		}
	}
	if !slices.IsSortedFunc(cat.Runs, compareRuns) {
		cat.Runs = slices.Clone(cat.Runs)
		slices.SortStableFunc(cat.Runs, compareRuns)
	}
	surplus := -state.KeepRuns
	for _, run := range cat.Runs {
		if run.Status != state.RunPending {
			surplus++
		}
	}
	if surplus <= 0 {
		return
	}
	cat.Runs = slices.DeleteFunc(slices.Clone(cat.Runs), func(run state.Run) bool {
		if run.Status == state.RunPending || surplus == 0 {
			return false
		}
		surplus--
		return true
	})
}

// sorted compares in place: passing a million points by value takes longer than encoding them needs.
func sorted(points []state.RestorePoint) bool {
	for i := 1; i < len(points); i++ {
		a, b := &points[i-1], &points[i]
		if c := a.Time.Compare(b.Time); c > 0 || (c == 0 && a.ID > b.ID) {
			return false
		}
	}
	return true
}

func comparePoints(a, b state.RestorePoint) int {
	return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.ID, b.ID))
}

func compareRuns(a, b state.Run) int {
	return cmp.Or(a.Started.Compare(b.Started), strings.Compare(a.ID, b.ID))
}

func compareLogs(a, b state.WAL) int {
	return cmp.Or(strings.Compare(a.Store, b.Store), strings.Compare(a.System, b.System))
}
