package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

// WALFetched tells what was fetched.
type WALFetched struct {
	Size int64 // bytes written
	Real int64 // of them were pushed; what follows is zeros, which end recovery
}

// FetchWAL writes one file to dst. Where a segment is not stored whole, its pieces are taken, from its beginning on as far as
// they go, and zeros up to segmentSize, which other files do not need. With an error, what dst got must be thrown away.
//
// Errors: ErrNoWAL only when the store was asked and has neither the file nor any later segment of its timeline; WALGapError
// when it has a later one; KeyError; OtherKeyError; DamagedError; those of the bucket and of dst.
func (r *Repository) FetchWAL(ctx context.Context, f wal.File, segmentSize int64, dst io.Writer) (WALFetched, error) {
	if err := r.needRead(); err != nil {
		return WALFetched{}, err
	}
	if err := f.Check(); err != nil {
		return WALFetched{}, err
	}
	info, found, err := r.findWAL(ctx, f)
	if err != nil {
		return WALFetched{}, err
	}
	if info.Name != "" {
		size, _, err := r.copyWAL(ctx, f, info, dst)
		return WALFetched{Size: size, Real: size}, err
	}
	if f.Kind != wal.Segment {
		return WALFetched{}, fmt.Errorf("fetch %s: %w", f, ErrNoWAL)
	}
	if err := f.CheckSize(segmentSize); err != nil {
		return WALFetched{}, err
	}
	return r.fetchPieces(ctx, f, segmentSize, found, dst)
}

// findWAL finds the object that holds a file: the one that its claim names, and else whichever is sound. Without any the name
// is empty; found has whatever is listed under the name then, pieces above all.
func (r *Repository) findWAL(ctx context.Context, f wal.File) (info blob.Info, found map[wal.File]*walEntry, err error) {
	claim, err := r.readClaim(ctx, f)
	claimed := err == nil
	if err != nil && !errors.Is(err, blob.ErrNotFound) && !isDamage(err) {
		return info, nil, err
	}
	if claimed {
		info, err := r.bucket.Stat(ctx, walObject(f, claim.Object))
		if err == nil && info.Size == claim.Stored {
			return info, nil, nil
		}
		if err != nil && !errors.Is(err, blob.ErrNotFound) {
			return blob.Info{}, nil, fmt.Errorf("look at stored %s: %w", f, err)
		}
	}
	if found, err = r.listWAL(ctx, f.Path()+"."); err != nil || found[f] == nil || len(found[f].objects) == 0 {
		return blob.Info{}, found, err
	}
	objects := found[f].objects
	for _, info := range objects[:len(objects)-1] {
		sum, err := claim.Sum, r.soundWAL(ctx, info)
		if err == nil && r.CanRead() {
			_, sum, err = r.copyWAL(ctx, f, info, io.Discard)
		}
		if err == nil && (!claimed || sum == claim.Sum) {
			return info, nil, nil
		}
		if err != nil && !isDamage(err) && !isOtherKey(err) {
			return blob.Info{}, nil, err
		}
	}
	return objects[len(objects)-1], nil, nil
}

// fetchPieces puts the pieces of a segment together.
func (r *Repository) fetchPieces(ctx context.Context, f wal.File, segmentSize int64, found map[wal.File]*walEntry, dst io.Writer) (WALFetched, error) {
	var extents []wal.File
	for p, e := range found {
		if p.Kind != wal.Piece || len(e.objects) == 0 {
			continue
		}
		if p.To > segmentSize {
			return WALFetched{}, fmt.Errorf("fetch %s: its piece %s ends beyond the %d bytes that segments are said to have", f, p.Name(), segmentSize)
		}
		extents = append(extents, p)
	}
	cover := wal.Cover(extents)
	real := int64(0)
	if len(cover) > 0 {
		real = cover[len(cover)-1].To
	}
	if real < segmentSize {
		if err := r.noLaterWAL(ctx, f, real); err != nil {
			return WALFetched{}, err
		}
	}
	if len(extents) > 0 && real == 0 {
		first := slices.MinFunc(extents, func(a, b wal.File) int { return int(a.From - b.From) })
		return WALFetched{}, damaged(walPrefix+f.PieceOf(0, first.From).Path(), "it is missing from the store, and pieces of the same segment that follow it are there")
	}
	if real == 0 {
		return WALFetched{}, fmt.Errorf("fetch %s: %w", f, ErrNoWAL)
	}
	at := int64(0)
	for _, p := range cover {
		if err := r.fetchPiece(ctx, p, at, dst); err != nil {
			return WALFetched{}, err
		}
		at = p.To
	}
	_, err := io.CopyN(dst, zeros{}, segmentSize-real)
	return WALFetched{Size: segmentSize, Real: real}, err
}

// fetchPiece writes what a piece has from a byte of the segment on.
func (r *Repository) fetchPiece(ctx context.Context, p wal.File, at int64, dst io.Writer) error {
	info, _, err := r.findWAL(ctx, p)
	if err != nil {
		return err
	}
	if info.Name == "" {
		return damaged(walPrefix+p.Path(), "it was deleted while it was read; fetch the segment again")
	}
	_, _, err = r.copyWAL(ctx, p, info, &skipper{dst, at - p.From})
	return err
}

// noLaterWAL makes sure that nothing of the timeline comes after a segment. real bytes of that are there.
func (r *Repository) noLaterWAL(ctx context.Context, f wal.File, real int64) error {
	found, err := r.listWAL(ctx, fmt.Sprintf("%d/%08X/", f.System, f.Timeline))
	if err != nil {
		return err
	}
	var next *wal.File
	for later, e := range found {
		isLog := later.Kind == wal.Segment || later.Kind == wal.Piece
		after := later.Log > f.Log || later.Log == f.Log && later.Seg > f.Seg
		if len(e.objects) > 0 && isLog && after && (next == nil || wal.Compare(wal.Stored{File: later}, wal.Stored{File: *next}) < 0) {
			next = &later
		}
	}
	if next != nil {
		return &WALGapError{File: f, Real: real, Next: *next}
	}
	return nil
}

// skipper drops the first left bytes.
type skipper struct {
	io.Writer
	left int64
}

func (s *skipper) Write(p []byte) (int, error) {
	skip := min(s.left, int64(len(p)))
	s.left -= skip
	if skip == int64(len(p)) {
		return len(p), nil
	}
	n, err := s.Writer.Write(p[skip:])
	return int(skip) + n, err
}

// zeros is an endless source of them.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
