package backend_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// step lets d pass, one waiting timer after another.
func step(c *clocktest.Fake, timers int, d time.Duration) {
	c.WaitTimers(timers)
	c.Advance(d)
}

func TestHeartbeatKeepsTheLease(t *testing.T) {
	bucket, c, one := world(t)
	l := lease(t, one, "run-1")
	for i := range 12 {
		beats := make(chan struct{}, 1)
		bucket.setAfter(func(op, name string) error {
			if op == "put" && strings.HasPrefix(name, "leases/") {
				beats <- struct{}{}
			}
			return nil
		})
		step(c, 1, 20*time.Second)
		<-beats
		c.WaitTimers(1)
		bucket.setAfter(nil)
		var locked *state.LockedError
		if _, err := open(bucket, c, "bob@two").Lease(t.Context(), state.LeaseInfo{}, 0); !errors.As(err, &locked) {
			t.Fatalf("after %d heartbeats: %v", i+1, err)
		}
	}
	if err := l.Context().Err(); err != nil {
		t.Error(err)
	}
}

// crash makes a lease whose holder is gone: its heartbeat never reaches the bucket again.
func crash(t *testing.T, bucket *bucket, c *clocktest.Fake) {
	t.Helper()
	dead := clocktest.New(c.Now()) // its timers never fire
	lease(t, open(bucket, dead, "dead@host"), "run-dead")
}

func TestExpiredLeaseIsTakenOver(t *testing.T) {
	bucket, c, _ := world(t)
	crash(t, bucket, c)
	b := open(bucket, c, "ann@one")
	c.Advance(90 * time.Second) // its minute, and half a minute for the difference of two clocks
	var locked *state.LockedError
	if _, err := b.Lease(t.Context(), state.LeaseInfo{}, 0); !errors.As(err, &locked) {
		t.Fatalf("at the margin: %v, want LockedError", err)
	} else if !locked.Info.ExpiresAt.Equal(c.Now()) {
		t.Errorf("the error promises %s, want %s", locked.Info.ExpiresAt, c.Now())
	}
	c.Advance(time.Second)
	if l := lease(t, b, "run-1"); l.Info().Fence != 2 {
		t.Errorf("fence %d, want 2", l.Info().Fence)
	}
}

