// Package manifest holds the documents that make a restore point: the manifest (what is in it and of which chunks it is
// made) and the summary (what a host without a reading key may know of it).
//
// It is a codec: it neither seals nor stores, and does not know where chunks are. Decoders keep one invariant: whatever
// bytes they are given, they return an error or a value, never panic, and never allocate by a length they were told.
package manifest

import (
	"time"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
)

// EntryType is the kind of an entry.
type EntryType string

// The kinds of entry. A stream has content and no place in a file system.
const (
	TypeStream   EntryType = "stream"
	TypeFile     EntryType = "file"
	TypeDir      EntryType = "dir"
	TypeSymlink  EntryType = "symlink"
	TypeHardlink EntryType = "hardlink"
	TypeFIFO     EntryType = "fifo"
)

// Entry is one item of a restore point. Paths are slash-separated, relative, clean and unique within a point.
type Entry struct {
	Path    string            `json:"path"`
	Type    EntryType         `json:"type"`
	Size    int64             `json:"size,omitempty"` // plain bytes, as really read
	Mode    uint32            `json:"mode,omitempty"` // permission and setuid, setgid, sticky bits as in stat(2)
	UID     int               `json:"uid,omitempty"`
	GID     int               `json:"gid,omitempty"`
	User    string            `json:"user,omitempty"`
	Group   string            `json:"group,omitempty"`
	ModTime time.Time         `json:"mtime,omitzero"`
	Target  string            `json:"target,omitempty"` // of links
	Xattrs  map[string][]byte `json:"xattrs,omitempty"`
	Sparse  bool              `json:"sparse,omitempty"`
	Attrs   map[string]string `json:"attrs,omitempty"` // the executor's own
}

// Ref names a piece of content: which chunk, and how many plain bytes it has.
type Ref struct {
	ID   chunk.ID
	Size uint32
}
