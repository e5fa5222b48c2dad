// Package clocktest has a clock that moves only when a test says so.
package clocktest

import (
	"slices"
	"sync"
	"time"

	"github.com/holdfast-io/holdfast/internal/clock"
)

var _ clock.Clock = (*Fake)(nil)

// Fake is a clock for tests. Advance moves time; Shift moves only what the wall clock shows, also backwards.
type Fake struct {
	mu     sync.Mutex
	cond   *sync.Cond
	wall   time.Time
	mono   time.Duration
	timers []*timer
}

// New makes a clock that shows now.
func New(now time.Time) *Fake {
	f := &Fake{wall: now}
	f.cond = sync.NewCond(&f.mu)
	return f
}

// Now is what the wall clock shows.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wall
}

// Mono is the sum of all Advances.
func (f *Fake) Mono() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mono
}

// NewTimer makes a timer that fires when Advance reaches d.
func (f *Fake) NewTimer(d time.Duration) clock.Timer {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := &timer{fake: f, at: f.mono + d, c: make(chan time.Time, 1)}
	if d <= 0 {
		t.c <- f.wall
		return t
	}
	f.timers = append(f.timers, t)
	f.cond.Broadcast()
	return t
}

// Advance lets d pass and fires the timers that are due.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wall, f.mono = f.wall.Add(d), f.mono+d
	f.timers = slices.DeleteFunc(f.timers, func(t *timer) bool {
		if t.at > f.mono {
			return false
		}
		t.c <- f.wall
		return true
	})
}

// Shift moves the wall clock by d without letting time pass.
func (f *Fake) Shift(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wall = f.wall.Add(d)
}

// WaitTimers returns when at least n timers are waiting.
func (f *Fake) WaitTimers(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.timers) < n {
		f.cond.Wait()
	}
}

type timer struct {
	fake *Fake
	at   time.Duration
	c    chan time.Time
}

func (t *timer) C() <-chan time.Time { return t.c }

func (t *timer) Stop() bool {
	t.fake.mu.Lock()
	defer t.fake.mu.Unlock()
	i := slices.Index(t.fake.timers, t)
	if i < 0 {
		return false
	}
	t.fake.timers = slices.Delete(t.fake.timers, i, i+1)
	return true
}
