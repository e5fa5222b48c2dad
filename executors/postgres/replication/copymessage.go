package replication

import (
	"bytes"
	"errors"
	"fmt"
)

// copyKind is the first byte of a message inside the copy of a base backup, since PostgreSQL 15
// (src/backend/backup/basebackup_copy.c).
type copyKind byte

const (
	copyArchive  copyKind = 'n' // a new archive: its name, its tablespace's path; both end with a zero byte
	copyManifest copyKind = 'm' // the manifest begins
	copyData     copyKind = 'd' // bytes of the archive or the manifest
	copyProgress copyKind = 'p' // how many bytes were read so far, as int64
)

// copyMessage is one such message.
type copyMessage struct {
	kind copyKind
	name string // of an archive
	path string // of its tablespace; empty for the data folder
	data []byte // a part of the message, not a copy
}

func parseCopyMessage(msg []byte) (copyMessage, error) {
	if len(msg) == 0 {
		return copyMessage{}, errors.New("the server sent an empty message in a base backup")
	}
	m, rest := copyMessage{kind: copyKind(msg[0])}, msg[1:]
	switch m.kind {
	case copyData:
		m.data = rest
	case copyManifest:
		if len(rest) != 0 {
			return copyMessage{}, fmt.Errorf("the server began the manifest with %d bytes too many", len(rest))
		}
	case copyProgress:
		if len(rest) != 8 {
			return copyMessage{}, fmt.Errorf("the server told its progress in %d bytes, want 8", len(rest))
		}
	case copyArchive:
		name, rest, ok1 := bytes.Cut(rest, []byte{0})
		path, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok1 || !ok2 || len(rest) != 0 {
			return copyMessage{}, errors.New("the server began an archive without a name and a path")
		}
		m.name, m.path = string(name), string(path)
	default:
		return copyMessage{}, fmt.Errorf("the server sent a message of the unknown type %q in a base backup", msg[0])
	}
	return m, nil
}
