package backend_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/clock"
	"github.com/holdfast-io/holdfast/internal/clock/clocktest"
	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/backend"
)

var errDown = errors.New("no route to the bucket")

func TestLeaseIsExclusiveUntilReleased(t *testing.T) {
	bucket, c, one := world(t)
	two := open(bucket, c, "bob@two")
	l := lease(t, one, "run-1")
	want := &state.LeaseInfo{ID: l.Info().ID, Who: "ann@one", Operation: "apply", Run: "run-1", ExpiresAt: start.Add(time.Minute), Fence: 1}
	got, err := two.Holder(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("holder (-want +got):\n%s", diff)
	}
	var locked *state.LockedError
	if _, err := two.Lease(t.Context(), state.LeaseInfo{}, 0); !errors.As(err, &locked) || locked.Info.Who != "ann@one" {
		t.Fatalf("second lease: %v, want LockedError", err)
	}
	for range 2 {
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if cause := context.Cause(l.Context()); !errors.Is(cause, backend.ErrReleased) {
		t.Errorf("context after release: %v", cause)
	}
	if err := l.Commit(t.Context(), load(t, one)); !errors.Is(err, backend.ErrReleased) {
		t.Errorf("commit after release: %v", err)
	}
	if got, err := two.Holder(t.Context()); got != nil || err != nil {
		t.Errorf("holder after release: %v, %v", got, err)
	}
	if l := lease(t, two, "run-2"); l.Info().Fence != 2 {
		t.Errorf("fence %d, want 2", l.Info().Fence)
	}
}

func TestRaceForTheLeaseHasOneWinner(t *testing.T) {
	bucket, c, _ := world(t)
	results := make(chan error)
	for i := range 8 {
		go func() {
			b := open(bucket, c, fmt.Sprintf("host%d", i))
			l, err := b.Lease(t.Context(), state.LeaseInfo{}, 0)
			if err == nil {
				t.Cleanup(func() { _ = l.Release(context.Background()) })
			}
			results <- err
		}()
	}
	won := 0
	for range 8 {
		var locked *state.LockedError
		if err := <-results; err == nil {
			won++
		} else if !errors.As(err, &locked) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d of 8 hold the lease", won)
	}
}

// skewed is the real clock, inside a synctest bubble, whose wall can be set.
type skewed struct {
	clock.Clock
	offset atomic.Int64
}

func (s *skewed) Now() time.Time { return s.Clock.Now().Add(time.Duration(s.offset.Load())) }

func (s *skewed) shift(d time.Duration) { s.offset.Add(int64(d)) }

// inBubble runs a test where time passes by itself whenever everybody waits.
func inBubble(t *testing.T, test func(t *testing.T, bucket *bucket, c *skewed)) {
	synctest.Test(t, func(t *testing.T) {
		c := &skewed{Clock: clock.Real()}
		test(t, newBucket(c), c)
	})
}

func on(b *bucket, c clock.Clock, holder string) *backend.Backend {
	return backend.New(b, backend.Options{Clock: c, Holder: holder})
}

// refused fails the test unless the lease is somebody else's.
func refused(t *testing.T, b *backend.Backend, wait time.Duration) state.LeaseInfo {
	t.Helper()
	var locked *state.LockedError
	if _, err := b.Lease(t.Context(), state.LeaseInfo{}, wait); !errors.As(err, &locked) {
		t.Fatalf("lease: %v, want LockedError", err)
	}
	return locked.Info
}

// taken fails the test unless the lease can be had.
func taken(t *testing.T, b *backend.Backend, wait time.Duration) {
	t.Helper()
	l, err := b.Lease(t.Context(), state.LeaseInfo{}, wait)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// crash makes a lease whose holder is gone: its heartbeat never reaches the bucket again.
func crash(t *testing.T, bucket *bucket, now time.Time) {
	t.Helper()
	lease(t, on(bucket, clocktest.New(now), "dead@host"), "run-dead") // the timers of this clock never fire
}

func TestHeartbeatKeepsTheLease(t *testing.T) {
	inBubble(t, func(t *testing.T, bucket *bucket, c *skewed) {
		l := lease(t, on(bucket, c, "ann@one"), "run-1")
		for range 12 {
			time.Sleep(time.Minute)
			refused(t, on(bucket, c, "bob@two"), 0)
		}
		refused(t, on(bucket, c, "bob@two"), 10*time.Minute)
		if err := l.Context().Err(); err != nil {
			t.Error(context.Cause(l.Context()))
		}
	})
}

func TestExpiredLeaseIsTakenOver(t *testing.T) {
	inBubble(t, func(t *testing.T, bucket *bucket, c *skewed) {
		crash(t, bucket, c.Now())
		time.Sleep(90 * time.Second) // its minute, and half a minute for the difference of two clocks
		if info := refused(t, on(bucket, c, "ann@one"), 0); !info.ExpiresAt.Equal(c.Now()) {
			t.Errorf("the error promises %s, want %s", info.ExpiresAt, c.Now())
		}
		time.Sleep(time.Second)
		taken(t, on(bucket, c, "ann@one"), 0)
	})
}

func TestUnrenewedLeaseIsTakenOverWhateverTheClockSays(t *testing.T) {
	inBubble(t, func(t *testing.T, bucket *bucket, c *skewed) {
		crash(t, bucket, c.Now())
		c.shift(-365 * 24 * time.Hour) // our clock is a year behind: by it the lease lasts a year
		refused(t, on(bucket, c, "ann@one"), 59*time.Second)
		began := c.Mono()
		taken(t, on(bucket, c, "ann@one"), 2*time.Minute)
		if took := c.Mono() - began; took != time.Minute {
			t.Errorf("taken over after %s of watching, want 1m", took)
		}
	})
}

func TestWaiterGetsTheLeaseWhenItIsReleased(t *testing.T) {
	inBubble(t, func(t *testing.T, bucket *bucket, c *skewed) {
		l := lease(t, on(bucket, c, "ann@one"), "run-1")
		refused(t, on(bucket, c, "bob@two"), 3*time.Second)
		go func() {
			time.Sleep(5500 * time.Millisecond)
			if err := l.Release(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		began := c.Mono()
		taken(t, on(bucket, c, "bob@two"), 10*time.Second)
		if took := c.Mono() - began; took != 6*time.Second {
			t.Errorf("got the lease after %s, want 6s: the next look after its release", took)
		}
	})
}

func TestUnreachableBucketEndsTheContext(t *testing.T) {
	inBubble(t, func(t *testing.T, bucket *bucket, c *skewed) {
		b := on(bucket, c, "ann@one")
		l := lease(t, b, "run-1")
		cat := load(t, b)
		bucket.setHook(func(string, string) error { return errDown })
		<-l.Context().Done()
		if took := c.Mono(); took != time.Minute {
			t.Errorf("the lease ended after %s, want 1m", took)
		}
		if cause := context.Cause(l.Context()); !errors.Is(cause, backend.ErrLeaseLost) || !errors.Is(cause, errDown) {
			t.Errorf("cause %v, want ErrLeaseLost and why", cause)
		}
		bucket.setHook(nil)
		if err := l.Commit(t.Context(), cat); !errors.Is(err, backend.ErrLeaseLost) {
			t.Errorf("commit: %v, want ErrLeaseLost", err)
		}
	})
}

func TestShortOutageIsSurvived(t *testing.T) {
	inBubble(t, func(t *testing.T, bucket *bucket, c *skewed) {
		l := lease(t, on(bucket, c, "ann@one"), "run-1")
		bucket.setHook(func(string, string) error { return errDown })
		time.Sleep(50 * time.Second)
		bucket.setHook(nil)
		time.Sleep(time.Hour)
		if err := l.Context().Err(); err != nil {
			t.Error(context.Cause(l.Context()))
		}
	})
}

func TestHangingBucketEndsTheContext(t *testing.T) {
	inBubble(t, func(t *testing.T, bucket *bucket, c *skewed) {
		l := lease(t, on(bucket, c, "ann@one"), "run-1")
		hang := make(chan struct{})
		bucket.setHook(func(string, string) error { <-hang; return errDown })
		<-l.Context().Done()
		if took := c.Mono(); took != time.Minute {
			t.Errorf("the lease ended after %s, want 1m", took)
		}
		if cause := context.Cause(l.Context()); !errors.Is(cause, backend.ErrLeaseLost) {
			t.Errorf("cause %v, want ErrLeaseLost", cause)
		}
		close(hang)
	})
}

func TestTakenOverHolderStops(t *testing.T) {
	inBubble(t, func(t *testing.T, bucket *bucket, c *skewed) {
		l := lease(t, on(bucket, c, "ann@one"), "run-1")
		fast := &skewed{Clock: c.Clock}
		fast.shift(time.Hour) // a host whose clock is an hour ahead
		lease(t, on(bucket, fast, "bob@two"), "run-2")
		<-l.Context().Done()
		if took := c.Mono(); took != 20*time.Second {
			t.Errorf("noticed after %s, want 20s: the next heartbeat", took)
		}
		if cause := context.Cause(l.Context()); !errors.Is(cause, backend.ErrLeaseLost) || !strings.Contains(cause.Error(), "00000000000000000002") {
			t.Errorf("cause %v, want ErrLeaseLost naming the other lease", cause)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Errorf("release of a lost lease: %v", err)
		}
	})
}

func TestClockThatJumpsDoesNotEndTheLease(t *testing.T) {
	inBubble(t, func(t *testing.T, bucket *bucket, c *skewed) {
		b := on(bucket, c, "ann@one")
		l := lease(t, b, "run-1")
		for _, jump := range []time.Duration{-48 * time.Hour, 72 * time.Hour, -time.Hour} {
			c.shift(jump)
			time.Sleep(5 * time.Minute)
			refused(t, on(bucket, c, "bob@two"), 0)
		}
		if err := l.Commit(t.Context(), load(t, b)); err != nil {
			t.Error(err)
		}
	})
}

func TestInterruptedRunStillCommits(t *testing.T) {
	_, _, b := world(t)
	ctx, cancel := context.WithCancel(t.Context())
	l, err := b.Lease(ctx, state.LeaseInfo{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-l.Context().Done()
	if err := l.Commit(t.Context(), load(t, b)); err != nil {
		t.Error(err)
	}
	if err := l.Release(ctx); err != nil {
		t.Error(err)
	}
}

func TestDamagedLeaseIsNamed(t *testing.T) {
	bucket, c, _ := world(t)
	crash(t, bucket, start)
	name := bucket.names("leases/")[0]
	bucket.damage(name, func([]byte) []byte { return []byte("{") })
	_, err := open(bucket, c, "ann@one").Lease(t.Context(), state.LeaseInfo{}, 0)
	if !errors.Is(err, state.ErrCorrupt) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "delete") {
		t.Errorf("damaged lease: %v", err)
	}
}

func TestAlive(t *testing.T) {
	cat := &state.Catalog{Runs: []state.Run{{ID: "a", Status: state.RunOK}, {ID: "b", Status: state.RunPending}, {ID: "c", Status: state.RunPending}}}
	for holder, want := range map[string][]string{"a": nil, "b": {"b"}, "other": nil} {
		if diff := cmp.Diff(want, backend.Alive(cat, &state.LeaseInfo{Run: holder})); diff != "" {
			t.Errorf("holder of run %s (-want +got):\n%s", holder, diff)
		}
	}
	if got := backend.Alive(cat, nil); got != nil {
		t.Errorf("nobody holds the lease: %v", got)
	}
}
