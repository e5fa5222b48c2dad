package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// repository lets apply and executors see a repo.Repository through their own interfaces.
type repository struct {
	*repo.Repository
	address    string // of the store
	policyText []byte
	bucket     blob.Bucket

	warned bool // that its recipients differ

	mu      sync.Mutex
	copiers map[*repository]*repo.Copier // by where they copy from
}

var _ apply.Repository = (*repository)(nil)

// NewPoint implements apply.Repository.
func (r *repository) NewPoint(ctx context.Context, o apply.PointOptions) (apply.PointWriter, error) {
	w, err := r.NewWriter(ctx, repo.WriterOptions{
		Address: o.Address, Point: o.Point, Compression: string(o.Compression), SizeHint: o.SizeHint,
		IsSkip:   func(err error) bool { return errors.Is(err, executors.ErrSkip) },
		IsReread: func(err error) bool { return errors.Is(err, executors.ErrReread) },
		IsCut:    func(err error) bool { return errors.Is(err, executors.ErrCut) },
		Progress: func(s repo.WriterStats) { o.Progress(s.Bytes, s.Stored) },
	})
	if err != nil {
		return nil, err
	}
	return &pointWriter{Writer: w, policyText: r.policyText, pace: newPace(o.MaxRate)}, nil
}

// pointWriter is a repo.Writer as a Sink.
type pointWriter struct {
	*repo.Writer
	policyText []byte
	pace       *pace
}

// Add implements executors.Sink.
func (w *pointWriter) Add(ctx context.Context, e executors.Entry, c executors.Content) error {
	return w.Writer.Add(ctx, stored(e), repo.Content{Open: w.pace.slow(ctx, c.Open), SizeHint: c.SizeHint, Fingerprint: c.Fingerprint})
}

// Commit implements apply.PointWriter.
func (w *pointWriter) Commit(ctx context.Context, i apply.PointInfo) (apply.Receipt, error) {
	receipt, err := w.Writer.Commit(ctx, manifest.Info{
		Time: i.Time, Slot: i.Slot, Run: i.Run, Source: i.Source, Method: i.Method, Version: i.Version, Position: i.Position,
		Meta: i.Meta, Incomplete: i.Incomplete, PolicyText: w.policyText,
	})
	return receiptOf(receipt), err
}

// Find implements apply.Repository: a point is whole when its manifest is there and its summary agrees.
func (r *repository) Find(ctx context.Context, address, point string) (apply.Found, bool, error) {
	sha, ok, err := r.HasManifest(ctx, address, point)
	if err != nil || !ok {
		return apply.Found{}, false, err
	}
	s, err := r.Summary(ctx, address, point)
	if err != nil {
		return apply.Found{}, false, err
	}
	summarySHA, _, err := r.HasSummary(ctx, address, point)
	if err != nil {
		return apply.Found{}, false, err
	}
	if s.ManifestSHA256 != sha {
		return apply.Found{}, false, &repo.DamagedError{Object: address + " " + point, Problem: "its summary belongs to another manifest"}
	}
	return apply.Found{
		Info: apply.PointInfo{
			Time: s.Time, Slot: s.Slot, Run: s.Run, Source: s.Source, Method: s.Method, Version: s.Version, Position: s.Position,
			Meta: s.Meta, Incomplete: s.Incomplete,
		},
		Receipt: apply.Receipt{Manifest: sha, Summary: summarySHA, Size: s.Size, Stored: s.Stored, Items: s.Items},
	}, true, nil
}

// Supply implements apply.Repository.
func (r *repository) Supply(ctx context.Context, address, point string) (executors.Supply, error) {
	reader, err := r.OpenPoint(ctx, address, point)
	if err != nil {
		return nil, err
	}
	return supply{reader}, nil
}

// supply is a repo.Reader as a Supply.
type supply struct{ *repo.Reader }

// Entries implements executors.Supply.
func (s supply) Entries(ctx context.Context, each func(executors.Entry) error) error {
	return s.Reader.Entries(ctx, func(e manifest.Entry) error { return each(restored(e)) })
}

// Read implements executors.Supply.
func (s supply) Read(ctx context.Context, want func(executors.Entry) bool, each func(executors.Entry, io.Reader) error) error {
	var wanted func(manifest.Entry) bool
	if want != nil {
		wanted = func(e manifest.Entry) bool { return want(restored(e)) }
	}
	return s.Reader.Read(ctx, wanted, func(e manifest.Entry, r io.Reader) error { return each(restored(e), r) })
}

// Meta implements executors.Supply.
func (s supply) Meta() map[string]string {
	h := s.Header()
	meta := map[string]string{"version": h.Version, "position": h.Position}
	maps.Copy(meta, h.Meta)
	return meta
}

// VerifyStored implements apply.Repository.
func (r *repository) VerifyStored(ctx context.Context, points, proven []apply.PointCopy, progress func(int64)) (apply.Checked, error) {
	return r.verifyStored(ctx, repo.VerifyOptions{Points: checks(points), Proven: checks(proven)}, progress)
}

// VerifyAll reads back every object of the store.
func (r *repository) VerifyAll(ctx context.Context, points []apply.PointCopy, progress func(int64)) (apply.Checked, error) {
	return r.verifyStored(ctx, repo.VerifyOptions{Points: checks(points), All: true}, progress)
}

