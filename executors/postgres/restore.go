package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
)

// Restore builds each database beside what is there and renames it when it is complete and looked at; parts go into an
// existing database in one transaction. Whatever fails, the database that was there is still there as it was. Roles that
// were made stay.
func (x *Executor) Restore(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (executors.Result, error) {
	switch {
	case isPhysical(from) && req.Target.URL != nil:
		return x.restoreVia(ctx, req, from)
	case isPhysical(from):
		return x.restorePhysical(ctx, req, from)
	}
	return x.restoreLogical(ctx, req, from)
}

// restoreLogical restores dumps.
func (x *Executor) restoreLogical(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (executors.Result, error) {
	p, err := x.planRestore(ctx, req, from)
	if err != nil {
		return executors.Result{}, err
	}
	r := &restore{plan: p, from: from, log: req.Log}
	if r.log == nil {
		r.log = discard
	}
	r.result = executors.Result{Version: p.facts.version, Meta: from.Meta()}
	if err := r.run(ctx); err != nil {
		return executors.Result{}, p.srv.hide(err)
	}
	return r.result, nil
}

// discard is for requests without a log.
var discard = slog.New(slog.DiscardHandler)

// restore is one run of Restore.
type restore struct {
	plan   *restorePlan
	from   executors.Supply
	log    *slog.Logger
	result executors.Result
}

func (r *restore) run(ctx context.Context) error {
	if r.plan.opts.globals {
		err := r.withServer(ctx, func(conn *pgx.Conn) error {
			made, err := applyGlobals(ctx, conn, r.plan.globals)
			r.log.Info("roles made", "roles", made)
			return err
		})
		if err != nil {
			return fmt.Errorf("restore roles: %w", err)
		}
		r.result.Items++
		r.result.Bytes += int64(len(r.plan.globals))
	}
	for i := range r.plan.dumps {
		d := &r.plan.dumps[i]
		var err error
		if d.way == wayCreate || d.way == waySwap {
			err = r.beside(ctx, d)
		} else {
			err = r.into(ctx, d)
		}
		if err != nil {
			return fmt.Errorf("restore database %q to %q: %w", d.source, d.target, err)
		}
		for _, l := range d.leftOut {
			r.result.Problems = append(r.result.Problems, executors.Problem{Path: d.entry.Path, Err: errors.New("left out " + l), Missing: true})
		}
	}
	return nil
}

// into restores into the existing target in one transaction.
func (r *restore) into(ctx context.Context, d *dumpPlan) error {
	args := []string{"--single-transaction"}
	if len(d.clash) > 0 {
		args = append(args, "--clean", "--if-exists")
	}
	err := r.load(ctx, d, d.target, 1, args)
	var failed *toolError
	if len(d.clash) > 0 && errors.As(err, &failed) {
		// pg_restore removes a table piece by piece, which needs the pieces of the dump to be there.
		return fmt.Errorf("%w; nothing was changed: when the tables there have another structure, or something else depends on them, rename or drop them first", err)
	}
	if err != nil {
		return err
	}
	return r.finish(ctx, d, d.target)
}

// beside restores into a new database and gives it the target's name at the end.
func (r *restore) beside(ctx context.Context, d *dumpPlan) (err error) {
	temp := r.plan.temporaryName("hf_restore_", d.target)
	if err := r.withServer(ctx, func(conn *pgx.Conn) error { return r.createTemporary(ctx, conn, d, temp) }); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.dropTemporary(ctx, temp))
		}
	}()
	// Held until the rename: another restore of the same point sees that this one lives.
	guard, err := r.plan.srv.openDatabase(ctx, temp)
	if err != nil {
		return err
	}
	defer closeConn(ctx, guard)
	if err := makeSchemas(ctx, guard, d.entries()); err != nil {
		return err
	}
	if err := r.load(ctx, d, temp, r.plan.opts.jobs, nil); err != nil {
		return err
	}
	if err := r.applyProperties(ctx, guard, d, temp); err != nil {
		return err
	}
	if err := r.finish(ctx, d, temp); err != nil {
		return err
	}
	closeConn(ctx, guard)
	return r.takeName(ctx, d, temp)
}

