package repo

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/holdfast-io/holdfast/internal/repo/index"
)

// RebuildReport tells what RebuildIndex found.
type RebuildReport struct {
	Packs, Chunks int64    // that no index listed before
	Damaged       []Damage // packs whose directory cannot be read
	Replaced      []string // damaged index objects that were deleted after the new one was stored
}

// RebuildIndex lists packs that no readable index lists in a new index, from their own directories, and then deletes index
// objects that are damaged. It needs a recipient's key. Doing it twice changes nothing.
func (r *Repository) RebuildIndex(ctx context.Context) (RebuildReport, error) {
	if err := r.needRead(); err != nil {
		return RebuildReport{}, err
	}
	loaded, err := r.loadIndex(ctx, nil)
	if err != nil {
		return RebuildReport{}, err
	}
	v := &verification{r: r, damaged: map[string]*Damage{}}
	reader := newPackReader(r)
	u := &uploader{r: r}
	u.stored = new(atomic.Int64)
	var report RebuildReport
	for _, id := range sortedPacks(loaded.stored) {
		if loaded.index.HasPack(id) {
			continue
		}
		info := index.PackInfo{ID: id, Size: loaded.stored[id]}
		records, err := reader.directory(ctx, info)
		if err := v.damageOf(err); err != nil {
			return RebuildReport{}, err
		}
		if err != nil {
			continue
		}
		report.Packs++
		report.Chunks += int64(len(records))
		if err := u.note(ctx, index.Pack{ID: id, Size: info.Size, Records: records}); err != nil {
			return RebuildReport{}, err
		}
	}
	if err := u.flush(ctx); err != nil {
		return RebuildReport{}, err
	}
	for _, d := range loaded.damaged {
		if err := r.bucket.Delete(ctx, d.Object); err != nil {
			return RebuildReport{}, fmt.Errorf("delete damaged index: %w", err)
		}
		report.Replaced = append(report.Replaced, d.Object)
	}
	report.Damaged = v.report().Damaged
	return report, nil
}

func sortedPacks(stored map[index.PackID]int64) []index.PackID {
	out := slices.Collect(maps.Keys(stored))
	slices.SortFunc(out, func(a, b index.PackID) int { return bytes.Compare(a[:], b[:]) })
	return out
}
