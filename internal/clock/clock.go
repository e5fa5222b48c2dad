// Package clock is the time that services see: what the clock on the wall says, and how much time has passed.
//
// It is a leaf and no scheduler. The two readings are kept apart on purpose: Now may jump (a person sets the clock, two
// hosts differ), Mono never goes back, so everything that measures a span asks Mono. clocktest has a clock for tests.
package clock

import "time"

// Clock tells the time. Its methods may be called from several goroutines.
type Clock interface {
	// Now is the time of day. It may jump in either direction between two calls.
	Now() time.Time
	// Mono is the time since some fixed moment of this process. It never goes back.
	Mono() time.Duration
	// NewTimer makes a timer that fires once after d of Mono. Stop it when it is not needed any more.
	NewTimer(d time.Duration) Timer
}

// Timer fires once.
type Timer interface {
	// C receives the time when the timer fires.
	C() <-chan time.Time
	// Stop keeps the timer from firing; false means that it fired or was stopped already.
	Stop() bool
}

// Real returns the machine's clock.
func Real() Clock { return realClock{start: time.Now()} }

type realClock struct{ start time.Time }

func (realClock) Now() time.Time { return time.Now() }

func (c realClock) Mono() time.Duration { return time.Since(c.start) }

func (realClock) NewTimer(d time.Duration) Timer { return realTimer{time.NewTimer(d)} }

type realTimer struct{ *time.Timer }

func (t realTimer) C() <-chan time.Time { return t.Timer.C }
