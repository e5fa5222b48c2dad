package qdrant

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// record is a point as REST tells it.
type record struct {
	ID       json.RawMessage `json:"id"`
	Payload  json.RawMessage `json:"payload"`
	Vector   json.RawMessage `json:"vector"`
	ShardKey json.RawMessage `json:"shard_key"`
}

func (r *record) key() json.RawMessage {
	if string(r.ShardKey) == "null" || len(r.ShardKey) == 0 {
		return nil
	}
	return r.ShardKey
}

// takeSamples picks points of a collection: the first ones, and some at random where the server can choose so. Payload and
// vectors are asked for as parts says, at most most of them at once. Only those are picked that the filter selects; nil is all.
func (x *Executor) takeSamples(ctx context.Context, c *cluster, collection string, filter json.RawMessage, parts fields, most int) ([]sample, error) {
	half := min(x.margins.samples/2, most)
	first, err := c.scroll(ctx, collection, filter, half, parts)
	if err != nil {
		return nil, err
	}
	var random struct {
		Points []record `json:"points"`
	}
	body := parts.ask(map[string]any{"query": map[string]string{"sample": "random"}, "limit": half})
	if filter != nil {
		body["filter"] = filter
	}
	if err := c.ask(ctx, http.MethodPost, path("collections", collection, "points", "query"), body, &random); err != nil {
		random.Points = nil // servers before 1.11, and strict modes: the first ones must do
	}
	var out []sample
	seen := map[string]bool{}
	for _, r := range append(first, random.Points...) {
		s, err := r.sample(parts)
		if err != nil {
			return nil, fmt.Errorf("read a point of %q: %w", collection, err)
		}
		if id := string(s.Key) + " " + string(s.ID); !seen[id] {
			seen[id] = true
			out = append(out, s)
		}
	}
	return out, nil
}

// fields says what of a point is compared. Numbers of payloads that went through an export are compared loosely: a server
// parses and writes them anew, and the last digit of a fraction may change.
type fields struct{ payload, vectors, loose bool }

func (f fields) ask(body map[string]any) map[string]any {
	body["with_payload"], body["with_vector"] = f.payload, f.vectors
	return body
}

// scroll returns the first points that the filter selects; nil is all.
func (c *cluster) scroll(ctx context.Context, collection string, filter json.RawMessage, limit int, parts fields) ([]record, error) {
	var out struct {
		Points []record `json:"points"`
	}
	body := parts.ask(map[string]any{"limit": limit})
	if filter != nil {
		body["filter"] = filter
	}
	err := c.ask(ctx, http.MethodPost, path("collections", collection, "points", "scroll"), body, &out)
	return out.Points, err
}

// retrieve finds the sampled points again. Those that are gone are absent from the result.
func (c *cluster) retrieve(ctx context.Context, collection string, samples []sample, parts fields) (map[string]record, error) {
	byKey := map[string][]sample{}
	for _, s := range samples {
		byKey[string(s.Key)] = append(byKey[string(s.Key)], s)
	}
	out := map[string]record{}
	for _, key := range sortedKeys(byKey) {
		var ids []json.RawMessage
		for _, s := range byKey[key] {
			ids = append(ids, s.ID)
		}
		body := parts.ask(map[string]any{"ids": ids})
		if key != "" {
			body["shard_key"] = json.RawMessage(key)
		}
		var found []record
		if err := c.ask(ctx, http.MethodPost, path("collections", collection, "points"), body, &found); err != nil {
			return nil, err
		}
		for _, r := range found {
			out[key+" "+string(r.ID)] = r
		}
	}
	return out, nil
}

// confirmSamples keeps the samples that are the same now: what changed during the backup proves nothing.
func (x *Executor) confirmSamples(ctx context.Context, c *cluster, collection string, samples []sample, parts fields) ([]sample, error) {
	if len(samples) == 0 {
		return nil, nil
	}
	now, err := c.retrieve(ctx, collection, samples, parts)
	if err != nil {
		return nil, err
	}
	var out []sample
	for _, s := range samples {
		r, ok := now[string(s.Key)+" "+string(s.ID)]
		if !ok {
			continue
		}
		if again, err := r.sample(parts); err == nil && again.Sum == s.Sum {
			out = append(out, s)
		}
	}
	return out, nil
}

