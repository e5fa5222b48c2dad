package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/holdfast-io/holdfast/executors"
)

// Restore implements executors.Executor. Everything is written into a private folder beside the target's content first and
// put in place by renames only when every byte was read; until then the target is untouched, whatever fails. When it
// returns nil the data is durable. Result.Bytes counts plain content that was written.
func (x *Executor) Restore(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (executors.Result, error) {
	start := time.Now()
	p, err := x.plan(ctx, req, from)
	if err != nil {
		return executors.Result{}, err
	}
	defer p.dest.close()
	st, err := openStage(p.dest)
	if err != nil {
		return executors.Result{}, err
	}
	defer st.discard()
	r := &restore{plan: p, stage: st, meta: newMeta()}
	if err := r.run(ctx, from); err != nil {
		return executors.Result{}, fmt.Errorf("restore to %s: %w", p.dest.path, err)
	}
	n, first, err := p.extras(ctx, x.margins.named)
	if err != nil {
		r.meta.note("listing what else is there", p.dest.path, err)
	} else if n > 0 {
		r.meta.note(extrasNote(n, first), p.dest.path, nil)
	}
	res := executors.Result{Items: r.items, Bytes: r.bytes, Problems: append(r.problems, r.meta.problems()...)}
	logger(req.Log).Debug("tree restored", "target", p.dest.path, "items", res.Items, "bytes", res.Bytes, "dur", time.Since(start))
	return res, nil
}

// restore is one restore under way. Its fields belong to the goroutine of run; workers only see jobs and meta.
type restore struct {
	plan  *plan
	stage *stage
	meta  *meta

	writers  *writers
	folders  map[string]bool // made in the stage
	dirs     []item          // metadata comes last: writing inside a directory moves its mtime, and its mode may forbid it
	links    []item
	written  map[string]string // content path → raw path it was written at, for links whose target is not its own name
	items    int64
	bytes    int64
	problems []executors.Problem
}

// item is an entry and the bytes of its path.
type item struct {
	entry executors.Entry
	raw   string
}

func (r *restore) run(ctx context.Context, from executors.Supply) error {
	r.folders, r.written = map[string]bool{".": true}, map[string]string{}
	if err := r.fill(ctx, from); err != nil {
		return err
	}
	for _, l := range r.links {
		if err := r.link(l); err != nil {
			return fmt.Errorf("make %s: %w", l.entry.Path, reason(err))
		}
	}
	// Deepest first: a directory's mtime and mode hold only when nothing below it changes any more.
	slices.SortStableFunc(r.dirs, func(a, b item) int { return depth(b.raw) - depth(a.raw) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if r.plan.dest.root == nil {
		return r.finishNew()
	}
	return r.finishExisting()
}

// fill reads the point once and writes files, directories and FIFOs into the stage, where no symlink exists yet.
func (r *restore) fill(ctx context.Context, from executors.Supply) error {
	r.writers = startWriters(ctx, r.meta)
	err := from.Read(r.writers.ctx, r.plan.wants, r.entry)
	if werr := r.writers.wait(); werr != nil {
		return werr // the cause; the reader was only told to stop
	}
	return err
}

func (r *restore) entry(e executors.Entry, content io.Reader) error {
	raw, err := rawPath(e)
	if err != nil {
		return err
	}
	if r.plan.promoted(e.Path) {
		return r.promoted(e, content)
	}
	r.items++
	it := item{e, raw}
	if e.Type == executors.TypeDir {
		r.dirs = append(r.dirs, it)
		return r.makeFolder(raw)
	}
	if err := r.makeFolder(parent(raw)); err != nil {
		return err
	}
	switch e.Type {
	case executors.TypeFile:
		return r.file(it, content)
	case executors.TypeFIFO:
		return r.fifo(it)
	case executors.TypeSymlink, executors.TypeHardlink:
		r.links = append(r.links, it)
		return nil
	}
	return fmt.Errorf("entry %q: unknown type %q", e.Path, e.Type)
}

func (r *restore) file(it item, content io.Reader) error {
	n, err := r.writers.write(r.stage.root, it, content)
	r.bytes += n
	if err != nil {
		return fmt.Errorf("restore %s: %w", it.entry.Path, err)
	}
	return nil
}

// promoted writes content that was not asked for under the name of the first link to it that was.
func (r *restore) promoted(e executors.Entry, content io.Reader) error {
	raw := r.plan.promote[e.Path].raw
	r.written[e.Path] = raw
	if err := r.makeFolder(parent(raw)); err != nil {
		return err
	}
	return r.file(item{e, raw}, content)
}

// makeFolder makes a directory and those above it, private until their metadata is set.
func (r *restore) makeFolder(raw string) error {
	if r.folders[raw] {
		return nil
	}
	if err := r.makeFolder(parent(raw)); err != nil {
		return err
	}
	if err := r.stage.root.Mkdir(raw, 0o700); err != nil {
		return fmt.Errorf("make directory %s: %w", escapeName(raw), reason(err))
	}
	r.folders[raw] = true
	return nil
}

func (r *restore) link(l item) error {
	target, err := rawTarget(l.entry)
	if err != nil {
		return err
	}
	if l.entry.Type == executors.TypeSymlink {
		if err := r.stage.root.Symlink(target, l.raw); err != nil {
			return err
		}
		return r.meta.applyAt(r.stage.root, l)
	}
	if raw, ok := r.written[l.entry.Target]; ok {
		if target = raw; raw == l.raw {
			return nil // its content is already here
		}
	}
	err = r.stage.root.Link(target, l.raw)
	if errors.Is(err, os.ErrNotExist) {
		// The backup could not read the content and said so then.
		r.items--
		r.problems = append(r.problems, executors.Problem{
			Path: l.entry.Path, Missing: true,
			Err: fmt.Errorf("not restored: the file it is another name of, %s, is not in the restore point", l.entry.Target),
		})
		return nil
	}
	return err
}

// finishNew sets directories while the tree is still private, then shows it under its name.
func (r *restore) finishNew() error {
	if err := r.applyDirs(r.stage.root, func(item) bool { return true }); err != nil {
		return err
	}
	if err := r.stage.sync(); err != nil {
		return err
	}
	if err := r.stage.commit(); err != nil {
		return err
	}
	return r.stage.syncName()
}

// finishExisting moves the tree in, then sets directories where they lie: moving one in would move the mtime of the next.
func (r *restore) finishExisting() error {
	if err := r.stage.sync(); err != nil {
		return err
	}
	if err := r.stage.commit(); err != nil {
		return err
	}
	if err := r.stage.remove(); err != nil {
		return err
	}
	err := r.applyDirs(r.stage.top, func(d item) bool {
		// A root the operator made stays as they made it unless told; a folder that only leads to what was asked for stays.
		if d.raw == "." {
			return r.plan.overwrite && len(r.plan.only) == 0
		}
		return r.plan.matches(d.entry.Path) || !r.plan.folders[d.raw]
	})
	if err != nil {
		return err
	}
	return r.stage.sync()
}

func (r *restore) applyDirs(root *os.Root, which func(item) bool) error {
	for _, d := range r.dirs {
		if !which(d) {
			continue
		}
		if err := r.meta.applyAt(root, d); err != nil {
			return fmt.Errorf("set %s: %w", d.entry.Path, reason(err))
		}
	}
	return nil
}