func TestUnrenewedLeaseIsTakenOverWhateverTheClockSays(t *testing.T) {
	bucket, c, _ := world(t)
	crash(t, bucket, c)
	c.Shift(-365 * 24 * time.Hour) // our clock is a year behind: by it the lease lasts a year
	b := open(bucket, c, "ann@one")
	got := make(chan error, 1)
	go func() {
		l, err := b.Lease(t.Context(), state.LeaseInfo{}, 2*time.Minute)
		if err == nil {
			defer l.Release(context.Background())
		}
		got <- err
	}()
	for range 60 {
		select {
		case err := <-got:
			t.Fatalf("decided before a minute of watching: %v", err)
		default:
		}
		step(c, 1, time.Second)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

func TestWaiterGetsTheLeaseWhenItIsReleased(t *testing.T) {
	bucket, c, one := world(t)
	l := lease(t, one, "run-1")
	got := make(chan error, 1)
	go func() {
		second, err := open(bucket, c, "bob@two").Lease(t.Context(), state.LeaseInfo{}, 10*time.Second)
		if err == nil {
			defer second.Release(context.Background())
		}
		got <- err
	}()
	step(c, 2, time.Second) // the holder's heartbeat and the waiter's poll
	c.WaitTimers(2)
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Second)
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestWaiterGivesUp(t *testing.T) {
	bucket, c, one := world(t)
	lease(t, one, "run-1")
	got := make(chan error, 1)
	go func() {
		_, err := open(bucket, c, "bob@two").Lease(t.Context(), state.LeaseInfo{}, 3*time.Second)
		got <- err
	}()
	for range 3 {
		step(c, 2, time.Second)
	}
	var locked *state.LockedError
	if err := <-got; !errors.As(err, &locked) {
		t.Errorf("after the wait: %v, want LockedError", err)
	}
}

func TestUnreachableBucketEndsTheContext(t *testing.T) {
	bucket, c, one := world(t)
	l := lease(t, one, "run-1")
	cat := load(t, one)
	c.WaitTimers(1)
	bucket.setHook(func(_, name string) error { return errDown })
	for l.Context().Err() == nil {
		if c.Mono() > time.Hour {
			t.Fatal("the lease outlived an hour without a heartbeat")
		}
		step(c, 1, time.Second)
		waitIdle(c, l)
	}
	if got := c.Mono(); got < 50*time.Second || got > time.Minute+5*time.Second {
		t.Errorf("the lease ended after %s, want about a minute", got)
	}
	if cause := context.Cause(l.Context()); !errors.Is(cause, backend.ErrLeaseLost) {
		t.Errorf("cause %v, want ErrLeaseLost", cause)
	}
	bucket.setHook(nil)
	if err := l.Commit(t.Context(), cat); !errors.Is(err, backend.ErrLeaseLost) {
		t.Errorf("commit: %v, want ErrLeaseLost", err)
	}
}

// waitIdle returns when the heartbeat waits for time to pass again or has ended.
func waitIdle(c *clocktest.Fake, l *backend.Leased) {
	idle := make(chan struct{})
	go func() { c.WaitTimers(1); close(idle) }()
	select {
	case <-idle:
	case <-l.Context().Done():
		timer := c.NewTimer(time.Hour) // lets the goroutine above end
		<-idle
		timer.Stop()
	}
}

func TestHangingBucketEndsTheContext(t *testing.T) {
	bucket, c, one := world(t)
	l := lease(t, one, "run-1")
	c.WaitTimers(1)
	hang, asked := make(chan struct{}), make(chan struct{}, 100)
	bucket.setHook(func(string, string) error { asked <- struct{}{}; <-hang; return errDown })
	c.Advance(20 * time.Second) // the heartbeat is due
	<-asked
	step(c, 1, 40*time.Second) // and unanswered for the rest of the lease
	<-l.Context().Done()
	if cause := context.Cause(l.Context()); !errors.Is(cause, backend.ErrLeaseLost) {
		t.Errorf("cause %v, want ErrLeaseLost", cause)
	}
	close(hang)
}

func TestTakenOverHolderStops(t *testing.T) {
	bucket, c, one := world(t)
	l := lease(t, one, "run-1")
	c.WaitTimers(1)
	fast := clocktest.New(start.Add(time.Hour)) // a host whose clock is an hour ahead
	lease(t, open(bucket, fast, "bob@two"), "run-2")
	c.Advance(20 * time.Second)
	<-l.Context().Done()
	if cause := context.Cause(l.Context()); !errors.Is(cause, backend.ErrLeaseLost) || !strings.Contains(cause.Error(), "00000000000000000002") {
		t.Errorf("cause %v, want ErrLeaseLost naming the other lease", cause)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Errorf("release of a lost lease: %v", err)
	}
}

func TestClockSetBackDoesNotEndTheLease(t *testing.T) {
	bucket, c, one := world(t)
	l := lease(t, one, "run-1")
	for _, jump := range []time.Duration{-48 * time.Hour, 72 * time.Hour, -time.Hour} {
		beat := make(chan struct{}, 1)
		bucket.setAfter(func(op, _ string) error {
			if op == "put" {
				beat <- struct{}{}
			}
			return nil
		})
		c.Shift(jump)
		step(c, 1, 20*time.Second)
		<-beat
		c.WaitTimers(1)
		bucket.setAfter(nil)
	}
	if err := l.Context().Err(); err != nil {
		t.Error(context.Cause(l.Context()))
	}
	if err := l.Commit(t.Context(), load(t, one)); err != nil {
		t.Error(err)
	}
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
	crash(t, bucket, c)
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
