package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/index"
)

const (
	condemnedPrefix  = "condemned/"
	quarantinePrefix = "quarantine/" // packs that were damaged beyond repair, kept for people

	condemnedFormat  = "holdfast-condemned"
	condemnedVersion = 1
)

func condemnedName(id index.PackID) string { return condemnedPrefix + id.String() }

// condemnedDocument is what a marker holds, for people; its age is the store's to tell.
type condemnedDocument struct {
	Format        string    `json:"format"`
	FormatVersion int       `json:"format_version"`
	At            time.Time `json:"at"`
	Who           string    `json:"who"`
	Size          int64     `json:"size"` // of the pack
}

func (d condemnedDocument) encode() []byte {
	d.Format, d.FormatVersion = condemnedFormat, condemnedVersion
	data, err := json.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("repo: encode marker: %v", err)) // strings, numbers and a time of this era always encode
	}
	return append(data, '\n')
}

func decodeCondemned(data []byte) (condemnedDocument, error) {
	var d condemnedDocument
	if err := json.Unmarshal(data, &d); err != nil {
		return d, fmt.Errorf("parse marker: %w", err)
	}
	if d.Format != condemnedFormat || d.FormatVersion != condemnedVersion || d.Size < 0 {
		return d, errors.New("parse marker: not one of a condemned pack")
	}
	return d, nil
}

// condemned lists the marked packs and when the store says they were marked.
func (r *Repository) condemned(ctx context.Context) (map[index.PackID]time.Time, error) {
	marked := map[index.PackID]time.Time{}
	err := r.bucket.List(ctx, condemnedPrefix, func(i blob.Info) error {
		if id, ok := parsePackID(strings.TrimPrefix(i.Name, condemnedPrefix)); ok {
			marked[id] = i.ModTime
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list condemned packs: %w", err)
	}
	return marked, nil
}

// acquit takes the mark off packs that are needed after all.
func (r *Repository) acquit(ctx context.Context, ids []index.PackID) error {
	for _, id := range ids {
		if err := r.bucket.Delete(ctx, condemnedName(id)); err != nil {
			return fmt.Errorf("acquit pack %s: %w", id, err)
		}
	}
	return nil
}

// stillNeeds makes sure, just before a manifest is written, that what it refers to stays: the lease still counts, so that
// no pruner deletes what was condemned since it was taken, and those packs are acquitted.
func (l *lease) stillNeeds(ctx context.Context, packs []index.PackID) error {
	if err := l.renew(ctx); err != nil {
		return err
	}
	marked, err := l.r.condemned(ctx)
	if err != nil {
		return err
	}
	var needed []index.PackID
	for _, id := range packs {
		if _, condemned := marked[id]; condemned {
			needed = append(needed, id)
		}
	}
	return l.r.acquit(ctx, needed)
}

// publish looks again after the manifest was written. Where the process slept in between and the lease was lost, it looks
// for every pack, and takes the manifest back when one is gone.
func (l *lease) publish(ctx context.Context, address, point string, packs []index.PackID) error {
	err := l.counts(ctx)
	if !errors.Is(err, ErrLeaseLost) {
		return err
	}
	stored := map[index.PackID]bool{}
	listErr := l.r.bucket.List(ctx, packsPrefix, func(i blob.Info) error {
		if id, ok := parsePackName(i.Name); ok {
			stored[id] = true
		}
		return nil
	})
	for _, id := range packs {
		if listErr != nil || !stored[id] {
			return errors.Join(err, listErr, l.r.bucket.Delete(ctx, manifestName(address, point)))
		}
	}
	marked, listErr := l.r.condemned(ctx)
	if listErr == nil {
		for _, id := range packs {
			if _, condemned := marked[id]; condemned {
				listErr = ErrLeaseLost // somebody may be about to delete it
			}
		}
	}
	if listErr != nil {
		return errors.Join(err, listErr, l.r.bucket.Delete(ctx, manifestName(address, point)))
	}
	return nil
}
