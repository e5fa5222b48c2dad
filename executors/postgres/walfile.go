package postgres

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// WALFile is a file of a server's pg_wal that is to be archived.
type WALFile struct {
	*os.File
	System string
	Name   string
	Size   int64
}

// OpenWALFile opens what archive_command was given, and proves that it is what its name says: a segment by the header of its first
// page, everything by belonging to the cluster whose pg_control is beside it.
func OpenWALFile(path string) (_ *WALFile, err error) {
	name := wal.ParseName(filepath.Base(path))
	if name.Kind == wal.KindUnknown {
		return nil, fmt.Errorf("%q is no file of write-ahead log", filepath.Base(path))
	}
	control, err := controlBeside(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if name.Kind == wal.KindSegment || name.Kind == wal.KindPartial {
		if err := checkSegment(f, info.Size(), name, control); err != nil {
			return nil, err
		}
	}
	return &WALFile{File: f, System: strconv.FormatUint(control.SystemID, 10), Name: filepath.Base(path), Size: info.Size()}, nil
}

func checkSegment(f *os.File, size int64, name wal.Name, c pgdata.Control) error {
	if size != int64(c.SegmentSize) {
		return fmt.Errorf("it has %d bytes, and segments of this cluster have %d", size, c.SegmentSize)
	}
	first := make([]byte, wal.HeaderSize)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, size), first); err != nil {
		return err
	}
	h, err := wal.ReadHeader(first)
	if err != nil {
		return err
	}
	s, err := name.Segment(c.SegmentSize)
	if err != nil {
		return err
	}
	return h.Check(s, wal.Cluster{SystemID: c.SystemID, Major: c.Major(), SegmentSize: c.SegmentSize})
}

// ClusterOf tells the system identifier and the size of segments of the cluster that a file of pg_wal belongs to, by the
// cluster's pg_control.
func ClusterOf(path string) (system string, segmentSize int64, err error) {
	c, err := controlBeside(path)
	if err != nil {
		return "", 0, err
	}
	return strconv.FormatUint(c.SystemID, 10), int64(c.SegmentSize), nil
}

// controlBeside reads the pg_control of the data directory in whose pg_wal a path is. A server runs its commands in that
// directory, with paths relative to it; pg_wal may be a link to elsewhere.
func controlBeside(path string) (pgdata.Control, error) {
	var firstErr error
	for _, dir := range []string{filepath.Join(filepath.Dir(path), ".."), "."} {
		text, err := os.ReadFile(filepath.Join(dir, pgdata.ControlPath))
		if err == nil {
			return pgdata.ParseControl(text)
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	return pgdata.Control{}, fmt.Errorf("which cluster %s belongs to is not known, since no %s is above it: %w", path, pgdata.ControlPath, firstErr)
}
