// Package executors is the contract between holdfast and the systems it protects: one folder per kind of source.
//
// The package wires nothing and owns nothing. An executor streams what it reads into a Sink and what it restores out of a
// Supply; it never learns where copies live or how they are encrypted. executors/executortest proves every guarantee below.
package executors

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/holdfast-io/holdfast/policy"
)

// Executor reads and writes one kind of source.
//
// Guarantees:
//   - No method changes the source, except Restore, and Restore only what its request names.
//   - Backup returns nil only when everything the request asks for was read whole and handed to the sink, or when
//     Result.Problems names each thing that was not. A producer that dies half-way is an error, whatever it wrote before.
//   - Restore leaves what was there until the new data is complete, and refuses an existing target unless Replace is set.
//   - Every method ends soon after its context does, leaves no child process, and hides secrets from errors, arguments and logs.
//   - Methods may be called concurrently.
type Executor interface {
	// Inspect tells what the source is and holds. It writes nothing and needs only the rights to read.
	Inspect(ctx context.Context, src policy.Source) (Facts, error)
	// Backup streams one restore point into sink.
	Backup(ctx context.Context, req BackupRequest, sink Sink) (Result, error)
	// Preview tells what Restore would create, replace and read, and refuses what Restore would refuse.
	Preview(ctx context.Context, req RestoreRequest, from Supply) (Preview, error)
	// Restore writes a restore point to the request's target.
	Restore(ctx context.Context, req RestoreRequest, from Supply) (Result, error)
	// Verify decodes a whole restore point, as restoring it would, and writes nothing that stays.
	Verify(ctx context.Context, req VerifyRequest, from Supply) (Result, error)
}

// Facts is what a source tells of itself.
type Facts struct {
	Version  string            // server version, such as "15.18"; empty for files
	Identity string            // something that tells this source from another (system identifier); empty where there is none
	Names    []string          // databases or collections, in order
	Gaps     []string          // what of the source no backup could reach, such as a node of a cluster whose URL is missing; sentences
	Size     int64             // bytes, approximately; 0 when unknown
	Extra    map[string]string // shown by status; keys are lower_snake
}

// BackupRequest asks for one restore point.
type BackupRequest struct {
	Source policy.Source
	Backup policy.Backup
	Point  string // id of the point being made
	Log    *slog.Logger
}

// Result tells how it went. Counts cover what was really read or written.
type Result struct {
	Time     time.Time // the moment the data stands for; zero means the start of the call
	Items    int64
	Bytes    int64
	Version  string            // of the source's server
	Position string            // LSN, where there is one
	Meta     map[string]string // kept with the point and handed back to Restore and Verify as Supply.Meta
	Problems []Problem         // something is missing or doubtful; any Missing one makes the point incomplete
}

// Keys of Result.Meta that others than the executor understand: of base backups, where they stand in the write-ahead log.
const (
	MetaMethod      = "method" // "physical"; absent for methods that need no more
	MetaSystem      = "system_identifier"
	MetaTimeline    = "timeline"
	MetaStart       = "start_lsn" // recovery begins here
	MetaEnd         = "end_lsn"   // consistent from here on
	MetaSegmentSize = "wal_segment_size"
	MetaCarriesWAL  = "carries_wal" // "true": the WAL from start to end is in the point
)

// Problem is one thing that a backup, restore or verification could not do as asked.
type Problem struct {
	Path    string
	Err     error
	Missing bool // the item is not in the restore point (or was not restored); false: it is, but changed while being read
}

// RestoreRequest asks to bring a restore point back.
type RestoreRequest struct {
	Source  policy.Source // that the point was made of; zero when the policy does not declare it any more
	Backup  policy.Backup
	Target  Target
	Only    []string          // globs over item paths; empty means everything. Their meaning below an item is the executor's
	Replace bool              // overwrite what is there
	Options map[string]string // executor's own, such as "globals"
	WAL     WALArchive        // write-ahead log that is stored of the backup; nil where there is none
	Log     *slog.Logger
}

