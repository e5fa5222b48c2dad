package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/frame"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

// Write-ahead log (docs/format/wal.md). Each file has a claim, which says what its content is to those who cannot read it, and
// an object named by the hash of its bytes. Claims are stored first and only if absent, and deleted last, so that one name
// never gets two contents.
const (
	walPrefix   = "wal/"
	claimSuffix = "claim"
)

// ErrNoWAL says that the store was asked and has no such file of write-ahead log, nor any that comes after it.
var ErrNoWAL = errors.New("no such file of write-ahead log in the repository")

// WALConflictError says that a name has another content already.
type WALConflictError struct {
	File         wal.File
	Have, Pushed wal.Claim
	Since        time.Time // when the store says that the other came; zero when it does not say
}

func (e *WALConflictError) Error() string {
	since := "earlier"
	if !e.Since.IsZero() {
		since = "at " + e.Since.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s is stored already with other content: %d bytes with sum %x… by %s %s, and now %d bytes with sum %x…. Two servers write log under one name: a standby that was promoted without a timeline of its own, or a copy of the cluster that archives to the same place. Stop the one that should not; nothing was replaced",
		e.File, e.Have.Size, e.Have.Sum[:4], orNobody(e.Have.Who), since, e.Pushed.Size, e.Pushed.Sum[:4])
}

func orNobody(who string) string {
	if who == "" {
		return "somebody"
	}
	return who
}

// WALGapError says that a segment is missing, or incomplete, and that later ones are there: whoever took it for the end of the
// log would lose them.
type WALGapError struct {
	File wal.File
	Real int64    // bytes of it that are there, from its beginning on
	Next wal.File // the first later one that is there
}

func (e *WALGapError) Error() string {
	what := "is missing from the store"
	if e.Real > 0 {
		what = fmt.Sprintf("is there only up to byte %d", e.Real)
	}
	return fmt.Sprintf("%s %s, and later log (%s) is there: recovery cannot pass it. Look for it in another store or on the server (pg_wal), push it, or restore to a moment before it", e.File, what, e.Next.Name())
}

func walObject(f wal.File, sum string) string { return walPrefix + f.Path() + "." + sum }
func walClaimName(f wal.File) string          { return walPrefix + f.Path() + "." + claimSuffix }

// parseWALName tells which file an object belongs to, and its hash, which claims do not have.
func parseWALName(name string) (f wal.File, sum string, ok bool) {
	path, ok := strings.CutPrefix(name, walPrefix)
	dot := strings.LastIndexByte(path, '.')
	if !ok || dot < 0 {
		return wal.File{}, "", false
	}
	f, err := wal.ParsePath(path[:dot])
	if sum = path[dot+1:]; err != nil || sum != claimSuffix && !isHash(sum) {
		return wal.File{}, "", false
	}
	if sum == claimSuffix {
		sum = ""
	}
	return f, sum, true
}

// walEntry is what the store has of one file.
type walEntry struct {
	file    wal.File
	objects []blob.Info // more than one only after a crash or a race
	claimed bool
}

// listWAL gathers the files whose objects begin with a prefix below wal/.
func (r *Repository) listWAL(ctx context.Context, prefix string) (map[wal.File]*walEntry, error) {
	found := map[wal.File]*walEntry{}
	err := r.bucket.List(ctx, walPrefix+prefix, func(i blob.Info) error {
		f, sum, ok := parseWALName(i.Name)
		if !ok {
			return nil // a check names it
		}
		e := found[f]
		if e == nil {
			e = &walEntry{file: f}
			found[f] = e
		}
		if sum == "" {
			e.claimed = true
		} else {
			e.objects = append(e.objects, i)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list write-ahead log: %w", err)
	}
	return found, nil
}

// WALFiles lists the files of one system that are stored whole, ordered as wal.Compare does; of the given timelines only, with
// one listing each, or of all with one. No key is needed.
func (r *Repository) WALFiles(ctx context.Context, system uint64, timelines ...uint32) ([]wal.Stored, error) {
	prefixes := []string{fmt.Sprintf("%d/", system)}
	if len(timelines) > 0 {
		prefixes = nil
	}
	for _, t := range timelines {
		prefixes = append(prefixes, fmt.Sprintf("%d/%08X/", system, t))
	}
	var out []wal.Stored
	for _, prefix := range prefixes {
		found, err := r.listWAL(ctx, prefix)
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			if len(e.objects) > 0 {
				out = append(out, e.stored())
			}
		}
	}
	slices.SortFunc(out, wal.Compare)
	return slices.CompactFunc(out, func(a, b wal.Stored) bool { return a.File == b.File }), nil
}

func (e *walEntry) stored() wal.Stored {
	s := wal.Stored{File: e.file}
	for _, i := range e.objects {
		s.Bytes += i.Size
		if i.ModTime.After(s.Time) {
			s.Time = i.ModTime
		}
	}
	return s
}

// WALSegmentSize tells how many bytes the segments of a system have, from the claim of one that is stored whole, since all are of one
// size; 0 while none of the files is one. It takes a key that writes.
func (r *Repository) WALSegmentSize(ctx context.Context, files []wal.Stored) (int64, error) {
	if err := r.needWrite(); err != nil {
		return 0, err
	}
	var failed error
	for _, f := range files {
		if f.Kind != wal.Segment {
			continue
		}
		c, err := r.readClaim(ctx, f.File)
		if err == nil {
			return c.Size, nil
		}
		if failed = err; !isDamage(err) && !errors.Is(err, blob.ErrNotFound) {
			break
		}
	}
	return 0, failed
}

// WALSystems lists the systems of which anything is stored, in the order of their numbers. It visits every object of the log.
func (r *Repository) WALSystems(ctx context.Context) ([]uint64, error) {
	var out []uint64
	err := r.bucket.List(ctx, walPrefix, func(i blob.Info) error {
		if f, _, ok := parseWALName(i.Name); ok && !slices.Contains(out, f.System) {
			out = append(out, f.System)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list write-ahead log: %w", err)
	}
	slices.Sort(out)
	return out, nil
}

// readClaim returns what a file's claim says; blob.ErrNotFound (wrapped) when it has none.
func (r *Repository) readClaim(ctx context.Context, f wal.File) (wal.Claim, error) {
	name := walClaimName(f)
	raw, err := r.bucket.Get(ctx, name)
	if err != nil {
		return wal.Claim{}, fmt.Errorf("read %s: %w", name, err)
	}
	return r.openClaim(f, raw)
}

// sealClaim makes the stored form of a claim. Its frame is raw: a claim is short and mostly hashes, and making an encoder for it
// takes longer than all the rest.
func (r *Repository) sealClaim(c wal.Claim) ([]byte, error) {
	plain, err := c.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode claim: %w", err)
	}
	sealed, err := r.meta.Seal(frame.AppendRaw(nil, plain))
	if err != nil {
		return nil, fmt.Errorf("encode claim: %w", err)
	}
	return sealed, nil
}

func (r *Repository) openClaim(f wal.File, raw []byte) (wal.Claim, error) {
	name := walClaimName(f)
	plain, err := r.openMetadata(name, raw)
	if err != nil {
		return wal.Claim{}, err
	}
	c, err := wal.DecodeClaim(plain)
	if err != nil {
		return wal.Claim{}, damaged(name, "%v", err)
	}
	if c.File != f {
		return wal.Claim{}, damaged(name, "it is the claim of %s", c.File)
	}
	return c, nil
}
