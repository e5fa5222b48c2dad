package qdrantserver

import (
	"encoding/json"
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
	return object{"operation_id": col.lastOp(), "status": status}
}

// lastOp is the number of the newest operation in any shard.
func (col *collection) lastOp() (op uint64) {
	for _, s := range col.shards {
		for _, rep := range s.replicas {
			if rep.local != nil {
				op = max(op, rep.local.op)
			}
		}
	}
	return op
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

// setPayload takes a payload out of a request.
func (p *point) setPayload(raw json.RawMessage) error {
	if raw == nil || string(raw) == "null" {
		return nil
	}
	payload, err := normalJSON(raw)
	if err != nil || payload[0] != '{' {
		return fail(kindFormat, "Format error in JSON body: invalid type: sequence, expected a map")
	}
	return p.setStored(payload)
}

// setStored takes a payload as the storage holds it. Reading it back is reading JSON once more, with what that does to
// floats.
func (p *point) setStored(payload json.RawMessage) error {
	p.stored, p.payload, p.tree = payload, nil, nil
	if payload == nil {
		return nil
	}
	shown, err := normalJSON(payload)
	if err == nil {
		p.tree, err = decodeTree(shown)
	}
	if err != nil {
		return err
	}
	p.payload = shown
	return nil
}
