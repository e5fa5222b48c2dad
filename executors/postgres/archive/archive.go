// Package archive reads the head of a pg_dump custom-format archive: what it holds, who owns it, what depends on what.
//
// It does not read table data, restores nothing and runs nothing; pg_restore does. It is pure: bytes in, values out. Every
// length comes from outside, so nothing is allocated by a claimed length and hostile input ends in an error, never a panic.
package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// Head is the archive's header and table of contents.
type Head struct {
	Database      string // the database the dump was made of
	ServerVersion string // of that database's server, such as "15.18 (Debian 15.18-0+deb12u1)"
	DumpVersion   string // of the pg_dump that wrote the archive
	Entries       []Entry
}

// Entry is one object of the archive, in the order in which pg_restore would make them.
type Entry struct {
	ID         int
	Desc       string // kind, such as "TABLE", "TABLE DATA", "FK CONSTRAINT"
	Tag        string // name without its schema; for attached objects the table's and the object's names
	Namespace  string // schema; empty for objects outside schemas
	Owner      string
	Tablespace string
	Defn       string // SQL that makes it
	Deps       []int  // IDs it depends on; some are not in the archive
	HasData    bool
}

// Archive versions this package can read: 1.12 (PostgreSQL 9.0) to 1.16 (PostgreSQL 17 and 18).
const (
	minVersion         = 1<<8 | 12
	maxVersion         = 1<<8 | 16
	versionTableAM     = 1<<8 | 14
	versionCompressAlg = 1<<8 | 15
	versionRelkind     = 1<<8 | 16

	formatCustom = 1
	maxString    = 1 << 30 // PostgreSQL's own limit for one value
	maxEntries   = 1 << 26
)

// ErrNotArchive says that the bytes do not begin like a custom-format archive.
var ErrNotArchive = errors.New("not a pg_dump archive in custom format")

// ReadHead reads the head of an archive. It reads r in large pieces and so beyond the head.
func ReadHead(r io.Reader) (Head, error) {
	d := &decoder{r: bufio.NewReaderSize(r, 1<<16)}
	head := d.head()
	if d.err != nil {
		if errors.Is(d.err, ErrNotArchive) {
			return Head{}, d.err
		}
		return Head{}, fmt.Errorf("read table of contents of dump: %w", d.err)
	}
	return head, nil
}

func (d *decoder) head() Head {
	if magic := d.bytes(5); errors.Is(d.err, io.ErrUnexpectedEOF) || d.err == nil && string(magic) != "PGDMP" {
		d.err = ErrNotArchive // even if it is only too short
	}
	major, minor := int(d.byte()), int(d.byte())
	d.byte() // revision, without meaning for the layout
	d.version = major<<8 | minor
	if d.err == nil && (d.version < minVersion || d.version > maxVersion) {
		d.fail(fmt.Errorf("archive version %d.%d is not one of 1.12 to 1.16", major, minor))
	}
	d.intSize, d.offSize = int(d.byte()), int(d.byte())
	if d.err == nil && (d.intSize < 1 || d.intSize > 8 || d.offSize < 1 || d.offSize > 8) {
		d.fail(fmt.Errorf("integer sizes %d and %d are out of range", d.intSize, d.offSize))
	}
	if format := d.byte(); d.err == nil && format != formatCustom {
		d.fail(ErrNotArchive)
	}
	if d.version >= versionCompressAlg {
		d.byte()
	} else {
		d.int()
	}
	for range 7 { // the time of the dump, in the client's zone: of no use without knowing the zone
		d.int()
	}
	h := Head{Database: d.string(), ServerVersion: d.string(), DumpVersion: d.string()}
	n := d.int()
	if d.err == nil && (n < 0 || n > maxEntries) {
		d.fail(fmt.Errorf("%d entries are out of range", n))
	}
	for i := 0; i < n && d.err == nil; i++ {
		h.Entries = append(h.Entries, d.entry())
	}
	return h
}

func (d *decoder) entry() Entry {
	e := Entry{ID: d.int(), HasData: d.int() != 0}
	d.skipString() // OID of the catalog table
	d.skipString() // OID of the object
	e.Tag, e.Desc = d.string(), d.string()
	d.int() // section
	e.Defn = d.string()
	d.skipString() // DROP statement
	d.skipString() // COPY statement
	e.Namespace, e.Tablespace = d.string(), d.string()
	if d.version >= versionTableAM {
		d.skipString()
	}
	if d.version >= versionRelkind {
		d.int()
	}
	e.Owner = d.string()
	d.skipString() // WITH OIDS
	e.Deps = d.deps()
	d.bytes(1 + d.offSize) // where the data is, unknown in a streamed archive
	return e
}
