// Package backend loads and commits the catalog in a bucket, and keeps the lease that says who is working on it.
//
// It is not the repository (no backup data comes here) and knows no policy. The layout is in docs/format/state.md.
// Invariants: a commit is the creation of one head object, so that of several commits of one serial exactly one wins and
// a crash leaves the old catalog or the new one; every segment a head names was stored and read back before the head;
// no edit is lost, because a commit compares everything it was given with what is stored. The compare-and-swap is the
// safety; the lease is politeness.
package backend

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/clock"
	"github.com/holdfast-io/holdfast/state"
)

// DefaultTTL is how long a lease lasts without a heartbeat.
const DefaultTTL = time.Minute

// Options say who we are. Only Holder is needed.
type Options struct {
	Clock   clock.Clock   // nil: the machine's
	Holder  string        // user@host, shown to those who find the state locked
	TTL     time.Duration // 0: DefaultTTL
	Version string        // of holdfast, kept in heads for people
	Log     *slog.Logger  // nil: none; hears of trimming that failed
	// Gone tells for certain that the process a lease names has ended, so that its lease need not be waited for. nil: never.
	Gone func(process string) bool
}

// Backend is the state in one bucket. It keeps nothing in memory; its methods may be called from several goroutines.
type Backend struct {
	bucket blob.Bucket
	o      Options
	margin margins
}

// margins are the waits and counts that safety or courtesy ask for.
type margins struct {
	skew      time.Duration // how far clocks of two hosts may differ before a live lease is taken over too early
	poll      time.Duration // between two looks at a lease that somebody else holds
	keepHeads int           // the newest heads are never trimmed, so that a person can go back
	keepFor   time.Duration // nor are those that are younger
	retries   int           // of loads and updates that others keep overtaking
	fetches   int           // objects read or written at once; hides the latency of a far bucket
	encoders  int           // segments encoded or decoded at once; each needs memory for one whole segment
}

// New makes a backend over a bucket whose root is the state's. It does no I/O.
func New(bucket blob.Bucket, o Options) *Backend {
	if o.Clock == nil {
		o.Clock = clock.Real()
	}
	if o.TTL <= 0 {
		o.TTL = DefaultTTL
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return &Backend{bucket: bucket, o: o, margin: margins{
		skew: o.TTL / 2, poll: time.Second, keepHeads: 20, keepFor: 24 * time.Hour,
		retries: 50, fetches: 16, encoders: runtime.GOMAXPROCS(0),
	}}
}

// The folders of the layout.
const (
	headsDir    = "heads/"
	segmentsDir = "segments/"
	leasesDir   = "leases/"
)

func headName(serial uint64) string { return fmt.Sprintf("%s%020d.json", headsDir, serial) }

func leaseName(fence uint64) string { return fmt.Sprintf("%s%020d.json", leasesDir, fence) }

// numbered is an object whose name ends in a number.
type numbered struct {
	number uint64
	info   blob.Info
}

// list returns the numbered objects of a folder in ascending order. Names of another shape are none of ours.
func (b *Backend) list(ctx context.Context, dir string) ([]numbered, error) {
	var found []numbered
	err := b.bucket.List(ctx, dir, func(info blob.Info) error {
		digits, ok := strings.CutSuffix(strings.TrimPrefix(info.Name, dir), ".json")
		if n, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && len(digits) == 20 && n > 0 {
			found = append(found, numbered{n, info})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list state %s: %w", dir, err)
	}
	return found, nil
}

func newest(of []numbered) uint64 {
	if len(of) == 0 {
		return 0
	}
	return of[len(of)-1].number
}

// randomID returns 32 hex digits.
func randomID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: the runtime ends the process instead
	return hex.EncodeToString(id[:])
}

// Alive returns the ids of pending runs whose lease has not ended: they are working, not dead. holder is what Holder
// returned, nil when nobody holds the lease.
func Alive(cat *state.Catalog, holder *state.LeaseInfo) []string {
	if holder == nil {
		return nil
	}
	for _, run := range cat.Runs {
		if run.ID == holder.Run && run.Status == state.RunPending {
			return []string{run.ID}
		}
	}
	return nil
}
