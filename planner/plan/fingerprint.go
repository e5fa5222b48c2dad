package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// fingerprintLine is one change or destructive action without what may differ between two runs of the same decision:
// times, byte counts, sentences, run ids.
type fingerprintLine struct {
	Kind       string      `json:"kind"`
	Address    string      `json:"address"`
	Point      string      `json:"point,omitempty"`
	From       string      `json:"from,omitempty"` // of a move
	WAL        []string    `json:"wal,omitempty"`  // store and server, then each run of segments by its ends
	Attributes []Attribute `json:"attributes,omitempty"`
}

func (l fingerprintLine) String() string {
	if l.From != "" {
		return l.Kind + " " + l.From + " to " + l.Address
	}
	if l.Point != "" {
		return l.Kind + " " + l.Address + " " + l.Point
	}
	return strings.Join(append([]string{l.Kind, l.Address}, l.WAL...), " ")
}

// fingerprintLines are sorted, so that the order of a plan does not matter.
func fingerprintLines(p Plan) []fingerprintLine {
	lines := []fingerprintLine{}
	for _, c := range p.Changes {
		lines = append(lines, fingerprintLine{Kind: string(c.Kind), Address: c.Address, From: c.From, Attributes: c.Attributes})
	}
	for _, a := range p.Actions {
		if a.Kind.Destructive() {
			lines = append(lines, fingerprintLine{Kind: string(a.Kind), Address: a.Address, Point: a.Point, WAL: segmentWords(a)})
		}
	}
	slices.SortStableFunc(lines, func(a, b fingerprintLine) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Address, b.Address), strings.Compare(a.Point, b.Point), slices.Compare(a.WAL, b.WAL))
	})
	return lines
}

// segmentWords names what WAL an action takes away; nil for other actions.
func segmentWords(a Action) (words []string) {
	if a.Kind != ExpireWAL {
		return nil
	}
	words = []string{a.Store, a.System}
	for _, s := range a.WAL {
		words = append(words, s.First+"-"+s.Last)
	}
	return words
}

// Fingerprint is the hex SHA-256 of the canonical JSON of the changes and destructive actions. Two plans with the same
// fingerprint change the same policy and take the same restore points away, whenever they were made.
func Fingerprint(p Plan) string {
	data, err := json.Marshal(fingerprintLines(p))
	if err != nil {
		panic(fmt.Sprintf("plan: encode fingerprint: %v", err)) // strings only: always encodes
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
