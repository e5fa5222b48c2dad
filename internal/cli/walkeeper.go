package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
	"github.com/holdfast-io/holdfast/planner/plan"
)

// DeleteWAL implements apply.WALKeeper.
func (r *repository) DeleteWAL(ctx context.Context, system string, runs []plan.Segments) (freed int64, err error) {
	files, err := r.walFiles(ctx, system)
	if err != nil {
		return 0, err
	}
	var doomed []wal.File
	for _, f := range files {
		if slices.ContainsFunc(runs, func(s plan.Segments) bool { return inRun(f.File, s) }) {
			doomed = append(doomed, f.File)
			freed += f.Bytes
		}
	}
	if err := r.Repository.DeleteWAL(ctx, doomed...); err != nil {
		return 0, err
	}
	return freed, nil
}

// CopyWAL implements apply.WALKeeper.
func (r *repository) CopyWAL(ctx context.Context, from apply.Repository, system string, runs []plan.Segments, progress func(int64)) (apply.WALCopied, error) {
	source, ok := from.(*repository)
	if !ok {
		return apply.WALCopied{}, fmt.Errorf("copy from %T: not a repository of this policy", from)
	}
	theirs, err := source.walFiles(ctx, system)
	if err != nil {
		return apply.WALCopied{}, err
	}
	ours, err := r.walFiles(ctx, system)
	if err != nil {
		return apply.WALCopied{}, err
	}
	r.mu.Lock() // one copy at a time into a store
	defer r.mu.Unlock()
	missing := walToCopy(theirs, ours, runs)
	copied, err := repo.NewCopier(r.Repository, source.Repository).CopyWAL(ctx, missing, func(c repo.WALCopy) { progress(c.Stored) })
	done := apply.WALCopied{Files: copied.Copied, Stored: copied.Stored}
	if err != nil {
		return done, err
	}
	return done, r.dropPieces(ctx, append(ours, asStored(missing)...))
}

// dropPieces takes away the pieces of segments that are there whole now.
func (r *repository) dropPieces(ctx context.Context, files []wal.Stored) error {
	whole, pieces := map[wal.File]bool{}, map[wal.File]bool{}
	for _, f := range files {
		switch f.Kind {
		case wal.Segment:
			whole[f.File] = true
		case wal.Piece:
			pieces[f.Whole()] = true
		}
	}
	for segment := range pieces {
		if !whole[segment] {
			continue
		}
		if err := r.DropWALPieces(ctx, segment); err != nil {
			return err
		}
	}
	return nil
}

func asStored(files []wal.File) (stored []wal.Stored) {
	for _, f := range files {
		stored = append(stored, wal.Stored{File: f})
	}
	return stored
}

func (r *repository) walFiles(ctx context.Context, system string) ([]wal.Stored, error) {
	id, err := wal.ParseSystem(system)
	if err != nil {
		return nil, err
	}
	return r.WALFiles(ctx, id)
}

// walToCopy chooses what of a store's files another one is to get: every history, and of the rest what is in the runs or came
// behind the last of its timeline, or on a timeline behind theirs. What nobody needs any more lies before the runs or between them.
// The .partial of a timeline that ended stays: recovery never asks for it.
func walToCopy(theirs, ours []wal.Stored, runs []plan.Segments) (missing []wal.File) {
	there := map[wal.File]bool{}
	for _, f := range ours {
		there[f.File] = true
	}
	for _, f := range theirs {
		switch {
		case there[f.File], f.Kind == wal.Partial, f.Kind == wal.Piece && there[f.Whole()]:
		case f.Kind == wal.History, slices.ContainsFunc(runs, func(s plan.Segments) bool { return inRun(f.File, s) }), behindAll(f.File, runs):
			missing = append(missing, f.File)
		}
	}
	return missing
}

// inRun tells whether a file belongs to a segment of a run. Names of segments of one timeline are in the order of their positions.
func inRun(f wal.File, s plan.Segments) bool {
	if f.Kind == wal.History || f.Timeline != s.Timeline {
		return false
	}
	name := f.Whole().Name()
	return s.First <= name && name <= s.Last
}

// behindAll tells whether a file comes behind the last run of its timeline, or is of a timeline that is newer than those of all runs.
func behindAll(f wal.File, runs []plan.Segments) bool {
	newest, last := uint32(0), ""
	for _, s := range runs {
		newest = max(newest, s.Timeline)
		if s.Timeline == f.Timeline {
			last = max(last, s.Last)
		}
	}
	return len(runs) > 0 && (f.Timeline > newest || last != "" && f.Whole().Name() > last)
}
