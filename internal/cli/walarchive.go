package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

// walArchive lets executors see the write-ahead log of a repository.
type walArchive struct{ r *repository }

var (
	_ executors.WALArchive = walArchive{}
	_ apply.WALHolder      = (*repository)(nil)
)

// WALArchive implements apply.WALHolder.
func (r *repository) WALArchive() executors.WALArchive { return walArchive{r} }

// Files implements executors.WALArchive.
func (a walArchive) Files(ctx context.Context, system string) ([]string, error) {
	id, err := wal.ParseSystem(system)
	if err != nil {
		return nil, err
	}
	stored, err := a.r.WALFiles(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.r.address, err)
	}
	names := make([]string, len(stored))
	for i, s := range stored {
		names[i] = s.Name()
	}
	return names, nil
}

// Push implements executors.WALArchive.
func (a walArchive) Push(ctx context.Context, system, name string, content io.Reader, size int64) error {
	f, err := walFile(system, name)
	if err != nil {
		return err
	}
	if _, err = a.r.PushWAL(ctx, f, content, size); err != nil {
		return fmt.Errorf("%s: %w", a.r.address, err)
	}
	return nil
}

// DropPieces implements executors.WALArchive.
func (a walArchive) DropPieces(ctx context.Context, system, segment string) error {
	f, err := walFile(system, segment)
	if err != nil {
		return err
	}
	if err := a.r.DropWALPieces(ctx, f); err != nil {
		return fmt.Errorf("%s: %w", a.r.address, err)
	}
	return nil
}

// Fetch implements executors.WALArchive.
func (a walArchive) Fetch(ctx context.Context, system, name string, segmentSize int64, to io.Writer) (int64, error) {
	f, err := walFile(system, name)
	if err != nil {
		return 0, err
	}
	got, err := a.r.FetchWAL(ctx, f, segmentSize, to)
	switch {
	case errors.Is(err, repo.ErrNoWAL):
		return 0, fmt.Errorf("%s: %w: %w", a.r.address, executors.ErrNoWAL, err)
	case err != nil:
		return 0, fmt.Errorf("%s: %w", a.r.address, err)
	}
	return got.Real, nil
}

func walFile(system, name string) (wal.File, error) {
	id, err := wal.ParseSystem(system)
	if err != nil {
		return wal.File{}, err
	}
	return wal.Parse(id, name)
}

// walArchives reads from one store after the other: what one has not, another may. Something is proven absent only when all say
// so.
type walArchives []walArchive

var _ executors.WALArchive = walArchives{}

// Files implements executors.WALArchive.
func (all walArchives) Files(ctx context.Context, system string) (names []string, err error) {
	var failed []error
	for _, a := range all {
		list, err := a.Files(ctx, system)
		if err != nil {
			failed = append(failed, err)
		}
		names = append(names, list...)
	}
	if len(failed) == len(all) {
		return nil, errors.Join(failed...)
	}
	return names, nil
}

// Fetch implements executors.WALArchive.
func (all walArchives) Fetch(ctx context.Context, system, name string, segmentSize int64, to io.Writer) (int64, error) {
	var failed, absent []error
	for _, a := range all {
		w := &firstByte{to: to}
		real, err := a.Fetch(ctx, system, name, segmentSize, w)
		switch {
		case err == nil:
			return real, nil
		case errors.Is(err, executors.ErrNoWAL):
			absent = append(absent, err)
		default:
			failed = append(failed, err)
		}
		if w.any {
			break // what was written cannot be taken back
		}
	}
	return 0, errors.Join(append(failed, absentOnly(failed, absent)...)...)
}

// absentOnly leaves out that some have not what others could not be asked for.
func absentOnly(failed, absent []error) []error {
	if len(failed) > 0 {
		return nil
	}
	return absent
}

type firstByte struct {
	to  io.Writer
	any bool
}

func (w *firstByte) Write(p []byte) (int, error) {
	w.any = true
	return w.to.Write(p)
}

var errReadOnlyWAL = errors.New("this archive is read only")

// Push implements executors.WALArchive.
func (walArchives) Push(context.Context, string, string, io.Reader, int64) error {
	return errReadOnlyWAL
}

// DropPieces implements executors.WALArchive.
func (walArchives) DropPieces(context.Context, string, string) error { return errReadOnlyWAL }
