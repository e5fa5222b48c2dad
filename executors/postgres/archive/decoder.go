package archive

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// decoder reads the archive's primitive types. The first error stays and makes every later read return zero values.
type decoder struct {
	r       *bufio.Reader
	version int // major<<8 | minor
	intSize int
	offSize int
	err     error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *decoder) byte() byte {
	if d.err != nil {
		return 0
	}
	b, err := d.r.ReadByte()
	if err != nil {
		d.fail(unexpected(err))
	}
	return b
}

// bytes reads n bytes; the buffer grows with what really arrives, not with what was claimed.
func (d *decoder) bytes(n int) []byte {
	if d.err != nil {
		return nil
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, d.r, int64(n)); err != nil {
		d.fail(unexpected(err))
		return nil
	}
	return b.Bytes()
}

// int reads a sign byte and intSize bytes, least significant first.
func (d *decoder) int() int {
	negative := d.byte() != 0
	var v uint64
	for i := range d.intSize {
		v |= uint64(d.byte()) << (8 * i)
	}
	if v > 1<<40 {
		d.fail(fmt.Errorf("number %d is out of range", v))
		return 0
	}
	if negative {
		return -int(v)
	}
	return int(v)
}

// nullable reads a string; a negative length stands for NULL.
func (d *decoder) nullable() (string, bool) {
	n := d.int()
	if d.err != nil || n < 0 {
		return "", false
	}
	if n > maxString {
		d.fail(fmt.Errorf("text of %d bytes is out of range", n))
		return "", false
	}
	return string(d.bytes(n)), d.err == nil
}

func (d *decoder) string() string {
	s, _ := d.nullable()
	return s
}

func (d *decoder) skipString() { d.string() }

// deps reads decimal ids up to a NULL.
func (d *decoder) deps() []int {
	var ids []int
	for {
		s, ok := d.nullable()
		if !ok {
			return ids
		}
		id, err := strconv.Atoi(s)
		if err != nil {
			d.fail(fmt.Errorf("dependency %q is not a number", s))
			return ids
		}
		ids = append(ids, id)
	}
}

func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // bufio and CopyN return it bare
		return io.ErrUnexpectedEOF
	}
	return err
}
