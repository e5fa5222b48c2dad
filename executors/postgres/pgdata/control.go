// Package pgdata knows the files of a PostgreSQL data directory as bytes and names: the control file, the notes of a backup,
// which files are relations and what a backup leaves out, page checksums. It is pure: it reads no file and no clock, and hostile
// input ends in an error.
package pgdata

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// ControlPath is where the control file is in a data directory. A restore writes it last: without it no server starts.
const ControlPath = "global/pg_control"

// State is what a cluster was doing when its control file was written (DBState in src/include/catalog/pg_control.h).
type State uint32

// The states, by PostgreSQL's numbers.
const (
	StateStartup State = iota
	StateShutDown
	StateShutDownInRecovery
	StateShuttingDown
	StateCrashRecovery
	StateArchiveRecovery
	StateProduction
)

var stateNames = [...]string{
	"starting up", "shut down", "shut down in recovery", "shutting down", "in crash recovery", "in archive recovery", "in production",
}

// String returns what pg_controldata prints.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("unknown state %d", uint32(s))
}

// WALLevel is wal_level, by PostgreSQL's numbers (src/include/access/xlog.h).
type WALLevel uint32

// The levels. A base backup needs at least WALReplica.
const (
	WALMinimal WALLevel = iota
	WALReplica
	WALLogical
)

func (l WALLevel) String() string {
	switch l {
	case WALMinimal:
		return "minimal"
	case WALReplica:
		return "replica"
	case WALLogical:
		return "logical"
	default:
		return fmt.Sprintf("unknown level %d", uint32(l))
	}
}

// Control is what a control file says.
type Control struct {
	SystemID       uint64 // of the cluster and of all its copies
	Version        uint32 // of the file's layout: 1300, 1700 or 1800
	CatalogVersion uint32
	State          State
	Modified       time.Time

	Checkpoint       wal.LSN // record of the newest checkpoint
	CheckpointTime   time.Time
	Redo             wal.LSN // where recovery from that checkpoint begins
	Timeline         wal.Timeline
	PreviousTimeline wal.Timeline

	MinRecovery         wal.LSN // recovery must reach at least this; 0 for anything
	MinRecoveryTimeline wal.Timeline
	BackupStart         wal.LSN // of a backup that is being recovered; 0 for none
	BackupEnd           wal.LSN
	BackupEndRequired   bool

	WALLevel        WALLevel
	MaxPrepared     uint32 // max_prepared_transactions
	BlockSize       uint32 // of data pages, in bytes
	RelSegBlocks    uint32 // pages of a relation's file before the next one begins
	WALBlockSize    uint32 // of WAL pages, in bytes
	SegmentSize     wal.SegmentSize
	ChecksumVersion uint32 // of data pages; 0 without checksums
}

// The layouts and where each ends with its checksum. From 13 on all fields of interest are at the same places: 17 filled a gap,
// 18 added a field behind them.
const (
	layout13 = 1300
	layout17 = 1700
	layout18 = 1800
)

var crcAt = map[uint32]int{layout13: 288, layout17: 288, layout18: 292}

// catalogs is CATALOG_VERSION_NO of the released major versions (src/include/catalog/catversion.h).
var catalogs = map[uint32]int{202007201: 13, 202107181: 14, 202209061: 15, 202307071: 16, 202406281: 17, 202506291: 18}

// Major returns PostgreSQL's major version, or 0 when it is none of the released 13 to 18.
func (c Control) Major() int { return catalogs[c.CatalogVersion] }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ParseControl reads the content of a control file (ControlFileData in src/include/catalog/pg_control.h).
func ParseControl(content []byte) (Control, error) {
	if len(content) < 16 {
		return Control{}, fmt.Errorf("pg_control has %d bytes, which are too few", len(content))
	}
	version := binary.LittleEndian.Uint32(content[8:])
	end, ok := crcAt[version]
	if !ok {
		return Control{}, fmt.Errorf("pg_control has version %d, and not %d (PostgreSQL 13 to 16), %d (17) or %d (18)", version, layout13, layout17, layout18)
	}
	if len(content) < end+4 {
		return Control{}, fmt.Errorf("pg_control has %d bytes, which are too few", len(content))
	}
	if got, want := crc32.Checksum(content[:end], castagnoli), binary.LittleEndian.Uint32(content[end:]); got != want {
		return Control{}, fmt.Errorf("pg_control is damaged: its checksum is %08X and not %08X; read it again, it may just have been written", got, want)
	}
	c := readControl(content)
	if err := c.SegmentSize.Check(); err != nil {
		return Control{}, fmt.Errorf("pg_control: %w", err)
	}
	return c, nil
}

func readControl(b []byte) Control {
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	seconds := func(at int) time.Time { return time.Unix(int64(u64(at)), 0).UTC() }
	return Control{
		SystemID: u64(0), Version: u32(8), CatalogVersion: u32(12), State: State(u32(16)), Modified: seconds(24),
		Checkpoint: wal.LSN(u64(32)), Redo: wal.LSN(u64(40)), CheckpointTime: seconds(104),
		Timeline: wal.Timeline(u32(48)), PreviousTimeline: wal.Timeline(u32(52)),
		MinRecovery: wal.LSN(u64(136)), MinRecoveryTimeline: wal.Timeline(u32(144)),
		BackupStart: wal.LSN(u64(152)), BackupEnd: wal.LSN(u64(160)), BackupEndRequired: b[168] != 0,
		WALLevel: WALLevel(u32(172)), MaxPrepared: u32(192), BlockSize: u32(216), RelSegBlocks: u32(220), WALBlockSize: u32(224),
		SegmentSize: wal.SegmentSize(u32(228)), ChecksumVersion: u32(252),
	}
}
