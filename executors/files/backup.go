package files

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/holdfast-io/holdfast/executors"
)

// Backup implements executors.Executor. Result.Bytes counts content that was read; unchanged files are not. The data stands for
// the start of the call: Result.Time is zero.
func (x *Executor) Backup(ctx context.Context, req executors.BackupRequest, sink executors.Sink) (executors.Result, error) {
	start := time.Now()
	root, w, err := x.openTree(ctx, req.Source)
	if err != nil {
		return executors.Result{}, err
	}
	defer root.Close()
	var items int64
	var bytes, skipped atomic.Int64
	w.emit = func(f found) error {
		items++
		var c executors.Content
		if f.entry.Type == executors.TypeFile {
			s := &source{
				ctx: ctx, root: root, path: f.entry.Path, raw: f.raw, links: f.links,
				problems: w.problems, rereads: x.margins.rereads, bytes: &bytes, skipped: &skipped,
			}
			c = executors.Content{Open: s.open, SizeHint: f.stat.Size, Fingerprint: fingerprint(&f.stat, f.at, x.margins.racy)}
		}
		return sink.Add(ctx, f.entry, c)
	}
	if err := w.walk(root); err != nil {
		return executors.Result{}, err
	}
	// The last readers still report what vanished or changed.
	if err := sink.Flush(ctx); err != nil {
		return executors.Result{}, err
	}
	res := executors.Result{
		Items: items - skipped.Load(), Bytes: bytes.Load(), Problems: w.problems.sorted(),
		Meta: map[string]string{"root": req.Source.Files.Path()},
	}
	logger(req.Log).Debug("tree read", "root", req.Source.Files.Path(), "items", res.Items, "bytes", res.Bytes,
		"problems", len(res.Problems), "dur", time.Since(start))
	return res, nil
}

// sorted returns the problems by path, whatever the order in which goroutines met them.
func (p *problems) sorted() []executors.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortStableFunc(p.list, func(a, b executors.Problem) int { return cmp.Compare(a.Path, b.Path) })
	return p.list
}
