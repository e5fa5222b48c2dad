package wal

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

const (
	claimFormat  = "holdfast-wal-claim"
	claimVersion = 1
)

// Sum is the keyed BLAKE3 of a file's path, a zero byte, and its content.
type Sum [32]byte

// Claim says what a file's content is, to those who can add to a repository and not read it. It is stored before the content
// and only if there is none, so that of two contents one name has only one is ever accepted.
type Claim struct {
	File   File
	Size   int64  // bytes of the content
	Sum    Sum    // of the content
	Object string // SHA-256 of the stored bytes, in hex: of the object that whoever made the claim was about to store
	Stored int64  // bytes of that object
	Sealed string // to whom the object is sealed
	Who    string // user@host, for people
}

type claimDocument struct {
	Format        string `json:"format"`
	FormatVersion int    `json:"format_version"`
	Path          string `json:"path"`
	Size          int64  `json:"size"`
	Sum           string `json:"sum"`
	Object        string `json:"object"`
	Stored        int64  `json:"stored"`
	Sealed        string `json:"sealed"`
	Who           string `json:"who,omitempty"`
}

// Encode returns the claim as JSON.
func (c Claim) Encode() ([]byte, error) {
	return json.Marshal(claimDocument{
		Format: claimFormat, FormatVersion: claimVersion, Path: c.File.Path(), Size: c.Size, Sum: hex.EncodeToString(c.Sum[:]),
		Object: c.Object, Stored: c.Stored, Sealed: c.Sealed, Who: c.Who,
	})
}

// DecodeClaim parses what Encode wrote.
func DecodeClaim(data []byte) (Claim, error) {
	var d claimDocument
	if err := json.Unmarshal(data, &d); err != nil {
		return Claim{}, fmt.Errorf("parse claim: %w", err)
	}
	if d.Format != claimFormat || d.FormatVersion != claimVersion {
		return Claim{}, fmt.Errorf("parse claim: format %.40q version %d is not known", d.Format, d.FormatVersion)
	}
	f, err := ParsePath(d.Path)
	if err != nil {
		return Claim{}, fmt.Errorf("parse claim: %w", err)
	}
	c := Claim{File: f, Size: d.Size, Object: d.Object, Stored: d.Stored, Sealed: d.Sealed, Who: d.Who}
	sum, err := hex.DecodeString(d.Sum)
	if err != nil || copy(c.Sum[:], sum) != len(c.Sum) || hex.EncodeToString(c.Sum[:]) != d.Sum {
		return Claim{}, errors.New("parse claim: its sum has not 64 hex digits")
	}
	if f.CheckSize(c.Size) != nil || c.Stored <= 0 || !IsObject(c.Object) {
		return Claim{}, errors.New("parse claim: its sizes or its object make no sense")
	}
	return c, nil
}

// IsObject tells whether s is a SHA-256 in lower-case hex.
func IsObject(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == 32 && hex.EncodeToString(raw) == s
}
