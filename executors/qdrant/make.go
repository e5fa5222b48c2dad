package qdrant

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	client "github.com/qdrant/go-client/qdrant"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/executors"
)

// maker makes one collection on a server from what a restore point holds, under any free name.
type maker struct {
	x       *Executor
	c       *cluster
	rec     *collectionRecord
	name    string
	courier *courier
	from    executors.Supply
	log     *slog.Logger
	bytes   int64
	cfg     config
	made    bool // the collection is there, or may be
	lenient bool // leave strict mode away: points are selected from it by a filter
}

// make creates the collection, fills it, waits until the server is done with it and compares it with what was recorded. What
// it made is there when it returns, also with an error: the caller removes it.
func (m *maker) make(ctx context.Context) error {
	if err := m.prepare(ctx); err != nil {
		return err
	}
	if err := steps(ctx, step{"fill it", m.fill}, step{"wait until it is ready", m.settle}, step{"compare it with what was recorded", m.prove}); err != nil || m.lenient {
		return err
	}
	return steps(ctx, step{"finish it", m.finish})
}

// prepare makes the collection, empty.
func (m *maker) prepare(ctx context.Context) error {
	if err := json.Unmarshal(m.rec.Config, &m.cfg); err != nil {
		return fmt.Errorf("decode its configuration: %w", err)
	}
	return steps(ctx, step{"create it", m.create}, step{"make its shard keys", m.shardKeys}, step{"make its payload indexes", m.indexes})
}

type step struct {
	what string
	do   func(context.Context) error
}

// steps runs one after the other until one fails.
func steps(ctx context.Context, list ...step) error {
	for _, s := range list {
		if err := s.do(ctx); err != nil {
			if s.what != "" {
				err = fmt.Errorf("%s: %w", s.what, err)
			}
			return err
		}
	}
	return nil
}

// custom tells whether the collection gets shard keys.
func (m *maker) custom() bool { return m.cfg.Params.ShardingMethod == "custom" && m.c.distributed }

// create sends the recorded configuration. It is built from the JSON as it was, so that what this version does not know
// comes back too; strict mode waits, since its limits would stand in the way of what follows.
func (m *maker) create(ctx context.Context) error {
	body, err := m.body()
	if err != nil {
		return err
	}
	err = m.c.order(ctx, http.MethodPut, path("collections", m.name)+"?timeout=60", body, nil)
	// What the server refused it did not make; what exists by now is somebody else's.
	var said *statusError
	m.made = err == nil || !errors.As(err, &said) || said.Status >= 500
	if err != nil {
		return err
	}
	return m.replicas(ctx)
}

func (m *maker) body() (map[string]any, error) {
	var all map[string]json.RawMessage
	var params map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(m.rec.Config, &all), json.Unmarshal(all["params"], &params)); err != nil {
		return nil, err
	}
	body := map[string]any{}
	put := func(from map[string]json.RawMessage, except ...string) {
		for k, v := range from {
			if string(v) != "null" && !slices.Contains(except, k) {
				body[k] = v
			}
		}
	}
	put(all, "params", "optimizer_config", "strict_mode_config")
	put(params, "read_fan_out_factor", "read_fan_out_delay_ms")
	if v, ok := all["optimizer_config"]; ok && string(v) != "null" {
		body["optimizers_config"] = v
	}
	var counts struct {
		Replicas    int `json:"replication_factor"`
		Consistency int `json:"write_consistency_factor"`
	}
	if err := json.Unmarshal(all["params"], &counts); err != nil {
		return nil, err
	}
	nodes := max(len(m.c.peers), 1)
	body["replication_factor"] = min(max(counts.Replicas, 1), nodes)
	body["write_consistency_factor"] = min(max(counts.Consistency, 1), nodes)
	if m.cfg.Params.ShardingMethod == "custom" && !m.custom() {
		delete(body, "sharding_method")
		delete(body, "shard_number")
	}
	return body, nil
}

