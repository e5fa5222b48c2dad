// Package basebackup makes restore points of a PostgreSQL server's data directory, and data directories of restore points.
//
// It reads what the server sends over the replication protocol and writes what a server can be started on. It starts no
// server, looks for no WAL outside of the restore point, and knows nothing of stores and policies.
//
// Invariants: a base backup counts only when the server's last word was good; what it holds is what the server's own manifest
// lists, byte by byte; a data directory is complete before its pg_control is there, so that no server starts on a half one.
package basebackup

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// The items of a restore point: the files of the data directory below dataDir, with those of tablespaces in pg_tblspc/OID;
// then the server's manifest as it came; then the document. docs/format/postgres-physical.md tells the format.
const (
	dataDir      = "data"
	manifestPath = "backup_manifest"
	documentPath = "physical.json"

	documentFormat = "holdfast-postgres-physical"
	formatVersion  = 1

	controlFile  = "global/pg_control"
	labelFile    = "backup_label"
	spaceMapFile = "tablespace_map"
	spacesDir    = "pg_tblspc"
)

// WALPrefix begins the paths of the items that are WAL which the base backup carries.
const WALPrefix = dataDir + "/pg_wal/"

// Document is physical.json: what the files alone do not tell.
type Document struct {
	Format        string       `json:"format"`
	FormatVersion int          `json:"format_version"`
	Version       string       `json:"postgres_version"`
	System        string       `json:"system_identifier"`
	Timeline      uint32       `json:"timeline"`
	Start         string       `json:"start_lsn"` // recovery begins here
	End           string       `json:"end_lsn"`   // the data is consistent from here on
	Time          time.Time    `json:"time"`      // everything committed before is there when End is reached
	SegmentSize   int64        `json:"wal_segment_size"`
	CarriesWAL    bool         `json:"carries_wal"` // from Start to End, in data/pg_wal
	Standby       bool         `json:"standby,omitempty"`
	Tablespaces   []Tablespace `json:"tablespaces,omitempty"`
	Damaged       []string     `json:"damaged,omitempty"` // what the server said of pages whose checksum is wrong
}

// Tablespace is a folder outside of the data directory.
type Tablespace struct {
	OID      uint32 `json:"oid"`
	Location string `json:"location"` // on the server that was backed up
}

// Positions returns Start and End.
func (d *Document) Positions() (start, end wal.LSN, err error) {
	if start, err = wal.ParseLSN(d.Start); err != nil {
		return 0, 0, err
	}
	end, err = wal.ParseLSN(d.End)
	return start, end, err
}

// ReadDocument reads a restore point's document.
func ReadDocument(ctx context.Context, from executors.Supply) (*Document, error) {
	d := &Document{}
	err := readOne(ctx, from, documentPath, func(r io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(r, maxDocument))
		if err != nil {
			return err
		}
		return json.Unmarshal(data, d)
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", documentPath, err)
	}
	if d.Format != documentFormat || d.FormatVersion != formatVersion {
		return nil, fmt.Errorf("read %s: its format is %q, version %d; this version of holdfast reads %s, version %d", documentPath, d.Format, d.FormatVersion, documentFormat, formatVersion)
	}
	if _, _, err := d.Positions(); err != nil {
		return nil, fmt.Errorf("read %s: %w", documentPath, err)
	}
	return d, nil
}

// maxDocument bounds a document that is read; one with a thousand tablespaces has a few hundred kilobytes.
const maxDocument = 16 << 20

// readOne reads one entry; its absence is an error.
func readOne(ctx context.Context, from executors.Supply, name string, each func(io.Reader) error) error {
	found := false
	err := from.Read(ctx, func(e executors.Entry) bool { return e.Path == name }, func(_ executors.Entry, r io.Reader) error {
		found = true
		return each(r)
	})
	if err == nil && !found {
		err = fmt.Errorf("the restore point holds no %s: it was not made of a PostgreSQL data directory", name)
	}
	return err
}

// addBytes puts a small item into the point.
func addBytes(ctx context.Context, sink executors.Sink, name string, at time.Time, data []byte) error {
	return sink.Add(ctx, executors.Entry{Path: name, Type: executors.TypeStream, ModTime: at}, executors.Content{
		Open:     func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		SizeHint: int64(len(data)),
	})
}

// inData is an item's path within the data directory; ok is false for items that are not in it.
func inData(item string) (string, bool) { return strings.CutPrefix(item, dataDir+"/") }

// spaceOf tells which tablespace a path within the data directory belongs to, and what it is within that; 0 is the directory
// itself.
func spaceOf(name string) (oid, rest string) {
	within, ok := strings.CutPrefix(name, spacesDir+"/")
	if !ok {
		return "", name
	}
	oid, rest, _ = strings.Cut(within, "/")
	return oid, path.Clean("./" + rest)
}
