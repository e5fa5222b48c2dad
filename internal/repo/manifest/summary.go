package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Info is what the caller of a commit says of the restore point. None of it is interpreted here.
type Info struct {
	Time       time.Time         `json:"time"`               // the moment the data stands for
	Slot       time.Time         `json:"slot,omitzero"`      // the schedule slot it serves
	Run        string            `json:"run,omitempty"`      // that made it
	Source     string            `json:"source,omitempty"`   // address of the source
	Method     string            `json:"method,omitempty"`   // such as "logical"
	Version    string            `json:"version,omitempty"`  // of the source's server
	Position   string            `json:"position,omitempty"` // LSN, where there is one
	Meta       map[string]string `json:"meta,omitempty"`     // handed back to restore and verify
	PolicyText []byte            `json:"policy_text,omitempty"`
	Incomplete bool              `json:"incomplete,omitempty"` // something is missing from the point
	Problems   []string          `json:"problems,omitempty"`   // what, for people
	Started    time.Time         `json:"started,omitzero"`
	Finished   time.Time         `json:"finished,omitzero"`
}

// SummaryFormat names the document and its version.
const (
	SummaryFormat  = "holdfast-summary"
	SummaryVersion = 1
)

// Summary is what a host without a reading key may know of a restore point.
type Summary struct {
	Format         string   `json:"format"`
	FormatVersion  int      `json:"format_version"`
	Address        string   `json:"address"`
	Point          string   `json:"point"`
	Items          int64    `json:"items"`
	Size           int64    `json:"size"`   // plain bytes of all entries
	Stored         int64    `json:"stored"` // bytes this point added to the store (packs, index, manifest; not this object)
	Reused         int64    `json:"reused"` // plain bytes that were stored before
	ManifestSHA256 string   `json:"manifest_sha256"`
	ManifestSize   int64    `json:"manifest_size"`
	Packs          []string `json:"packs"` // every pack the point needs, sorted
	// Replaces lists the SHA-256 of the summaries that this one stands for: a prune stored what it needs in other packs.
	Replaces []string `json:"replaces,omitempty"`
	// ManifestBefore is the SHA-256 of the manifest that may still be in place while the point is sealed anew.
	ManifestBefore string `json:"manifest_before,omitempty"`
	// Sealed names the recipients that all of the point is sealed to, by a hash; empty when nobody looked.
	Sealed string `json:"sealed,omitempty"`
	Info
}

// Encode returns the summary as JSON.
func (s Summary) Encode() ([]byte, error) {
	s.Format, s.FormatVersion = SummaryFormat, SummaryVersion
	return json.Marshal(s)
}

// Names tells whether a manifest with that SHA-256 is the point's.
func (s Summary) Names(sum string) bool {
	return sum == s.ManifestSHA256 || s.ManifestBefore != "" && sum == s.ManifestBefore
}

// DecodeSummary parses what Encode wrote.
func DecodeSummary(data []byte) (Summary, error) {
	var s Summary
	if err := json.Unmarshal(data, &s); err != nil {
		return Summary{}, fmt.Errorf("parse summary: %w", err)
	}
	if err := checkFormat(s.Format, s.FormatVersion, SummaryFormat, SummaryVersion); err != nil {
		return Summary{}, err
	}
	if len(s.ManifestSHA256) != 64 {
		return Summary{}, errors.New("parse summary: manifest_sha256 is not a SHA-256")
	}
	return s, nil
}

func checkFormat(got string, version int, want string, known int) error {
	if got != want {
		return fmt.Errorf("format is %q, not %q", got, want)
	}
	if version != known {
		return fmt.Errorf("%s version %d is not known to this holdfast (it knows %d); use a newer one", want, version, known)
	}
	return nil
}