// shardKeys makes the recorded shard keys. Points of a key with several shards are spread over these by the shards' numbers,
// so that the numbers must come back: a server counts them up, and gaps are filled with keys that are removed again.
func (m *maker) shardKeys(ctx context.Context) error {
	if !m.custom() {
		return nil
	}
	next := uint32(1) // the first shard of a key has number 1
	var fillers []string
	for _, k := range m.keys() {
		if m.rec.Export == nil && len(k.ids) > 1 && k.ids[0] > next {
			filler := "hf_filler_" + newToken()
			if err := m.makeKey(ctx, filler, int(k.ids[0]-next)); err != nil {
				return err
			}
			fillers = append(fillers, filler)
			next = k.ids[0]
		}
		if err := m.makeKey(ctx, k.key, len(k.ids)); err != nil {
			return err
		}
		next += uint32(len(k.ids))
	}
	for _, filler := range fillers {
		if err := m.c.order(ctx, http.MethodPost, path("collections", m.name, "shards", "delete")+"?timeout=60", map[string]any{"shard_key": filler}, nil); err != nil {
			return err
		}
	}
	return m.replicas(ctx)
}

func (m *maker) makeKey(ctx context.Context, key any, shards int) error {
	body := map[string]any{"shard_key": key, "shards_number": shards, "replication_factor": min(max(m.cfg.Params.ReplicationFactor, 1), max(len(m.c.peers), 1))}
	return m.c.order(ctx, http.MethodPut, path("collections", m.name, "shards")+"?timeout=60", body, nil)
}

// keyShards are the shards of one key by their recorded numbers, ascending.
type keyShards struct {
	key json.RawMessage
	ids []uint32
}

// keys lists the recorded shard keys by their lowest shard.
func (m *maker) keys() []keyShards {
	var recorded layout
	for _, s := range m.rec.Shards {
		recorded.shards = append(recorded.shards, shard{id: s.ID, key: s.Key})
	}
	if m.rec.Export != nil {
		recorded.shards = m.exportedShards()
	}
	return groupByKey(recorded.shards)
}

// exportedShards are the shards as the server told them at the time of an export.
func (m *maker) exportedShards() []shard {
	var said struct {
		Local, Remote []struct {
			ID  uint32          `json:"shard_id"`
			Key json.RawMessage `json:"shard_key"`
		}
	}
	var raw map[string]json.RawMessage
	_ = json.Unmarshal(m.rec.Cluster, &raw) // it was read from JSON; what is absent has no keys
	_ = json.Unmarshal(raw["local_shards"], &said.Local)
	_ = json.Unmarshal(raw["remote_shards"], &said.Remote)
	byID := map[uint32]shard{}
	for _, s := range append(said.Local, said.Remote...) {
		byID[s.ID] = shard{id: s.ID, key: s.Key}
	}
	var out []shard
	for _, id := range sortedKeys(byID) {
		out = append(out, byID[id])
	}
	return out
}

func groupByKey(shards []shard) []keyShards {
	var out []keyShards
	for _, s := range slices.SortedFunc(slices.Values(shards), func(a, b shard) int { return cmp.Compare(a.id, b.id) }) {
		i := slices.IndexFunc(out, func(k keyShards) bool { return string(k.key) == string(s.key) })
		if i < 0 {
			out = append(out, keyShards{key: s.key})
			i = len(out) - 1
		}
		out[i].ids = append(out[i].ids, s.id)
	}
	return out
}

