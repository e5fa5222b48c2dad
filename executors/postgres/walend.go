package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
	"github.com/holdfast-io/holdfast/policy"
)

var _ executors.WALTeller = (*Executor)(nil)

// WALEnd implements executors.WALTeller. What was committed and acknowledged is flushed, so that the end is that of what is flushed.
func (x *Executor) WALEnd(ctx context.Context, src policy.Source) (executors.WALEnd, error) {
	srv, conn, err := dialSource(ctx, src, "holdfast wal")
	if err != nil {
		return executors.WALEnd{}, err
	}
	defer closeConn(ctx, conn)
	facts, err := readFacts(ctx, conn)
	if err != nil {
		return executors.WALEnd{}, srv.hide(fmt.Errorf("ask %s for its WAL: %w", srv.params.address(), err))
	}
	end := executors.WALEnd{System: facts.systemID}
	var size, segment string
	err = conn.QueryRow(ctx, `select setting from pg_settings where name = 'wal_segment_size'`).Scan(&size)
	if err == nil && !facts.inRecovery {
		err = conn.QueryRow(ctx, `select l::text, pg_walfile_name(l) from pg_current_wal_flush_lsn() l`).Scan(&end.LSN, &segment)
	}
	if err == nil {
		end.SegmentSize, err = strconv.ParseInt(size, 10, 64)
	}
	if err != nil {
		return executors.WALEnd{}, srv.hide(fmt.Errorf("ask %s for its WAL: %w", srv.params.address(), err))
	}
	end.Timeline = uint32(wal.ParseName(segment).Timeline)
	return end, nil
}
