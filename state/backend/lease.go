package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/statefile"
)

// Holder returns who works on the state now, nil when nobody does.
func (b *Backend) Holder(ctx context.Context) (*state.LeaseInfo, error) {
	_, cur, _, err := b.current(ctx)
	if err != nil || cur == nil || b.expired(*cur) {
		return nil, err
	}
	return &cur.LeaseInfo, nil
}

// current returns the highest fence, the lease under it unless it was released, and its bytes.
func (b *Backend) current(ctx context.Context) (uint64, *statefile.Lease, []byte, error) {
	for range b.margin.retries {
		leases, err := b.list(ctx, leasesDir)
		if err != nil || len(leases) == 0 {
			return 0, nil, nil, err
		}
		fence := newest(leases)
		name := leaseName(fence)
		data, err := b.bucket.Get(ctx, name)
		if errors.Is(err, blob.ErrNotFound) {
			continue // trimmed by the holder of a newer one
		}
		if err != nil {
			return 0, nil, nil, fmt.Errorf("read state lease: %w", err)
		}
		lease, err := statefile.DecodeLease(name, data)
		if err == nil && lease.Fence != fence {
			err = fmt.Errorf("decode %s: %w: it holds fence %d", name, state.ErrCorrupt, lease.Fence)
		}
		if errors.Is(err, state.ErrCorrupt) {
			err = fmt.Errorf("%w; when nobody works on the state, delete this object", err)
		}
		if err != nil || lease.Released {
			return fence, nil, data, err
		}
		return fence, &lease, data, nil
	}
	return 0, nil, nil, fmt.Errorf("read state lease: %w", errMoved)
}

// expired judges by the clock on the wall, with a margin for the difference between two hosts, or by the holder's process.
func (b *Backend) expired(l statefile.Lease) bool {
	if b.o.Gone != nil && l.Process != "" && b.o.Gone(l.Process) {
		return true
	}
	return b.o.Clock.Now().After(l.ExpiresAt.Add(b.margin.skew))
}

// Lease takes the lease, waiting up to wait for its holder to finish; then it returns *state.LockedError. The result's
// context ends with ctx, with Release, or when the lease is lost. info.ID and info.Who may be empty.
//
// A lease whose holder is gone is taken over when it has expired by our clock and a margin, or, whatever the clocks say,
// when it was not renewed while we watched it for as long as it was to last.
func (b *Backend) Lease(ctx context.Context, info state.LeaseInfo, wait time.Duration) (*Leased, error) {
	if info.ID == "" {
		info.ID = randomID()
	}
	if info.Who == "" {
		info.Who = b.o.Holder
	}
	deadline := b.o.Clock.Mono() + wait
	var watched []byte
	var since time.Duration
	for {
		fence, cur, data, err := b.current(ctx)
		if err != nil {
			return nil, err
		}
		now := b.o.Clock.Mono()
		if !bytes.Equal(watched, data) {
			watched, since = data, now
		}
		if cur == nil || b.expired(*cur) || now-since >= cur.TTL {
			leased, err := b.take(ctx, info, fence+1)
			if leased != nil || err != nil {
				return leased, err
			}
			continue
		}
		if now >= deadline {
			held := cur.LeaseInfo
			held.ExpiresAt = held.ExpiresAt.Add(b.margin.skew)
			return nil, &state.LockedError{Info: held}
		}
		if err := b.sleep(ctx, min(b.margin.poll, deadline-now)); err != nil {
			return nil, err
		}
	}
}

func (b *Backend) sleep(ctx context.Context, d time.Duration) error {
	timer := b.o.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the state lease: %w", context.Cause(ctx))
	}
}

// take tries to create the lease of one fence. It returns nil and no error when somebody else has it.
func (b *Backend) take(ctx context.Context, info state.LeaseInfo, fence uint64) (*Leased, error) {
	info.Fence = fence
	begin := b.o.Clock.Mono()
	info.ExpiresAt = b.o.Clock.Now().Add(b.o.TTL).UTC()
	lease := statefile.Lease{LeaseInfo: info, TTL: b.o.TTL}
	data, err := statefile.EncodeLease(lease)
	if err != nil {
		return nil, err
	}
	if err := b.bucket.Create(ctx, leaseName(fence), data); err != nil {
		got, getErr := b.bucket.Get(ctx, leaseName(fence))
		switch {
		case getErr == nil && bytes.Equal(got, data): // ours; only the answer was lost
		case errors.Is(err, blob.ErrExists):
			return nil, nil
		default:
			return nil, fmt.Errorf("take state lease: %w", err)
		}
	}
	// As with heads: a fence created after a long sleep may be an old one that was trimmed.
	leases, err := b.list(ctx, leasesDir)
	if err != nil {
		return nil, err
	}
	if newest(leases) != fence {
		return nil, nil
	}
	return b.hold(ctx, lease, begin), nil
}
