package wal

import "fmt"

// Record is one WAL record. The values behind Event are the Reader's until its next call of Next.
type Record struct {
	LSN, End LSN // of its first byte, and where the next record begins; behind a segment switch that is the next segment
	Prev     LSN // of the record before
	Length   uint32
	XID      uint32 // 0 for none
	Rmgr     Rmgr
	Info     uint8    // the resource manager's kind of record, and flags
	Timeline Timeline // of the page it begins on

	body  []byte // behind the header; only of the kinds that Event knows
	major int
}

// Rmgr is a resource manager, the part of PostgreSQL that a record belongs to (src/include/access/rmgrlist.h).
type Rmgr uint8

// The resource managers whose records Event reads.
const (
	RmgrXLOG        Rmgr = 0
	RmgrTransaction Rmgr = 1
)

var rmgrNames = [...]string{
	"XLOG", "Transaction", "Storage", "CLOG", "Database", "Tablespace", "MultiXact", "RelMap", "Standby", "Heap2", "Heap",
	"Btree", "Hash", "Gin", "Gist", "Sequence", "SPGist", "BRIN", "CommitTs", "ReplicationOrigin", "Generic", "LogicalMessage",
}

// String returns the name that pg_waldump prints; those of extensions are numbered from 128 on.
func (r Rmgr) String() string {
	if int(r) < len(rmgrNames) {
		return rmgrNames[r]
	}
	return fmt.Sprintf("custom%03d", uint8(r))
}

// isSwitch says whether the rest of the record's segment is empty.
func (r Record) isSwitch() bool { return r.Rmgr == RmgrXLOG && r.Info&kindMask == xlogSwitch }
