package postgres

import (
	"context"
	"math"
	"sync"
	"time"
)

// pacer keeps a base backup within its impact budget. Time goes in cycles: for a while the backup reads at some rate, then it
// rests; the server's transactions while it reads are compared with those while it rests, and the rate is set anew. What a
// server does is not known beforehand, and differs from minute to minute: only the server itself can say what a backup costs.
type pacer struct {
	budget float64 // share of transactions that may be lost; 0 means no limit
	mu     sync.Mutex
	rate   float64 // bytes per second; +Inf: as fast as it goes
	free   time.Time
	rest   chan struct{} // closed when the rest is over; nil while reading
	bytes  int64         // read in this cycle

	busy, calm float64 // transactions per second while reading and while resting, smoothed; calm 0: nothing known
	last       float64 // transactions per second in the last rest
	run        time.Duration
	good       int // cycles within the budget, one after the other
}

// What a pacer goes by.
const (
	firstRate   = 16 << 20
	lowestRate  = 4 << 20 // a backup that never ends protects nothing
	firstRun    = 3 * time.Second
	longestRun  = 24 * time.Second
	settleTime  = 300 * time.Millisecond // until what was read before the rest is through the pipeline
	restTime    = 700 * time.Millisecond
	burst       = 50 * time.Millisecond // of reading ahead of the rate
	quietServer = 3.0                   // transactions per second below which there is nothing to lose
)

func newPacer(percent int) *pacer {
	p := &pacer{rate: math.Inf(1), run: firstRun}
	if percent < 100 {
		p.budget, p.rate = float64(percent)/100, firstRate
	}
	return p
}

// wait holds the reader of n bytes up.
func (p *pacer) wait(ctx context.Context, n int) error {
	p.mu.Lock()
	p.bytes += int64(n)
	rest, now := p.rest, time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	if !math.IsInf(p.rate, 1) {
		p.free = p.free.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	}
	ahead := p.free.Sub(now)
	p.mu.Unlock()
	if rest != nil {
		select {
		case <-rest:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if ahead < burst {
		return nil
	}
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pause begins a rest and returns what ends it.
func (p *pacer) pause() (resume func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := make(chan struct{})
	p.rest = rest
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.rest = nil
		p.free = time.Time{}
		close(rest)
	}
}

// cycle takes in what one cycle showed, transactions per second and how long it read, and sets rate and length of the next.
func (p *pacer) cycle(busy, calm float64, read time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	actual := float64(p.bytes) / read.Seconds()
	p.bytes = 0
	// The rests on both sides of the reading: what a server does changes by itself.
	around := calm
	if p.last > 0 {
		around = (p.last + calm) / 2
	}
	p.last = calm
	if p.calm == 0 {
		p.busy, p.calm = busy, around
	}
	p.busy, p.calm = p.busy+(busy-p.busy)/3, p.calm+(around-p.calm)/3
	if p.calm < quietServer { // an idle host is used fully
		p.rate, p.run, p.good = math.Inf(1), min(2*p.run, longestRun), 0
		return
	}
	loss := 1 - p.busy/p.calm
	switch {
	case loss > p.budget:
		p.good, p.run = 0, firstRun
		p.rate = max(lowestRate, min(p.rate, max(actual, lowestRate))*max(0.5, p.budget/loss))
	default:
		if p.good++; p.good > 2 {
			p.run = min(2*p.run, longestRun)
		}
		// The nearer the budget, the smaller the step.
		p.rate = max(p.rate, lowestRate) * (1 + 0.5*min(1, (p.budget-loss)/p.budget))
		if p.rate > 4*max(actual, firstRate) {
			p.rate = math.Inf(1) // something else limits it
		}
	}
}
