package statefile

import (
	"fmt"
	"time"

	"github.com/holdfast-io/holdfast/state"
)

// Lease is what a holder writes and renews.
type Lease struct {
	state.LeaseInfo
	TTL      time.Duration // a holder that has not renewed for so long is gone
	Beat     uint64        // grows with each renewal, so that a change is seen without comparing clocks
	Released bool
}

type leaseFile struct {
	FormatVersion int `json:"format_version"`
	state.LeaseInfo
	TTLSeconds float64 `json:"ttl_seconds"`
	Beat       uint64  `json:"beat"`
	Released   bool    `json:"released,omitempty"`
}

// EncodeLease writes a lease.
func EncodeLease(l Lease) ([]byte, error) {
	l.ExpiresAt = l.ExpiresAt.UTC()
	data, err := encode(leaseFile{FormatVersion, l.LeaseInfo, l.TTL.Seconds(), l.Beat, l.Released})
	if err != nil {
		return nil, fmt.Errorf("encode state lease %d: %w", l.Fence, err)
	}
	return data, nil
}

// maxTTLSeconds keeps a damaged lease from holding the state for years.
const maxTTLSeconds = 24 * 60 * 60

// DecodeLease reads a lease; name is the object's, for errors.
func DecodeLease(name string, data []byte) (Lease, error) {
	if _, err := probeVersion(name, data); err != nil {
		return Lease{}, err
	}
	var f leaseFile
	if err := decodeStrict(data, &f); err != nil {
		return Lease{}, corrupt(name, "%w", err)
	}
	if f.Fence == 0 || f.ID == "" || !(f.TTLSeconds > 0 && f.TTLSeconds <= maxTTLSeconds) {
		return Lease{}, corrupt(name, "it has no fence, no id or no sensible duration")
	}
	ttl := time.Duration(f.TTLSeconds * float64(time.Second))
	return Lease{LeaseInfo: f.LeaseInfo, TTL: ttl, Beat: f.Beat, Released: f.Released}, nil
}
