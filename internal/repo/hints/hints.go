// Package hints remembers which content went with which fingerprint, for hosts that cannot read manifests.
//
// It is a cache and a codec: names appear only as keyed hashes, nothing depends on hints being there, and whoever uses
// one checks that its chunks still exist. Its invariant: damaged hints are an error or are absent, never a wrong answer
// that passes for content of another path.
package hints

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

const (
	magic    = "HFHT"
	version  = 1
	headSize = 8
	hashSize = 16

	// PartSize is how large a part gets before the next is begun, in bytes.
	PartSize = 4 << 20
	// MaxPart is the largest part that is read.
	MaxPart = 1 << 26
	// MaxParts bounds the memory of a table. Entries beyond are read again instead of being recognised.
	MaxParts = 16
)

// Key is half a keyed hash: of a path, or of a path with a fingerprint.
type Key [hashSize]byte

// Keyer makes keys. Not safe for concurrent use.
type Keyer struct {
	h   chunk.Hasher
	buf []byte
}

// NewKeyer returns a keyer.
func NewKeyer(k *chunk.Keys) *Keyer { return &Keyer{h: k.NewPathHasher()} }

// Path returns the key of a path.
func (k *Keyer) Path(path string) Key {
	k.buf = append(append(k.buf[:0], 'p'), path...)
	sum := k.h.Sum(k.buf)
	return Key(sum[:hashSize])
}

// Fingerprint returns the key of a fingerprint.
func (k *Keyer) Fingerprint(fingerprint []byte) Key {
	k.buf = append(append(k.buf[:0], 'f'), fingerprint...)
	sum := k.h.Sum(k.buf)
	return Key(sum[:hashSize])
}

// Begin starts a part.
func Begin() []byte { return append([]byte(magic), version, 0, 0, 0) }

// Append appends a record to a part.
func Append(part []byte, path, fingerprint Key, content []manifest.Ref) []byte {
	part = append(part, path[:]...)
	part = append(part, fingerprint[:]...)
	part = binary.AppendUvarint(part, uint64(len(content)))
	for _, ref := range content {
		part = append(part, ref.ID[:]...)
		part = binary.AppendUvarint(part, uint64(ref.Size))
	}
	return part
}

// Table finds records in parts. Building it is not safe for concurrent use, looking up is.
type Table struct {
	parts [][]byte
	at    map[Key]uint64 // path → part number and offset behind the path
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{at: map[Key]uint64{}} }

// AddPart checks a part and takes it in. It keeps data.
func (t *Table) AddPart(data []byte) error {
	if len(data) < headSize || string(data[:4]) != magic {
		return errors.New("not a part of hints")
	}
	if data[4] != version {
		return fmt.Errorf("hints version %d is not known", data[4])
	}
	found := map[Key]uint64{}
	for off := headSize; off < len(data); {
		if len(data)-off < 2*hashSize {
			return errors.New("hints are cut off")
		}
		found[Key(data[off:off+hashSize])] = uint64(len(t.parts))<<32 | uint64(off+hashSize)
		n, err := skipRefs(data[off+2*hashSize:])
		if err != nil {
			return err
		}
		off += 2*hashSize + n
	}
	for k, v := range found {
		t.at[k] = v
	}
	t.parts = append(t.parts, data)
	return nil
}

// Lookup returns the content that went with path and fingerprint.
func (t *Table) Lookup(path, fingerprint Key) ([]manifest.Ref, bool) {
	pos, ok := t.at[path]
	if !ok {
		return nil, false
	}
	data := t.parts[pos>>32][pos&(1<<32-1):]
	if Key(data[:hashSize]) != fingerprint {
		return nil, false
	}
	var content []manifest.Ref
	_, err := eachRef(data[hashSize:], func(r manifest.Ref) { content = append(content, r) })
	return content, err == nil
}

func skipRefs(data []byte) (int, error) { return eachRef(data, func(manifest.Ref) {}) }

func eachRef(data []byte, each func(manifest.Ref)) (int, error) {
	count, off := binary.Uvarint(data)
	if off <= 0 || count > uint64(len(data)) {
		return 0, errors.New("hints claim more chunks than there are bytes")
	}
	for range count {
		if len(data)-off < len(chunk.ID{}) {
			return 0, errors.New("hints are cut off")
		}
		id := chunk.ID(data[off : off+len(chunk.ID{})])
		off += len(id)
		size, n := binary.Uvarint(data[off:])
		if n <= 0 || size > chunk.MaxChunk {
			return 0, errors.New("hints claim an impossible chunk size")
		}
		off += n
		each(manifest.Ref{ID: id, Size: uint32(size)})
	}
	return off, nil
}
