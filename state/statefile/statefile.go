// Package statefile is the written form of the catalog: heads, segments and leases as bytes, version 2.
//
// It does no I/O, reads no clock, and decides nothing: state/backend says which objects exist and when. The formats are
// described byte by byte in docs/format/state.md. Invariants: decoding what was encoded gives the same values; the same
// values give the same bytes; a byte that was changed is an error and never another catalog; memory grows with the bytes
// that are there and not with a length that they claim. A field that this version does not know is an error, because
// writing the catalog back would lose it.
package statefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-io/holdfast/state"
)

// FormatVersion is the version of all written forms. It grows when a field is added, since an older holdfast that
// committed without the field would lose it. What an older version wrote is still read.
//
//	1  the first
//	2  points say where they stand in the write-ahead log; segments of the kind wal
const FormatVersion = 2

// corrupt says that the object name does not hold what it should.
func corrupt(name, format string, args ...any) error {
	return fmt.Errorf("decode %s: %w: %w", name, state.ErrCorrupt, fmt.Errorf(format, args...))
}

func checkVersion(name string, got int64) error {
	if got > FormatVersion {
		return fmt.Errorf("decode %s: format version %d (this holdfast reads %d): %w", name, got, FormatVersion, state.ErrNewer)
	}
	if got < 1 {
		return corrupt(name, "format version %d", got)
	}
	return nil
}

// probeVersion reads only the version, so that a document of the future answers "newer" and not "damaged".
func probeVersion(name string, data []byte) (int, error) {
	var probe struct {
		FormatVersion int64 `json:"format_version"`
	}
	if err := json.Unmarshal(data, &probe); err != nil {
		return 0, corrupt(name, "%w", err)
	}
	return int(probe.FormatVersion), checkVersion(name, probe.FormatVersion)
}

// decodeStrict reads one JSON document that has no unknown field and nothing after it.
func decodeStrict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	return nil
}

// encode writes JSON without escaping <, > and &, which would change attributes that are hashed as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
