package wal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	recordHeader = 24
	// maxRecord is XLogRecordMaxSize (src/include/access/xlogrecord.h), which PostgreSQL keeps to from 16 on.
	maxRecord = 1020 << 20

	readAhead = 1 << 18
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EndKind is how valid WAL ended.
type EndKind int

// How WAL can end. Segments that others follow end in EndOfStream; the newest one of a timeline may end in any way.
const (
	EndUnknown  EndKind = iota
	EndOfStream         // the stream ended
	EndZeros            // nothing was written from here on
	EndStale            // from here on a file that was used before holds what it held then
	EndDamaged          // what follows is no WAL: a bad checksum, an impossible length
)

// End is where valid WAL ended, and how.
type End struct {
	LSN  LSN // behind the last whole record; of the stream when it had none
	Kind EndKind
	Torn bool   // the next record has begun, and its rest is missing
	Why  string // for people
}

// Reader finds the records in a stream of WAL segments, as recovery would: records are checked by their checksum and by their
// pointer to the one before, so that it stops where recovery would stop. It holds no more than one page and, of the kinds
// that Event knows, one record.
type Reader struct {
	p    *pages
	last LSN // the record before; 0 when none was read
	end  End
	torn bool // a record began whose rest is not there yet
	err  error

	head    [recordHeader]byte
	body    []byte
	started bool
	skipTo  LSN // the segment behind a switch record
}

