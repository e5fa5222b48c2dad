package basebackup

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/replication"
)

// Request says how a base backup is made.
type Request struct {
	Conn      *replication.Conn
	Label     string // in backup_label and the server's log
	Fast      bool   // the checkpoint at its beginning
	Version   string // of the server
	Standby   bool
	IdleLimit time.Duration                                // of silence between two pieces of data
	Pace      func(ctx context.Context, n int) error       // is asked after n bytes were read, and holds up what is to be spared
	Now       func(ctx context.Context) (time.Time, error) // the server's clock; on a standby, up to where it has replayed
}

// Result is a base backup that was handed over.
type Result struct {
	Document Document
	Items    int64
	Bytes    int64
	Problems []executors.Problem // damaged pages
}

// Make reads a base backup from a server and hands it to a sink, with the WAL that makes it consistent. Nothing is staged:
// memory does not grow with the data.
func Make(ctx context.Context, req Request, sink executors.Sink) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := &maker{req: req, feed: newFeed(ctx, sink), ctx: ctx, sink: sink}
	if err := m.run(); err != nil {
		return Result{}, fmt.Errorf("make a base backup: %w", err)
	}
	m.result.Items, m.result.Bytes = m.feed.items, m.feed.bytes
	return m.result, nil
}

// maker is one run of Make.
type maker struct {
	ctx    context.Context
	req    Request
	sink   executors.Sink
	feed   *feed
	result Result
}

func (m *maker) run() error {
	doc := &m.result.Document
	*doc = Document{Format: documentFormat, FormatVersion: formatVersion, Version: m.req.Version, Standby: m.req.Standby, CarriesWAL: true}
	system, err := m.req.Conn.IdentifySystem(m.ctx)
	if err != nil {
		return err
	}
	doc.System = strconv.FormatUint(system.ID, 10)
	if doc.SegmentSize, err = m.req.Conn.SegmentSize(m.ctx); err != nil {
		return err
	}
	opts := replication.BackupOptions{
		Label: m.req.Label, Checkpoint: replication.Spread, Manifest: true, Progress: true, TablespaceMap: true, WAL: true, NoWait: true,
		IdleLimit: m.req.IdleLimit, OnNotice: m.notice,
	}
	if m.req.Fast {
		opts.Checkpoint = replication.Fast
	}
	b, err := m.req.Conn.BaseBackup(m.ctx, opts)
	if err != nil {
		return err
	}
	defer b.Close() //nolint:errcheck // nothing after Finish
	doc.Start, doc.Timeline = b.Start.String(), b.Timeline
	for _, t := range b.Tablespaces {
		if t.OID != 0 {
			doc.Tablespaces = append(doc.Tablespaces, Tablespace{t.OID, t.Location})
		}
	}
	if err := b.Walk(m.visit); err != nil {
		return err
	}
	if doc.Time.IsZero() {
		return fmt.Errorf("the server sent no %s", controlFile)
	}
	if err := m.feed.add(executors.Entry{Path: manifestPath, Type: executors.TypeStream, ModTime: doc.Time}, unknown, b.Manifest()); err != nil {
		return fmt.Errorf("store the manifest: %w", err)
	}
	end, err := b.Finish()
	var damaged *replication.ChecksumError
	if errors.As(err, &damaged) {
		end, err = damaged.End, nil
		m.result.Problems = append(m.result.Problems, executors.Problem{Path: dataDir, Err: damaged})
	}
	if err != nil {
		return err
	}
	doc.End = end.LSN.String()
	if end.Timeline != doc.Timeline {
		return fmt.Errorf("the server was promoted to timeline %d while it was read on timeline %d: make the backup again", end.Timeline, doc.Timeline)
	}
	return m.finish()
}

// finish adds the document, which tells of everything before.
func (m *maker) finish() error {
	doc := &m.result.Document
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	m.feed.items++
	m.feed.bytes += int64(len(data))
	if err := addBytes(m.ctx, m.sink, documentPath, doc.Time, append(data, '\n')); err != nil {
		return err
	}
	return m.sink.Flush(m.ctx)
}

// notice keeps what the server says of damaged pages.
func (m *maker) notice(n *pgconn.Notice) {
	if n.Severity != "WARNING" && n.SeverityUnlocalized != "WARNING" {
		return
	}
	doc := &m.result.Document
	if doc.Damaged = append(doc.Damaged, n.Message); len(doc.Damaged) <= maxDamaged {
		m.result.Problems = append(m.result.Problems, executors.Problem{Path: dataDir, Err: errors.New(n.Message)})
	}
}

// paced is a member that is read no faster than the server shall be.
type paced struct {
	m *maker
	r io.Reader
}

// Read implements io.Reader.
func (p *paced) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if n > 0 && err == nil {
		err = p.m.req.Pace(p.m.ctx, n)
	}
	return n, err
}

// maxDamaged bounds what is told of damaged pages one by one; the server itself stops after five of a file.
const maxDamaged = 100

// visit hands one member over.
func (m *maker) visit(member replication.Member, r io.Reader) error {
	h := member.Header
	e := executors.Entry{Path: dataDir + "/" + member.Path, Mode: uint32(h.Mode) & 0o7777, ModTime: h.ModTime.UTC()}
	switch h.Typeflag {
	case tar.TypeDir:
		e.Type = executors.TypeDir
		m.feed.items++
		return m.sink.Add(m.ctx, e, executors.Content{})
	case tar.TypeSymlink:
		return fmt.Errorf("the server sent the link %s, although it was told to name tablespaces in %s", member.Path, spaceMapFile)
	}
	if member.Path == controlFile {
		// It is sent before the backup stops: what was committed by now is before its end.
		var err error
		if m.result.Document.Time, err = m.req.Now(m.ctx); err != nil {
			return err
		}
	}
	e.Type = executors.TypeFile
	if err := m.feed.add(e, h.Size, &paced{m, r}); err != nil {
		return fmt.Errorf("store %s: %w", member.Path, err)
	}
	return nil
}
