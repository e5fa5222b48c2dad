package executors

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/holdfast-io/holdfast/policy"
)

// Adviser is the optional second interface of an executor whose sources must be set up for a backup.
type Adviser interface {
	// Advise tells what a source lacks for a backup: sentences that say what to run. It writes nothing.
	Advise(ctx context.Context, req AdviceRequest) ([]string, error)
}

// AdviceRequest names a backup and its source.
type AdviceRequest struct {
	Source policy.Source
	Backup policy.Backup
	Push   string // the command line that stores a file of write-ahead log, with %p for its path
}

// WALReceiver is the optional second interface of an executor whose source has a write-ahead log.
//
// Guarantees:
//   - The source is told that WAL is durable only when the archive said so.
//   - What is received has no gap: what the source cannot give any more is told, never passed over.
type WALReceiver interface {
	// ReceiveWAL streams write-ahead log into an archive until ctx ends, which is no error. It reconnects by itself; an error is
	// what a person must mend.
	ReceiveWAL(ctx context.Context, req WALRequest, to WALArchive) error
}

// WALRequest says what to stream.
type WALRequest struct {
	Source policy.Source
	Backup policy.Backup
	Once   bool            // end when everything that the source has now is durable
	Tell   func(WALStatus) // called now and then, one call at a time; may be nil
	Log    *slog.Logger
}

// WALStatus is how far the log is.
type WALStatus struct {
	System   string
	Timeline uint32
	Received string    // LSN; what comes before has arrived
	Durable  string    // LSN; what comes before is in the archive
	Source   string    // LSN of the end of the source's log, when it was last heard
	Heard    time.Time // when that was, by the clock of this host
	Problem  error     // why nothing is received now; nil while all is well
}

// WALTeller is the optional interface of an executor that can tell how far a source's write-ahead log is. It tells an idle server,
// whose log has nothing new, from one whose log does not come in.
type WALTeller interface {
	// WALEnd asks a source. It writes nothing and needs no right but to connect.
	WALEnd(ctx context.Context, src policy.Source) (WALEnd, error)
}

// WALEnd is where a source's log ended when it was asked: what was committed before the call lies before LSN.
type WALEnd struct {
	System      string // empty where the role may not read it
	Timeline    uint32 // 0 on a standby, which does not know what its primary has committed
	LSN         string // empty on a standby
	SegmentSize int64  // bytes
}

// WALArchive keeps write-ahead log. Names are PostgreSQL's, and SEGMENT.FROM-TO (8 hex digits each) for the bytes [FROM,TO) of a
// segment that is not finished yet. Safe for concurrent use.
type WALArchive interface {
	// Files lists what is there of a system, in no order. A name may come twice.
	Files(ctx context.Context, system string) ([]string, error)
	// Push stores a file, durably. The same content again is no error; other content under a name that is there is one, and
	// changes nothing.
	Push(ctx context.Context, system, name string, content io.Reader, size int64) error
	// DropPieces removes the pieces of a segment that is there whole.
	DropPieces(ctx context.Context, system, segment string) error
	// Fetch writes a file, or a segment of the given size that only pieces are there of, filled up with zeros. real is how many of
	// its bytes are. ErrNoWAL says that it is proven not to be there.
	Fetch(ctx context.Context, system, name string, segmentSize int64, to io.Writer) (real int64, err error)
}

// ErrNoWAL says that an archive was asked and has no such file.
var ErrNoWAL = errors.New("the archive holds no such file of write-ahead log")