// watch remembers the versions of many points: the samples, and some at random. Servers tell versions in answers to searches
// by a dense vector only; without one, nothing is watched.
func (x *Executor) watch(ctx context.Context, c *cluster, collection string, cfg *config, samples []sample) (map[string]uint64, error) {
	body := map[string]any{"query": map[string]string{"sample": "random"}, "limit": cfg.withinStrict(x.margins.watched), "with_payload": false, "with_vector": false}
	var random struct {
		Points []hit `json:"points"`
	}
	if err := c.ask(ctx, http.MethodPost, path("collections", collection, "points", "query"), body, &random); err != nil {
		random.Points = nil // as in takeSamples
	}
	seen := map[string]bool{}
	for _, s := range samples {
		seen[string(s.ID)] = true
	}
	for _, h := range random.Points {
		seen[string(h.ID)] = true
	}
	return c.pointVersions(ctx, collection, cfg, slices.Collect(maps.Keys(seen)))
}

// pointVersions asks for the versions of points by their ids: a point's version is the number of the operation that last
// changed it in its shard. Points without the vector that is searched by, and those that are gone, are absent.
func (c *cluster) pointVersions(ctx context.Context, collection string, cfg *config, ids []string) (map[string]uint64, error) {
	out := map[string]uint64{}
	widths := cfg.vectors()
	if len(widths) == 0 {
		return out, nil
	}
	using := sortedKeys(widths)[0]
	probe := make([]float32, widths[using])
	for i := range probe {
		probe[i] = 1
	}
	for part := range slices.Chunk(ids, max(1, cfg.withinStrict(maxPage))) {
		has := make([]json.RawMessage, len(part))
		for i, id := range part {
			has[i] = json.RawMessage(id)
		}
		body := map[string]any{"query": probe, "limit": len(part), "params": map[string]any{"exact": true}, "with_payload": false, "with_vector": false, "filter": map[string]any{"must": []any{map[string]any{"has_id": has}}}}
		if using != "" {
			body["using"] = using
		}
		var said struct {
			Points []struct {
				ID      json.RawMessage `json:"id"`
				Version uint64          `json:"version"`
			} `json:"points"`
		}
		err := c.ask(ctx, http.MethodPost, path("collections", collection, "points", "query"), body, &said)
		var refused *statusError
		if errors.As(err, &refused) && refused.Status == http.StatusBadRequest {
			return nil, nil // strict mode, or a kind of vector that cannot be asked so: nothing is watched
		}
		if err != nil {
			return nil, err
		}
		for _, p := range said.Points {
			out[string(p.ID)] = p.Version
		}
	}
	return out, nil
}

// sample hashes a point.
func (r *record) sample(parts fields) (sample, error) {
	h := sha256.New()
	ask := []json.RawMessage{r.ID}
	if parts.payload {
		ask = append(ask, r.Payload)
	}
	if parts.vectors {
		ask = append(ask, r.Vector)
	}
	digits := exactDigits
	if parts.loose {
		digits = looseDigits
	}
	for _, part := range ask {
		text, err := canonical(part, digits)
		if err != nil {
			return sample{}, err
		}
		h.Write(append(text, '\n'))
	}
	return sample{ID: r.ID, Key: r.key(), Sum: hex.EncodeToString(h.Sum(nil)), bytes: len(r.Payload) + len(r.Vector)}, nil
}

// canonical writes JSON so that equal values have equal text: keys sorted, numbers in one form.
func canonical(raw json.RawMessage, digits int) ([]byte, error) {
	v, err := plain(raw, digits)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// plain decodes JSON with its numbers in one form. An absent payload and an empty one are the same point.
func plain(raw json.RawMessage, digits int) (any, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return map[string]any{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return plainNumbers(v, digits), nil
}

// How many significant digits of a fraction count. A vector's have at most nine.
const (
	exactDigits = -1 // all of them
	looseDigits = 12
)

// plainNumbers brings numbers into one form. Integers keep all of their digits.
func plainNumbers(v any, digits int) any {
	switch v := v.(type) {
	case json.Number:
		if _, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return v
		}
		if _, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return v
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		if f == float64(int64(f)) && f > -1e15 && f < 1e15 {
			return json.Number(strconv.FormatInt(int64(f), 10)) // 1.0 and 1 are the same coordinate
		}
		return json.Number(strconv.FormatFloat(f, 'g', digits, 64))
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i], digits)
		}
	case map[string]any:
		for k := range v {
			v[k] = plainNumbers(v[k], digits)
		}
	}
	return v
}
