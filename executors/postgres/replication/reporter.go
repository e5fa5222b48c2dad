package replication

import (
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// replyGap is the least time between two reports of the same positions. A server that shuts down asks again at once after each
// reply, and both sides would do nothing else.
const replyGap = 200 * time.Millisecond

// reporter tells the server how far its WAL is safe: regularly, also while the caller is busy, and at once after news.
type reporter struct {
	send     func(...pgproto3.FrontendMessage) error
	interval time.Duration
	failed   func() // wakes the reader

	sending sync.Mutex // reports go out in order

	mu               sync.Mutex // never held while sending, so that the caller does not wait for the network
	written, flushed wal.LSN
	told             [2]wal.LSN // the same, as last reported
	toldAt           time.Time
	err              error

	news chan struct{} // holds one
	quit chan struct{}
	done chan struct{}
}

func startReporter(send func(...pgproto3.FrontendMessage) error, interval time.Duration, failed func()) *reporter {
	r := &reporter{
		send: send, interval: interval, failed: failed,
		news: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	go r.run()
	return r
}

func (r *reporter) run() {
	defer close(r.done)
	tick := time.NewTicker(r.interval)
	defer tick.Stop()
	for {
		select {
		case <-r.quit:
			return
		case <-r.news:
		case <-tick.C:
		}
		if r.report(false) != nil {
			r.failed()
			return
		}
	}
}

// set moves the positions forward, never back.
func (r *reporter) set(written, flushed wal.LSN) {
	r.mu.Lock()
	news := flushed > r.flushed
	r.written, r.flushed = max(r.written, written, flushed), max(r.flushed, flushed)
	r.mu.Unlock()
	if news {
		select {
		case r.news <- struct{}{}:
		default:
		}
	}
}

// report sends the positions.
func (r *reporter) report(reply bool) error {
	r.sending.Lock()
	defer r.sending.Unlock()
	r.mu.Lock()
	now := time.Now()
	r.toldAt, r.told = now, [2]wal.LSN{r.written, r.flushed}
	msg := status(r.written, r.flushed, now, reply)
	r.mu.Unlock()

	err := r.send(&pgproto3.CopyData{Data: msg})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	return r.err
}

// answer replies to a request, unless the server knows the answer.
func (r *reporter) answer() error {
	r.mu.Lock()
	known := r.told == [2]wal.LSN{r.written, r.flushed} && time.Since(r.toldAt) < replyGap
	r.mu.Unlock()
	if known {
		return nil
	}
	return r.report(false)
}

// confirmed tells whether the server has been, or will be, told that all up to end is safe.
func (r *reporter) confirmed(end wal.LSN) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flushed != 0 {
		return r.flushed >= end
	}
	return r.written >= end
}

// failure is why a report could not be sent.
func (r *reporter) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// stop ends the regular reports and waits for a running one.
func (r *reporter) stop() {
	select {
	case <-r.quit:
	default:
		close(r.quit)
	}
	<-r.done
}
