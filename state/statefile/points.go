package statefile

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-io/holdfast/state"
)

// AppendPoints appends the plain bytes of a points segment: the restore points of the given addresses, in that order.
func AppendPoints(dst []byte, addresses []string, points map[string][]state.RestorePoint) ([]byte, error) {
	e := encoder{buf: dst}
	e.begin("points", "backups")
	for i, address := range addresses {
		e.comma(i)
		e.raw("\n{")
		e.string(`"address":`, address)
		e.raw(`,"points":[`)
		for i := range points[address] {
			e.comma(i)
			e.raw("\n")
			e.point(&points[address][i])
		}
		e.raw("]}")
	}
	e.raw("]}\n")
	if e.err != nil {
		return nil, fmt.Errorf("encode restore points: %w", e.err)
	}
	return e.buf, nil
}

// encoder appends JSON. Its bytes are canonical: fixed order, zero values of optional fields absent.
type encoder struct {
	buf []byte
	err error
}

// begin opens a segment: its version, its kind, and its list.
func (e *encoder) begin(kind, list string) {
	e.int(`{"format_version":`, FormatVersion)
	e.string(`,"kind":`, kind)
	e.raw(`,"` + list + `":[`)
}

func (e *encoder) raw(s string) { e.buf = append(e.buf, s...) }

func (e *encoder) comma(i int) {
	if i > 0 {
		e.buf = append(e.buf, ',')
	}
}

func (e *encoder) string(key, s string) {
	e.raw(key)
	for i := range len(s) {
		if !plainByte[s[i]] {
			quoted, err := encode(s)
			e.buf, e.err = append(e.buf, quoted...), first(e.err, err)
			return
		}
	}
	e.buf = append(e.buf, '"')
	e.buf = append(e.buf, s...)
	e.buf = append(e.buf, '"')
}

func (e *encoder) optional(key, s string) {
	if s != "" {
		e.string(key, s)
	}
}

func (e *encoder) int(key string, n int64) {
	e.raw(key)
	e.buf = strconv.AppendInt(e.buf, n, 10)
}

