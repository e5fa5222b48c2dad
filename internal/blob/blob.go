// Package blob is the contract for raw objects by name: the only thing holdfast asks of a place where copies live.
//
// It is not a file system (no folders, no rename, no append) and knows nothing of packs, points or policies.
// Implementations live in internal/blob/dir and internal/blob/cloud; wrappers (retry, readonly, throttle) add one idea
// each; internal/blob/blobtest proves every guarantee below on every implementation.
package blob

import (
	"context"
	"errors"
	"time"
)

// Bucket holds immutable-by-convention objects under slash-separated names.
//
// Guarantees every implementation keeps:
//   - A name is one or more non-empty segments of [A-Za-z0-9._=@+-] joined by "/". At most 900 bytes, at most 255 in a segment; no
//     segment ends in a dot, and "__0x" occurs nowhere (CheckName). Any other name is refused before anything is touched.
//   - Nobody may use a name as the folder of another ("a" beside "a/b"): some stores cannot hold both and refuse the second.
//   - Put and Create are atomic: a reader sees the whole object or none, whatever crashes. When they return nil the object is durable.
//   - Create is atomic between processes and hosts: of several Creates of one absent name exactly one returns nil, the others ErrExists.
//   - Delete is durable when it returns, so that an order of deletions survives a crash.
//   - A Get, Stat or List that begins after a successful Put, Create or Delete returned sees its effect.
//   - Get and GetRange return exactly the bytes that were put or an error; a short answer is an error.
//   - List calls fn in ascending byte order of names, each name once, and stops at fn's first error, returning it unchanged.
//   - Delete of an absent name is not an error. All methods may be called from several goroutines.
//   - An absent object is ErrNotFound (errors.Is); every other error names the object. Errors worth a retry answer true to IsRetryable.
//   - Data handed in is not kept or changed after return; returned slices belong to the caller.
type Bucket interface {
	// Put stores data under name, replacing what was there. Safe to retry.
	Put(ctx context.Context, name string, data []byte) error
	// Create stores data under name only if name is absent. After an error other than ErrExists the object may or may not exist.
	Create(ctx context.Context, name string, data []byte) error
	// Get returns the whole object.
	Get(ctx context.Context, name string) ([]byte, error)
	// GetRange returns length bytes from offset; a range that ends past the object's end is an error.
	GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error)
	// Stat describes an object without reading it.
	Stat(ctx context.Context, name string) (Info, error)
	// List visits every object whose name begins with prefix (a byte prefix, not a folder).
	List(ctx context.Context, prefix string, fn func(Info) error) error
	// Delete removes an object; an absent one is not an error.
	Delete(ctx context.Context, name string) error
	// Close releases connections. The bucket is unusable afterwards.
	Close() error
}

// Info describes one object.
type Info struct {
	Name    string
	Size    int64     // bytes
	ModTime time.Time // as the store tells it; UTC
}

var (
	// ErrNotFound says that no object has the name.
	ErrNotFound = errors.New("object not found")
	// ErrExists says that Create found the name taken.
	ErrExists = errors.New("object exists already")
	// ErrReadOnly says that the bucket was opened for reading, or the place refuses writes.
	ErrReadOnly = errors.New("store is read-only")
	// ErrNoSpace says that the place is full.
	ErrNoSpace = errors.New("no space left in store")
	// ErrDenied says that the credentials are missing, expired or not sufficient.
	ErrDenied = errors.New("access to store denied")
)
