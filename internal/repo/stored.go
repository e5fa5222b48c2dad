package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// pointDocs are a point's summary and manifest as stored, and what the summary says.
type pointDocs struct {
	summaryRaw, manifestRaw []byte
	summary                 manifest.Summary
	packs                   []index.PackID
}

// pointDocs reads a point's documents and checks that they belong together and are what the caller expects.
//
// Errors: ErrNoPoint without a manifest, DamagedError, those of the bucket.
func (r *Repository) pointDocs(ctx context.Context, c PointCheck) (pointDocs, error) {
	var d pointDocs
	sname, mname := summaryName(c.Address, c.ID), manifestName(c.Address, c.ID)
	var err error
	if d.manifestRaw, err = r.bucket.Get(ctx, mname); errors.Is(err, blob.ErrNotFound) {
		return d, fmt.Errorf("read point %s of %s: %w", c.ID, c.Address, ErrNoPoint)
	} else if err != nil {
		return d, fmt.Errorf("read manifest: %w", err)
	}
	if d.summaryRaw, err = r.bucket.Get(ctx, sname); errors.Is(err, blob.ErrNotFound) {
		return d, damaged(sname, "it is missing from the store")
	} else if err != nil {
		return d, fmt.Errorf("read summary: %w", err)
	}
	if got := hashOf(d.summaryRaw); c.SummarySHA != "" && got != c.SummarySHA {
		return d, damaged(sname, "its bytes hash to %s instead of %s", got, c.SummarySHA)
	}
	if d.summary, err = r.decodeSummary(sname, c.Address, c.ID, d.summaryRaw); err != nil {
		return d, err
	}
	want := d.summary.ManifestSHA256
	if c.ManifestSHA != "" {
		want = c.ManifestSHA
	}
	if got := hashOf(d.manifestRaw); got != want || got != d.summary.ManifestSHA256 {
		return d, damaged(mname, "its bytes hash to %s instead of %s", got, want)
	}
	d.packs, err = packsOf(sname, d.summary)
	return d, err
}

// packsOf returns the packs that a summary names.
func packsOf(name string, s manifest.Summary) ([]index.PackID, error) {
	out := make([]index.PackID, 0, len(s.Packs))
	for _, sum := range s.Packs {
		id, ok := parsePackID(sum)
		if !ok {
			return nil, damaged(name, "it names %.80q as a pack", sum)
		}
		out = append(out, id)
	}
	return out, nil
}

func (d pointDocs) receipt(stored int64) Receipt {
	return Receipt{Manifest: d.summary.ManifestSHA256, Summary: hashOf(d.summaryRaw), Size: d.summary.Size, Items: d.summary.Items, Stored: stored}
}

// soundPack reads a pack whole and checks it against its name.
func (r *Repository) soundPack(ctx context.Context, id index.PackID) ([]byte, error) {
	name := packName(id.String())
	data, err := r.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, damaged(name, "it is missing from the store")
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if got := hashOf(data); got != id.String() {
		return nil, damaged(name, "its bytes hash to %s", got)
	}
	return data, nil
}

// putPack stores a pack's bytes.
func (r *Repository) putPack(ctx context.Context, id index.PackID, data []byte) error {
	return r.putHashed(ctx, packName(id.String()), data)
}

// putHashed stores bytes under a name that has their hash, over what is there if that has another size, and looks at the size
// afterwards.
func (r *Repository) putHashed(ctx context.Context, name string, data []byte) error {
	err := r.bucket.Create(ctx, name, data)
	if err != nil && !errors.Is(err, blob.ErrExists) {
		return fmt.Errorf("write %s: %w", name, err)
	}
	existed := err != nil
	info, err := r.bucket.Stat(ctx, name)
	if err == nil && existed && info.Size != int64(len(data)) {
		if err := r.bucket.Put(ctx, name, data); err != nil {
			return fmt.Errorf("replace %s: %w", name, err)
		}
		info, err = r.bucket.Stat(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("look at written %s: %w", name, err)
	}
	if info.Size != int64(len(data)) {
		return damaged(name, "it has %d bytes right after %d were written; the store is not reliable", info.Size, len(data))
	}
	return nil
}

// claim makes sure that packs which are here stay here: condemned ones are acquitted, unless a pruner may be deleting them.
func (r *Repository) claim(ctx context.Context, held *lease, packs []index.PackID) error {
	marked, err := r.condemned(ctx)
	if err != nil {
		return err
	}
	doomed := slices.DeleteFunc(slices.Clone(packs), func(id index.PackID) bool {
		_, condemned := marked[id]
		return !condemned
	})
	if len(doomed) == 0 {
		return nil
	}
	if err := r.noPruner(ctx, held); err != nil {
		return err
	}
	if err := r.acquit(ctx, doomed); err != nil {
		return err
	}
	return r.noPruner(ctx, held) // one that begins from now on sees no marks; one that began before may have seen them
}

// noPruner tells of a pruner that may be at work.
func (r *Repository) noPruner(ctx context.Context, held *lease) error {
	newest, err := r.newestPruner(ctx)
	if err != nil || newest.Name == "" {
		return err
	}
	pruner, err := held.alive(ctx, newest)
	if err != nil || pruner == nil {
		return err
	}
	return fmt.Errorf("packs that are needed are condemned here: %w", pruner)
}
