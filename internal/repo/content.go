package repo

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// lineReader reads a point's entry lines, wherever they are.
type lineReader struct {
	name    string // of the manifest object
	decoder *manifest.Decoder
}

// lines opens the entry list. done ends what was begun for it.
func (rd *Reader) lines(ctx context.Context) (lines *lineReader, done func()) {
	lines = &lineReader{name: rd.name}
	if rd.header.Entries == manifest.EntriesInline {
		lines.decoder = manifest.NewDecoder(bytes.NewReader(rd.body))
		return lines, func() {}
	}
	list := &lineReader{name: rd.name, decoder: manifest.NewDecoder(bytes.NewReader(rd.body))}
	var queue []manifest.Ref
	st := rd.src.stream(ctx, func() (*manifest.Entry, manifest.Ref, error) {
		for len(queue) == 0 {
			l, err := list.next()
			if err != nil {
				return nil, manifest.Ref{}, err
			}
			if l.Entry != nil {
				return nil, manifest.Ref{}, damaged(rd.name, "it has an entry where references to the entry list are expected")
			}
			queue = l.Refs
		}
		ref := queue[0]
		queue = queue[1:]
		return nil, ref, nil
	})
	lines.decoder = manifest.NewDecoder(&chunks{ctx: ctx, st: st})
	return lines, st.close
}

func (l *lineReader) next() (manifest.Line, error) {
	line, err := l.decoder.Next()
	var reading readError
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return line, err
	case errors.As(err, &reading):
		return line, reading.error
	default:
		return line, damaged(l.name, "%v", err)
	}
}

// readError marks failures below a decoder, which say themselves what is wrong with which object.
type readError struct{ error }

// cursor walks a stream entry by entry.
type cursor struct {
	ctx    context.Context
	st     *stream
	peeked *event
}

// entry skips what is left of the current entry and returns the next one.
func (c *cursor) entry() (*manifest.Entry, error) {
	for {
		ev, err := c.event()
		if err != nil {
			return nil, err
		}
		if ev.entry != nil {
			return ev.entry, nil
		}
		if ev.data != nil {
			giveBuffer(ev.data)
		}
	}
}

func (c *cursor) event() (*event, error) {
	if ev := c.peeked; ev != nil {
		c.peeked = nil
		return ev, nil
	}
	return c.st.next(c.ctx)
}

// piece returns the next piece of the current entry; io.EOF after its last.
func (c *cursor) piece() ([]byte, error) {
	ev, err := c.event()
	if err != nil {
		return nil, err
	}
	if ev.entry != nil {
		c.peeked = ev
		return nil, io.EOF
	}
	return ev.data, ev.err
}

// content is the reader of one entry.
type content struct {
	c     *cursor
	entry *manifest.Entry
	held  []byte
	rest  []byte
	end   bool
	err   error
}

// Read implements io.Reader.
func (r *content) Read(p []byte) (int, error) {
	if err := r.more(); err != nil {
		return 0, err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: whole chunks are handed over without another copy.
func (r *content) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		err := r.more()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(r.rest)
		total += int64(n)
		r.rest = r.rest[n:]
		if err != nil {
			return total, err
		}
	}
}

// more makes sure that rest holds something.
func (r *content) more() error {
	for len(r.rest) == 0 {
		if r.err != nil {
			return r.err
		}
		if r.end {
			return io.EOF
		}
		if r.held != nil {
			giveBuffer(r.held)
			r.held = nil
		}
		data, err := r.c.piece()
		if errors.Is(err, io.EOF) {
			r.end = true
			return io.EOF
		}
		if err != nil {
			r.err = err
			return err
		}
		r.held, r.rest = data, data
	}
	return nil
}
