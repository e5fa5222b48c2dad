package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-io/holdfast/executors"
)

// unproven is a write-ahead log of which a store could not be opened: what the others have not, that one may have. A recovery must
// not take it for the end of the log.
type unproven struct{ executors.WALArchive }

// Fetch implements executors.WALArchive. It never says that a file is not there.
func (a unproven) Fetch(ctx context.Context, system, name string, segmentSize int64, to io.Writer) (int64, error) {
	real, err := a.WALArchive.Fetch(ctx, system, name, segmentSize, to)
	if errors.Is(err, executors.ErrNoWAL) {
		err = fmt.Errorf("%v; a store that may have it cannot be read: mend that, or say with -from which store shall do", err)
	}
	return real, err
}
