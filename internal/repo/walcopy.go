package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

// WALCopy tells what a copy of write-ahead log did.
type WALCopy struct {
	Copied, Existed int64 // files
	Stored          int64 // bytes added
}

// CopyWAL brings files over, in the order given as far as several at once allow. Where both repositories share keys and
// recipients they go as stored, which takes a key that writes; otherwise they are sealed anew, which takes one that reads the
// source. Files that are there already are left alone. A file that the source does not have is an error: nobody asks for what
// was not listed.
//
// Errors: ErrNoWAL, WALConflictError, KeyError, DamagedError, those of the buckets. What was copied before stays.
func (c *Copier) CopyWAL(ctx context.Context, files []wal.File, progress func(WALCopy)) (WALCopy, error) {
	if err := c.to.needWrite(); err != nil {
		return WALCopy{}, err
	}
	if err := c.from.needWrite(); err != nil {
		return WALCopy{}, err
	}
	one := c.resealWAL
	if c.to.sharesKeys(c.from) {
		one = c.passWAL
	} else if err := c.from.needRead(); err != nil {
		return WALCopy{}, err
	}
	var mu sync.Mutex
	var out WALCopy
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(copyWorkers)
	for _, f := range files {
		g.Go(func() error {
			receipt, err := one(gctx, f)
			if err != nil {
				return fmt.Errorf("copy %s from repository %s: %w", f, c.from.ID(), err)
			}
			mu.Lock()
			defer mu.Unlock()
			out.Stored += receipt.Stored
			if receipt.Existed {
				out.Existed++
			} else {
				out.Copied++
			}
			if progress != nil {
				progress(out)
			}
			return nil
		})
	}
	err := g.Wait()
	return out, err
}

// passWAL brings a file over as it is stored.
func (c *Copier) passWAL(ctx context.Context, f wal.File) (WALReceipt, error) {
	claim, info, err := c.claimed(ctx, f)
	if err != nil {
		return WALReceipt{}, err
	}
	have, err := c.to.claimWAL(ctx, claim)
	if err != nil {
		return WALReceipt{}, err
	}
	if have != nil {
		there, err := c.to.hasWAL(ctx, *have)
		if there || err != nil {
			return WALReceipt{Existed: there}, err
		}
	}
	src := c.from.readStored(ctx, info)
	data, err := io.ReadAll(src)
	if err == nil {
		err = src.finish()
	}
	if err != nil {
		return WALReceipt{}, err
	}
	return WALReceipt{Stored: info.Size}, c.to.putHashed(ctx, info.Name, data)
}

// claimed finds a file of the source with its claim. Without a claim only a reading key tells what the content is.
func (c *Copier) claimed(ctx context.Context, f wal.File) (wal.Claim, blob.Info, error) {
	if err := f.Check(); err != nil {
		return wal.Claim{}, blob.Info{}, err
	}
	info, _, err := c.from.findWAL(ctx, f)
	if err == nil && info.Name == "" {
		err = ErrNoWAL
	}
	if err != nil {
		return wal.Claim{}, blob.Info{}, err
	}
	claim, err := c.from.readClaim(ctx, f)
	if errors.Is(err, blob.ErrNotFound) || isDamage(err) {
		if c.from.needRead() != nil {
			return wal.Claim{}, blob.Info{}, damaged(walClaimName(f), "it is missing or cannot be read, and without a recipient's key nobody can tell what the content is")
		}
		claim = wal.Claim{File: f, Sealed: c.from.config.sealedTo()}
		claim.Size, claim.Sum, err = c.from.copyWAL(ctx, f, info, io.Discard)
	}
	_, claim.Object, _ = parseWALName(info.Name)
	claim.Stored = info.Size
	return claim, info, err
}

// resealWAL reads a file and pushes it to the destination.
func (c *Copier) resealWAL(ctx context.Context, f wal.File) (WALReceipt, error) {
	claim, info, err := c.claimed(ctx, f)
	if err != nil {
		return WALReceipt{}, err
	}
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _, err := c.from.copyWAL(ctx, f, info, pw)
		pw.CloseWithError(err) // the push waits for it before it stores anything
	}()
	receipt, err := c.to.PushWAL(ctx, f, pr, claim.Size)
	pr.Close()
	<-done
	return receipt, err
}
