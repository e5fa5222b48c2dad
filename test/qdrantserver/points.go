package qdrantserver

import (
	"encoding/json"
	"hash/fnv"
	"slices"
)

// pointJSON is a point as a request writes it.
type pointJSON struct {
	ID      *pointID        `json:"id"`
	Vector  json.RawMessage `json:"vector"`
	Payload json.RawMessage `json:"payload"`
}

// keySelector is the shard_key of a request: one key or several.
type keySelector struct {
	keys []any
	set  bool
}

func (k *keySelector) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	k.set = true
	list := []json.RawMessage{text}
	if text[0] == '[' {
		list = nil
		if err := json.Unmarshal(text, &list); err != nil {
			return err
		}
	}
	if text[0] == '{' { // a key with another to fall back to
		var pair struct {
			Target json.RawMessage `json:"target"`
		}
		if err := json.Unmarshal(text, &pair); err != nil {
			return err
		}
		list = []json.RawMessage{pair.Target}
	}
	for _, raw := range list {
		key, err := keyOf(raw)
		if err != nil {
			return err
		}
		k.keys = append(k.keys, key)
	}
	return nil
}

// done is the answer to a write.
func (col *collection) done(r *request) object {
	status := "acknowledged"
	if r.URL.Query().Get("wait") == "true" {
		status = "completed"
	}
	var op uint64
	for _, s := range col.shards {
		for _, rep := range s.replicas {
			if rep.local != nil {
				op = max(op, rep.local.op)
			}
		}
	}
	return object{"operation_id": op, "status": status}
}

func (r *request) putPoints() {
	var body struct {
		Points []pointJSON `json:"points"`
		Batch  *struct {
			IDs      []pointID         `json:"ids"`
			Vectors  json.RawMessage   `json:"vectors"`
			Payloads []json.RawMessage `json:"payloads"`
		} `json:"batch"`
		Key keySelector `json:"shard_key"`
	}
	if err := r.body(&body); err != nil {
		r.fail(err)
		return
	}
	list := body.Points
	if body.Batch != nil {
		if body.Batch.Payloads != nil && len(body.Batch.Payloads) != len(body.Batch.IDs) {
			r.fail(fail(kindInvalid, "Validation error in JSON body: [batch.batch: number of ids and payloads must be equal (%d != %d)]", len(body.Batch.IDs), len(body.Batch.Payloads)))
			return
		}
		vectors, err := batchVectors(body.Batch.Vectors, len(body.Batch.IDs))
		if err != nil {
			r.fail(err)
			return
		}
		for i, id := range body.Batch.IDs {
			p := pointJSON{ID: &id, Vector: vectors[i]}
			if body.Batch.Payloads != nil {
				p.Payload = body.Batch.Payloads[i]
			}
			list = append(list, p)
		}
	}
	points, err := parsePoints(list)
	if err != nil {
		r.fail(err)
		return
	}
	r.onCollection(true, func(col *collection) (any, error) {
		if err := r.n.c.upsert(col, points, body.Key); err != nil {
			return nil, err
		}
		return col.done(r), nil
	})
}

// batchVectors turns one list for each name into one object for each point.
func batchVectors(raw json.RawMessage, n int) ([]json.RawMessage, error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		if len(list) != n {
			return nil, fail(kindInvalid, "Validation error in JSON body: [batch.batch: number of ids and vectors must be equal (%d != %d)]", n, len(list))
		}
		return list, nil
	}
	var named map[string][]json.RawMessage
	if err := json.Unmarshal(raw, &named); err != nil {
		return nil, fail(kindFormat, "Format error in JSON body: data did not match any variant of untagged enum BatchVectorStruct")
	}
	out := make([]json.RawMessage, n)
	for i := range out {
		one := map[string]json.RawMessage{}
		for name, vectors := range named {
			if len(vectors) != n {
				return nil, fail(kindInvalid, "Validation error in JSON body: [batch.batch: number of ids and vectors must be equal (%d != %d)]", n, len(vectors))
			}
			one[name] = vectors[i]
		}
		out[i] = encode(one)
	}
	return out, nil
}

func parsePoints(list []pointJSON) ([]*point, error) {
	var points []*point
	for _, in := range list {
		if in.ID == nil {
			return nil, fail(kindFormat, "Format error in JSON body: missing field `id`")
		}
		p := &point{id: *in.ID, vectors: map[string]vector{}}
		if in.Vector == nil {
			return nil, fail(kindFormat, "Format error in JSON body: missing field `vector`")
		}
		var err error
		if p.vectors, err = parseVectors(in.Vector); err != nil {
			return nil, err
		}
		if err := p.setPayload(in.Payload); err != nil {
			return nil, err
		}
		points = append(points, p)
	}
	return points, nil
}

// parseVectors reads the vectors of a point: one without a name, or several by name.
func parseVectors(raw json.RawMessage) (map[string]vector, error) {
	var one vector
	if len(raw) > 0 && raw[0] == '[' {
		if err := json.Unmarshal(raw, &one); err != nil {
			return nil, fail(kindFormat, "Format error in JSON body: %v", err)
		}
		return map[string]vector{"": one}, nil
	}
	var named map[string]vector
	if err := json.Unmarshal(raw, &named); err != nil {
		return nil, fail(kindFormat, "Format error in JSON body: %v", err)
	}
	if named == nil {
		named = map[string]vector{}
	}
	return named, nil
}

