package qdrantserver

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// tarWriter writes tar archives as Qdrant's own library does: GNU headers, files with holes as old-GNU sparse members.
// archive/tar reads such members but cannot write them.
type tarWriter struct {
	w   io.Writer
	err error
}

const tarBlock = 512

// file adds a member, with holes if it has any.
func (t *tarWriter) file(name string, f *file) {
	list := f.extents(hole(name))
	if f.size == 0 || len(list) == 1 && list[0].at == 0 && list[0].size == f.size {
		t.put(t.header(name, 0o100644, f.mtime, f.size, '0'))
		t.body(f.size, func(w io.Writer) error { return writeDense(w, f, 0, f.size) })
		return
	}
	t.sparse(name, f, list)
}

// bytes adds a member that never was a file: its type is the old NUL and its time the beginning of time.
func (t *tarWriter) bytes(name string, data []byte) {
	t.put(t.header(name, 0o644, time.Unix(0, 0), int64(len(data)), 0))
	t.body(int64(len(data)), func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// folder adds an entry for a folder.
func (t *tarWriter) folder(name string) { t.put(t.header(name+"/", 0o40755, now(), 0, '5')) }

func writeDense(w io.Writer, f *file, at, n int64) error {
	b, err := f.readAt(at, n)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

func (t *tarWriter) body(size int64, body func(io.Writer) error) {
	if t.err == nil {
		t.err = body(t.w)
	}
	if pad := -size & (tarBlock - 1); pad > 0 {
		t.put(make([]byte, pad))
	}
}

// sparse writes the map of what is data: four pieces in the header, 21 in each block after it, and at last the end of
// the file, so that a hole there is not lost.
func (t *tarWriter) sparse(name string, f *file, list []extent) {
	var stored int64
	for _, e := range list {
		stored += e.size
	}
	if k := len(list) - 1; k < 0 || list[k].at+list[k].size < f.size {
		list = append(list, extent{f.size, 0})
	}
	h := t.header(name, 0o100644, f.mtime, stored, 'S')
	octal(h[483:495], f.size)
	in := min(4, len(list))
	for i, e := range list[:in] {
		putExtent(h[386+24*i:], e)
	}
	rest := list[in:]
	if len(rest) > 0 {
		h[482] = 1
	}
	t.put(sum(h))
	for len(rest) > 0 {
		block := make([]byte, tarBlock)
		in := min(21, len(rest))
		for i, e := range rest[:in] {
			putExtent(block[24*i:], e)
		}
		if rest = rest[in:]; len(rest) > 0 {
			block[504] = 1
		}
		t.put(block)
	}
	t.body(stored, func(w io.Writer) error {
		for _, e := range list {
			if err := writeDense(w, f, e.at, e.size); err != nil {
				return err
			}
		}
		return nil
	})
}

func putExtent(b []byte, e extent) {
	octal(b[:12], e.at)
	octal(b[12:24], e.size)
}

// octal fills a field with digits, ended by a NUL.
func octal(b []byte, n int64) {
	digits := strconv.FormatInt(n, 8)
	for i := range b[:len(b)-1] {
		b[i] = '0'
	}
	copy(b[len(b)-1-len(digits):], digits)
}

// header makes a header block, preceded by one for the name when that is long.
func (t *tarWriter) header(name string, mode int64, mtime time.Time, size int64, kind byte) []byte {
	if len(name) > 100 {
		t.longName(name)
		name = name[:100]
	}
	h := make([]byte, tarBlock)
	copy(h, name)
	octal(h[100:108], mode)
	octal(h[108:116], int64(os.Getuid()))
	octal(h[116:124], int64(os.Getgid()))
	octal(h[124:136], size)
	octal(h[136:148], mtime.Unix())
	h[156] = kind
	copy(h[257:], "ustar  \x00")
	return sum(h)
}

func (t *tarWriter) longName(name string) {
	h := make([]byte, tarBlock)
	copy(h, "././@LongLink")
	octal(h[100:108], 0o644)
	octal(h[108:116], 0)
	octal(h[116:124], 0)
	octal(h[124:136], int64(len(name))+1)
	octal(h[136:148], 0)
	h[156] = 'L'
	copy(h[257:], "ustar  \x00")
	t.put(sum(h))
	t.body(int64(len(name))+1, func(w io.Writer) error {
		_, err := io.WriteString(w, name+"\x00")
		return err
	})
}

// sum fills the checksum in.
func sum(h []byte) []byte {
	copy(h[148:156], "        ")
	var total int64
	for _, b := range h {
		total += int64(b)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", total))
	return h
}

func (t *tarWriter) put(b []byte) {
	if t.err == nil {
		_, t.err = t.w.Write(b)
	}
}

// finish ends the archive. Nothing but these two blocks says that it is whole.
func (t *tarWriter) finish() error {
	t.put(make([]byte, 2*tarBlock))
	return t.err
}
