// Package repo is the encrypted, deduplicated repository inside a store: chunk → pack → index → manifest.
//
// It is a facade over the codecs in its folders and a blob.Bucket. It knows nothing of policies, plans or catalogs, and
// contains no cryptography of its own: every sealed object is a plain age file, so that a person with the key can open it
// with the age and zstd commands (docs/format).
//
// Invariant: objects are written packs → index → hints → summary → manifest and deleted manifest → summary → hints, so a
// restore point exists exactly when its manifest does, and everything a stored manifest needs is stored. Write-ahead log lies
// beside them (wal.go): a claim before each content, so that one name never gets two.
package repo

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"filippo.io/age"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/clock"
	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/seal"
)

// Repository is an open repository. It is safe for concurrent use. It does not own the bucket: closing that is the
// business of whoever opened it.
type Repository struct {
	bucket      blob.Bucket
	config      Config
	concurrency int

	clock   clock.Clock
	who     string
	process string
	gone    func(process string) bool
	margins leaseMargins

	document seal.Document // zero without the repository key
	keys     *chunk.Keys   // nil without the repository key
	data     seal.Sealer   // packs and manifests; may be unable to open
	meta     seal.Sealer   // index, summaries, hints; zero without the repository key
	canRead  bool
	keyErr   error

	known *known
}

// OpenOptions say with which keys and how to open a repository.
type OpenOptions struct {
	Identities  []age.Identity
	Expect      string // the id the repository must have; empty accepts any
	Concurrency int    // workers per operation; 0 means GOMAXPROCS
	Who         string // names this process to others, as user@host
	Process     string // names it on this machine; empty when unknown
	// Gone tells for certain that the process a lease names has ended, so that its lease need not be waited for. nil: never.
	Gone  func(process string) bool
	Clock clock.Clock // nil: the machine's
}

// Open reads the repository's configuration and finds out what the identities allow. Without any matching identity it
// succeeds: listing, deleting and checking stored hashes need no key.
//
// Errors: ErrNoRepository, WrongRepositoryError, DamagedError, those of the bucket.
func Open(ctx context.Context, b blob.Bucket, o OpenOptions) (*Repository, error) {
	raw, err := b.Get(ctx, configName)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, ErrNoRepository
	}
	if err != nil {
		return nil, fmt.Errorf("read repository configuration: %w", err)
	}
	config, err := DecodeConfig(raw)
	if err != nil {
		return nil, &DamagedError{Object: configName, Problem: err.Error()}
	}
	if o.Expect != "" && o.Expect != config.ID {
		return nil, &WrongRepositoryError{Want: o.Expect, Got: config.ID}
	}
	r := &Repository{bucket: b, config: config, concurrency: o.Concurrency, who: o.Who, process: o.Process, gone: o.Gone, clock: o.Clock, margins: defaultMargins, known: &known{}}
	if r.clock == nil {
		r.clock = clock.Real()
	}
	if r.concurrency <= 0 {
		r.concurrency = runtime.GOMAXPROCS(0)
	}
	if err := r.unlock(ctx, o.Identities); err != nil {
		return nil, err
	}
	return r, nil
}

// ID returns the repository's id.
func (r *Repository) ID() string { return r.config.ID }

// Family returns the id of the repository whose keys this one shares; its own where they are its own.
func (r *Repository) Family() string { return r.config.family() }

// Config returns what repo.json says.
func (r *Repository) Config() Config { return r.config }

// CanWrite tells whether an identity opened the repository key: adding, deduplicating and reading summaries.
func (r *Repository) CanWrite() bool { return r.keys != nil }

// CanRead tells whether an identity is one of the recipients: restoring and verifying content.
func (r *Repository) CanRead() bool { return r.canRead }

// KeyError says why CanWrite or CanRead is false and whose keys would do; nil when both are true.
func (r *Repository) KeyError() error { return r.keyErr }
