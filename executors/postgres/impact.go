package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// watch measures what the backup costs the server, on a connection of its own, until the returned function is called. When the
// server cannot be asked any more, the rate stays what it was.
func (b *physicalBackup) watch(ctx context.Context, p *pacer) (stop func()) {
	if p.budget == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		conn, err := b.srv.open(ctx)
		if err != nil {
			b.log.Warn("what the backup costs the server cannot be measured; it goes on slowly", "err", b.srv.hide(err))
			return
		}
		defer closeConn(ctx, conn)
		for ctx.Err() == nil {
			if err := measureCycle(ctx, conn, p); err != nil && ctx.Err() == nil {
				b.log.Warn("what the backup costs the server cannot be measured any more", "err", b.srv.hide(err))
				return
			}
			p.mu.Lock()
			b.log.Debug("impact", "tps_reading", p.busy, "tps_resting", p.calm, "rate", p.rate)
			p.mu.Unlock()
		}
	})
	return func() {
		cancel()
		watching.Wait()
	}
}

// measureCycle lets the backup read for a while, then rest, and tells the pacer what the server did meanwhile.
func measureCycle(ctx context.Context, conn *pgx.Conn, p *pacer) error {
	p.mu.Lock()
	run := p.run
	p.mu.Unlock()
	begun := time.Now()
	busy, err := transactions(ctx, conn, run)
	if err != nil {
		return err
	}
	read := time.Since(begun)
	resume := p.pause()
	defer resume()
	if err := sleepFor(ctx, settleTime); err != nil {
		return err
	}
	calm, err := transactions(ctx, conn, restTime)
	if err != nil {
		return err
	}
	p.cycle(busy, calm, read)
	return nil
}

// transactions counts those that write for a while, per second. The counters of pg_stat_database come seconds late; the next
// transaction's number is always that of now.
func transactions(ctx context.Context, conn *pgx.Conn, d time.Duration) (perSecond float64, err error) {
	next := func() (n int64, err error) {
		err = conn.QueryRow(ctx, `select pg_snapshot_xmax(pg_current_snapshot())::text::bigint`).Scan(&n)
		return n, err
	}
	before, err := next()
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := sleepFor(ctx, d); err != nil {
		return 0, err
	}
	after, err := next()
	return float64(after-before) / time.Since(begun).Seconds(), err
}

func sleepFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
