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

	mu               sync.Mutex
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

// report sends the positions. The lock is held while sending, so that reports go out in order.
func (r *reporter) report(reply bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.toldAt, r.told = time.Now(), [2]wal.LSN{r.written, r.flushed}
	if err := r.send(&pgproto3.CopyData{Data: status(r.written, r.flushed, r.toldAt, reply)}); err != nil && r.err == nil {
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