// indexes makes the payload indexes while the collection is empty: archives bring their data, but the collection itself
// learns of indexes only so.
func (m *maker) indexes(ctx context.Context) error {
	for _, field := range sortedKeys(m.rec.PayloadSchema) {
		var said struct {
			Type   string          `json:"data_type"`
			Params json.RawMessage `json:"params"`
		}
		if err := json.Unmarshal(m.rec.PayloadSchema[field], &said); err != nil {
			return fmt.Errorf("decode the index of %q: %w", field, err)
		}
		body := map[string]any{"field_name": field, "field_schema": said.Type}
		if len(said.Params) > 0 && string(said.Params) != "null" {
			body["field_schema"] = said.Params
		}
		if err := m.c.order(ctx, http.MethodPut, path("collections", m.name, "index")+"?wait=true", body, nil); err != nil {
			return fmt.Errorf("index of %q: %w", field, err)
		}
	}
	return nil
}

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
		n, err := m.home(l, id)
		if err != nil {
			return err
		}
		m.log.Debug("hand a shard over", "collection", m.name, "recorded", s.ID, "shard", id, "bytes", s.Bytes, "node", n.url)
		err = m.courier.deliver(ctx, n, parcel{collection: m.name, shard: id, size: s.Bytes, sha256: s.SHA256, open: m.opener(ctx, s.Path)})
		if err != nil {
			return err
		}
		m.bytes += s.Bytes
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
	for _, k := range m.keys() {
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

// home is a node that has a replica of a shard and that a URL reaches.
func (m *maker) home(l *layout, id uint32) (*node, error) {
	for i := range l.shards {
		if l.shards[i].id != id {
			continue
		}
		for _, peer := range l.shards[i].active() {
			if n := m.c.byPeer(peer); n != nil {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("no URL reaches a node that has shard %d of %q: give the URL of every node", id, m.name)
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
		m.bytes += part.Bytes
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
	group      *errgroup.Group
}

func (x *Executor) writePoints(ctx context.Context, d *dialer, collection string, size int, key json.RawMessage) *writer {
	w := &writer{d: d, x: x, collection: collection, key: key, size: size}
	w.group, w.ctx = errgroup.WithContext(ctx)
	w.group.SetLimit(2)
	return w
}

func (w *writer) add(p *client.RetrievedPoint) error {
	w.batch = append(w.batch, toWrite(p))
	if len(w.batch) < w.size {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	batch := w.batch
	w.batch = nil
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

// replicas waits until every replica of every shard is active.
func (m *maker) replicas(ctx context.Context) error {
	return m.poll(ctx, func() (bool, string, error) {
		l, err := m.c.layout(ctx, m.name)
		if err != nil {
			return false, "", err
		}
		return l.active()
	})
}

// active tells whether all replicas are.
func (l *layout) active() (bool, string, error) {
	for _, s := range l.shards {
		for _, r := range s.replicas {
			if r.state != stateActive {
				return false, fmt.Sprintf("shard %d on node %d is %s", s.id, r.peer, r.state), nil
			}
		}
	}
	return len(l.Transfers) == 0, "shards are being transferred", nil
}

// settle waits until the collection is green and all its replicas are active.
func (m *maker) settle(ctx context.Context) error {
	nudged := false
	return m.poll(ctx, func() (bool, string, error) {
		i, err := m.c.info(ctx, m.name)
		if err != nil {
			return false, "", err
		}
		switch i.Status {
		case "red":
			return false, "", fmt.Errorf("the server says that the collection is red: %w", cmpErr(i.optimizer(), errors.New("it does not say why")))
		case "grey":
			// Optimizations are pending and wait for a change: an empty one will do.
			if !nudged {
				nudged = true
				return false, "grey", m.patch(ctx, map[string]any{"optimizers_config": map[string]any{}})
			}
			return false, "grey", nil
		case "green":
		default:
			return false, "its status is " + i.Status, nil
		}
		l, err := m.c.layout(ctx, m.name)
		if err != nil {
			return false, "", err
		}
		return l.active()
	})
}

// poll asks until ready says yes. Indexing may take as long as it takes; anything else that does not move for a while is an
// error.
func (m *maker) poll(ctx context.Context, ready func() (ok bool, why string, err error)) error {
	begun, told, moved, before := time.Now(), time.Now(), time.Now(), ""
	for {
		ok, why, err := ready()
		if err != nil || ok {
			return err
		}
		if why != before {
			before, moved = why, time.Now()
		}
		if strings.HasPrefix(why, "shard ") && time.Since(moved) > m.x.margins.stuck {
			return fmt.Errorf("%s, and nothing has moved for %s", why, m.x.margins.stuck)
		}
		if time.Since(told) > 30*time.Second {
			told = time.Now()
			m.log.Info("waiting for a collection", "collection", m.name, "why", why, "dur", time.Since(begun).Round(time.Second))
		}
		if err := sleep(ctx, m.x.o.Poll); err != nil {
			return fmt.Errorf("%w (%s)", err, why)
		}
	}
}

func (m *maker) patch(ctx context.Context, body map[string]any) error {
	return m.c.order(ctx, http.MethodPatch, path("collections", m.name)+"?timeout=60", body, nil)
}

// finish sets what must come last: strict mode, and what a server does not take at creation.
func (m *maker) finish(ctx context.Context) error {
	body := map[string]any{}
	if s := m.cfg.StrictMode; len(s) > 0 && string(s) != "null" {
		body["strict_mode_config"] = s
	}
	var all struct {
		Params map[string]json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(m.rec.Config, &all); err != nil {
		return err
	}
	params := map[string]json.RawMessage{}
	for _, name := range []string{"read_fan_out_factor", "read_fan_out_delay_ms"} {
		if v, ok := all.Params[name]; ok && string(v) != "null" {
			params[name] = v
		}
	}
	if len(params) > 0 {
		body["params"] = params
	}
	if len(body) == 0 {
		return nil
	}
	m.log.Debug("set the last of the configuration", "collection", m.name, "fields", slices.Sorted(maps.Keys(body)))
	return m.patch(ctx, body)
}
