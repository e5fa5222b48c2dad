package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/holdfast-io/holdfast/executors"
)

// fetching is an archive that answers every Fetch alike.
type fetching struct {
	executors.WALArchive
	err error
}

func (f fetching) Fetch(context.Context, string, string, int64, io.Writer) (int64, error) {
	return 7, f.err
}

// TestUnproven: that a file is absent is not told while a store was not asked; everything else is.
func TestUnproven(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name         string
		err          error
		served, same bool
	}{
		{"served", nil, true, true},
		{"absent where it was asked", fmt.Errorf("store.a: %w", executors.ErrNoWAL), false, false},
		{"broken", broken, false, true},
	} {
		n, err := unproven{fetching{err: c.err}}.Fetch(t.Context(), "1", "x", 1, io.Discard)
		if n != 7 || (err == nil) != c.served || errors.Is(err, executors.ErrNoWAL) || errors.Is(err, c.err) != c.same {
			t.Errorf("%s: %d, %v", c.name, n, err)
		}
	}
}
