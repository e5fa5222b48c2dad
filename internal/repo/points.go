package repo

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// PointRef names what is stored of a restore point. Without its manifest a point does not exist: it is the rest of an
// interrupted backup or of an interrupted deletion.
type PointRef struct {
	Address, ID       string
	Manifest, Summary bool
}

// Points lists what is stored of restore points, ordered by the names of their objects. It needs no key.
func (r *Repository) Points(ctx context.Context) ([]PointRef, error) {
	var out []PointRef
	at := map[[2]string]int{}
	err := r.bucket.List(ctx, pointsPrefix, func(i blob.Info) error {
		address, id, suffix, ok := parsePointName(i.Name)
		if !ok {
			return nil // not ours; VerifyStored tells of it
		}
		n, seen := at[[2]string{address, id}]
		if !seen {
			n = len(out)
			at[[2]string{address, id}] = n
			out = append(out, PointRef{Address: address, ID: id})
		}
		out[n].Manifest = out[n].Manifest || suffix == manifestSuffix
		out[n].Summary = out[n].Summary || suffix == summarySuffix
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list restore points: %w", err)
	}
	return out, nil
}

// Summary reads a point's summary. It needs the repository key.
//
// Errors: ErrNoPoint, KeyError, DamagedError, those of the bucket.
func (r *Repository) Summary(ctx context.Context, address, id string) (manifest.Summary, error) {
	if err := r.needWrite(); err != nil {
		return manifest.Summary{}, err
	}
	name := summaryName(address, id)
	raw, err := r.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		return manifest.Summary{}, fmt.Errorf("read summary of %s of %s: %w", id, address, ErrNoPoint)
	}
	if err != nil {
		return manifest.Summary{}, fmt.Errorf("read summary: %w", err)
	}
	return r.decodeSummary(name, address, id, raw)
}

func (r *Repository) decodeSummary(name, address, id string, raw []byte) (manifest.Summary, error) {
	plain, err := r.openMetadata(name, raw)
	if err != nil {
		return manifest.Summary{}, err
	}
	s, err := manifest.DecodeSummary(plain)
	if err != nil {
		return manifest.Summary{}, damaged(name, "%v", err)
	}
	if s.Address != address || s.Point != id {
		return manifest.Summary{}, damaged(name, "it is the summary of point %s of %s", s.Point, s.Address)
	}
	return s, nil
}

// HasManifest reads a point's manifest object back and returns its SHA-256. It needs no key.
func (r *Repository) HasManifest(ctx context.Context, address, id string) (sum string, ok bool, err error) {
	return r.hashStored(ctx, manifestName(address, id))
}

// HasSummary reads a point's summary object back and returns its SHA-256. It needs no key.
func (r *Repository) HasSummary(ctx context.Context, address, id string) (sum string, ok bool, err error) {
	return r.hashStored(ctx, summaryName(address, id))
}

func (r *Repository) hashStored(ctx context.Context, name string) (sum string, ok bool, err error) {
	raw, err := r.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read %s: %w", name, err)
	}
	return hashOf(raw), true, nil
}

// DeletePoint deletes a point: manifest, then summary, then hints. It may be repeated and needs no key. The packs stay.
func (r *Repository) DeletePoint(ctx context.Context, address, id string) error {
	if err := checkPoint(address, id); err != nil {
		return err
	}
	names := []string{manifestName(address, id), summaryName(address, id)}
	folder := hintsFolder(address) + escape(id) + "/"
	err := r.bucket.List(ctx, folder, func(i blob.Info) error {
		names = append(names, i.Name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("list hints of %s: %w", id, err)
	}
	for _, name := range names {
		if err := r.bucket.Delete(ctx, name); err != nil {
			return fmt.Errorf("delete %s: %w", name, err)
		}
	}
	return nil
}
