package statefile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Head is one commit: which segments make up the catalog at its serial.
type Head struct {
	Lineage     string         `json:"lineage"`
	Serial      uint64         `json:"serial"`
	Parent      string         `json:"parent,omitempty"` // hex SHA-256 of the object of serial-1; empty for the first
	Commit      string         `json:"commit"`           // random; tells this commit from another attempt at the same serial
	Run         string         `json:"run,omitempty"`    // the run that committed, where there was one
	CommittedAt time.Time      `json:"committed_at"`     // by the committer's clock; told to people, never compared
	Version     string         `json:"holdfast_version"`
	Segments    map[string]Ref `json:"segments"` // by segment name, such as points/2a
}

type headFile struct {
	FormatVersion int             `json:"format_version"`
	SHA256        string          `json:"sha256"` // of the bytes of Head
	Head          json.RawMessage `json:"head"`
}

// EncodeHead writes a head.
func EncodeHead(h Head) ([]byte, error) { return encodeHead(h, FormatVersion) }

func encodeHead(h Head, version int) ([]byte, error) {
	h.CommittedAt = h.CommittedAt.UTC()
	inner, err := encode(h)
	if err != nil {
		return nil, fmt.Errorf("encode state head %d: %w", h.Serial, err)
	}
	sum := sha256.Sum256(inner)
	return encode(headFile{version, hex.EncodeToString(sum[:]), inner})
}

// DecodeHead reads a head; name is the object's, for errors.
func DecodeHead(name string, data []byte) (Head, error) {
	version, err := probeVersion(name, data)
	if err != nil {
		return Head{}, err
	}
	var f headFile
	if err := decodeStrict(data, &f); err != nil {
		return Head{}, corrupt(name, "%w", err)
	}
	if sum := sha256.Sum256(f.Head); hex.EncodeToString(sum[:]) != f.SHA256 {
		return Head{}, corrupt(name, "its checksum does not match")
	}
	var h Head
	if err := decodeStrict(f.Head, &h); err != nil {
		return Head{}, corrupt(name, "%w", err)
	}
	if h.Lineage == "" || h.Serial == 0 {
		return Head{}, corrupt(name, "it has no lineage or no serial")
	}
	// The checksum covers what is inside; this covers the few bytes around it, which JSON reads in many spellings.
	if canonical, err := encodeHead(h, version); err != nil || !bytes.Equal(canonical, data) {
		return Head{}, corrupt(name, "it is not written as a head is")
	}
	return h, nil
}

// HeadSum is what a head's successor names as its parent.
func HeadSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
