package qdrant

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"

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
	cfg     config
	keys    []keyShards // as recorded
	written version     // of the server that the content was read from; none for what was read from this one
	doubts  []executors.Problem
	made    bool // the collection is there, and this made it
	unsure  bool // it may be there, and this may have made it: its creation got no answer
	filled  bool // all of its content was handed over
	live    bool // it has the name that applications use, and they write to it: its content was proven elsewhere
	lenient bool // leave strict mode away: points are selected from it by a filter
}

// make creates the collection, fills it, waits until the server is done with it and compares it with what was recorded. What
// it made is there when it returns, also with an error: the caller decides by made, unsure and filled.
func (m *maker) make(ctx context.Context) error {
	if err := m.prepare(ctx); err != nil {
		return err
	}
	if err := steps(ctx, step{"fill it", m.fill}); err != nil {
		return err
	}
	m.filled = true
	if err := steps(ctx, step{"wait until it is ready", m.settle}, step{"compare it with what was recorded", m.prove}); err != nil || m.lenient {
		return err
	}
	return steps(ctx, step{"finish it", m.finish})
}

// prepare makes the collection, empty, and compares what it is with what was recorded.
func (m *maker) prepare(ctx context.Context) error {
	if err := json.Unmarshal(m.rec.Config, &m.cfg); err != nil {
		return fmt.Errorf("decode its configuration: %w", err)
	}
	var err error
	if m.keys, err = m.rec.keys(); err != nil {
		return err
	}
	return steps(ctx, step{"create it", m.create}, step{"make its shard keys", m.shardKeys}, step{"make its payload indexes", m.indexes}, step{"compare it with what was recorded", m.proveMade})
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
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err = m.c.order(ctx, http.MethodPut, path("collections", m.name)+"?timeout=60", body, nil)
	// What the server refused it did not make; what exists by now is somebody else's.
	var said *statusError
	m.unsure = err != nil && !isRefused(err) && (!errors.As(err, &said) || said.Status >= 500)
	m.made = err == nil || m.unsure && isOurs(m.name)
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
	for _, k := range m.keys {
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

// keyShards are the shards of one key by their numbers, ascending.
type keyShards struct {
	key json.RawMessage
	ids []uint32
}

// keys lists the recorded shard keys by their lowest shard: of the archives that there are, or as the server told them at the
// time of an export.
func (r *collectionRecord) keys() ([]keyShards, error) {
	if r.Export != nil {
		l, err := parseLayout(r.Cluster)
		if err != nil {
			return nil, fmt.Errorf("decode its recorded shards: %w", err)
		}
		return groupByKey(l.shards), nil
	}
	var shards []shard
	for _, s := range r.Shards {
		shards = append(shards, shard{id: s.ID, key: s.Key})
	}
	return groupByKey(shards), nil
}

// groupByKey lists shard keys by their lowest shard.
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