// NewReader reads from the first byte of a segment on. More segments may follow without a gap; each page says where it belongs.
func NewReader(segments io.Reader) (*Reader, error) {
	p, err := newPages(bufio.NewReaderSize(segments, readAhead))
	if s := (*stop)(nil); errors.As(err, &s) {
		return nil, fmt.Errorf("no WAL segment: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return &Reader{p: p, end: End{LSN: p.first.Address}}, nil
}

// Header returns the header of the first segment.
func (r *Reader) Header() Header { return r.p.first }

// End returns where valid WAL ended; it is known once Next has returned io.EOF.
func (r *Reader) End() End { return r.end }

// Next returns the next record. io.EOF says that valid WAL ended, and End then says how: a bad record is the end of WAL, not
// an error. Every other error is one of reading the stream and says nothing about the WAL in it. A stream that begins with the rest
// of a record yields the first record behind it.
func (r *Reader) Next() (Record, error) {
	if r.err != nil {
		return Record{}, r.err
	}
	for {
		rec, err := r.next()
		if err == nil {
			r.last, r.torn = rec.LSN, false
			r.end.LSN = rec.End
			return rec, nil
		}
		if errors.Is(err, errOverwritten) {
			continue
		}
		r.err = r.conclude(err)
		return Record{}, r.err
	}
}

// conclude turns a stop into the end of WAL.
func (r *Reader) conclude(err error) error {
	var s *stop
	if !errors.As(err, &s) {
		return err
	}
	r.end.Kind, r.end.Why, r.end.Torn = s.kind, s.why, r.torn
	return io.EOF
}

// errOverwritten says that a record's rest will never come: a crash cut it off, and WAL goes on at the page at hand.
var errOverwritten = errors.New("record was overwritten")

func (r *Reader) next() (Record, error) {
	if err := r.toRecord(); err != nil {
		return Record{}, err
	}
	rec := Record{LSN: r.p.at(), Timeline: r.p.timeline, major: r.p.first.Major}
	if err := r.header(&rec); err != nil {
		return Record{}, err
	}
	if err := r.content(&rec); err != nil {
		return Record{}, err
	}
	r.p.align()
	rec.End = r.p.at()
	if rec.isSwitch() { // the rest of the segment is empty
		size := r.p.first.SegmentSize
		r.skipTo = size.Start(size.LastNumber(rec.End) + 1)
		rec.End = r.skipTo
	}
	return rec, nil
}

// toRecord goes to where the next record begins.
func (r *Reader) toRecord() error {
	if r.skipTo > 0 {
		to := r.skipTo
		r.skipTo = 0
		if r.p.at() < to {
			if err := r.p.skipTo(to); err != nil {
				return err
			}
			return r.fresh()
		}
	}
	if !r.started {
		r.started = true
		return r.skipRest()
	}
	if !r.p.spent() {
		return nil
	}
	if err := r.p.next(); err != nil {
		return err
	}
	return r.fresh()
}

// fresh checks that the page at hand begins with a record.
func (r *Reader) fresh() error {
	if r.p.flags&firstIsContinued != 0 {
		return stopped(EndDamaged, "the page at %s goes on with a record that did not begin", r.p.addr)
	}
	return nil
}

// skipRest passes the rest of a record that began before the stream.
func (r *Reader) skipRest() error {
	for r.p.flags&firstIsContinued != 0 {
		room := len(r.p.whole) - r.p.off
		if rest := (int64(r.p.rest) + 7) &^ 7; rest < int64(room) {
			r.p.off += int(rest)
			return nil
		}
		if err := r.p.next(); err != nil {
			return err
		}
	}
	return nil
}

// header reads and checks the fixed part of a record. Its length never crosses pages, its rest may.
func (r *Reader) header(rec *Record) error {
	first, err := r.p.take(4)
	if err != nil {
		return err
	}
	if len(first) < 4 {
		return stopped(EndOfStream, "the stream ends")
	}
	rec.Length = binary.LittleEndian.Uint32(first)
	switch {
	case rec.Length == 0:
		return stopped(EndZeros, "nothing was written at %s", rec.LSN)
	case rec.Length < recordHeader || rec.Length > maxRecord:
		return stopped(EndDamaged, "the record at %s claims %d bytes", rec.LSN, rec.Length)
	}
	copy(r.head[:], first)
	r.torn = true
	if err := r.gather(rec, 4, recordHeader-4, func(b []byte, at int) { copy(r.head[4+at:], b) }); err != nil {
		return err
	}
	rec.XID = binary.LittleEndian.Uint32(r.head[4:])
	rec.Prev = LSN(binary.LittleEndian.Uint64(r.head[8:]))
	rec.Info, rec.Rmgr = r.head[16], Rmgr(r.head[17])
	if r.last == 0 && rec.Prev >= rec.LSN || r.last != 0 && rec.Prev != r.last {
		r.torn = false
		return stopped(EndStale, "the record at %s says that the one before it is at %s", rec.LSN, rec.Prev)
	}
	return nil
}

// content reads the rest of a record and checks its checksum, which covers that rest and then the header.
func (r *Reader) content(rec *Record) error {
	r.body = r.body[:0]
	var sum uint32
	keep := rec.Rmgr == RmgrXLOG || rec.Rmgr == RmgrTransaction
	err := r.gather(rec, recordHeader, int(rec.Length)-recordHeader, func(b []byte, _ int) {
		sum = crc32.Update(sum, castagnoli, b)
		if keep {
			r.body = append(r.body, b...)
		}
	})
	if err != nil {
		return err
	}
	sum = crc32.Update(sum, castagnoli, r.head[:20])
	if want := binary.LittleEndian.Uint32(r.head[20:]); sum != want {
		r.torn = false
		return stopped(EndDamaged, "the record at %s has the checksum %08X, not %08X", rec.LSN, sum, want)
	}
	if keep {
		rec.body = r.body
	}
	return nil
}

// gather hands out n bytes of a record, of which done bytes were read before, page by page.
func (r *Reader) gather(rec *Record, done, n int, each func(b []byte, at int)) error {
	for at := 0; at < n; {
		if r.p.spent() {
			if err := r.continued(rec, int(rec.Length)-done-at); err != nil {
				return err
			}
		}
		b, err := r.p.take(n - at)
		if err != nil {
			return err
		}
		each(b, at)
		at += len(b)
	}
	return nil
}

// continued goes to the next page, where left bytes of the record must follow.
func (r *Reader) continued(rec *Record, left int) error {
	if err := r.p.next(); err != nil {
		return err
	}
	switch {
	case r.p.flags&firstIsOverwrite != 0:
		r.torn = false
		return errOverwritten
	case r.p.flags&firstIsContinued == 0 || int64(r.p.rest) != int64(left):
		return stopped(EndDamaged, "the page at %s does not go on with the record at %s", r.p.addr, rec.LSN)
	}
	return nil
}
