package repo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// Leases keep writers and a pruner out of each other's way (docs/format/lease.md). Writers share: each has an object of its
// own. Pruners exclude each other: their leases are numbered, and the highest number is the one that counts. Ages are
// differences of times that the store itself gave to objects, so that the clocks of hosts do not matter.
const (
	leasesPrefix = "leases/"
	writerPrefix = leasesPrefix + "writer-"
	prunerPrefix = leasesPrefix + "pruner-"

	leaseFormat  = "holdfast-lease"
	leaseVersion = 1
)

// leaseMargins are the spans that leases depend on.
type leaseMargins struct {
	ttl time.Duration // a lease that was not renewed for so long has ended
	// late is how long a store may take to list what was written, and how far its times may be off from each other.
	late time.Duration
}

var defaultMargins = leaseMargins{ttl: 2 * time.Minute, late: 5 * time.Minute}

// ErrLeaseLost says that others may have taken this process for dead, because it slept or could not reach the store.
var ErrLeaseLost = errors.New("the lease on the store was lost: this process slept or was cut off for too long, and what it relied on may be gone; run the same command again")

// LeaseHeldError says who prunes the store already.
type LeaseHeldError struct {
	Who   string
	Since time.Time // by the store's clock
}

func (e *LeaseHeldError) Error() string {
	return fmt.Sprintf("the store is being pruned by %s since %s; one pruner works at a time, and a dead one's lease ends by itself within %s",
		e.Who, e.Since.UTC().Format(time.RFC3339), defaultMargins.ttl+defaultMargins.late)
}

// leaseDocument is what a lease object holds.
type leaseDocument struct {
	Format        string    `json:"format"`
	FormatVersion int       `json:"format_version"`
	Kind          string    `json:"kind"` // writer, pruner
	Who           string    `json:"who"`
	Started       time.Time `json:"started_at,omitzero"` // when the store first showed it
	TTL           int64     `json:"ttl_seconds"`
	Beat          uint64    `json:"beat"`
}

func (d leaseDocument) encode() []byte {
	d.Format, d.FormatVersion = leaseFormat, leaseVersion
	data, err := json.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("repo: encode lease: %v", err)) // strings, numbers and a time of this era always encode
	}
	return append(data, '\n')
}

func decodeLease(data []byte) (leaseDocument, error) {
	var d leaseDocument
	if err := json.Unmarshal(data, &d); err != nil {
		return d, fmt.Errorf("parse lease: %w", err)
	}
	switch {
	case d.Format != leaseFormat || d.FormatVersion != leaseVersion:
		return d, fmt.Errorf("parse lease: format %q version %d is not known", d.Format, d.FormatVersion)
	case d.Kind != "writer" && d.Kind != "pruner", d.TTL <= 0 || d.TTL > int64(24*time.Hour/time.Second):
		return d, errors.New("parse lease: kind or duration make no sense")
	}
	return d, nil
}

// lease is the right to write, or to prune. Its context ends when it is lost or released.
type lease struct {
	r      *Repository
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	name    string
	doc     leaseDocument
	seen    time.Time     // when the store says it was last renewed
	renewed time.Duration // Mono of the beginning of the last renewal
}

// writerLease takes a writer's share.
func (r *Repository) writerLease(ctx context.Context) (*lease, error) {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	l := &lease{r: r, name: writerPrefix + hex.EncodeToString(id[:])}
	return l, l.take(ctx, "writer")
}

// prunerLease takes the pruner's place, from a dead one where needed.
func (r *Repository) prunerLease(ctx context.Context) (*lease, error) {
	for {
		newest, err := r.newestPruner(ctx)
		if err != nil {
			return nil, err
		}
		l := &lease{r: r, name: fmt.Sprintf("%s%016d", prunerPrefix, pruneNumber(newest.Name)+1)}
		err = l.take(ctx, "pruner")
		if errors.Is(err, blob.ErrExists) {
			continue // somebody was faster; look again
		}
		if err != nil {
			return nil, err
		}
		if newest.Name == "" {
			return l, nil
		}
		if held, err := l.alive(ctx, newest); err != nil || held != nil {
			if held != nil {
				err = held
			}
			return nil, errors.Join(err, l.release(ctx))
		}
		return l, r.bucket.Delete(ctx, newest.Name)
	}
}

// alive tells whether an older pruner's lease still holds, by the store's clock.
func (l *lease) alive(ctx context.Context, older blob.Info) (*LeaseHeldError, error) {
	data, err := l.r.bucket.Get(ctx, older.Name)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read lease: %w", err)
	}
	if l.seen.Sub(older.ModTime) >= l.r.margins.ttl+l.r.margins.late {
		return nil, nil
	}
	d, err := decodeLease(data)
	if err != nil {
		d.Who = "somebody (" + older.Name + " cannot be read)"
	}
	return &LeaseHeldError{Who: d.Who, Since: older.ModTime}, nil
}

func (r *Repository) newestPruner(ctx context.Context) (newest blob.Info, err error) {
	err = r.bucket.List(ctx, prunerPrefix, func(i blob.Info) error {
		newest = i // ascending order
		return nil
	})
	if err != nil {
		return newest, fmt.Errorf("list leases: %w", err)
	}
	return newest, nil
}