// Target is where a restore goes: Root for files, URL for servers.
type Target struct {
	Root   string            // PostgreSQL, base backups: the data directory. Qdrant: the name of the restored collection, in which * stands for its name in the point; empty means *
	Spaces map[string]string // PostgreSQL, base backups: new places of tablespaces, by OID or old place
	URL    *policy.Secret    // may hold a password; nil (Qdrant): the request's Source
}

// Preview is what a restore will do, told before it starts.
type Preview struct {
	Target   string   // without secrets
	Creates  []string // the first ones, for people; counts are exact
	Replaces []string
	Items    int64
	Bytes    int64 // plain bytes to be written
	Notes    []string
}

// VerifyRequest asks to decode a restore point.
type VerifyRequest struct {
	Backup policy.Backup
	Log    *slog.Logger
}

// EntryType is the kind of an item.
type EntryType string

// The kinds of item. Stream is content without a place in a file system, such as a dump.
const (
	TypeStream   EntryType = "stream"
	TypeFile     EntryType = "file"
	TypeDir      EntryType = "dir"
	TypeSymlink  EntryType = "symlink"
	TypeHardlink EntryType = "hardlink" // Target is the Path of an earlier entry of the same point
	TypeFIFO     EntryType = "fifo"
)

// ErrTargetExists is wrapped by Preview and Restore when the target holds something and the request does not say Replace.
var ErrTargetExists = errors.New("the target already exists")

// Entry is one item of a restore point. Paths are slash-separated, relative, clean, valid UTF-8 and unique within a point;
// "." is the root of a tree itself.
// Field for field it is the manifest's entry, so that the two convert directly.
type Entry struct {
	Path    string            `json:"path"`
	Type    EntryType         `json:"type"`
	Size    int64             `json:"size,omitempty"` // plain bytes; set by the sink to what was really read
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

// ErrSkip, returned (or wrapped) by an OpenFunc or by its reader, drops the entry from the restore point without failing
// the backup. The executor reports the problem itself. After a Flush it may add the same path again.
var ErrSkip = errors.New("entry skipped")

// OpenFunc opens the content of an entry. It may be called on another goroutine after Add returned, and again after a
// reader answered ErrReread.
type OpenFunc func() (io.ReadCloser, error)

// ErrReread, returned by an OpenFunc's reader in place of io.EOF, says that the content changed while it was read: the
// sink forgets what it read of the entry and opens it again. The executor bounds the number of times.
var ErrReread = errors.New("content changed while being read")

// ErrCut, returned by an OpenFunc's reader beside the last bytes before a boundary, says that what follows is best stored
// apart from them: the sink ends a chunk there and reads on. Content that moves as a whole is recognised that way.
var ErrCut = errors.New("a part of the content ends here")

// Content says where an entry's bytes come from.
type Content struct {
	Open OpenFunc // nil for entries without content
	// SizeHint is the expected number of bytes, 0 when unknown. It steers chunk sizes and progress only.
	SizeHint int64
	// Fingerprint identifies unchanged content cheaply (device, inode, size, mtime, ctime). When the previous restore point
	// of the same backup holds the same path with the same fingerprint and all its chunks are still stored, Open is not
	// called and that content is used. Empty: always read.
	Fingerprint []byte
}

// Sink takes one restore point. Entries appear in the point in the order of Add. Add may return before the content was
// read, blocks when enough is under way, and is called from one goroutine at a time. The first error ends the backup:
// later calls return it too.
type Sink interface {
	Add(ctx context.Context, e Entry, c Content) error
	// Flush waits until the content of every entry added so far was read and stored.
	Flush(ctx context.Context) error
	// Err tells why nothing more will be read, nil while all is well. It does not wait, and may be called at any time.
	Err() error
}

// Supply gives one restore point back. Every byte it hands out was checked against its chunk id.
type Supply interface {
	// Entries calls each for every entry in order, without reading content.
	Entries(ctx context.Context, each func(Entry) error) error
	// Read calls each in order for every entry that want accepts (nil accepts all). r holds the content (empty for entries
	// without any), is valid during the call only, and need not be read to its end. A damaged object is an error naming it.
	Read(ctx context.Context, want func(Entry) bool, each func(e Entry, r io.Reader) error) error
	// Meta is what Backup returned in Result.Meta, and "version", "position" beside it.
	Meta() map[string]string
}
