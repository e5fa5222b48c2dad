package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// physical rehearses a base backup: a scratch server of its major version recovers on it to the end of the WAL that is stored, or
// with the WAL that it carries, and is asked the policy's checks.
func (r *rehearsal) physical(ctx context.Context) error {
	if r.req.Rehearsal.Server != nil {
		return executors.Scratch(errors.New("a base backup is rehearsed on a server of its own on this host: leave `server` out of verify { restore }"))
	}
	p, err := r.planPhysical(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	c, err := p.start(ctx, r.log)
	if err != nil {
		return r.blamePhysical(ctx, p, err)
	}
	r.result.Seconds = time.Since(start).Seconds()
	r.result.Items, r.result.Bytes = p.point.Items, p.point.Bytes
	r.result.Version, r.result.Position = c.facts.version, c.reached.lsn
	r.result.Problems = append(r.result.Problems, executors.Problem{Path: "recovery", Err: errors.New(c.reached.String())})
	if err = r.frontier(ctx, p, c); err == nil {
		err = r.askRecovered(ctx, c)
	}
	if closeErr := c.close(); closeErr != nil {
		r.log.Warn("something of a rehearsal is left; the next one tries again", "err", closeErr)
		r.result.Problems = append(r.result.Problems, executors.Problem{Path: "scratch", Err: closeErr})
	}
	return err
}

// planPhysical decides what is run here. What this host lacks says nothing of the restore point.
func (r *rehearsal) planPhysical(ctx context.Context) (*viaPlan, error) {
	p := &viaPlan{from: r.from, req: executors.RestoreRequest{Source: r.req.Source, Backup: r.req.Backup, Options: map[string]string{}}}
	doc, err := basebackup.ReadDocument(ctx, r.from)
	if err != nil {
		return nil, err
	}
	if r.req.WAL != nil {
		names, err := r.req.WAL.Files(ctx, doc.System)
		if err != nil {
			return nil, executors.Scratch(fmt.Errorf("look for stored WAL: %w", err))
		}
		if len(names) > 0 {
			p.req.WAL = &watchedArchive{WALArchive: r.req.WAL}
			p.req.Options[optionTo] = "latest"
		}
	}
	if p.rec, err = parseRecovery(p.req.Options); err != nil {
		return nil, err
	}
	if p.req.WAL != nil {
		p.rec.command = askCommand
	}
	p.options.stagingDir = r.req.Dir
	for _, step := range []func(context.Context, *Executor) error{p.readPoint, p.findPrograms, p.findRoom} {
		if err := step(ctx, r.executor); err != nil {
			if r.from.Failure() != nil {
				return nil, err
			}
			return nil, executors.Scratch(err)
		}
	}
	return p, nil
}

// watchedArchive remembers why WAL could not be fetched, when it was not absent.
type watchedArchive struct {
	executors.WALArchive
	mu  sync.Mutex
	err error
}

// Fetch implements executors.WALArchive.
func (w *watchedArchive) Fetch(ctx context.Context, system, name string, segmentSize int64, to io.Writer) (int64, error) {
	n, err := w.WALArchive.Fetch(ctx, system, name, segmentSize, to)
	if err != nil && !errors.Is(err, executors.ErrNoWAL) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.err = cmp.Or(w.err, err)
	}
	return n, err
}

func (w *watchedArchive) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// blamePhysical decides whether a recovery that failed says something of the restore point.
func (r *rehearsal) blamePhysical(ctx context.Context, p *viaPlan, err error) error {
	archive, _ := p.req.WAL.(*watchedArchive)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case r.from.Failure() != nil:
		return err
	case archive != nil && archive.failure() != nil:
		return fmt.Errorf("the base backup is intact, its WAL could not be read: %w", errors.Join(archive.failure(), err))
	case lacked(err):
		return executors.Scratch(err)
	}
	return err
}

// frontier proves that recovery did not end before the WAL that is stored without a gap: a server takes a segment that it is told
// is absent for the end of the log, and says nothing.
func (r *rehearsal) frontier(ctx context.Context, p *viaPlan, c *recoveredServer) error {
	if p.req.WAL == nil {
		return nil
	}
	doc := p.point.Document
	names, err := r.req.WAL.Files(ctx, doc.System)
	if err != nil {
		return executors.Scratch(fmt.Errorf("look for stored WAL: %w", err))
	}
	start, _, err := doc.Positions()
	if err != nil {
		return err
	}
	reached, err := wal.ParseLSN(c.reached.lsn)
	if err != nil {
		return err
	}
	size := wal.SegmentSize(doc.SegmentSize)
	for _, name := range names {
		if wal.ParseName(name).Kind == wal.KindHistory {
			return nil // over timelines the server itself follows the histories, and fails where one is missing
		}
	}
	last := size.Number(start)
	for slices.Contains(names, (wal.Segment{Timeline: wal.Timeline(doc.Timeline), Number: last + 1}).Name(size)) {
		last++
	}
	if reached < size.Start(last) {
		return fmt.Errorf("recovery ended at %s, and WAL is stored without a gap up to %s", reached, (wal.Segment{Timeline: wal.Timeline(doc.Timeline), Number: last}).Name(size))
	}
	return nil
}

// askRecovered asks the policy's checks of the recovered server.
func (r *rehearsal) askRecovered(ctx context.Context, c *recoveredServer) error {
	guard, err := c.srv.open(ctx)
	if err != nil {
		return executors.Scratch(err)
	}
	defer closeConn(ctx, guard)
	all, err := listDatabases(ctx, guard)
	if err != nil {
		return executors.Scratch(err)
	}
	r.databases = map[string]string{}
	for _, db := range all {
		r.databases[db.name] = db.name
		r.dumps = append(r.dumps, dumped{database: db.name})
	}
	// Where a check names no database: the source's own, else the first that is not for maintenance.
	own := ""
	if source, err := sourceParams(r.req.Source.Postgres); err == nil {
		own = source["dbname"]
	}
	slices.SortStableFunc(r.dumps, func(a, b dumped) int {
		rank := func(d dumped) int {
			switch {
			case d.database == own:
				return 0
			case slices.Contains(maintenanceDatabases, d.database):
				return 2
			}
			return 1
		}
		return cmp.Compare(rank(a), rank(b))
	})
	r.place = &scratchPlace{params: c.params, srv: c.srv, guard: guard, facts: c.facts}
	return r.ask(ctx)
}
