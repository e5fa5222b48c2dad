package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/frame"
)

// maxMetadata bounds what one index, summary or hints object may hold when opened, in bytes.
const maxMetadata = 256 << 20

// createVerified stores an object that must not be there yet and reads it back.
func createVerified(ctx context.Context, b blob.Bucket, name string, data []byte) error {
	if err := b.Create(ctx, name, data); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return readBack(ctx, b, name, data)
}

// createContent stores an object named by its hash: if it is there already, it must hold the same bytes.
func createContent(ctx context.Context, b blob.Bucket, name string, data []byte) error {
	if err := b.Create(ctx, name, data); err != nil && !errors.Is(err, blob.ErrExists) {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return readBack(ctx, b, name, data)
}

func putVerified(ctx context.Context, b blob.Bucket, name string, data []byte) error {
	if err := b.Put(ctx, name, data); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return readBack(ctx, b, name, data)
}

func readBack(ctx context.Context, b blob.Bucket, name string, data []byte) error {
	got, err := b.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("read back %s: %w", name, err)
	}
	if !bytes.Equal(got, data) {
		return damaged(name, "read back right after writing, it holds other bytes than were written; the store is not reliable")
	}
	return nil
}

// sealMetadata makes the stored form of an index, a summary or hints.
func (r *Repository) sealMetadata(plain []byte) ([]byte, error) {
	packed, err := frame.Pack(plain)
	if err != nil {
		return nil, err
	}
	return r.meta.Seal(packed)
}

// openMetadata is the reverse; problems are DamagedErrors naming the object.
func (r *Repository) openMetadata(name string, sealed []byte) ([]byte, error) {
	packed, err := r.meta.Open(sealed)
	if err != nil {
		return nil, damaged(name, "%v", err)
	}
	plain, err := frame.Unpack(packed, maxMetadata)
	if err != nil {
		return nil, damaged(name, "%v", err)
	}
	return plain, nil
}

// needWrite returns why the repository key is missing, nil when it is not.
func (r *Repository) needWrite() error {
	if r.CanWrite() {
		return nil
	}
	return &KeyError{Need: "write", Recipients: r.config.Recipients, Writers: r.config.Writers}
}

func (r *Repository) needRead() error {
	if r.CanRead() && r.CanWrite() {
		return nil
	}
	return &KeyError{Need: "read", Recipients: r.config.Recipients, Writers: r.config.Writers}
}

// withSum ends a small open document with a line that holds its SHA-256: such objects have no hash for a name.
func withSum(document []byte) []byte {
	return append(append(document, '\n'), hashOf(document)+"\n"...)
}

// checkSum returns what withSum was given.
func checkSum(data []byte) ([]byte, error) {
	document, sum, ok := bytes.Cut(data, []byte("\n"))
	if !ok || string(sum) != hashOf(document)+"\n" {
		return nil, errors.New("its last line is not the SHA-256 of the first")
	}
	return document, nil
}
