package repo

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

const adviseWAL = "push it again while the server still has it (pg_wal), or copy it from another store; where nobody has it, take a base backup, which begins a new range"

// wal checks the objects of write-ahead log: contents by their hash, which takes no key, and claims by opening them. What a
// delete took away since it was listed is no damage.
func (v *verification) wal(ctx context.Context, objects []blob.Info) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(verifyReaders)
	for _, i := range objects {
		g.Go(func() error {
			if kindOf(i.Name) == kindWALClaim {
				return v.claim(gctx, i.Name)
			}
			err := v.r.soundWAL(gctx, i)
			v.done(i.Size)
			if !isDamage(err) {
				return err
			}
			if _, serr := v.r.bucket.Stat(gctx, i.Name); errors.Is(serr, blob.ErrNotFound) {
				return nil
			}
			return v.damageOf(err)
		})
	}
	return g.Wait()
}

func (v *verification) claim(ctx context.Context, name string) error {
	raw, ok, err := v.passing(ctx, name)
	if err != nil || !ok || !v.r.CanWrite() {
		return err
	}
	f, _, _ := parseWALName(name)
	_, err = v.r.openClaim(f, raw)
	return v.damageOf(err)
}

// takeWAL notes which of its objects a file has.
func (in *inspection) takeWAL(i blob.Info) {
	f, sum, _ := parseWALName(i.Name)
	e := in.wal[f]
	if e == nil {
		e = &walEntry{file: f}
		in.wal[f] = e
	}
	if sum == "" {
		e.claimed = true
	} else {
		e.objects = append(e.objects, i)
	}
}

// judgeWAL tells of claims and contents without each other. A push or a delete that is under way looks like one that was cut
// off, so neither is an error: what is missing in a range is for those to tell who know which log is needed.
func (in *inspection) judgeWAL(ctx context.Context) error {
	newest := map[[2]uint64]wal.File{}
	timeline := func(f wal.File) [2]uint64 { return [2]uint64{f.System, uint64(f.Timeline)} }
	before := func(a, b wal.File) bool { return a.Log < b.Log || a.Log == b.Log && a.Seg < b.Seg }
	for f, e := range in.wal {
		if len(e.objects) > 0 && before(newest[timeline(f)], f) {
			newest[timeline(f)] = f
		}
	}
	for f, e := range in.wal {
		switch {
		case len(e.objects) == 0 && f.Kind == wal.Segment && before(f, newest[timeline(f)]):
			in.note(SeverityWarning, walClaimName(f), "it claims a segment that is not stored, and later ones are: a push did not end, or the content was lost", adviseWAL)
		case len(e.objects) == 0:
			in.note(SeverityInfo, walClaimName(f), "it claims a file that is not stored: a push or a delete is at work, or did not end", "nothing; the next push or delete of the same file finishes it")
		case !e.claimed:
			gone, err := in.unclaimed(ctx, e)
			if err != nil {
				return err
			}
			if !gone {
				in.note(SeverityWarning, walClaimName(f), "it is missing from the store: the file can be read, and nobody notices when another content is pushed under its name", "push the same file again where that is possible")
			}
		}
	}
	return nil
}

// unclaimed looks again at a file whose claim was not listed: gone is true when it is deleted or claimed by now.
func (in *inspection) unclaimed(ctx context.Context, e *walEntry) (gone bool, err error) {
	if _, err = in.r.bucket.Stat(ctx, walClaimName(e.file)); err == nil {
		return true, nil
	}
	if !errors.Is(err, blob.ErrNotFound) {
		return false, err
	}
	_, err = in.r.bucket.Stat(ctx, e.objects[0].Name)
	if errors.Is(err, blob.ErrNotFound) {
		return true, nil
	}
	return false, err
}
