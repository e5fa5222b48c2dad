package postgres

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// production is a server that loses transactions in proportion to the rate at which it is read.
type production struct{ tps, most, loss float64 } // loss of tps at the rate most, which nothing exceeds

func (s production) cycle(p *pacer) (loss float64) {
	rate := min(p.rate, s.most)
	p.bytes = int64(rate * p.run.Seconds())
	loss = s.loss * rate / s.most
	p.cycle(s.tps*(1-loss), s.tps, p.run)
	return loss
}

// TestPacerFindsTheRate: whatever a server can bear, after some cycles it loses no more than the budget, and the backup is not
// slower than it must be.
func TestPacerFindsTheRate(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := production{
			tps: rapid.Float64Range(10, 50000).Draw(rt, "tps"), most: rapid.Float64Range(20<<20, 2<<30).Draw(rt, "most"), loss: rapid.Float64Range(0, 0.9).Draw(rt, "loss"),
		}
		percent := rapid.IntRange(1, 99).Draw(rt, "percent")
		p := newPacer(percent)
		for range 40 {
			s.cycle(p)
		}
		var sum, rates float64
		for range 20 {
			sum += s.cycle(p)
			rates += min(p.rate, s.most)
		}
		budget := float64(percent) / 100
		if floor := s.loss * lowestRate / s.most; sum/20 > budget*1.15 && sum/20 > floor*1.01 {
			rt.Errorf("%+v, %d %%: loses %.3f", s, percent, sum/20)
		}
		possible := s.most
		if s.loss > budget {
			possible = s.most * budget / s.loss
		}
		if rates/20 < 0.6*possible && possible > lowestRate {
			rt.Errorf("%+v, %d %%: reads %.0f bytes per second of %.0f", s, percent, rates/20, possible)
		}
	})
}

// TestPacerOfIdleServers: nothing is held up where there is nothing to lose.
func TestPacerOfIdleServers(t *testing.T) {
	p := newPacer(10)
	p.cycle(0, 0.5, time.Second)
	if !math.IsInf(p.rate, 1) {
		t.Errorf("rate %v", p.rate)
	}
	if p = newPacer(100); p.budget != 0 || !math.IsInf(p.rate, 1) {
		t.Errorf("100 %%: %+v", p)
	}
}

// TestPacerWaits: a rest holds readers up until it ends, a rate spreads them, and the end of the context ends both.
func TestPacerWaits(t *testing.T) {
	p := newPacer(10)
	resume := p.pause()
	done := make(chan error, 1)
	go func() { done <- p.wait(t.Context(), 1) }()
	select {
	case err := <-done:
		t.Fatalf("it did not rest: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	resume()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	go func() { done <- p.wait(ctx, 1<<30) }()
	cancel(gone)
	if err := <-done; !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}