func (p *point) setPayload(raw json.RawMessage) error {
	if raw == nil || string(raw) == "null" {
		return nil
	}
	payload, err := normalJSON(raw)
	if err != nil || payload[0] != '{' {
		return fail(kindFormat, "Format error in JSON body: invalid type: sequence, expected a map")
	}
	p.payload = payload
	p.tree, err = decodeTree(payload)
	return err
}

// upsert stores points in the shards that they belong to, on every replica that takes writes.
func (c *Cluster) upsert(col *collection, points []*point, keys keySelector) error {
	if len(points) == 0 {
		return badRequest("Empty update request")
	}
	if err := col.checkWrite(len(points), nil, true); err != nil {
		return err
	}
	kinds := kindsOf(col.params())
	var ready []*point
	for _, p := range points {
		prepared := *p
		prepared.vectors = map[string]vector{}
		for name, v := range p.vectors {
			kind, ok := kinds[name]
			if !ok {
				return badInput("Not existing vector name error: %s", name)
			}
			v, err := kind.prepare(v)
			if err != nil {
				return err
			}
			prepared.vectors[name] = v
		}
		ready = append(ready, &prepared)
	}
	return c.write(col, keys, func(s *shard, all []*shard) func(*local) {
		var mine []*point
		for _, p := range ready {
			if owner(all, p.id) == s {
				mine = append(mine, p)
			}
		}
		return func(l *local) {
			if len(mine) > 0 {
				l.put(mine)
			}
		}
	})
}

// write applies an operation to the shards of each key. op says, given a shard and the shards it shares points with, what
// to do to its data.
func (c *Cluster) write(col *collection, keys keySelector, op func(s *shard, all []*shard) func(*local)) error {
	groups, err := col.writeGroups(keys)
	if err != nil {
		return err
	}
	for _, all := range groups {
		for _, s := range all {
			if err := c.canWrite(s); err != nil {
				return err
			}
		}
	}
	for _, all := range groups {
		for _, s := range all {
			do := op(s, all)
			for _, rep := range s.replicas {
				if rep.local != nil && rep.state != stateDead && c.isUp(rep.peer) {
					do(rep.local)
				}
			}
		}
	}
	return nil
}

func (c *Cluster) canWrite(s *shard) error {
	broken := ""
	for _, rep := range s.replicas {
		if rep.local != nil && rep.state != stateDead && c.isUp(rep.peer) {
			return nil
		}
		broken = rep.broken
	}
	if broken != "" {
		return internal("Failed to Update Points,  %s", broken)
	}
	return internal("Failed to apply operation to at least one `Active` replica. Consistency of this update is not guaranteed. Please retry.")
}

// writeGroups are the shards that a write goes to, one group for each key. Within a group a point has one shard.
func (col *collection) writeGroups(keys keySelector) ([][]*shard, error) {
	if !col.custom() {
		if keys.set {
			return nil, badInput("Shard key %s not found", showKey(keys.keys[0]))
		}
		return [][]*shard{col.sortedShards()}, nil
	}
	if !keys.set {
		return nil, badInput("Shard key not specified")
	}
	var groups [][]*shard
	for _, key := range keys.keys {
		shards := col.shardsOf(key)
		if shards == nil {
			return nil, badInput("Shard key %s not found", showKey(key))
		}
		groups = append(groups, shards)
	}
	return groups, nil
}

// shardsOf are the shards behind a key, nil when there is no such key.
func (col *collection) shardsOf(key any) []*shard {
	for _, k := range col.keys {
		if k.key == key {
			var shards []*shard
			for _, id := range k.ids {
				shards = append(shards, col.shards[id])
			}
			return shards
		}
	}
	return nil
}

// owner is the shard of a point among several.
func owner(shards []*shard, id pointID) *shard {
	h := fnv.New32a()
	_, _ = h.Write(id.bytes())
	return shards[int(h.Sum32())%len(shards)]
}

// selection is what a write by ids or by filter changes.
type selection struct {
	Points []pointID   `json:"points"`
	Filter *filter     `json:"filter"`
	Key    keySelector `json:"shard_key"`
}

// of are the ids in a shard's data that the selection means.
func (s *selection) of(l *local) []pointID {
	if s.Filter == nil {
		return slices.DeleteFunc(slices.Clone(s.Points), func(id pointID) bool { return l.points[id] == nil })
	}
	var ids []pointID
	for _, id := range l.ids() {
		if s.Filter.matches(l.points[id].point) {
			ids = append(ids, id)
		}
	}
	return ids
}

// check refuses a selection of nothing at all.
func (s *selection) check() error {
	if s.Filter == nil && s.Points == nil {
		return fail(kindFormat, "Format error in JSON body: data did not match any variant of untagged enum PointsSelector")
	}
	return nil
}

// writeSelected changes what is selected in every shard that the selection reaches.
func (c *Cluster) writeSelected(col *collection, s *selection, do func(l *local, ids []pointID)) error {
	if err := col.checkWrite(len(s.Points), s.Filter, false); err != nil {
		return err
	}
	return c.write(col, s.Key, func(*shard, []*shard) func(*local) {
		return func(l *local) { do(l, s.of(l)) }
	})
}
