package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/statefile"
)

// errMoved says that what was being read has been trimmed: newer heads exist.
var errMoved = errors.New("the state moved on while it was read")

// Load reads the newest catalog. It takes no lease and writes nothing. Where nothing was committed yet it returns the
// empty catalog with serial 0 and no lineage. The catalog is the caller's.
func (b *Backend) Load(ctx context.Context) (*state.Catalog, error) {
	cat := &state.Catalog{}
	if err := b.Refresh(ctx, cat); err != nil {
		return nil, err
	}
	return cat, nil
}

// Refresh replaces cat by the newest catalog, and with it all edits since cat was loaded or committed. It reads only the
// segments that differ, so that it costs little when little changed.
func (b *Backend) Refresh(ctx context.Context, cat *state.Catalog) error {
	for range b.margin.retries {
		fresh, err := b.refresh(ctx, cat)
		if err == nil {
			*cat = *fresh
			return nil
		}
		if !errors.Is(err, errMoved) {
			return err
		}
	}
	return fmt.Errorf("load state: %w each of %d times", errMoved, b.margin.retries)
}

func (b *Backend) refresh(ctx context.Context, old *state.Catalog) (*state.Catalog, error) {
	fresh := &state.Catalog{Objects: map[string]state.Object{}, Points: map[string][]state.RestorePoint{}, WAL: map[string][]state.WAL{}}
	heads, err := b.list(ctx, headsDir)
	if err != nil {
		return nil, err
	}
	if len(heads) == 0 {
		return fresh, nil
	}
	head, _, err := b.head(ctx, newest(heads), heads)
	if err != nil {
		return nil, err
	}
	fresh.Lineage, fresh.Serial = head.Lineage, head.Serial

	into := &merger{cat: fresh}
	if old.Serial > 0 {
		if head.Segments, err = b.reuse(ctx, old, head, into); err != nil {
			return nil, err
		}
	}
	if err := b.readSegments(ctx, head.Segments, heads, into); err != nil {
		return nil, err
	}
	normalize(fresh)
	return fresh, nil
}

// head reads the head of serial and its bytes. heads is what was listed.
func (b *Backend) head(ctx context.Context, serial uint64, heads []numbered) (statefile.Head, []byte, error) {
	name := headName(serial)
	data, err := b.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		return statefile.Head{}, nil, errMoved
	}
	if err != nil {
		return statefile.Head{}, nil, fmt.Errorf("read state head: %w", err)
	}
	head, err := statefile.DecodeHead(name, data)
	if err == nil && head.Serial != serial {
		err = fmt.Errorf("decode %s: %w: it holds serial %d", name, state.ErrCorrupt, head.Serial)
	}
	return head, data, damage(name, heads, err)
}

// readSegments reads segments in parallel and merges them. Fetching and decoding are bounded apart: one waits for the
// bucket, the other needs memory.
func (b *Backend) readSegments(ctx context.Context, segments map[string]statefile.Ref, heads []numbered, into *merger) error {
	decoding := make(chan struct{}, b.margin.encoders)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(b.margin.fetches)
	for _, part := range slices.Sorted(maps.Keys(segments)) {
		ref := segments[part]
		g.Go(func() error {
			name := segmentName(ref)
			stored, err := b.bucket.Get(ctx, name)
			if errors.Is(err, blob.ErrNotFound) {
				return b.missing(ctx, name, heads)
			}
			if err != nil {
				return fmt.Errorf("read state segment: %w", err)
			}
			decoding <- struct{}{}
			defer func() { <-decoding }()
			return damage(name, heads, statefile.Unpack(name, ref, stored, func(plain []byte) error {
				return into.decode(name, part, plain)
			}))
		})
	}
	return g.Wait()
}

func segmentName(ref statefile.Ref) string { return segmentsDir + ref.String() + ".json.zst" }

// missing tells a segment that was trimmed, since newer heads exist, from one that was lost.
func (b *Backend) missing(ctx context.Context, name string, heads []numbered) error {
	now, err := b.list(ctx, headsDir)
	if err != nil {
		return err
	}
	if newest(now) != newest(heads) {
		return errMoved
	}
	return damage(name, heads, fmt.Errorf("%w: the object is missing", state.ErrCorrupt))
}

// merger puts segments that were decoded in parallel together.
type merger struct {
	mu  sync.Mutex
	cat *state.Catalog
}

func (m *merger) decode(name, part string, plain []byte) error {
	kind, _, _ := strings.Cut(part, "/")
	var twice string
	var err error
	switch kind {
	case "points":
		err = statefile.DecodePoints(name, plain, func(address string, points []state.RestorePoint) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if _, ok := m.cat.Points[address]; ok {
				twice = address
			}
			m.cat.Points[address] = points
		})
	case "objects":
		err = statefile.DecodeObjects(name, plain, func(address string, o state.Object) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if _, ok := m.cat.Objects[address]; ok {
				twice = address
			}
			m.cat.Objects[address] = o
		})
	case "wal":
		err = statefile.DecodeWAL(name, plain, func(address string, logs []state.WAL) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if _, ok := m.cat.WAL[address]; ok {
				twice = address
			}
			m.cat.WAL[address] = logs
		})
	case "runs":
		var runs []state.Run
		runs, err = statefile.DecodeRuns(name, plain)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.cat.Runs = append(m.cat.Runs, runs...)
	default:
		err = fmt.Errorf("read %s: %w: unknown part %q", name, state.ErrCorrupt, part)
	}
	if err == nil && twice != "" {
		err = fmt.Errorf("decode %s: %w: %s appears twice", name, state.ErrCorrupt, twice)
	}
	return err
}
