package repo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
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

// dead is after how long without renewal, by the store's clock, others take the holder of a lease for dead.
func (m leaseMargins) dead() time.Duration { return m.ttl + m.late }

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
		e.Who, e.Since.UTC().Format(time.RFC3339), defaultMargins.dead())
}

// leaseDocument is what a lease object holds.
type leaseDocument struct {
	Format        string    `json:"format"`
	FormatVersion int       `json:"format_version"`
	Kind          string    `json:"kind"` // writer, pruner
	ID            string    `json:"id"`   // random: tells a lease of ours, whose answer was lost, from somebody else's
	Who           string    `json:"who"`
	Process       string    `json:"process,omitempty"`   // names the process on its machine; empty when unknown
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
	return withSum(data)
}

func decodeLease(data []byte) (leaseDocument, error) {
	var d leaseDocument
	data, err := checkSum(data)
	if err != nil {
		return d, fmt.Errorf("parse lease: %w", err)
	}
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
	l := &lease{r: r, name: writerPrefix + randomID()}
	return l, l.take(ctx, "writer")
}

func randomID() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// prunerLease takes the pruner's place, from a dead one where needed. It only asks for it at first: whoever holds a lease
// goes on undisturbed, and of two that ask at the same moment both may be refused, but never both be let in.
func (r *Repository) prunerLease(ctx context.Context) (*lease, error) {
	newest, err := r.newestPruner(ctx)
	if err != nil {
		return nil, err
	}
	l := &lease{r: r}
	taken := map[string]bool{} // by somebody, though the store may not list it yet
	for number := pruneNumber(newest.Name) + 1; ; number++ {
		l.name = fmt.Sprintf("%s%016d", prunerPrefix, number)
		err := l.take(ctx, "pruner")
		if err == nil {
			break
		}
		if !errors.Is(err, blob.ErrExists) || len(taken) > 100 {
			return nil, err
		}
		taken[l.name] = true
	}
	if err := l.supersede(ctx, taken); err != nil {
		return nil, errors.Join(err, l.release(ctx))
	}
	return l, nil
}

// supersede removes the leases of dead pruners. A live one is an error. The others are listed again, after our own was made:
// who came in between has seen ours or is seen here.
func (l *lease) supersede(ctx context.Context, others map[string]bool) error {
	err := l.r.bucket.List(ctx, prunerPrefix, func(i blob.Info) error {
		others[i.Name] = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	delete(others, l.name)
	for _, name := range slices.Sorted(maps.Keys(others)) {
		info, err := l.r.bucket.Stat(ctx, name)
		if errors.Is(err, blob.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at lease: %w", err)
		}
		held, err := l.alive(ctx, info)
		if err != nil {
			return err
		}
		if held != nil {
			return held
		}
		if err := l.r.bucket.Delete(ctx, name); err != nil {
			return fmt.Errorf("remove a dead pruner's lease: %w", err)
		}
	}
	return nil
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
	if l.storeTime().Sub(older.ModTime) >= l.r.margins.dead() {
		return nil, nil
	}
	d, err := decodeLease(data)
	if err != nil {
		d.Who = "somebody (" + older.Name + " cannot be read)"
	} else if l.r.ended(d) {
		return nil, nil
	}
	if err := l.r.ageAnew(ctx, older, data, l.storeTime()); err != nil {
		return nil, err
	}
	return &LeaseHeldError{Who: d.Who, Since: older.ModTime}, nil
}

// ageAnew writes a lease again, as it is, that the store gave a time in the future, because its clock was wrong then: it
// would outlive its holder until that time has come. Who is alive renews it, and otherwise its age counts from now.
func (r *Repository) ageAnew(ctx context.Context, i blob.Info, data []byte, now time.Time) error {
	if i.ModTime.Sub(now) <= r.margins.late {
		return nil
	}
	if err := r.bucket.Put(ctx, i.Name, data); err != nil {
		return fmt.Errorf("write a lease again that is from the future: %w", err)
	}
	return nil
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
	l.doc = leaseDocument{Kind: kind, ID: randomID(), Who: l.r.who, Process: l.r.process, TTL: int64(l.r.margins.ttl / time.Second)}
	l.renewed = l.r.clock.Mono()
	data := l.doc.encode()
	if err := l.r.bucket.Create(ctx, l.name, data); err != nil {
		if got, getErr := l.r.bucket.Get(ctx, l.name); getErr != nil || !bytes.Equal(got, data) { // equal: only the answer was lost
			return fmt.Errorf("take a lease on the store (whoever backs up, copies or prunes must be able to write there): %w", err)
		}
	}
	info, err := l.r.bucket.Stat(ctx, l.name)
	if errors.Is(err, blob.ErrNotFound) {
		return ErrLeaseLost // it took so long that somebody removed it
	}
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
		beat, done := context.WithTimeout(l.ctx, ttl) // a store that hangs must not keep release from ending
		err := l.renew(beat)
		done()
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

// storeTime is when the lease was last renewed, by the store's clock.
func (l *lease) storeTime() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen
}

// covers tells whether nobody can have taken this process for dead before the store stored something at that time. Unlike
// fresh it needs no clock of ours, and those of suspended machines stand still.
func (l *lease) covers(at time.Time) bool {
	return at.Sub(l.storeTime()) < l.r.margins.dead()
}

// renew asks the store whether the lease still counts, and writes it anew.
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
	if !l.covers(info.ModTime) {
		// It may have been removed between the look and the writing, and what others did meanwhile is not known.
		return errors.Join(ErrLeaseLost, l.r.bucket.Delete(ctx, l.name))
	}
	l.mu.Lock()
	l.seen, l.renewed = info.ModTime, max(begin, l.renewed)
	l.mu.Unlock()
	return nil
}

// counts is nil while the store holds the lease: whoever takes its holder for dead removes it before anything else.
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

// ended tells for certain that the process that took a lease is no more: it was killed on this machine. What such a
// process had sent may still arrive, which is what graces are for; nothing new comes.
func (r *Repository) ended(d leaseDocument) bool {
	return r.gone != nil && d.Process != "" && r.gone(d.Process)
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
		if now.Sub(i.ModTime) >= r.margins.dead() {
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
		case r.ended(d):
			if err := r.bucket.Delete(ctx, i.Name); err != nil {
				return time.Time{}, fmt.Errorf("remove a dead writer's lease: %w", err)
			}
			continue
		case !d.Started.IsZero():
			began = d.Started
		}
		if began.Sub(now) > r.margins.late {
			began = time.Unix(0, 0) // the store's clock was set back: nobody can tell
		}
		if err := r.ageAnew(ctx, i, data, now); err != nil {
			return time.Time{}, err
		}
		if oldest.IsZero() || began.Before(oldest) {
			oldest = began
		}
	}
	return oldest, nil
}
