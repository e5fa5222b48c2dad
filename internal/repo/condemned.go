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
	return withSum(data)
}

func decodeCondemned(data []byte) (condemnedDocument, error) {
	var d condemnedDocument
	data, err := checkSum(data)
	if err != nil {
		return d, fmt.Errorf("parse marker: %w", err)
	}
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

// stillNeeds makes sure, just before a manifest is written, that what it refers to is there and stays: the lease still
// counts, so that no pruner deletes what was condemned since it was taken; what is condemned is acquitted; and every pack is
// looked for, last, because a pruner deletes packs before their marks.
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
	if err := l.r.acquit(ctx, needed); err != nil {
		return err
	}
	return l.r.present(ctx, packs)
}

// publish looks again after the manifest was written. Where the store says that it came while nobody could take this process
// for dead, all is well. Otherwise every pack is looked for, and the manifest is taken back unless all are there, unmarked.
func (l *lease) publish(ctx context.Context, address, point string, packs []index.PackID) error {
	info, err := l.r.bucket.Stat(ctx, manifestName(address, point))
	if err == nil && l.covers(info.ModTime) {
		err = l.counts(ctx)
	} else if err == nil || errors.Is(err, blob.ErrNotFound) {
		err = ErrLeaseLost
	}
	if !errors.Is(err, ErrLeaseLost) {
		return err
	}
	if again := l.unharmed(ctx, address, point, packs); again != nil {
		return errors.Join(err, again, l.r.bucket.Delete(context.WithoutCancel(ctx), manifestName(address, point)))
	}
	return nil
}

// unharmed is nil when a pruner that took this process for dead did nothing to the point: no pack is marked or gone, in this
// order, and the summary, which the pruner goes by from now on, was not swept.
func (l *lease) unharmed(ctx context.Context, address, point string, packs []index.PackID) error {
	marked, err := l.r.condemned(ctx)
	if err != nil {
		return err
	}
	for _, id := range packs {
		if _, condemned := marked[id]; condemned {
			return fmt.Errorf("pack %s was condemned meanwhile", id)
		}
	}
	for _, name := range []string{summaryName(address, point), manifestName(address, point)} {
		if _, err := l.r.bucket.Stat(ctx, name); err != nil {
			return fmt.Errorf("look for %s: %w", name, err)
		}
	}
	return l.r.present(ctx, packs)
}

// present looks for packs. Those that the store does not list are asked for by name: it may list late.
func (r *Repository) present(ctx context.Context, packs []index.PackID) error {
	listed := map[index.PackID]bool{}
	err := r.bucket.List(ctx, packsPrefix, func(i blob.Info) error {
		if id, ok := parsePackName(i.Name); ok {
			listed[id] = true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list packs: %w", err)
	}
	for _, id := range packs {
		if listed[id] {
			continue
		}
		_, err := r.bucket.Stat(ctx, packName(id.String()))
		if errors.Is(err, blob.ErrNotFound) {
			return fmt.Errorf("pack %s, which this restore point was to use, is gone from the store; run the same command again, it stores the content anew", id)
		}
		if err != nil {
			return fmt.Errorf("look for pack %s: %w", id, err)
		}
	}
	return nil
}

// adopt makes a pack safe to use that was found in the store under the name of one about to be written. A pruner may be at it:
// one that begins later sees that the mark is gone, one that is at work now may have looked already.
func (l *lease) adopt(ctx context.Context, id index.PackID) error {
	_, err := l.r.bucket.Stat(ctx, condemnedName(id))
	if errors.Is(err, blob.ErrNotFound) {
		return nil // who calls looks for the pack next; it goes before its mark
	}
	if err == nil {
		err = l.r.acquit(ctx, []index.PackID{id})
	}
	if err != nil {
		return fmt.Errorf("look at the mark of pack %s: %w", id, err)
	}
	pruner, err := l.r.newestPruner(ctx)
	if err != nil || pruner.Name == "" {
		return err
	}
	held, err := l.alive(ctx, pruner)
	if err == nil && held != nil {
		err = fmt.Errorf("pack %s is needed again while it may be about to be deleted: %w", id, held)
	}
	return err
}
