// Package postgres backs up and restores PostgreSQL databases with PostgreSQL's own client programs.
//
// It asks the server for facts through pgx and lets pg_dump, pg_dumpall and pg_restore read and write data. It knows
// nothing of stores, schedules or retention. The logical method lives here; the physical one gets a folder of its own.
//
// The invariant: a dump counts only when pg_dump ended with success *and* its stream was read to the end. The stream's
// reader gives io.EOF only after both, so that no sink can take a half dump for a whole one.
package postgres

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// DefaultLockWait is how long a dump waits for a table lock. pg_dump locks every table at its start; behind an ALTER TABLE
// that waits itself, it would otherwise hold its snapshot, and so vacuum, for hours.
const DefaultLockWait = time.Minute

// Options set an executor up. The zero value is right for production.
type Options struct {
	BinDir   string        // only this folder is searched for client programs; empty means HOLDFAST_PG_BIN, then the usual places
	LockWait time.Duration // limit of waiting for table locks; 0 means DefaultLockWait

	CheckTimeout time.Duration // limit of one check's query in a rehearsal; 0 means DefaultCheckTimeout
}

// Executor implements executors.Executor for PostgreSQL. It holds no connection between calls.
type Executor struct {
	tools        finder
	lockWait     time.Duration
	checkTimeout time.Duration
	quiet        time.Duration // of basebackup.LocalRequest; 0 in production
}

var _ executors.Executor = (*Executor)(nil)

// New makes an executor. It connects to nothing and looks for no program yet.
func New(o Options) *Executor {
	if o.BinDir == "" {
		o.BinDir = os.Getenv("HOLDFAST_PG_BIN")
	}
	if o.LockWait == 0 {
		o.LockWait = DefaultLockWait
	}
	if o.CheckTimeout == 0 {
		o.CheckTimeout = DefaultCheckTimeout
	}
	return &Executor{tools: finder{only: o.BinDir}, lockWait: o.LockWait, checkTimeout: o.CheckTimeout}
}

// Inspect tells the server's version, system identifier and databases. Size is the sum over those the role may connect to.
func (x *Executor) Inspect(ctx context.Context, src policy.Source) (executors.Facts, error) {
	srv, conn, err := dialSource(ctx, src, "holdfast inspect")
	if err != nil {
		return executors.Facts{}, err
	}
	defer closeConn(ctx, conn)
	facts, err := readFacts(ctx, conn)
	if err != nil {
		return executors.Facts{}, srv.hide(fmt.Errorf("inspect %s: %w", srv.params.address(), err))
	}
	dbs, err := listDatabases(ctx, conn)
	if err != nil {
		return executors.Facts{}, srv.hide(fmt.Errorf("inspect %s: %w", srv.params.address(), err))
	}
	out := executors.Facts{Version: facts.version, Identity: facts.systemID, Extra: map[string]string{
		"address": srv.params.address(), "in_recovery": strconv.FormatBool(facts.inRecovery), "roles": strconv.Itoa(facts.roles),
	}}
	for _, db := range dbs {
		out.Names = append(out.Names, db.name)
		out.Size += db.size
	}
	return out, nil
}

// pointSuffix is the part of a point's id that tells it from others, for names on the server.
func pointSuffix(point string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(point[strings.LastIndexByte(point, '-')+1:]))
	return clean[:min(len(clean), 16)]
}
