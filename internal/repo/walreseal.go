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

// wal seals anew every file of write-ahead log that is not sealed to today's recipients. What is inside stays as it is, byte
// for byte. Order: new content, new claim, then the old content goes, so that the file is there at every moment.
func (s *resealer) wal(ctx context.Context) error {
	found, err := s.r.listWAL(ctx, "")
	if err != nil {
		return err
	}
	files := make([]wal.Stored, 0, len(found))
	for _, e := range found {
		if len(e.objects) > 0 {
			files = append(files, e.stored())
		}
	}
	slices.SortFunc(files, wal.Compare)
	for _, f := range files {
		if err := s.v.damageOf(s.walFile(ctx, found[f.File])); err != nil {
			return err
		}
	}
	return nil
}

func (s *resealer) walFile(ctx context.Context, e *walEntry) error {
	claim, err := s.r.readClaim(ctx, e.file)
	if err != nil && !errors.Is(err, blob.ErrNotFound) && !isDamage(err) {
		return err
	}
	claimed := err == nil
	named := slices.IndexFunc(e.objects, func(i blob.Info) bool { return i.Name == walObject(e.file, claim.Object) })
	if claimed && named >= 0 && claim.Sealed == s.want {
		return s.dropWAL(ctx, slices.Delete(e.objects, named, named+1))
	}
	info, _, err := s.r.findWAL(ctx, e.file)
	if err != nil || info.Name == "" { // without a name it was deleted meanwhile
		return err
	}
	next, data, err := s.sealedAnew(ctx, e.file, info)
	if err != nil {
		return err
	}
	if claimed && (next.Size != claim.Size || next.Sum != claim.Sum) {
		return damaged(info.Name, "it is not the content that its claim is for")
	}
	if err := s.r.putHashed(ctx, walObject(e.file, next.Object), data); err != nil {
		return err
	}
	if claimed {
		next.Who = claim.Who
	}
	if err := s.putClaim(ctx, next); err != nil {
		return err
	}
	s.report.WAL++
	s.report.WALBytes += next.Stored
	return s.dropWAL(ctx, e.objects)
}

// sealedAnew opens a content, checks it, and seals it to today's recipients.
func (s *resealer) sealedAnew(ctx context.Context, f wal.File, info blob.Info) (wal.Claim, []byte, error) {
	size, sum, err := s.r.copyWAL(ctx, f, info, io.Discard)
	if err != nil {
		return wal.Claim{}, nil, err
	}
	plain, err := s.r.openStored(s.r.readStored(ctx, info))
	if err != nil {
		return wal.Claim{}, nil, fmt.Errorf("open %s: %w", info.Name, err)
	}
	var out buffer
	sealer, err := s.r.data.Writer(&out)
	if err != nil {
		return wal.Claim{}, nil, fmt.Errorf("seal %s: %w", f, err)
	}
	if _, err := io.Copy(sealer, plain); err != nil {
		return wal.Claim{}, nil, fmt.Errorf("seal %s: %w", f, err)
	}
	if err := sealer.Close(); err != nil {
		return wal.Claim{}, nil, fmt.Errorf("seal %s: %w", f, err)
	}
	return wal.Claim{
		File: f, Size: size, Sum: sum, Object: hashOf(out.b), Stored: int64(len(out.b)), Sealed: s.want, Who: s.r.who,
	}, out.b, nil
}

func (s *resealer) putClaim(ctx context.Context, c wal.Claim) error {
	sealed, err := s.r.sealClaim(c)
	if err != nil {
		return err
	}
	return putVerified(ctx, s.r.bucket, walClaimName(c.File), sealed)
}

func (s *resealer) dropWAL(ctx context.Context, objects []blob.Info) error {
	for _, i := range objects {
		if err := s.r.bucket.Delete(ctx, i.Name); err != nil {
			return fmt.Errorf("delete what was sealed to others: %w", err)
		}
	}
	return nil
}