func pruneNumber(name string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimPrefix(name, prunerPrefix), 10, 63) // 0 for anything else
	return n
}

// take creates the lease object and starts its heartbeat.
func (l *lease) take(ctx context.Context, kind string) error {
	l.doc = leaseDocument{Kind: kind, Who: l.r.who, TTL: int64(l.r.margins.ttl / time.Second)}
	l.renewed = l.r.clock.Mono()
	if err := l.r.bucket.Create(ctx, l.name, l.doc.encode()); err != nil {
		return fmt.Errorf("take a lease on the store: %w", err)
	}
	info, err := l.r.bucket.Stat(ctx, l.name)
	if err != nil {
		return fmt.Errorf("take a lease on the store: %w", err)
	}
	l.doc.Started, l.seen = info.ModTime, info.ModTime
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.stop, l.done = make(chan struct{}), make(chan struct{})
	go l.heartbeat()
	return nil
}

// heartbeat renews every third of the duration, and more often while that fails.
func (l *lease) heartbeat() {
	defer close(l.done)
	ttl := l.r.margins.ttl
	wait := ttl / 3
	for {
		timer := l.r.clock.NewTimer(wait)
		select {
		case <-l.stop:
			timer.Stop()
			return
		case <-l.ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
		err := l.renew(l.ctx)
		switch wait = ttl / 3; {
		case errors.Is(err, ErrLeaseLost):
			l.cancel(err)
			return
		case err != nil:
			wait = ttl / 12
		}
		if !l.fresh() {
			l.cancel(fmt.Errorf("%w (last error: %w)", ErrLeaseLost, err))
			return
		}
	}
}

// fresh tells, without asking anybody, whether no other host can have taken this process for dead.
func (l *lease) fresh() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.clock.Mono()-l.renewed < l.r.margins.ttl
}

// renew asks the store whether the lease still counts, and writes it anew. A lease that somebody removed is never made again.
func (l *lease) renew(ctx context.Context) error {
	begin := l.r.clock.Mono()
	if err := l.counts(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	l.doc.Beat++
	data := l.doc.encode()
	l.mu.Unlock()
	if err := l.r.bucket.Put(ctx, l.name, data); err != nil {
		return fmt.Errorf("renew the lease on the store: %w", err)
	}
	info, err := l.r.bucket.Stat(ctx, l.name)
	if err != nil {
		return fmt.Errorf("renew the lease on the store: %w", err)
	}
	l.mu.Lock()
	l.seen, l.renewed = info.ModTime, begin
	l.mu.Unlock()
	return nil
}

// counts is nil while the store holds the lease and, for a pruner, no newer one.
func (l *lease) counts(ctx context.Context) error {
	if !l.fresh() {
		return ErrLeaseLost
	}
	_, err := l.r.bucket.Stat(ctx, l.name)
	if errors.Is(err, blob.ErrNotFound) {
		return ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("look at the lease on the store: %w", err)
	}
	if strings.HasPrefix(l.name, prunerPrefix) {
		newest, err := l.r.newestPruner(ctx)
		if err != nil {
			return err
		}
		if pruneNumber(newest.Name) > pruneNumber(l.name) {
			return ErrLeaseLost
		}
	}
	return nil
}

// release ends the lease. It works when the context is done already, and may be called twice.
func (l *lease) release(ctx context.Context) error {
	if l.stop == nil {
		return nil // never taken
	}
	select {
	case <-l.stop:
		return nil
	default:
	}
	close(l.stop)
	<-l.done
	l.cancel(nil)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.r.margins.ttl)
	defer cancel()
	if err := l.r.bucket.Delete(ctx, l.name); err != nil {
		return fmt.Errorf("give the lease on the store back (it ends by itself): %w", err)
	}
	return nil
}

// writers returns when the oldest writer that may be alive began, zero when there is none; leases of the dead are removed,
// so that a writer that only slept notices. now is the store's time.
func (r *Repository) writers(ctx context.Context, now time.Time) (oldest time.Time, err error) {
	var leases []blob.Info
	err = r.bucket.List(ctx, writerPrefix, func(i blob.Info) error {
		leases = append(leases, i)
		return nil
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("list leases: %w", err)
	}
	for _, i := range leases {
		if now.Sub(i.ModTime) >= r.margins.ttl+r.margins.late {
			if err := r.bucket.Delete(ctx, i.Name); err != nil {
				return time.Time{}, fmt.Errorf("remove a dead writer's lease: %w", err)
			}
			continue
		}
		began := i.ModTime
		data, err := r.bucket.Get(ctx, i.Name)
		if errors.Is(err, blob.ErrNotFound) {
			continue
		}
		if err != nil {
			return time.Time{}, fmt.Errorf("read lease: %w", err)
		}
		d, err := decodeLease(data)
		switch {
		case err != nil:
			began = time.Unix(0, 0) // whoever it is, it may have begun at any time
		case !d.Started.IsZero():
			began = d.Started
		}
		if oldest.IsZero() || began.Before(oldest) {
			oldest = began
		}
	}
	return oldest, nil
}
