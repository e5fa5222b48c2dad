package policy

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
)

// Physical is the method that copies a PostgreSQL server's data directory, and its write-ahead log (WAL) as it is made.
type Physical struct {
	Reader     Reader     `json:"reader"`
	Checkpoint Checkpoint `json:"checkpoint"`
	WAL        WAL        `json:"wal"`
}

// Reader is where the data directory is read.
type Reader string

// The readers.
const (
	ReaderAuto   Reader = "auto"   // local where the data directory is at hand, remote elsewhere
	ReaderLocal  Reader = "local"  // the files, on the server's own host
	ReaderRemote Reader = "remote" // BASE_BACKUP, over the replication protocol
)

// Checkpoint is how the checkpoint that begins a base backup is written.
type Checkpoint string

// The kinds of checkpoint.
const (
	CheckpointSpread Checkpoint = "spread" // over the time that the server takes for its own ones
	CheckpointFast   Checkpoint = "fast"   // at once, at the cost of the server's other work
)

// WALMode is how the write-ahead log comes to the stores.
type WALMode string

// The modes.
const (
	WALStream  WALMode = "stream"  // received over the replication protocol, from a slot
	WALArchive WALMode = "archive" // handed over by the server's archive_command
	WALNone    WALMode = "none"    // not at all: a base backup carries just what makes it consistent
)

// WAL says how the write-ahead log is kept. MaxLag and Slot are empty where the mode has no use for them.
type WAL struct {
	Mode   WALMode  `json:"mode"`
	MaxLag Duration `json:"max_lag,omitempty"` // what was committed this long ago is stored
	Slot   string   `json:"slot,omitempty"`    // stream: name of the replication slot
}

// The lags that are promised when the policy says nothing.
const (
	DefaultStreamLag  = "30s"
	DefaultArchiveLag = "5m"
)

// DefaultLag is the lag of a mode when the policy says nothing; 0 where there is none.
func (m WALMode) DefaultLag() Duration {
	text := map[WALMode]string{WALStream: DefaultStreamLag, WALArchive: DefaultArchiveLag}[m]
	lag, _ := ParseDuration(text) // the texts above, and the empty one
	return lag
}

// KeepsWAL tells whether the backup stores the write-ahead log between its base backups, so that every instant can be
// restored to.
func (b Backup) KeepsWAL() bool {
	return b.Physical != nil && b.Physical.WAL.Mode != WALNone && b.Physical.WAL.Mode != ""
}

// DefaultImpact is how much of production's throughput, in percent, a backup may cost when the policy says nothing.
const DefaultImpact = 10

// ImpactPercent returns Impact or its default.
func (b Backup) ImpactPercent() int {
	if b.Impact > 0 {
		return b.Impact
	}
	return DefaultImpact
}

// ParsePercent reads a whole percentage from 1 to 100, such as "10%".
func ParsePercent(s string) (int, error) {
	digits, ok := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(strings.TrimSpace(digits))
	if !ok || err != nil {
		return 0, fmt.Errorf("%q is not a percentage; write for example 10%%", s)
	}
	if n < 1 || n > 100 {
		return 0, fmt.Errorf("%q is out of range; percentages go from 1%% to 100%%", s)
	}
	return n, nil
}

// maxSlot is the greatest length of a slot's name in bytes: NAMEDATALEN - 1 (PostgreSQL, src/include/pg_config_manual.h).
const maxSlot = 63

// ValidSlot tells whether PostgreSQL takes a name for a replication slot: lower-case letters, digits and underscores, at
// most 63 (ReplicationSlotValidateName in src/backend/replication/slot.c).
func ValidSlot(name string) bool {
	return name != "" && len(name) <= maxSlot && strings.IndexFunc(name, func(r rune) bool { return !slotRune(r) }) < 0
}

func slotRune(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' }

// DefaultSlot is the name of the slot of a backup that names none: holdfast_app for backup.app, holdfast_db_eu for
// backup.db["eu"]. What PostgreSQL does not take becomes an underscore; a long name ends with a part of its hash.
func DefaultSlot(address string) string {
	name := strings.TrimPrefix(address, "backup.")
	name = strings.TrimSuffix(strings.ReplaceAll(name, `["`, "_"), `"]`)
	slot := "holdfast_" + strings.Map(func(r rune) rune {
		if slotRune(r) {
			return r
		}
		return '_'
	}, strings.ToLower(name))
	if len(slot) > maxSlot {
		sum := sha256.Sum256([]byte(address))
		slot = fmt.Sprintf("%s_%x", slot[:maxSlot-9], sum[:4])
	}
	return slot
}
