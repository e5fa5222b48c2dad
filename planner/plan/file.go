package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// fileMagic is the first line of a saved plan. The second is the hex SHA-256 of the rest, which is JSON.
const fileMagic = "holdfast plan file 1\n"

// File is a saved plan and what ties it to the policy and the moment it was made for. It holds no secret.
type File struct {
	Plan       Plan      `json:"plan"`
	PolicyHash string    `json:"policy_hash"` // of the evaluated policy
	Created    time.Time `json:"created"`
	Expires    time.Time `json:"expires"` // not to be applied after this
}

// EncodeFile writes a saved plan. Its lifetime counts from created, which differs from the moment that the plan was made
// for when that was pinned.
func EncodeFile(p Plan, policyHash string, created time.Time) ([]byte, error) {
	body, err := json.Marshal(File{Plan: p, PolicyHash: policyHash, Created: created.UTC(), Expires: created.UTC().Add(Lifetime)})
	if err != nil {
		return nil, fmt.Errorf("encode plan file: %w", err)
	}
	sum := sha256.Sum256(body)
	return slices.Concat([]byte(fileMagic), []byte(hex.EncodeToString(sum[:])), []byte("\n"), body), nil
}

// DecodeFile reads a saved plan. It tells a file that is no plan from one that was damaged since it was written.
func DecodeFile(data []byte) (File, error) {
	rest, found := bytes.CutPrefix(data, []byte(fileMagic))
	if !found {
		if bytes.HasPrefix(data, []byte(fileMagic[:len(fileMagic)-2])) {
			return File{}, errors.New("the plan was saved by a version of holdfast with another file format; plan again")
		}
		return File{}, errors.New("this is not a plan file; make one with `holdfast plan -out=FILE`")
	}
	want, body, found := bytes.Cut(rest, []byte("\n"))
	sum := sha256.Sum256(body)
	if !found || string(want) != hex.EncodeToString(sum[:]) {
		return File{}, errors.New("the plan file is damaged (its checksum does not match); plan again")
	}
	var f File
	if err := json.Unmarshal(body, &f); err != nil {
		return File{}, fmt.Errorf("decode plan file: %w", err)
	}
	if got := Fingerprint(f.Plan); got != f.Plan.Fingerprint {
		return File{}, errors.New("the plan file was edited: its fingerprint does not match what it holds; plan again")
	}
	return f, nil
}
