package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/scratch"
	"github.com/holdfast-io/holdfast/policy"
)

var _ executors.Rehearser = (*Executor)(nil)

// Rehearse implements executors.Rehearser: it restores the whole point into a private folder, looks there for every item in
// its full size, and asks the checks of what lies on the disk.
func (x *Executor) Rehearse(ctx context.Context, req executors.RehearseRequest, from executors.Supply) (res executors.RehearseResult, err error) {
	place, err := scratch.New(req.Dir, logger(req.Log))
	if err != nil {
		return res, fmt.Errorf("rehearse the restore: %w", executors.Scratch(err))
	}
	defer func() {
		if rerr := place.Remove(); rerr != nil {
			logger(req.Log).Warn("something of a rehearsal is left; the next one tries again", "err", rerr)
			res.Problems = append(res.Problems, executors.Problem{Path: ".", Err: rerr})
		}
	}()
	r := rehearsal{executor: x, req: req, from: &executors.Watched{Supply: from}, root: filepath.Join(place.Path, "tree")}
	if err := r.run(ctx); err != nil {
		return executors.RehearseResult{}, fmt.Errorf("rehearse the restore: %w", r.blame(ctx, err))
	}
	return r.result, nil
}

// rehearsal is one run of Rehearse.
type rehearsal struct {
	executor *Executor
	req      executors.RehearseRequest
	from     *executors.Watched
	root     string
	result   executors.RehearseResult
	tallies  []tally
}

// tally counts what one check is about.
type tally struct {
	check        policy.Check
	globs        []string
	err          error
	count, bytes int64
}

func (r *rehearsal) run(ctx context.Context) error {
	start := time.Now()
	res, err := r.executor.Restore(ctx, executors.RestoreRequest{Backup: r.req.Backup, Target: executors.Target{Root: r.root}, Log: r.req.Log}, r.from)
	r.result.Result, r.result.Seconds = res, time.Since(start).Seconds()
	if err != nil {
		return err
	}
	for _, c := range r.req.Rehearsal.Checks {
		t := tally{check: c}
		if c.Path == "" {
			t.err = errors.New("a check of files needs a path")
		} else {
			t.globs, t.err = cleanGlobs([]string{c.Path})
		}
		r.tallies = append(r.tallies, t)
	}
	if err := r.look(ctx); err != nil {
		return err
	}
	for _, t := range r.tallies {
		if t.err != nil {
			r.result.Checks = append(r.result.Checks, executors.Unanswered(t.check, t.err))
			continue
		}
		self := map[string]any{"count": t.count, "bytes": t.bytes}
		r.result.Checks = append(r.result.Checks, executors.Judge(t.check, self, "count", "bytes"))
	}
	return nil
}

// look compares the tree on the disk with the entries of the point.
func (r *rehearsal) look(ctx context.Context) error {
	root, err := os.OpenRoot(r.root)
	if err != nil {
		return err
	}
	defer root.Close()
	missing := map[string]bool{} // said so already
	for _, p := range r.result.Problems {
		missing[p.Path] = missing[p.Path] || p.Missing
	}
	return r.from.Entries(ctx, func(e executors.Entry) error {
		if missing[e.Path] {
			return nil
		}
		raw, err := rawPath(e)
		if err != nil {
			return err
		}
		info, err := root.Lstat(raw)
		if err != nil {
			return fmt.Errorf("look for %s: %w", e.Path, reason(err))
		}
		if err := sameKind(e, info); err != nil {
			return fmt.Errorf("look at %s: %w", e.Path, err)
		}
		if info.Mode().IsRegular() {
			r.count(e.Path, info.Size())
		}
		if info.IsDir() && info.Mode().Perm()&0o500 != 0o500 {
			return root.Chmod(raw, 0o700) // whoever is not root must open it to look at what it holds
		}
		return nil
	})
}

func (r *rehearsal) count(path string, size int64) {
	for i := range r.tallies {
		if t := &r.tallies[i]; t.err == nil && covers(t.globs[0], path) {
			t.count++
			t.bytes += size
		}
	}
}

// sameKind compares an entry with what was restored. A hard link shows as the file it is another name of.
func sameKind(e executors.Entry, info fs.FileInfo) error {
	kinds := map[executors.EntryType]fs.FileMode{
		executors.TypeDir: fs.ModeDir, executors.TypeSymlink: fs.ModeSymlink, executors.TypeFIFO: fs.ModeNamedPipe,
	}
	if got := info.Mode().Type(); e.Type != executors.TypeHardlink && got != kinds[e.Type] {
		return fmt.Errorf("it is recorded as %s and was restored as %s", e.Type, got)
	}
	if e.Type == executors.TypeFile && info.Size() != e.Size {
		return fmt.Errorf("%d bytes are recorded and %d were restored", e.Size, info.Size())
	}
	return nil
}

// contradictions are what the system answers when the point's own entries do not go together, such as a file that is also
// a directory. Every other refusal (space, rights, limits, devices) is the scratch place's.
var contradictions = []syscall.Errno{syscall.EEXIST, syscall.ENOTDIR, syscall.EISDIR, syscall.ENOENT, syscall.ELOOP}

// blame decides what an error says.
func (r *rehearsal) blame(ctx context.Context, err error) error {
	var errno syscall.Errno
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case r.from.Failure() != nil:
		return err
	case errors.Is(err, errNoSpace), errors.As(err, &errno) && !slices.Contains(contradictions, errno):
		return executors.Scratch(err)
	}
	return err
}
