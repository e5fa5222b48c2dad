package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-io/holdfast/executors"
)

var _ executors.Rehearser = (*Executor)(nil)

// Rehearse restores every database of the point and asks the checks. Without a server in the policy it starts one of the
// point's major version for the purpose, with the point's roles; on a given server it makes databases of random names and
// leaves owners and grants out, so that no role has to be made there. A base backup is started on a server of its own.
func (x *Executor) Rehearse(ctx context.Context, req executors.RehearseRequest, from executors.Supply) (executors.RehearseResult, error) {
	r := &rehearsal{executor: x, req: req, from: &executors.Watched{Supply: from}, log: req.Log}
	if r.log == nil {
		r.log = discard
	}
	run := r.run
	if isPhysical(from) {
		run = r.physical
	}
	if err := run(ctx); err != nil {
		return executors.RehearseResult{}, fmt.Errorf("rehearse the restore: %w", err)
	}
	return r.result, nil
}

// rehearsal is one run of Rehearse.
type rehearsal struct {
	executor *Executor
	req      executors.RehearseRequest
	from     *executors.Watched
	log      *slog.Logger
	place    *scratchPlace
	result   executors.RehearseResult

	major     int // of the point's server
	dumps     []dumped
	size      int64
	hasRoles  bool
	databases map[string]string // name in the point → name on the scratch server
}

// dumped is one dump of the point.
type dumped struct{ database, path string }

func (r *rehearsal) run(ctx context.Context) error {
	if err := r.look(ctx); err != nil {
		return err
	}
	var err error
	if r.place, err = r.openPlace(ctx); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return executors.Scratch(err)
	}
	err = r.atPlace(ctx)
	if err != nil {
		err = r.blame(ctx, err) // before the place is closed: a dead one is known by its silence
	}
	if closeErr := r.place.close(ctx); closeErr != nil {
		r.log.Warn("something of a rehearsal is left; the next one tries again", "err", closeErr)
		r.result.Problems = append(r.result.Problems, executors.Problem{Path: "scratch", Err: closeErr})
	}
	return err
}

// look reads what the point holds, without content.
func (r *rehearsal) look(ctx context.Context) error {
	r.major = majorOf(r.from.Meta()["version"])
	r.databases = map[string]string{}
	err := r.from.Entries(ctx, func(e executors.Entry) error {
		r.size += e.Size
		if e.Path == globalsPath {
			r.hasRoles = true
		} else if name := e.Attrs[attrDatabase]; name != "" {
			r.dumps = append(r.dumps, dumped{name, e.Path})
		}
		return nil
	})
	if err == nil && len(r.dumps) == 0 {
		err = errors.New("the restore point holds no dump")
	}
	return err
}

func (r *rehearsal) openPlace(ctx context.Context) (p *scratchPlace, err error) {
	if url := r.req.Rehearsal.Server; url != nil {
		p, err = openGiven(ctx, url, r.log)
	} else {
		var own *ownServer
		if own, err = startOwn(ctx, r.executor.tools, r.major, r.req.Dir, r.size, r.log); err == nil {
			p, err = own.open(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	if p.facts, err = readFacts(ctx, p.guard); err != nil {
		return nil, errors.Join(p.srv.hide(err), p.close(ctx))
	}
	return p, nil
}

// atPlace restores and asks.
func (r *rehearsal) atPlace(ctx context.Context) error {
	r.result.Version = r.place.facts.version
	if r.major != 0 && r.place.facts.major != r.major {
		r.result.Problems = append(r.result.Problems, executors.Problem{Path: "scratch", Err: fmt.Errorf(
			"rehearsed on PostgreSQL %s; the restore point is of PostgreSQL %d", r.place.facts.version, r.major)})
	}
	start := time.Now()
	err := r.restoreAll(ctx)
	r.result.Seconds = time.Since(start).Seconds()
	if err != nil {
		return err
	}
	return r.ask(ctx)
}

func (r *rehearsal) restoreAll(ctx context.Context) error {
	if r.place.id == "" {
		for _, d := range r.dumps {
			r.databases[d.database] = d.database
		}
		return r.restore(ctx, nil, "")
	}
	for _, d := range r.dumps {
		name := r.place.name()
		r.databases[d.database] = name
		if err := r.restore(ctx, []string{d.path}, name); err != nil { // letters, digits, "-_.%/": no glob's signs
			return err
		}
	}
	return nil
}

func (r *rehearsal) restore(ctx context.Context, only []string, database string) error {
	options := map[string]string{optStagingDir: r.req.Dir, optNoOwner: "true"}
	if r.place.id == "" && r.hasRoles {
		options[optNoOwner], options[optGlobals] = "false", "true"
	}
	if free, err := freeSpace(r.req.Dir); err != nil || free < 3*r.size {
		options[optJobs] = "1" // a staged dump would take the room of its own data
	}
	plan, err := r.executor.planAt(ctx, executors.RestoreRequest{Backup: r.req.Backup, Only: only, Options: options}, r.place.params, database, r.from)
	if err != nil {
		return err
	}
	plan.scratch = r.place.id != ""
	run := &restore{plan: plan, from: r.from, log: r.log}
	if err := run.run(ctx); err != nil {
		return plan.srv.hide(err)
	}
	r.result.Items += run.result.Items
	r.result.Bytes += run.result.Bytes
	r.result.Problems = append(r.result.Problems, run.result.Problems...)
	return nil
}

// blame decides what an error says. The restore point is convicted only by content that could not be read, or by a living
// server of its own version that had all it needed and refused it.
func (r *rehearsal) blame(ctx context.Context, err error) error {
	var target *targetError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, executors.ErrScratch), r.from.Failure() != nil:
		return err
	case errors.As(err, &target), !r.place.alive(ctx), r.place.facts.major != r.major, lacked(err):
		return executors.Scratch(err)
	}
	return err
}

// lackWords are what PostgreSQL's programs say when the server lacks something that the restore point does not hold.
var lackWords = []string{
	"No space left on device", "Disk quota exceeded", "could not extend file", "could not write to file", "out of memory", "out of shared memory",
	"shared_preload_libraries", "could not load library", "could not access file", "could not open extension control file",
	"server closed the connection", "connection to server", "the database system is", "too many clients", "remaining connection slots",
	"permission denied", "must be superuser", "must be owner", "could not resize shared memory segment",
}

// lacked tells whether an error is about means: the system's, the server's or the right to use them.
func lacked(err error) bool {
	var errno syscall.Errno
	var exit *exec.ExitError
	if errors.As(err, &errno) || errors.As(err, &exit) && exit.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		return true
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return serverLacks(pgErr)
	}
	var said *toolError
	if !errors.As(err, &said) {
		return false
	}
	for _, words := range lackWords {
		if strings.Contains(said.text, words) {
			return true
		}
	}
	// On a given server no role is made; a policy for rows may name one all the same.
	return strings.Contains(said.text, `role "`) && strings.Contains(said.text, `" does not exist`)
}

// serverLacks: lost connections, want of resources, operators, system errors, rights.
func serverLacks(err *pgconn.PgError) bool {
	for _, class := range []string{"08", "53", "57P", "58"} {
		if strings.HasPrefix(err.Code, class) {
			return true
		}
	}
	return err.Code == codeDenied
}
