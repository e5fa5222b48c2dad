package replication

import (
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Archive is one tablespace as a tar archive. Its reader gives the bytes as the server sends them. It is valid until the next
// call of Next.
type Archive struct {
	Name       string // such as base.tar or 16385.tar
	Tablespace Tablespace

	b *Backup
}

// Next returns the next archive, and io.EOF after the last.
func (b *Backup) Next() (*Archive, error) {
	b.archive = nil
	for {
		e, err := b.next()
		if err != nil {
			return nil, fmt.Errorf("read the base backup: %w", err)
		}
		switch e.kind {
		case eventArchive:
			b.archive = e.archive
			return e.archive, nil
		case eventManifest, eventEnd:
			b.held, b.passed = &e, true
			return nil, io.EOF
		}
	}
}

// Read reads the archive's bytes, and io.EOF at its end.
func (a *Archive) Read(p []byte) (int, error) {
	if a.b.archive != a {
		return 0, fmt.Errorf("read %s: the backup has gone on", a.Name)
	}
	return a.b.read(p)
}

// Manifest returns the reader of the manifest's bytes, after Next has returned io.EOF. Without a manifest it has no bytes.
func (b *Backup) Manifest() io.Reader { return manifestReader{b} }

type manifestReader struct{ b *Backup }

func (m manifestReader) Read(p []byte) (int, error) {
	if !m.b.passed {
		return 0, errors.New("read the manifest: the archives come first")
	}
	if held := m.b.held; held != nil && held.kind == eventManifest {
		m.b.held = nil
	}
	return m.b.read(p)
}

// read hands out data until something else comes, which is held back.
func (b *Backup) read(p []byte) (int, error) {
	for len(b.pending) == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		e, err := b.next()
		if err != nil {
			return 0, fmt.Errorf("read the base backup: %w", err)
		}
		if e.kind != eventData {
			b.held = &e
			return 0, io.EOF
		}
		b.pending = e.data
	}
	n := copy(p, b.pending)
	b.pending = b.pending[n:]
	return n, nil
}

// event is a step of a base backup, the same for all versions.
type event struct {
	kind    eventKind
	archive *Archive
	data    []byte // valid until the next event
}

type eventKind int

const (
	eventUnknown  eventKind = iota
	eventArchive            // an archive begins
	eventManifest           // the manifest begins
	eventData
	eventEnd // all data was sent; the end position's row follows
)

// next returns the event held back, or the next one of the server. An error ends the backup.
func (b *Backup) next() (event, error) {
	if b.err != nil {
		return event{}, b.err
	}
	b.pending = nil
	if e := b.held; e != nil {
		b.held = nil
		return *e, nil
	}
	for {
		e, err := b.receive()
		if err != nil {
			b.err = err
			_ = b.Close()
			return event{}, err
		}
		if e.kind != eventUnknown {
			return e, nil
		}
	}
}

// receive turns a message into an event; eventUnknown stands for one that has none.
func (b *Backup) receive() (event, error) {
	msg, err := b.s.receive()
	if err != nil {
		return event{}, err
	}
	b.s.limit = b.opts.IdleLimit
	switch m := msg.(type) {
	case *pgproto3.CopyData:
		if b.major >= versionTypedCopy {
			return b.typed(m.Data)
		}
		return b.data(m.Data)
	case *pgproto3.CopyOutResponse:
		if b.major < versionTypedCopy {
			return b.untyped()
		}
	case *pgproto3.CopyDone:
		return event{}, nil
	case *pgproto3.RowDescription:
		return event{kind: eventEnd}, nil
	}
	return event{}, unexpected(msg)
}

// untyped begins the next part before 15: one copy for each tablespace in their order, then one for the manifest.
func (b *Backup) untyped() (event, error) {
	if b.archives < len(b.Tablespaces) {
		t := b.Tablespaces[b.archives]
		return b.begun(archiveName(t), t)
	}
	return b.manifestBegun()
}

// typed reads a message since 15.
func (b *Backup) typed(payload []byte) (event, error) {
	m, err := parseCopyMessage(payload)
	if err != nil {
		return event{}, err
	}
	switch m.kind {
	case copyArchive:
		for _, t := range b.Tablespaces {
			if archiveName(t) == m.name && t.Location == m.path {
				return b.begun(m.name, t)
			}
		}
		return event{}, fmt.Errorf("the server sent the archive %.80q of %.80q, which is no tablespace of its list", m.name, m.path)
	case copyManifest:
		return b.manifestBegun()
	case copyData:
		return b.data(m.data)
	}
	return event{}, nil
}

func archiveName(t Tablespace) string {
	if t.OID == 0 {
		return "base.tar"
	}
	return fmt.Sprintf("%d.tar", t.OID)
}

func (b *Backup) begun(name string, t Tablespace) (event, error) {
	if b.manifest || b.archives == len(b.Tablespaces) {
		return event{}, fmt.Errorf("the server sent the archive %s after the last one", name)
	}
	b.archives++
	return event{kind: eventArchive, archive: &Archive{Name: name, Tablespace: t, b: b}}, nil
}

func (b *Backup) manifestBegun() (event, error) {
	if b.manifest || !b.opts.Manifest {
		return event{}, errors.New("the server sent a manifest that nobody asked for")
	}
	b.manifest = true
	return event{kind: eventManifest}, nil
}

func (b *Backup) data(data []byte) (event, error) {
	if b.archives == 0 {
		return event{}, errors.New("the server sent data before the first archive")
	}
	return event{kind: eventData, data: data}, nil
}
