// Package chunk cuts content into chunks and names them.
//
// It reads and hashes; it does not compress, encrypt or store. Its invariant: the same content under the same repository
// key and the same average size is cut at the same places and gets the same ids, and without the key neither tells
// anything of the content.
package chunk

import (
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/zeebo/blake3"
)

// ID names a chunk: keyed BLAKE3 of its plain bytes.
type ID [32]byte

// String returns the id in lower-case hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID is the reverse of String.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return ID{}, fmt.Errorf("chunk id %.80q has not 64 hex digits", s)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("chunk id %.80q: %w", s, err)
	}
	return id, nil
}

// The contexts under which keys are derived from the repository key. They are part of the format.
const (
	contextID   = "holdfast 2026-11-22 repository v1 chunk id"
	contextGear = "holdfast 2026-11-22 repository v1 gear table"
	contextPath = "holdfast 2026-11-22 repository v1 path hash"
	contextWAL  = "holdfast 2026-11-25 repository v1 wal content"
)

// Keys are the secrets derived from a repository key. Safe for concurrent use.
type Keys struct {
	id   [32]byte
	path [32]byte
	wal  [32]byte
	gear table
}

// NewKeys derives them.
func NewKeys(repositoryKey [32]byte) *Keys {
	k := &Keys{}
	blake3.DeriveKey(contextID, repositoryKey[:], k.id[:])
	blake3.DeriveKey(contextPath, repositoryKey[:], k.path[:])
	blake3.DeriveKey(contextWAL, repositoryKey[:], k.wal[:])
	k.gear = newTable(repositoryKey)
	return k
}

// Hasher names chunks. It is not safe for concurrent use: make one per goroutine.
type Hasher struct{ h *blake3.Hasher }

// NewHasher returns a hasher for chunk ids.
func (k *Keys) NewHasher() Hasher { return Hasher{mustKeyed(k.id)} }

// NewPathHasher returns a hasher for what hints say instead of names.
func (k *Keys) NewPathHasher() Hasher { return Hasher{mustKeyed(k.path)} }

// NewWALHash returns a hash of 32 bytes for what files of write-ahead log hold. It is not safe for concurrent use.
func (k *Keys) NewWALHash() hash.Hash { return mustKeyed(k.wal) }

// Sum returns the id of data.
func (h Hasher) Sum(data []byte) ID {
	h.h.Reset()
	_, _ = h.h.Write(data) // never fails
	var id ID
	h.h.Sum(id[:0])
	return id
}

func mustKeyed(key [32]byte) *blake3.Hasher {
	h, err := blake3.NewKeyed(key[:])
	if err != nil {
		panic(err) // only for a key that is not 32 bytes long
	}
	return h
}
