package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// pages walks the pages of a stream of segments and checks their headers. Bytes are taken from the page at hand.
type pages struct {
	src   io.Reader
	first Header
	magic uint16

	page     []byte // the part of the page at hand that the stream had
	whole    []byte // its buffer, of one page
	off      int    // in page
	addr     LSN    // of page
	flags    uint16
	rest     uint32 // of a record that an earlier page began, as this page's header claims
	timeline Timeline
}

// stop is why the walk cannot go on, as an error of the functions below.
type stop struct {
	kind EndKind
	why  string
}

func (s *stop) Error() string { return s.why }

func stopped(kind EndKind, format string, args ...any) error {
	return &stop{kind, fmt.Sprintf(format, args...)}
}

func newPages(src io.Reader) (*pages, error) {
	head := make([]byte, longHeader)
	if _, err := io.ReadFull(src, head); err != nil {
		return nil, fmt.Errorf("read first WAL page: %w", err)
	}
	first, err := ReadHeader(head)
	if err != nil {
		return nil, fmt.Errorf("no WAL segment: it %w", err)
	}
	p := &pages{src: src, first: first, magic: binary.LittleEndian.Uint16(head), whole: make([]byte, first.BlockSize)}
	p.addr = first.Address
	p.timeline = first.Timeline
	return p, p.load(copy(p.whole, head))
}

// next goes to the next page.
func (p *pages) next() error {
	if len(p.page) < len(p.whole) {
		return stopped(EndOfStream, "the stream ends")
	}
	p.addr += LSN(len(p.whole))
	return p.load(0)
}

// load reads the rest of the page at addr, of which have bytes are there, and checks its header.
func (p *pages) load(have int) error {
	n, err := io.ReadFull(p.src, p.whole[have:])
	p.page, p.off = p.whole[:have+n], 0
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) { //nolint:errorlint // a wrapped EOF is not the stream's own
		return fmt.Errorf("read WAL page at %s: %w", p.addr, err)
	}
	if len(p.page) < shortHeader {
		return stopped(EndOfStream, "the stream ends")
	}
	return p.header()
}

func (p *pages) header() error {
	b := p.page
	magic, flags := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
	timeline, addr := Timeline(binary.LittleEndian.Uint32(b[4:])), LSN(binary.LittleEndian.Uint64(b[8:]))
	p.flags, p.rest = flags, binary.LittleEndian.Uint32(b[16:])
	atSegment := uint64(p.addr)%uint64(p.first.SegmentSize) == 0
	switch {
	case magic == 0 && flags == 0 && timeline == 0 && addr == 0:
		return stopped(EndZeros, "the page at %s was never written", p.addr)
	case magic != p.magic || flags&^allFlags != 0:
		return stopped(EndDamaged, "the page at %s has no header of WAL pages", p.addr)
	case addr != p.addr:
		return stopped(EndStale, "the page at %s says that it is the one at %s", p.addr, addr)
	case timeline < p.timeline:
		return stopped(EndStale, "the page at %s is of timeline %d, older than timeline %d before it", p.addr, timeline, p.timeline)
	case atSegment != (flags&hasLongHeader != 0):
		return stopped(EndDamaged, "the page at %s has the wrong kind of header", p.addr)
	}
	p.timeline, p.off = timeline, shortHeader
	if !atSegment {
		return nil
	}
	if len(b) < longHeader {
		return stopped(EndOfStream, "the stream ends")
	}
	h, err := ReadHeader(b)
	if err != nil || h.SystemID != p.first.SystemID || h.SegmentSize != p.first.SegmentSize || h.BlockSize != p.first.BlockSize {
		return stopped(EndDamaged, "the segment at %s is of another cluster than the one before it", p.addr)
	}
	p.off = longHeader
	return nil
}

// at returns the LSN of the next byte.
func (p *pages) at() LSN { return p.addr + LSN(p.off) }

// spent says whether the page at hand is used up.
func (p *pages) spent() bool { return p.off >= len(p.whole) }

// align goes to where a record can begin: the next multiple of eight.
func (p *pages) align() { p.off = min(len(p.whole), (p.off+7)&^7) }

// take returns up to n bytes of the page at hand, and fails when the stream has none left of it.
func (p *pages) take(n int) ([]byte, error) {
	if p.off >= len(p.page) {
		return nil, stopped(EndOfStream, "the stream ends")
	}
	b := p.page[p.off:min(len(p.page), p.off+n)]
	p.off += len(b)
	return b, nil
}

// skipTo reads on to the first page of the segment behind addr, whatever the pages between hold.
func (p *pages) skipTo(segment LSN) error {
	left := int64(segment-p.addr) - int64(len(p.whole))
	if len(p.page) < len(p.whole) {
		return stopped(EndOfStream, "the stream ends")
	}
	if n, err := io.CopyN(io.Discard, p.src, left); err == io.EOF { //nolint:errorlint // CopyN returns it bare
		return stopped(EndOfStream, "the stream ends")
	} else if err != nil {
		return fmt.Errorf("read WAL behind %s: %w", p.addr+LSN(n), err)
	}
	p.addr = segment
	return p.load(0)
}
