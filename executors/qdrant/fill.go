package qdrant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	client "github.com/qdrant/go-client/qdrant"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-io/holdfast/executors"
)

// fill brings the content.
func (m *maker) fill(ctx context.Context) error {
	if m.rec.Export != nil {
		return m.fillPoints(ctx)
	}
	l, err := m.c.layout(ctx, m.name)
	if err != nil {
		return err
	}
	ids, err := m.shardMap(l)
	if err != nil {
		return err
	}
	for i := range m.rec.Shards {
		s := &m.rec.Shards[i]
		id := ids[s.ID]
		n, err := m.c.home(l, m.name, id)
		if err != nil {
			return err
		}
		m.log.Debug("hand a shard over", "collection", m.name, "recorded", s.ID, "shard", id, "bytes", s.Bytes, "node", n.url)
		err = m.courier.deliver(ctx, n, parcel{collection: m.name, shard: id, size: s.Bytes, sha256: s.SHA256, open: m.opener(ctx, s.Path)})
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *maker) opener(ctx context.Context, path string) func(func(io.Reader) error) error {
	return func(each func(io.Reader) error) error {
		return readEntry(ctx, m.from, path, each)
	}
}

// readEntry reads one entry; its absence is an error.
func readEntry(ctx context.Context, from executors.Supply, path string, each func(io.Reader) error) error {
	found := false
	err := from.Read(ctx, func(e executors.Entry) bool { return e.Path == path }, func(_ executors.Entry, r io.Reader) error {
		found = true
		return each(r)
	})
	if err == nil && !found {
		err = fmt.Errorf("the restore point holds no %s", path)
	}
	return err
}

// shardMap tells which shard of the new collection takes which recorded one.
func (m *maker) shardMap(l *layout) (map[uint32]uint32, error) {
	now := groupByKey(l.shards)
	out := map[uint32]uint32{}
	for _, k := range m.keys {
		i := slices.IndexFunc(now, func(n keyShards) bool { return string(n.key) == string(k.key) })
		if i < 0 || len(now[i].ids) != len(k.ids) {
			return nil, fmt.Errorf("the new collection's shards are not like the recorded ones (key %s); restore from a backup made by export", k.key)
		}
		if len(k.ids) > 1 && !slices.Equal(now[i].ids, k.ids) {
			return nil, fmt.Errorf("the new collection's shards are numbered %v, the recorded ones %v: points would be looked for in the wrong ones. Restore from a backup made by export", now[i].ids, k.ids)
		}
		for j, id := range k.ids {
			out[id] = now[i].ids[j]
		}
	}
	return out, nil
}

// fillPoints writes exported points.
func (m *maker) fillPoints(ctx context.Context) error {
	d := newDialer(m.c)
	defer d.close()
	for i := range m.rec.Export.Parts {
		part := &m.rec.Export.Parts[i]
		w := m.x.writePoints(ctx, d, m.name, m.cfg.pageSizeUnbound(), nil)
		if m.custom() {
			w.key = part.Key
		}
		var n uint64
		err := readEntry(ctx, m.from, part.Path, func(r io.Reader) error {
			points := newPointDecoder(r)
			for {
				p, err := points.next()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				n++
				if err := w.add(p); err != nil {
					return err
				}
			}
		})
		if err = errors.Join(err, w.wait()); err != nil {
			return err
		}
		if n != part.Points {
			return fmt.Errorf("%s holds %d points, recorded are %d", part.Path, n, part.Points)
		}
	}
	return nil
}

// pageSizeUnbound is a page's size where strict mode is not in force.
func (c *config) pageSizeUnbound() int {
	free := *c
	free.StrictMode = nil
	return free.pageSize(0)
}

// writer writes points in batches, a few at a time.
type writer struct {
	ctx        context.Context
	d          *dialer
	x          *Executor
	collection string
	key        json.RawMessage
	size       int
	batch      []*client.PointStruct
	bytes      int // of the batch
	group      *errgroup.Group
}

func (x *Executor) writePoints(ctx context.Context, d *dialer, collection string, size int, key json.RawMessage) *writer {
	w := &writer{d: d, x: x, collection: collection, key: key, size: size}
	w.group, w.ctx = errgroup.WithContext(ctx)
	w.group.SetLimit(2)
	return w
}

func (w *writer) add(p *client.RetrievedPoint) error {
	one := toWrite(p)
	w.batch = append(w.batch, one)
	w.bytes += proto.Size(one)
	if len(w.batch) < w.size && w.bytes < pageBytes {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	batch := w.batch
	w.batch, w.bytes = nil, 0
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	w.group.Go(func() error {
		err := w.d.each(w.ctx, w.x.margins.tries, 0, func(ctx context.Context, c *client.Client) error {
			yes := true
			_, err := c.GetPointsClient().Upsert(ctx, &client.UpsertPoints{CollectionName: w.collection, Wait: &yes, Points: batch, ShardKeySelector: selector(w.key)})
			return err
		})
		if err != nil {
			return fmt.Errorf("write points to %q: %w", w.collection, err)
		}
		return nil
	})
	return nil
}

// wait writes what is left and waits for everything. The first error is returned.
func (w *writer) wait() error {
	if len(w.batch) > 0 {
		_ = w.flush() // the group knows why
	}
	return w.group.Wait()
}
