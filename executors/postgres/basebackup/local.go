package basebackup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/manifest"
	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// Session is the connection on which a server knows that its files are being read. When it ends, so does the backup.
type Session interface {
	// Start returns when the checkpoint is done, with where recovery will begin.
	Start(ctx context.Context) (wal.LSN, error)
	// Alive fails when the connection has ended.
	Alive(ctx context.Context) error
	// Now is the server's clock.
	Now(ctx context.Context) (time.Time, error)
	// Stop ends the backup. All WAL up to its end is in pg_wal when it returns.
	Stop(ctx context.Context) (Stopped, error)
}

// Stopped is what a server says when a backup ends. The label is nowhere else.
type Stopped struct {
	End             wal.LSN
	Label, SpaceMap []byte
}

// LocalRequest says how the files of a running server are read on its own host.
type LocalRequest struct {
	Dir     Directory
	Session Session
	Version string
	Pace    func(ctx context.Context, n int) error // is asked after n bytes were read, from any goroutine; nil: nobody is spared
	Run     time.Time                              // when the server was started: files are recognised within one run only
	Quiet   time.Duration                          // for how long a file must have been left alone before the backup began to be recognised later; 0 means DefaultQuiet
}

// aliveEvery is how often the connection is looked at while files are handed over.
const aliveEvery = 10 * time.Second

// ReadLocal makes a base backup by reading a running server's data directory, in the same form as Make. The sink reads as many
// files at a time as it likes. WAL must be held back, by a replication slot, until it returns.
func ReadLocal(ctx context.Context, req LocalRequest, sink executors.Sink) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &local{ctx: ctx, req: req, sink: sink, spaces: map[uint32]bool{}}
	if err := l.run(); err != nil {
		return Result{}, fmt.Errorf("make a base backup of %s: %w", req.Dir.Path, err)
	}
	return l.result, nil
}

// local is one run of ReadLocal.
type local struct {
	ctx    context.Context
	req    LocalRequest
	sink   executors.Sink
	start  wal.LSN
	trust  trust
	spaces map[uint32]bool // tablespaces of which something was read
	looked time.Time       // when the connection was last found to be there

	mu     sync.Mutex // what readers write
	files  []*localFile
	result Result
}

func (l *local) run() error {
	control := l.req.Dir.Control
	l.result.Document = Document{
		Format: documentFormat, FormatVersion: formatVersion, Version: l.req.Version, CarriesWAL: true,
		System: strconv.FormatUint(control.SystemID, 10), SegmentSize: int64(control.SegmentSize),
	}
	// Before the checkpoint: every write that began earlier has ended when it has (docs/decisions/0132).
	l.trust = newTrust(l.req, time.Now())
	var err error
	if l.start, err = l.req.Session.Start(l.ctx); err != nil {
		return err
	}
	l.looked = time.Now()
	if err := l.tree(); err != nil {
		return err
	}
	if err := l.settle(); err != nil {
		return err
	}
	return l.finish()
}

// settle waits for the readers, and hands over once more, to be read in any case, what was found damaged although a later
// backup might have recognised it: a damaged page must be told of every backup that holds it.
func (l *local) settle() error {
	if err := l.sink.Flush(l.ctx); err != nil {
		return err
	}
	var again []*localFile
	for _, f := range l.files {
		if f.state == fileAgain {
			again = append(again, f)
		}
	}
	for _, f := range again {
		f.state, f.print = fileUnread, nil
		if err := l.hand(f); err != nil {
			return err
		}
	}
	if len(again) == 0 {
		return nil
	}
	return l.sink.Flush(l.ctx)
}

// finish ends the backup on the server and adds what is known only then.
func (l *local) finish() error {
	control, content, err := readControl(l.ctx, l.req.Dir.Path)
	if err != nil {
		return err
	}
	doc := &l.result.Document
	if doc.Time, err = l.req.Session.Now(l.ctx); err != nil { // what was committed by now is before the end
		return err
	}
	stopped, err := l.req.Session.Stop(l.ctx)
	if err != nil {
		return err
	}
	label, err := l.check(stopped, control)
	if err != nil {
		return err
	}
	doc.Start, doc.End, doc.Timeline = label.Start.String(), stopped.End.String(), uint32(label.Timeline)
	for _, n := range []struct {
		name    string
		content []byte
	}{{labelFile, stopped.Label}, {spaceMapFile, stopped.SpaceMap}, {controlFile, content}} {
		if len(n.content) > 0 {
			if err := l.note(n.name, n.content); err != nil {
				return err
			}
		}
	}
	if err := l.wal(label, stopped.End); err != nil {
		return err
	}
	if err := l.sink.Flush(l.ctx); err != nil { // before the slot goes
		return err
	}
	return l.describe(label, stopped.End)
}

