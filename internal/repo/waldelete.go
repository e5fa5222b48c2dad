package repo

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

// DeleteWAL deletes files, the oldest first: of each the content and then the claim, so that no other content gets the name
// before. Claims that an interrupted delete left among them go too. What is not there is no error, and no key is needed.
// Whether anybody needs a file is for the caller to know.
func (r *Repository) DeleteWAL(ctx context.Context, files ...wal.File) error {
	folders := map[string][]wal.File{}
	for _, f := range files {
		if err := f.Check(); err != nil {
			return err
		}
		folder := fmt.Sprintf("%d/%08X/", f.System, f.Timeline)
		folders[folder] = append(folders[folder], f)
	}
	for folder, named := range folders {
		found, err := r.listWAL(ctx, folder)
		if err != nil {
			return err
		}
		if err := r.deleteOf(ctx, found, named); err != nil {
			return err
		}
	}
	return nil
}

// deleteOf deletes the named files of one timeline, and claims without content before the last of them.
func (r *Repository) deleteOf(ctx context.Context, found map[wal.File]*walEntry, named []wal.File) error {
	order := func(a, b wal.File) int { return wal.Compare(wal.Stored{File: a}, wal.Stored{File: b}) }
	last := slices.MaxFunc(named, order)
	doomed := slices.Clone(named)
	for f, e := range found {
		if len(e.objects) == 0 && f.Kind != wal.History && order(f, last) < 0 {
			doomed = append(doomed, f)
		}
	}
	slices.SortFunc(doomed, order)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pruneWorkers)
	for _, f := range slices.Compact(doomed) {
		if e := found[f]; e != nil {
			g.Go(func() error { return r.deleteWAL(gctx, e) })
		}
	}
	return g.Wait()
}

func (r *Repository) deleteWAL(ctx context.Context, e *walEntry) error {
	for _, i := range e.objects {
		if err := r.bucket.Delete(ctx, i.Name); err != nil {
			return fmt.Errorf("delete %s: %w", e.file, err)
		}
	}
	if err := r.bucket.Delete(ctx, walClaimName(e.file)); err != nil {
		return fmt.Errorf("delete claim of %s: %w", e.file, err)
	}
	return nil
}
