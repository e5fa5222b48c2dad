package apply

import "github.com/holdfast-io/holdfast/state"

// PointOf is the catalog's record of a point that was found whole in a store.
func PointOf(id, store, repository string, f Found) state.RestorePoint {
	return restorePoint(id, store, repository, f)
}
