package statefile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-io/holdfast/state"
)

// AppendPoints appends the plain bytes of a points segment: the restore points of the given addresses, in that order.
func AppendPoints(dst []byte, addresses []string, points map[string][]state.RestorePoint) ([]byte, error) {
	e := encoder{buf: append(dst, `{"format_version":1,"kind":"points","backups":[`...)}
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
	e.raw(`,"copies":[`)
	for i := range p.Copies {
		e.comma(i)
		e.copy(&p.Copies[i])
	}
	e.raw("]}")
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
	e.raw("}")
}

// DecodePoints reads a points segment and hands each backup's points to add; name is the object's, for errors. The
// slices are the caller's; appending to one never touches another.
func DecodePoints(name string, plain []byte, add func(address string, points []state.RestorePoint)) error {
	d := decoder{scanner: scanner{data: plain}}
	if err := d.segment(name, "points", "backups", func() { d.backup(add) }); err != nil {
		return err
	}
	return nil
}

// decoder builds points. It collects the elements of one list in a scratch and then copies them to their place, so that
// a million points are a few thousand allocations of the exact size.
type decoder struct {
	scanner
	points      []state.RestorePoint
	copies      []state.Copy
	proofs      []state.Proof
	copiesBlock []state.Copy
	proofsBlock []state.Proof
}

// segment reads the outer object, calling element for each of the list.
func (d *decoder) segment(name, kind, list string, element func()) error {
	d.expect('{')
	for i := 0; d.next(i, '}'); i++ {
		switch key := string(d.key()); key {
		case "format_version":
			if v := d.int(); d.err == nil {
				if err := checkVersion(name, v); err != nil {
					return err
				}
			}
		case "kind":
			if got := string(d.bytes()); got != kind {
				d.fail("expected a segment of " + kind)
			}
		case list:
			if i != 2 {
				d.fail("expected format_version and kind first")
			}
			d.expect('[')
			for j := 0; d.next(j, ']'); j++ {
				element()
			}
		default:
			d.fail("unknown field " + strconv.Quote(key))
		}
	}
	if err := d.end(); err != nil {
		return corrupt(name, "%w", err)
	}
	return nil
}

func (d *decoder) unknown(key []byte) { d.fail("unknown field " + strconv.Quote(string(key))) }

func (d *decoder) backup(add func(string, []state.RestorePoint)) {
	address := ""
	d.points = d.points[:0]
	d.expect('{')
	for i := 0; d.next(i, '}'); i++ {
		switch key := d.key(); string(key) {
		case "address":
			address = d.unique()
		case "points":
			d.expect('[')
			for j := 0; d.next(j, ']'); j++ {
				d.points = append(d.points, d.point())
			}
		default:
			d.unknown(key)
		}
	}
	if d.err == nil {
		add(address, slices.Clone(d.points))
	}
}

func (d *decoder) point() (p state.RestorePoint) {
	d.expect('{')
	for i := 0; d.next(i, '}'); i++ {
		switch key := d.key(); string(key) {
		case "id":
			p.ID = d.unique()
		case "time":
			p.Time = d.time()
		case "slot":
			p.Slot = d.time()
		case "finished":
			p.Finished = d.time()
		case "run":
			p.Run = d.shared()
		case "source":
			p.Source = d.shared()
		case "method":
			p.Method = d.shared()
		case "incomplete":
			p.Incomplete = d.bool()
		case "size":
			p.Size = d.int()
		case "items":
			p.Items = d.int()
		case "version":
			p.Version = d.shared()
		case "position":
			p.Position = d.unique()
		case "copies":
			d.copies = d.copies[:0]
			d.expect('[')
			for j := 0; d.next(j, ']'); j++ {
				d.copies = append(d.copies, d.copy())
			}
			p.Copies, d.copiesBlock = place(d.copies, d.copiesBlock)
		default:
			d.unknown(key)
		}
	}
	return p
}

func (d *decoder) copy() (c state.Copy) {
	d.expect('{')
	for i := 0; d.next(i, '}'); i++ {
		switch key := d.key(); string(key) {
		case "store":
			c.Store = d.shared()
		case "repository":
			c.Repository = d.shared()
		case "manifest":
			c.Manifest = d.unique()
		case "summary":
			c.Summary = d.unique()
		case "stored":
			c.Stored = d.int()
		case "proofs":
			d.proofs = d.proofs[:0]
			d.expect('[')
			for j := 0; d.next(j, ']'); j++ {
				d.proofs = append(d.proofs, d.proof())
			}
			c.Proofs, d.proofsBlock = place(d.proofs, d.proofsBlock)
		default:
			d.unknown(key)
		}
	}
	return c
}

func (d *decoder) proof() (p state.Proof) {
	d.expect('{')
	for i := 0; d.next(i, '}'); i++ {
		switch key := d.key(); string(key) {
		case "level":
			p.Level = d.shared()
		case "at":
			p.At = d.time()
		case "ok":
			p.OK = d.bool()
		case "run":
			p.Run = d.shared()
		case "error":
			p.Error = d.unique()
		default:
			d.unknown(key)
		}
	}
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

// validRaw tells whether attributes can be written as they are.
func validRaw(raw json.RawMessage) bool { return len(raw) == 0 || json.Valid(raw) }
