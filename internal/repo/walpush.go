package repo

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

// WALReceipt tells what a push did.
type WALReceipt struct {
	Stored  int64 // bytes added to the store
	Existed bool  // the same content was there already
}

// PushWAL stores one file of exactly size bytes, and returns nil only when it is durable. Pushing the same again is fine, from
// any number of processes at once; what a crash left undone the next push does. A writer's key is enough. Besides the stored
// form of the file, little is held in memory.
//
// Errors: KeyError, WALConflictError (another content has the name), DamagedError (a claim that cannot be read), content that
// is not what name and size promise, those of the bucket.
func (r *Repository) PushWAL(ctx context.Context, f wal.File, content io.Reader, size int64) (WALReceipt, error) {
	if err := r.needWrite(); err != nil {
		return WALReceipt{}, err
	}
	if err := f.Check(); err != nil {
		return WALReceipt{}, err
	}
	if err := f.CheckSize(size); err != nil {
		return WALReceipt{}, err
	}
	s := walSealers.Get().(*walSealer)
	defer walSealers.Put(s)
	claim, data, err := s.seal(ctx, r, f, content, size)
	if err != nil {
		return WALReceipt{}, err
	}
	return r.storeWAL(ctx, claim, data)
}

// storeWAL keeps the order: claim, then object.
func (r *Repository) storeWAL(ctx context.Context, claim wal.Claim, data []byte) (WALReceipt, error) {
	have, err := r.claimWAL(ctx, claim)
	if err != nil {
		return WALReceipt{}, err
	}
	if have != nil {
		there, err := r.hasWAL(ctx, *have)
		if there || err != nil {
			return WALReceipt{Existed: there}, err
		}
	}
	if err := r.putHashed(ctx, walObject(claim.File, claim.Object), data); err != nil {
		return WALReceipt{}, err
	}
	return WALReceipt{Stored: int64(len(data))}, nil
}

// claimTries is how often a claim is made that is deleted under our hands.
const claimTries = 5

// claimWAL claims a name for a content. It returns the claim that is there already, when that is for the same.
func (r *Repository) claimWAL(ctx context.Context, claim wal.Claim) (*wal.Claim, error) {
	name := walClaimName(claim.File)
	sealed, err := r.sealClaim(claim)
	if err != nil {
		return nil, err
	}
	for range claimTries {
		err = createVerified(ctx, r.bucket, name, sealed)
		if !errors.Is(err, blob.ErrExists) {
			return nil, hideAbsence(err)
		}
		have, err := r.readClaim(ctx, claim.File)
		if errors.Is(err, blob.ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		if have.Size == claim.Size && have.Sum == claim.Sum {
			return &have, nil
		}
		conflict := &WALConflictError{File: claim.File, Have: have, Pushed: claim}
		if info, err := r.bucket.Stat(ctx, name); err == nil {
			conflict.Since = info.ModTime
		}
		return nil, conflict
	}
	return nil, fmt.Errorf("claim %s: others delete it while it is stored; push it again", claim.File)
}

// hideAbsence keeps an object that vanished under our hands from reading as "there is no such file", which for a caller is an
// answer and not a failure.
func hideAbsence(err error) error {
	if errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("somebody deletes what is being stored: %v", err)
	}
	return err
}

// hasWAL tells whether the content that a claim is for is stored. The object that the claim names is looked at, as after a
// write; any other, of a push that was repeated, is read.
func (r *Repository) hasWAL(ctx context.Context, claim wal.Claim) (bool, error) {
	info, err := r.bucket.Stat(ctx, walObject(claim.File, claim.Object))
	if err == nil && info.Size == claim.Stored {
		return true, nil
	}
	if err != nil && !errors.Is(err, blob.ErrNotFound) {
		return false, fmt.Errorf("look at stored %s: %w", claim.File, err)
	}
	found, err := r.listWAL(ctx, claim.File.Path()+".")
	if err != nil {
		return false, err
	}
	if found[claim.File] == nil {
		return false, nil
	}
	for _, i := range found[claim.File].objects {
		err := r.soundWAL(ctx, i)
		if err == nil || !isDamage(err) {
			return err == nil, err
		}
	}
	return false, nil
}

// DropWALPieces deletes the pieces of a segment that is stored whole, after reading that back. It needs no key.
//
// Errors: ErrNoWAL (there is no whole one: the pieces stay), DamagedError, those of the bucket.
func (r *Repository) DropWALPieces(ctx context.Context, segment wal.File) error {
	whole := segment.Whole()
	if err := whole.Check(); err != nil {
		return err
	}
	found, err := r.listWAL(ctx, whole.Path()+".")
	if err != nil {
		return err
	}
	if found[whole] == nil || len(found[whole].objects) == 0 {
		return fmt.Errorf("drop pieces of %s: %w", whole, ErrNoWAL)
	}
	for _, i := range found[whole].objects {
		if err = r.soundWAL(ctx, i); err == nil || !isDamage(err) {
			break
		}
	}
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pruneWorkers)
	for f, e := range found {
		if f.Kind == wal.Piece {
			g.Go(func() error { return r.deleteWAL(gctx, e) })
		}
	}
	return g.Wait()
}