func (r *repository) verifyStored(ctx context.Context, o repo.VerifyOptions, progress func(int64)) (apply.Checked, error) {
	o.Progress = func(p repo.VerifyProgress) { progress(p.Bytes) }
	report, err := r.Repository.VerifyStored(ctx, o)
	return r.checked(report), err
}

func checks(points []apply.PointCopy) []repo.PointCheck {
	list := make([]repo.PointCheck, len(points))
	for i, p := range points {
		list[i] = repo.PointCheck{Address: p.Address, ID: p.Point, ManifestSHA: p.Manifest, SummarySHA: p.Summary}
	}
	return list
}

// VerifyRead implements apply.Repository.
func (r *repository) VerifyRead(ctx context.Context, address, point string, progress func(int64)) (apply.Checked, error) {
	report, err := r.Repository.VerifyRead(ctx, address, point, func(p repo.VerifyProgress) { progress(p.Bytes) })
	return r.checked(report), err
}

func (r *repository) checked(report repo.VerifyReport) apply.Checked {
	c := apply.Checked{Objects: report.Objects, Bytes: report.Bytes}
	for _, d := range report.Damaged {
		c.Damage = append(c.Damage, apply.Damage{Object: r.address + " " + d.Object, Problem: d.Problem, Points: d.Points})
	}
	return c
}

// CopyPoint implements apply.Repository.
func (r *repository) CopyPoint(ctx context.Context, from apply.Repository, address, point string, progress func(bytes, stored int64)) (apply.Receipt, error) {
	source, ok := from.(*repository)
	if !ok {
		return apply.Receipt{}, fmt.Errorf("copy from %T: not a repository of this policy", from)
	}
	r.mu.Lock() // one copy at a time into a store: the copier remembers what is there
	defer r.mu.Unlock()
	c := r.copiers[source]
	if c == nil {
		c = repo.NewCopier(r.Repository, source.Repository)
		if r.copiers == nil {
			r.copiers = map[*repository]*repo.Copier{}
		}
		r.copiers[source] = c
	}
	receipt, err := c.Copy(ctx, address, point, repo.CopyOptions{Progress: progress})
	return receiptOf(receipt), err
}

func receiptOf(r repo.Receipt) apply.Receipt {
	return apply.Receipt{Manifest: r.Manifest, Summary: r.Summary, Size: r.Size, Stored: r.Stored, Items: r.Items, Warnings: r.Warnings}
}

// RepairPoint implements apply.Repository.
func (r *repository) RepairPoint(ctx context.Context, from apply.Repository, c apply.PointCopy, progress func(bytes int64)) (apply.Repaired, error) {
	var good *repo.Repository
	if from != nil {
		source, ok := from.(*repository)
		if !ok {
			return apply.Repaired{}, fmt.Errorf("repair from %T: not a repository of this policy", from)
		}
		good = source.Repository
	}
	report, err := r.Repository.RepairPoint(ctx, good, checks([]apply.PointCopy{c})[0], repo.RepairOptions{Progress: progress})
	return apply.Repaired{Replaced: report.Replaced, SetAside: report.SetAside, Receipt: receiptOf(report.Receipt), Bytes: report.Bytes}, err
}

// Prune implements apply.Repository.
func (r *repository) Prune(ctx context.Context, grace time.Duration) (apply.Pruned, error) {
	p, err := r.Repository.Prune(ctx, repo.PruneOptions{Grace: grace})
	var busy *repo.LeaseHeldError
	if errors.As(err, &busy) {
		err = fmt.Errorf("%w: %w", apply.ErrBusy, err)
	}
	return apply.Pruned{
		Deleted: p.Deleted, DeletedBytes: p.DeletedBytes, Condemned: p.Condemned, CondemnedBytes: p.CondemnedBytes,
		Bytes: p.Bytes, Objects: p.Objects, DueIn: p.DueIn, Rewritten: p.Rewritten, RewrittenBytes: p.RewrittenBytes, Missing: p.Missing,
		Summaries: pointCopies(p.Summaries),
	}, err
}

func pointCopies(list []repo.PointCheck) (copies []apply.PointCopy) {
	for _, c := range list {
		copies = append(copies, apply.PointCopy{Address: c.Address, Point: c.ID, Manifest: c.ManifestSHA, Summary: c.SummarySHA})
	}
	return copies
}

// stored and restored convert between the executor's entry and the manifest's: the same fields, two rooms.
func stored(e executors.Entry) manifest.Entry {
	return manifest.Entry{
		Path: e.Path, Type: manifest.EntryType(e.Type), Size: e.Size, Mode: e.Mode, UID: e.UID, GID: e.GID, User: e.User,
		Group: e.Group, ModTime: e.ModTime, Target: e.Target, Xattrs: e.Xattrs, Sparse: e.Sparse, Attrs: e.Attrs,
	}
}

func restored(e manifest.Entry) executors.Entry {
	return executors.Entry{
		Path: e.Path, Type: executors.EntryType(e.Type), Size: e.Size, Mode: e.Mode, UID: e.UID, GID: e.GID, User: e.User,
		Group: e.Group, ModTime: e.ModTime, Target: e.Target, Xattrs: e.Xattrs, Sparse: e.Sparse, Attrs: e.Attrs,
	}
}