// load runs pg_restore. Any error of any statement is a failure; pg_restore by itself would count and go on.
func (r *restore) load(ctx context.Context, d *dumpPlan, database string, jobs int, more []string) error {
	args := append([]string{"--exit-on-error", "--no-password"}, more...)
	if r.plan.opts.noOwner {
		args = append(args, "--no-owner", "--no-privileges")
	}
	if d.noSpaces {
		args = append(args, "--no-tablespaces")
	}
	var files []*passedFile
	defer func() {
		for _, f := range files {
			f.close()
		}
	}()
	if d.part != nil {
		var list strings.Builder
		for _, id := range d.ids {
			fmt.Fprintf(&list, "%d;\n", id)
		}
		f, err := passFile(r.plan.opts.stagingDir, strings.NewReader(list.String()), len(files))
		if err != nil {
			return fmt.Errorf("write list of objects: %w", err)
		}
		files = append(files, f)
		args = append(args, "--use-list="+f.path)
	}
	args = append(args, "--dbname="+r.plan.srv.params.with("dbname", database).forTools())
	want := func(e executors.Entry) bool { return e.Path == d.entry.Path }
	found := false
	err := r.from.Read(ctx, want, func(e executors.Entry, in io.Reader) error {
		found = true
		counted := &countingReader{r: in}
		var err error
		if r.staged(sizeOf(e), jobs) {
			var f *passedFile
			if f, err = passFile(r.plan.opts.stagingDir, counted, len(files)); err != nil {
				return fmt.Errorf("stage dump in a file: %w", err)
			}
			files = append(files, f)
			c := newChild(ctx, r.plan.srv, d.tool, append(args, "--jobs="+strconv.Itoa(jobs), f.path)...)
			err = c.run(ctx, files)
		} else {
			c := newChild(ctx, r.plan.srv, d.tool, args...)
			c.pass(files)
			_, err = c.feed(ctx, counted)
		}
		if err != nil {
			return err
		}
		r.result.Items++
		r.result.Bytes += counted.n
		if e.Size != sizeUnknown && counted.n != e.Size {
			return fmt.Errorf("read %s: it holds %d bytes, recorded are %d", e.Path, counted.n, e.Size)
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("read %s: the restore point no longer holds it", d.entry.Path)
	}
	return err
}

// minStaged is the smallest dump that is worth a file for parallel restore when nobody asked for it.
const minStaged = 64 << 20

// staged decides whether a dump goes through a file: only a file can be read by several connections at once.
func (r *restore) staged(size int64, jobs int) bool {
	if jobs < 2 || size < minStaged && !r.plan.opts.jobsAsked {
		return false
	}
	free, err := freeSpace(r.plan.opts.stagingDir)
	if err != nil || free < size+size/16 {
		r.log.Info("restoring with one connection: no room to stage the dump", "need", size, "free", free)
		return false
	}
	return true
}

// finish gathers statistics, which a dump does not carry, and looks whether every table is there.
func (r *restore) finish(ctx context.Context, d *dumpPlan, database string) error {
	conn, err := r.plan.srv.openDatabase(ctx, database)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	missing, err := missingTables(ctx, conn, d.tables())
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("look at the result: the tables %s are not there", executors.ListSome(missing, 10))
	}
	analyze := []string{"analyze"}
	if d.part != nil {
		analyze = nil
		for _, e := range d.tables() {
			if e.Desc != "FOREIGN TABLE" {
				analyze = append(analyze, "analyze "+ident(e.Namespace, e.Tag))
			}
		}
	}
	for _, sql := range analyze {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("gather statistics: %w", err)
		}
	}
	return nil
}

// withServer runs fn with a connection of its own: one that lay idle during a long restore may be gone.
func (r *restore) withServer(ctx context.Context, fn func(*pgx.Conn) error) error {
	conn, err := r.plan.srv.open(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	return fn(conn)
}