// check compares what the server said at the end with what was read.
func (l *local) check(stopped Stopped, control pgdata.Control) (pgdata.Label, error) {
	label, err := pgdata.ParseLabel(stopped.Label)
	if err != nil {
		return label, fmt.Errorf("the server ended the backup with a label that cannot be used: %w", err)
	}
	spaces, err := pgdata.ParseTablespaceMap(stopped.SpaceMap)
	if err != nil {
		return label, fmt.Errorf("the server ended the backup with a tablespace map that cannot be used: %w", err)
	}
	known := map[uint32]bool{}
	for _, s := range spaces {
		known[s.OID] = true
		l.result.Document.Tablespaces = append(l.result.Document.Tablespaces, Tablespace{s.OID, s.Path})
	}
	for oid := range l.spaces {
		if !known[oid] {
			return label, fmt.Errorf("tablespace %d was made while the backup began, and the server's map of them does not name it: make the backup again", oid)
		}
	}
	switch {
	case label.Start != l.start:
		return label, fmt.Errorf("the server began this backup at %s and ended one that began at %s: a connection pooler may stand before it; connect without one", l.start, label.Start)
	case control.Timeline != label.Timeline:
		return label, fmt.Errorf("the server was promoted to timeline %d while it was read on timeline %d: make the backup again", control.Timeline, label.Timeline)
	case control.Checkpoint < label.Checkpoint:
		return label, fmt.Errorf("%s tells of the checkpoint at %s, and the backup began with the one at %s: it is not of the server that answered", controlFile, control.Checkpoint, label.Checkpoint)
	case stopped.End < label.Start:
		return label, fmt.Errorf("the backup ends at %s, before it begins at %s", stopped.End, label.Start)
	}
	return label, nil
}

// describe adds the manifest, then the document.
func (l *local) describe(label pgdata.Label, end wal.LSN) error {
	doc := &l.result.Document
	l.report()
	m := &counted{}
	err := l.sink.Add(l.ctx, executors.Entry{Path: manifestPath, Type: executors.TypeStream, ModTime: doc.Time}, executors.Content{Open: func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		m.n = 0
		go func() { w.CloseWithError(l.manifest(io.MultiWriter(w, m), label, end)) }()
		return r, nil
	}})
	if err := errors.Join(err, l.sink.Flush(l.ctx)); err != nil {
		return fmt.Errorf("store the manifest: %w", err)
	}
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	l.result.Items += 2
	l.result.Bytes += m.n + int64(len(data)) + 1
	if err := addBytes(l.ctx, l.sink, documentPath, doc.Time, append(data, '\n')); err != nil {
		return err
	}
	return l.sink.Flush(l.ctx)
}

// counted counts what is written.
type counted struct{ n int64 }

func (c *counted) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// manifest writes PostgreSQL's list of the files. Those that were recognised stand there without a checksum, since nobody has
// read them: what holds them together is that the store checks every byte against its chunk's id.
func (l *local) manifest(to io.Writer, label pgdata.Label, end wal.LSN) error {
	w := manifest.NewWriter(to, l.req.Dir.Control.Major(), l.req.Dir.Control.SystemID)
	for _, f := range l.files {
		if f.state == fileGone {
			continue
		}
		m := manifest.File{Path: f.name, Size: f.size, Modified: f.modified, Algorithm: manifest.None}
		if f.state == fileRead {
			m.Algorithm, m.Checksum = manifest.CRC32C, manifest.FromCRC(f.crc)
		}
		if err := w.Add(m); err != nil {
			return err
		}
	}
	return w.Finish([]manifest.WALRange{{Timeline: label.Timeline, Start: label.Start, End: end}})
}

// note adds a small file that is not read from the disk now.
func (l *local) note(name string, content []byte) error {
	f := &localFile{l: l, name: name, held: content, size: int64(len(content)), mode: 0o600, modified: l.result.Document.Time}
	l.files = append(l.files, f)
	return l.hand(f)
}

// disk is where a file of the data directory is.
func (l *local) disk(name string) string {
	return filepath.Join(l.req.Dir.Path, filepath.FromSlash(name))
}

// alive looks at the connection now and then: when the server ends, the rest of the files need not be read.
func (l *local) alive() error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	if time.Since(l.looked) < aliveEvery {
		return nil
	}
	l.looked = time.Now()
	return l.req.Session.Alive(l.ctx)
}
