package manifest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
)

// ManifestFormat names the document and its version.
const (
	ManifestFormat  = "holdfast-manifest"
	ManifestVersion = 1
)

// Where a manifest's entry lines are.
const (
	EntriesInline = "inline" // they follow the header
	EntriesChunks = "chunks" // lines of chunk references follow; the chunks together are the entry lines
)

// Header opens a manifest: whose it is and what the commit said of it.
type Header struct {
	Format        string `json:"format"`
	FormatVersion int    `json:"format_version"`
	Repository    string `json:"repository"`
	Address       string `json:"address"`
	Point         string `json:"point"`
	Entries       string `json:"entries"` // EntriesInline or EntriesChunks
	Items         int64  `json:"items"`
	Size          int64  `json:"size"` // plain bytes of all entries
	Info
}

// Line is one line after the header: an entry with its first references, or, when Entry is nil, further references that
// belong to the entry before it (or to the entry list, in a manifest that keeps it in chunks).
type Line struct {
	Entry *Entry
	Refs  []Ref
}

const (
	// refsPerLine keeps lines short however long an entry's content is.
	refsPerLine = 4096
	maxLine     = 8 << 20
)

type lineJSON struct {
	*Entry
	Chunks refs `json:"chunks,omitempty"`
}

// refs are written as "<hex id>:<bytes>" strings: long, but a person can follow them.
type refs []Ref

func (r refs) MarshalJSON() ([]byte, error) {
	out := make([]byte, 0, 2+len(r)*76)
	out = append(out, '[')
	for i, ref := range r {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '"')
		out = append(out, ref.ID.String()...)
		out = append(out, ':')
		out = strconv.AppendUint(out, uint64(ref.Size), 10)
		out = append(out, '"')
	}
	return append(out, ']'), nil
}

func (r *refs) UnmarshalJSON(data []byte) error {
	var texts []string
	if err := json.Unmarshal(data, &texts); err != nil {
		return err
	}
	*r = nil
	for _, text := range texts {
		if len(text) < 66 || text[64] != ':' {
			return fmt.Errorf("chunk reference %.80q is not ID:SIZE", text)
		}
		id, err := chunk.ParseID(text[:64])
		if err != nil {
			return err
		}
		size, err := strconv.ParseUint(text[65:], 10, 32)
		if err != nil || size > chunk.MaxChunk {
			return fmt.Errorf("chunk reference %.80q claims an impossible size", text)
		}
		*r = append(*r, Ref{id, uint32(size)})
	}
	return nil
}

// AppendHeader appends the header line.
func AppendHeader(dst []byte, h Header) ([]byte, error) {
	h.Format, h.FormatVersion = ManifestFormat, ManifestVersion
	return appendJSON(dst, h)
}

// AppendEntry appends an entry's line and as many lines of references as its content takes.
func AppendEntry(dst []byte, e Entry, content []Ref) ([]byte, error) {
	n := min(len(content), refsPerLine)
	dst, err := appendJSON(dst, lineJSON{&e, content[:n]})
	if err != nil {
		return nil, fmt.Errorf("encode entry %q: %w", e.Path, err)
	}
	return AppendRefs(dst, content[n:])
}

// AppendRefs appends lines of references.
func AppendRefs(dst []byte, content []Ref) ([]byte, error) {
	for len(content) > 0 {
		n := min(len(content), refsPerLine)
		var err error
		if dst, err = appendJSON(dst, lineJSON{nil, content[:n]}); err != nil {
			return nil, fmt.Errorf("encode chunk references: %w", err)
		}
		content = content[n:]
	}
	return dst, nil
}

func appendJSON(dst []byte, v any) ([]byte, error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(line) >= maxLine {
		return nil, fmt.Errorf("a line of %d bytes is longer than any reader takes", len(line))
	}
	return append(append(dst, line...), '\n'), nil
}

// Decoder reads lines. Not safe for concurrent use.
type Decoder struct{ s *bufio.Scanner }

// NewDecoder reads from r.
func NewDecoder(r io.Reader) *Decoder {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), maxLine)
	return &Decoder{s}
}

// Header reads the first line.
func (d *Decoder) Header() (Header, error) {
	line, err := d.line()
	if errors.Is(err, io.EOF) {
		return Header{}, errors.New("manifest is empty")
	}
	if err != nil {
		return Header{}, err
	}
	var h Header
	if err := json.Unmarshal(line, &h); err != nil {
		return Header{}, fmt.Errorf("parse manifest header: %w", err)
	}
	if err := checkFormat(h.Format, h.FormatVersion, ManifestFormat, ManifestVersion); err != nil {
		return Header{}, err
	}
	if h.Entries != EntriesInline && h.Entries != EntriesChunks {
		return Header{}, fmt.Errorf("manifest keeps its entries in %q, which is not known", h.Entries)
	}
	return h, nil
}

// Next reads the next line; io.EOF after the last.
func (d *Decoder) Next() (Line, error) {
	raw, err := d.line()
	if err != nil {
		return Line{}, err
	}
	var l lineJSON
	if err := json.Unmarshal(raw, &l); err != nil {
		return Line{}, fmt.Errorf("parse manifest line: %w", err)
	}
	if l.Entry != nil && (l.Path == "" || l.Type == "") {
		return Line{}, errors.New("parse manifest line: entry without path or type")
	}
	if l.Entry == nil && len(l.Chunks) == 0 {
		return Line{}, errors.New("parse manifest line: neither an entry nor references")
	}
	return Line{l.Entry, l.Chunks}, nil
}

func (d *Decoder) line() ([]byte, error) {
	if d.s.Scan() {
		return d.s.Bytes(), nil
	}
	if err := d.s.Err(); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return nil, io.EOF
}
