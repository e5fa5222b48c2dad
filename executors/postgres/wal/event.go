package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
)

// Kinds of records (src/include/catalog/pg_control.h, src/include/access/xact.h).
const (
	kindMask = 0xF0

	xlogShutdown      = 0x00
	xlogOnline        = 0x10
	xlogSwitch        = 0x40
	xlogRestorePoint  = 0x70
	xlogEndOfRecovery = 0x90

	xactMask          = 0x70
	xactCommit        = 0x00
	xactAbort         = 0x20
	xactCommitPrepare = 0x30
	xactAbortPrepare  = 0x40
	xactHasInfo       = 0x80
)

// EventKind is what a record tells about the points that recovery can stop at.
type EventKind int

// The kinds of events.
const (
	EventUnknown EventKind = iota
	EventCommit
	EventAbort
	EventRestorePoint
	EventCheckpoint
	EventEndOfRecovery // the timeline begins: recovery ended just before
)

// Event is what a record of interest says.
type Event struct {
	Kind     EventKind
	Time     time.Time // UTC; of a checkpoint to the second
	XID      uint32    // of commits and aborts; of a prepared transaction its own, not that of who ended it
	Name     string    // of restore points
	Redo     LSN       // of checkpoints: where recovery from it begins
	Shutdown bool      // of checkpoints: nothing was running
	Timeline Timeline  // of checkpoints and ends of recovery
	Parent   Timeline  // the one before: of an end of recovery another one
}

// Event returns what the record says, or ok false when it is of none of the kinds above.
func (r Record) Event() (e Event, ok bool, err error) {
	switch {
	case r.Rmgr == RmgrTransaction:
		e, err = r.transaction()
	case r.Rmgr == RmgrXLOG:
		e, err = r.xlog()
	}
	if err != nil {
		return Event{}, false, fmt.Errorf("record of %s at %s: %w", r.Rmgr, r.LSN, err)
	}
	return e, e.Kind != EventUnknown, nil
}

func (r Record) xlog() (Event, error) {
	var read func(*fields) Event
	switch r.Info & kindMask {
	case xlogShutdown, xlogOnline:
		read = checkpoint
	case xlogRestorePoint:
		read = restorePoint
	case xlogEndOfRecovery:
		read = endOfRecovery
	default:
		return Event{}, nil
	}
	data, err := mainData(r.body)
	if err != nil {
		return Event{}, err
	}
	f := &fields{b: data}
	e := read(f)
	e.Shutdown = e.Kind == EventCheckpoint && r.Info&kindMask == xlogShutdown
	return e, f.err
}

// checkpoint reads the struct CheckPoint, whose fields of interest are at the same places from 13 to 18.
func checkpoint(f *fields) Event {
	e := Event{Kind: EventCheckpoint, Redo: LSN(f.u64()), Timeline: Timeline(f.u32()), Parent: Timeline(f.u32())}
	f.skip(48)
	e.Time = time.Unix(int64(f.u64()), 0).UTC()
	return e
}

func restorePoint(f *fields) Event {
	e := Event{Kind: EventRestorePoint, Time: timestamp(f.u64())}
	name, _, _ := bytes.Cut(f.take(64), []byte{0})
	e.Name = string(name)
	return e
}

func endOfRecovery(f *fields) Event {
	return Event{Kind: EventEndOfRecovery, Time: timestamp(f.u64()), Timeline: Timeline(f.u32()), Parent: Timeline(f.u32())}
}

func (r Record) transaction() (Event, error) {
	e := Event{XID: r.XID}
	op := r.Info & xactMask
	switch op {
	case xactCommit, xactCommitPrepare:
		e.Kind = EventCommit
	case xactAbort, xactAbortPrepare:
		e.Kind = EventAbort
	default:
		return Event{}, nil
	}
	data, err := mainData(r.body)
	if err != nil {
		return Event{}, err
	}
	f := &fields{b: data}
	e.Time = timestamp(f.u64())
	if op == xactCommitPrepare || op == xactAbortPrepare {
		e.XID = r.preparedXID(f)
	}
	return e, f.err
}

// Parts of commit and abort records, in the order in which they follow the time (XACT_XINFO_* in src/include/access/xact.h).
const (
	hasDatabase     = 1 << 0
	hasSubxacts     = 1 << 1
	hasRelations    = 1 << 2
	hasInvals       = 1 << 3
	hasTwoPhase     = 1 << 4
	hasDroppedStats = 1 << 8
)

// preparedXID passes the lists before the transaction's own number. From 15 on a list of dropped statistics is among
// them, whose items grew in 18.
func (r Record) preparedXID(f *fields) uint32 {
	var info uint32
	if r.Info&xactHasInfo != 0 {
		info = f.u32()
	}
	if info&hasTwoPhase == 0 {
		f.fail("it names no prepared transaction")
		return 0
	}
	if info&hasDatabase != 0 {
		f.skip(8)
	}
	stats := 12
	if r.major >= 18 {
		stats = 16
	}
	for _, list := range []struct {
		flag uint32
		item int
	}{{hasSubxacts, 4}, {hasRelations, 12}, {hasDroppedStats, stats}, {hasInvals, 16}} {
		if info&list.flag != 0 {
			f.list(list.item)
		}
	}
	return f.u32()
}

// timestamp reads PostgreSQL's time: microseconds since 2000-01-01 UTC (src/include/datatype/timestamp.h).
func timestamp(v uint64) time.Time {
	const epoch = 946684800
	us := int64(v)
	return time.Unix(epoch+us/1e6, us%1e6*1e3).UTC()
}

// Ids of the parts of a record's header other than blocks (src/include/access/xlogrecord.h).
const (
	partShort       = 255
	partLong        = 254
	partOrigin      = 253
	partTopLevelXID = 252
)

// mainData cuts a record's main data out: the last part of those that refer to no block, which is all that Event reads.
func mainData(body []byte) ([]byte, error) {
	f := &fields{b: body}
	for f.err == nil && len(f.b) > 0 {
		switch id := f.take(1)[0]; id {
		case partShort:
			return exactly(f, int64(f.take(1)[0]))
		case partLong:
			return exactly(f, int64(f.u32()))
		case partOrigin:
			f.skip(2)
		case partTopLevelXID:
			f.skip(4)
		default:
			return nil, fmt.Errorf("part %d is unknown", id)
		}
	}
	if f.err == nil {
		f.fail("it holds no data")
	}
	return nil, f.err
}

func exactly(f *fields, n int64) ([]byte, error) {
	if f.err == nil && n != int64(len(f.b)) {
		f.fail("it claims %d bytes of data and has %d", n, len(f.b))
	}
	return f.b, f.err
}

// fields reads little-endian values one after another. The first error stays and makes every later read return zeros.
type fields struct {
	b   []byte
	err error
}

func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
}

// take returns n bytes; n is one of this package's own numbers. Beyond the end they are zeros.
func (f *fields) take(n int) []byte {
	if f.err != nil || n > len(f.b) {
		f.fail("it is too short")
		return make([]byte, n)
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) u32() uint32 { return binary.LittleEndian.Uint32(f.take(4)) }

func (f *fields) u64() uint64 { return binary.LittleEndian.Uint64(f.take(8)) }

func (f *fields) skip(n int64) {
	if f.err != nil || n < 0 || n > int64(len(f.b)) {
		f.fail("it is too short")
		return
	}
	f.b = f.b[n:]
}

// list passes a counted list of items.
func (f *fields) list(item int) { f.skip(int64(int32(f.u32())) * int64(item)) }
