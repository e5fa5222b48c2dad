package backend

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/state/statefile"
)

// trim deletes heads that are old and not among the newest, segments that no remaining head names, and leases below
// fence. Ages only decide how much is kept; whether something is garbage follows from serials alone:
//
// A head names segments of its parent and segments of its own serial, nothing else. So a segment of a serial up to the
// oldest kept head's that this head does not name is named by no later head, now or ever. That covers the segments of
// trimmed heads and those that a crash or a lost race left behind.
func (b *Backend) trim(ctx context.Context, fence uint64) error {
	heads, err := b.list(ctx, headsDir)
	if err != nil {
		return err
	}
	oldest, head, err := b.oldestKept(ctx, heads)
	if err != nil || oldest < 0 {
		return err
	}
	var garbage []string
	for _, h := range heads[:oldest] {
		garbage = append(garbage, headName(h.number))
	}
	named := map[statefile.Ref]bool{}
	for _, ref := range head.Segments {
		named[ref] = true
	}
	err = b.bucket.List(ctx, segmentsDir, func(info blob.Info) error {
		var ref statefile.Ref
		text, ok := strings.CutSuffix(strings.TrimPrefix(info.Name, segmentsDir), ".json.zst")
		if ok && ref.UnmarshalText([]byte(text)) == nil && ref.Serial <= head.Serial && !named[ref] {
			garbage = append(garbage, info.Name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list state segments: %w", err)
	}
	leases, err := b.list(ctx, leasesDir)
	if err != nil {
		return err
	}
	for _, l := range leases {
		if l.number < fence {
			garbage = append(garbage, leaseName(l.number))
		}
	}
	// Heads go before the segments they name, and oldest first: what remains after a crash is a series without gaps.
	for _, name := range garbage {
		if err := b.bucket.Delete(ctx, name); err != nil {
			return fmt.Errorf("trim state: %w", err)
		}
	}
	return nil
}

// oldestKept returns the place in heads of the oldest head to keep, and reads it; -1 when nothing may be trimmed.
func (b *Backend) oldestKept(ctx context.Context, heads []numbered) (int, statefile.Head, error) {
	if len(heads) == 0 {
		return -1, statefile.Head{}, nil
	}
	oldest := 0
	now := b.o.Clock.Now()
	for len(heads)-oldest > b.margin.keepHeads && now.Sub(heads[oldest].info.ModTime) > b.margin.keepFor {
		oldest++
	}
	// A commit that slept past the trimming of its serial leaves a head below the series (see confirm). It names segments
	// that are gone, so it must not be the measure; its successor in the list has another parent.
	for {
		head, data, err := b.head(ctx, heads[oldest].number, heads)
		if errors.Is(err, errMoved) {
			return -1, head, nil // somebody else is trimming
		}
		if err != nil || oldest == len(heads)-1 {
			return oldest, head, err
		}
		successor, _, err := b.head(ctx, heads[oldest+1].number, heads)
		if errors.Is(err, errMoved) {
			return -1, head, nil
		}
		if err != nil || successor.Parent == statefile.HeadSum(data) {
			return oldest, head, err
		}
		oldest++
	}
}
