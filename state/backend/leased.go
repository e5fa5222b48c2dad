package backend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/statefile"
)

// Leased is the proof of holding the lease; only Lease makes one. A goroutine renews it until Release.
type Leased struct {
	b      *Backend
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   chan struct{} // closed by Release
	done   chan struct{} // closed when the heartbeat has ended

	beatCtx context.Context // of the heartbeat's own requests: a finished ctx must not end the lease before Release

	mu    sync.Mutex
	lease statefile.Lease
	lost  error

	release sync.Once
	err     error // of Release
}

// hold starts the heartbeat of a lease that was written at begin.
func (b *Backend) hold(ctx context.Context, lease statefile.Lease, begin time.Duration) *Leased {
	l := &Leased{b: b, lease: lease, stop: make(chan struct{}), done: make(chan struct{}), beatCtx: context.WithoutCancel(ctx)}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	go l.heartbeat(begin)
	return l
}

// Context ends when the lease is lost (its cause is then ErrLeaseLost), released, or the context given to Lease ends.
// Work done under the lease uses it.
func (l *Leased) Context() context.Context { return l.ctx }

// Info describes the lease as it was last renewed.
func (l *Leased) Info() state.LeaseInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lease.LeaseInfo
}

// Commit stores next as the successor of the serial it holds and then sets that serial to the new one. When nothing
// differs from what is stored, nothing is written and the serial stays. Edits may be anywhere in next: everything is
// compared. It also orders next's points and runs and drops runs beyond state.KeepRuns.
//
// It returns state.ErrStale when somebody else committed (Refresh and decide again, or use Update), state.ErrLineage, and
// ErrLeaseLost or ErrReleased. It does not look at Context, so that an interrupted run can still commit how it ended.
// After any other error the commit may have happened; Load tells.
func (l *Leased) Commit(ctx context.Context, next *state.Catalog) error {
	return l.b.commit(ctx, next, l.Info().Run, l.held)
}

// Update lets fn change cat and commits it. When somebody else committed since, cat is refreshed (edits not made by fn
// are gone) and fn is called again. After an error cat may hold edits that were not committed.
func (l *Leased) Update(ctx context.Context, cat *state.Catalog, fn func(*state.Catalog) error) error {
	return l.b.update(ctx, cat, l.Info().Run, l.held, fn)
}

func (l *Leased) held() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

func (l *Leased) lose(cause error) {
	l.mu.Lock()
	if l.lost == nil {
		l.lost = cause
	}
	l.mu.Unlock()
	l.cancel(cause)
}

// heartbeat renews the lease every third of its duration. When that fails it tries more often, and gives the lease up
// once nobody else can be sure any more that we hold it. Only Mono counts: a clock that is set changes nothing.
func (l *Leased) heartbeat(renewed time.Duration) {
	defer close(l.done)
	ttl := l.b.o.TTL
	wait := ttl / 3
	for {
		timer := l.b.o.Clock.NewTimer(wait)
		select {
		case <-l.stop:
			timer.Stop()
			return
		case <-timer.C():
		}
		begin := l.b.o.Clock.Mono()
		err := l.renewBefore(renewed + ttl)
		switch {
		case err == nil:
			renewed, wait = begin, ttl/3
		case errors.Is(err, ErrLeaseLost):
			l.lose(err)
			return
		case l.b.o.Clock.Mono() >= renewed+ttl:
			l.lose(fmt.Errorf("%w: not renewed for %s: %w", ErrLeaseLost, ttl, err))
			return
		default:
			wait = min(ttl/12, max(renewed+ttl-l.b.o.Clock.Mono(), time.Millisecond))
		}
	}
}

// renewBefore renews, ending the request when the lease does: a bucket that hangs must not keep the work alive.
func (l *Leased) renewBefore(end time.Duration) error {
	ctx, cancel := context.WithCancel(l.beatCtx)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- l.renew(ctx) }()
	timer := l.b.o.Clock.NewTimer(max(end-l.b.o.Clock.Mono(), time.Millisecond))
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-l.stop:
		cancel()
		return <-result
	case <-timer.C():
		l.lose(fmt.Errorf("%w: the bucket did not answer for %s", ErrLeaseLost, l.b.o.TTL))
		cancel()
		<-result
		return ErrLeaseLost
	}
}

func (l *Leased) renew(ctx context.Context) error {
	lease := l.next()
	leases, err := l.b.list(ctx, leasesDir)
	if err != nil {
		return err
	}
	if newest(leases) > lease.Fence {
		return fmt.Errorf("%w: somebody else took it over (%s)", ErrLeaseLost, leaseName(newest(leases)))
	}
	lease.ExpiresAt = l.b.o.Clock.Now().Add(l.b.o.TTL).UTC()
	return l.write(ctx, lease)
}

// next is the lease with its beat counted on, so that watchers see a change even when the clock stands still.
func (l *Leased) next() statefile.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lease.Beat++
	return l.lease
}

func (l *Leased) write(ctx context.Context, lease statefile.Lease) error {
	data, err := statefile.EncodeLease(lease)
	if err != nil {
		return err
	}
	if err := l.b.bucket.Put(ctx, leaseName(lease.Fence), data); err != nil {
		return fmt.Errorf("write state lease: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lease = lease
	return nil
}

// Release trims what no catalog needs any more and gives the lease back. It works when ctx is done already, bounded by
// the lease's duration, and may be called again. After an error the lease ends by itself when it expires.
func (l *Leased) Release(ctx context.Context) error {
	l.release.Do(func() { l.err = l.giveBack(context.WithoutCancel(ctx)) })
	return l.err
}

func (l *Leased) giveBack(ctx context.Context) error {
	defer l.cancel(ErrReleased)
	ctx, cancel := context.WithTimeout(ctx, l.b.o.TTL)
	defer cancel()
	if l.held() == nil {
		if err := l.b.trim(ctx, l.Info().Fence); err != nil {
			l.b.o.Log.Warn("old state could not be trimmed; nothing is lost, it only takes space", "err", err)
		}
	}
	close(l.stop)
	<-l.done
	if l.held() != nil {
		return nil // it is somebody else's now
	}
	l.lose(ErrReleased)
	lease := l.next()
	lease.Released = true
	if err := l.write(ctx, lease); err != nil {
		return fmt.Errorf("release the state (it is free again at %s): %w", lease.ExpiresAt.Add(l.b.margin.skew).Format(time.RFC3339), err)
	}
	return nil
}
