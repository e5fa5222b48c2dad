package state

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrStale says that somebody else committed since the catalog was loaded: reload and decide again.
	ErrStale = errors.New("the state was changed by somebody else since it was read")
	// ErrLineage says that the state is another one than expected.
	ErrLineage = errors.New("the state has another lineage")
	// ErrCorrupt says that a state object does not hold what its name or format promises.
	ErrCorrupt = errors.New("the state is damaged")
)

// LockedError says who holds the lease.
type LockedError struct{ Info LeaseInfo }

// Error tells who, what and until when.
func (e *LockedError) Error() string {
	return fmt.Sprintf("the state is locked by %s (%s, run %s); the lock ends by itself at %s unless it is renewed",
		e.Info.Who, e.Info.Operation, e.Info.Run, e.Info.ExpiresAt.UTC().Format(time.RFC3339))
}

// ErrNewer says that a newer holdfast wrote the state, in a format that this one does not know.
var ErrNewer = errors.New("made by a newer holdfast; update holdfast to read it")