func (e *encoder) time(key string, t time.Time) {
	if t = t.UTC(); t.Year() < 0 || t.Year() > 9999 {
		e.err = first(e.err, fmt.Errorf("the year %d cannot be written", t.Year()))
	}
	e.raw(key)
	e.buf = append(e.buf, '"')
	e.buf = t.AppendFormat(e.buf, time.RFC3339Nano)
	e.buf = append(e.buf, '"')
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (e *encoder) point(p *state.RestorePoint) {
	e.string(`{"id":`, p.ID)
	e.time(`,"time":`, p.Time)
	if !p.Slot.IsZero() {
		e.time(`,"slot":`, p.Slot)
	}
	e.time(`,"finished":`, p.Finished)
	e.string(`,"run":`, p.Run)
	e.string(`,"source":`, p.Source)
	e.string(`,"method":`, p.Method)
	if p.Incomplete {
		e.raw(`,"incomplete":true`)
	}
	e.int(`,"size":`, p.Size)
	e.int(`,"items":`, p.Items)
	e.optional(`,"version":`, p.Version)
	e.optional(`,"position":`, p.Position)
	if h := p.Hold; h != nil {
		e.string(`,"hold":{"reason":`, h.Reason)
		e.string(`,"who":`, h.Who)
		e.time(`,"at":`, h.At)
		e.raw("}")
	}
	e.optional(`,"stored_as":`, p.StoredAs)
	if b := p.Base; b != nil {
		e.base(b)
	}
	e.raw(`,"copies":[`)
	for i := range p.Copies {
		e.comma(i)
		e.copy(&p.Copies[i])
	}
	e.raw("]}")
}

func (e *encoder) base(b *state.Base) {
	e.string(`,"base":{"system":`, b.System)
	e.int(`,"timeline":`, int64(b.Timeline))
	e.string(`,"start":`, b.Start.String())
	e.string(`,"end":`, b.End.String())
	if b.Carries {
		e.raw(`,"carries_wal":true`)
	}
	e.raw("}")
}

func (e *encoder) copy(c *state.Copy) {
	e.string(`{"store":`, c.Store)
	e.string(`,"repository":`, c.Repository)
	e.string(`,"manifest":`, c.Manifest)
	e.string(`,"summary":`, c.Summary)
	e.int(`,"stored":`, c.Stored)
	if len(c.Proofs) > 0 {
		e.raw(`,"proofs":[`)
		for i := range c.Proofs {
			e.comma(i)
			e.proof(&c.Proofs[i])
		}
		e.raw("]")
	}
	e.raw("}")
}

func (e *encoder) proof(p *state.Proof) {
	e.string(`{"level":`, p.Level)
	e.time(`,"at":`, p.At)
	e.raw(`,"ok":`)
	e.buf = strconv.AppendBool(e.buf, p.OK)
	e.optional(`,"run":`, p.Run)
	e.optional(`,"error":`, p.Error)
	if p.Final {
		e.raw(`,"final":true`)
	}
	e.raw("}")
}

// DecodePoints reads a points segment and hands each backup's points to add; name is the object's, for errors. The
// slices are the caller's; appending to one never touches another. Only the bytes that AppendPoints would write are read:
// anything else has another hash than the segment's name anyway.
func DecodePoints(name string, plain []byte, add func(address string, points []state.RestorePoint)) error {
	d := decoder{scanner: scanner{data: plain}}
	return d.segment(name, add)
}

// decoder builds points. It collects the elements of one list in a scratch and then copies them to their place, so that
// a million points are a few thousand allocations of the exact size. Its methods mirror the encoder's, field by field.
type decoder struct {
	scanner
	version     int64
	points      []state.RestorePoint
	copies      []state.Copy
	proofs      []state.Proof
	copiesBlock []state.Copy
	proofsBlock []state.Proof
}

func (d *decoder) segment(name string, add func(string, []state.RestorePoint)) error {
	d.must(`{"format_version":`)
	if d.version = d.int(); d.err == nil {
		if err := checkVersion(name, d.version); err != nil {
			return err
		}
	}
	d.must(`,"kind":"points","backups":[`)
	for i := 0; d.next(i); i++ {
		d.backup(add)
	}
	d.must("}\n")
	if err := d.end(); err != nil {
		return corrupt(name, "%w", err)
	}
	return nil
}

func (d *decoder) backup(add func(string, []state.RestorePoint)) {
	d.must("\n{\"address\":")
	address := d.unique()
	d.must(`,"points":[`)
	d.points = d.points[:0]
	for i := 0; d.next(i); i++ {
		d.must("\n")
		d.points = append(d.points, d.point())
	}
	d.must("}")
	if d.err == nil {
		add(address, slices.Clone(d.points))
	}
}

func (d *decoder) point() (p state.RestorePoint) {
	d.must(`{"id":`)
	p.ID = d.unique()
	d.must(`,"time":`)
	p.Time = d.time()
	if d.has(`,"slot":`) {
		p.Slot = d.time()
	}
	d.must(`,"finished":`)
	p.Finished = d.time()
	d.must(`,"run":`)
	p.Run = d.shared()
	d.must(`,"source":`)
	p.Source = d.shared()
	d.must(`,"method":`)
	p.Method = d.shared()
	p.Incomplete = d.has(`,"incomplete":true`)
	d.must(`,"size":`)
	p.Size = d.int()
	d.must(`,"items":`)
	p.Items = d.int()
	if d.has(`,"version":`) {
		p.Version = d.shared()
	}
	if d.has(`,"position":`) {
		p.Position = d.unique()
	}
	if d.has(`,"hold":{"reason":`) {
		p.Hold = &state.Hold{Reason: d.unique()}
		d.must(`,"who":`)
		p.Hold.Who = d.shared()
		d.must(`,"at":`)
		p.Hold.At = d.time()
		d.must("}")
	}
	if d.has(`,"stored_as":`) {
		p.StoredAs = d.shared()
	}
	if d.version >= 2 && d.has(`,"base":{"system":`) {
		p.Base = d.base()
	}
	d.must(`,"copies":[`)
	d.copies = d.copies[:0]
	for i := 0; d.next(i); i++ {
		d.copies = append(d.copies, d.copy())
	}
	p.Copies, d.copiesBlock = place(d.copies, d.copiesBlock)
	d.must("}")
	return p
}

func (d *decoder) base() *state.Base {
	b := &state.Base{System: d.shared()}
	d.must(`,"timeline":`)
	timeline := d.int()
	if b.Timeline = uint32(timeline); int64(b.Timeline) != timeline {
		d.fail("expected the number of a timeline")
	}
	d.must(`,"start":`)
	b.Start = d.lsn()
	d.must(`,"end":`)
	b.End = d.lsn()
	b.Carries = d.has(`,"carries_wal":true`)
	d.must("}")
	return b
}

func (d *decoder) lsn() (l state.LSN) {
	text := d.bytes()
	if d.err == nil {
		if err := l.UnmarshalText(text); err != nil {
			d.fail("expected a position in the WAL")
		}
	}
	return l
}

func (d *decoder) copy() (c state.Copy) {
	d.must(`{"store":`)
	c.Store = d.shared()
	d.must(`,"repository":`)
	c.Repository = d.shared()
	d.must(`,"manifest":`)
	c.Manifest = d.unique()
	d.must(`,"summary":`)
	c.Summary = d.unique()
	d.must(`,"stored":`)
	c.Stored = d.int()
	if d.has(`,"proofs":[`) {
		d.proofs = d.proofs[:0]
		for i := 0; d.next(i); i++ {
			d.proofs = append(d.proofs, d.proof())
		}
		c.Proofs, d.proofsBlock = place(d.proofs, d.proofsBlock)
	}
	d.must("}")
	return c
}

func (d *decoder) proof() (p state.Proof) {
	d.must(`{"level":`)
	p.Level = d.shared()
	d.must(`,"at":`)
	p.At = d.time()
	d.must(`,"ok":`)
	if p.OK = d.has("true"); !p.OK {
		d.must("false")
	}
	if d.has(`,"run":`) {
		p.Run = d.shared()
	}
	if d.has(`,"error":`) {
		p.Error = d.unique()
	}
	p.Final = d.has(`,"final":true`)
	d.must("}")
	return p
}

// maxBlock is how many small elements share one allocation.
const maxBlock = 1024

// place copies list to the end of block, or of a new one when it does not fit. The capacity of the result ends with it.
func place[T any](list, block []T) (placed, rest []T) {
	if len(list) == 0 {
		return nil, block
	}
	if cap(block)-len(block) < len(list) {
		block = make([]T, 0, max(min(2*cap(block), maxBlock), len(list), 8))
	}
	start := len(block)
	block = append(block, list...)
	return block[start:len(block):len(block)], block
}
