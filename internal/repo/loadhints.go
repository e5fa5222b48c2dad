package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/hints"
)

// loadHints reads the hints of the newest point of the address that has any. They are a cache: what cannot be used is
// told as a warning and costs time only.
func (w *Writer) loadHints(ctx context.Context) (*hints.Table, error) {
	folder := hintsFolder(w.o.Address)
	parts := map[string][]string{}
	err := w.r.bucket.List(ctx, folder, func(i blob.Info) error {
		point, _, _ := strings.Cut(strings.TrimPrefix(i.Name, folder), "/")
		parts[point] = append(parts[point], i.Name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list hints: %w", err)
	}
	var newest string
	for point := range parts {
		id, ok := unescape(point)
		if !ok || point < newest {
			continue
		}
		if _, err := w.r.bucket.Stat(ctx, manifestName(w.o.Address, id)); errors.Is(err, blob.ErrNotFound) {
			continue // of a backup that was interrupted
		} else if err != nil {
			return nil, fmt.Errorf("look for point %s: %w", id, err)
		}
		newest = point
	}
	table := hints.NewTable()
	for n, name := range parts[newest] {
		if n == hints.MaxParts {
			break
		}
		if err := w.addHints(ctx, table, name); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			w.warnings = append(w.warnings, fmt.Sprintf("%v; files it covers are read again", err))
		}
	}
	return table, nil
}

func (w *Writer) addHints(ctx context.Context, table *hints.Table, name string) error {
	raw, err := w.r.bucket.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("read hints: %w", err)
	}
	plain, err := w.r.openMetadata(name, raw)
	if err != nil {
		return err
	}
	return wrapDamaged(name, table.AddPart(plain))
}
