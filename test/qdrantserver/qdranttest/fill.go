package qdranttest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
)

// Fill makes a collection and stores points in it, the same ones each time. Without create it has one unnamed vector of
// dim numbers with cosine distance. Every fifth point has a UUID for an id; payloads have what gets lost on the way when
// somebody is careless: integers above 2^53, floats, nulls, nested objects, empty lists, letters from everywhere. Named
// vectors, sparse and multi ones, get values according to what the collection says of them. With custom sharding use
// FillKey, after the keys were made.
func (s *Server) Fill(t testing.TB, name string, create map[string]any, points, dim int) {
	t.Helper()
	if create == nil {
		create = map[string]any{"vectors": map[string]any{"size": dim, "distance": "Cosine"}}
	}
	s.Do(t, http.MethodPut, "/collections/"+escape(name), create)
	if create["sharding_method"] != "custom" {
		s.FillKey(t, name, nil, 0, points)
	}
}

// FillKey stores the points from a number on, in the shards of a key unless that is nil.
func (s *Server) FillKey(t testing.TB, name string, key any, from, points int) {
	t.Helper()
	var info struct {
		Config struct {
			Params params `json:"params"`
		} `json:"config"`
	}
	if err := json.Unmarshal(s.Do(t, http.MethodGet, "/collections/"+escape(name), nil), &info); err != nil {
		t.Fatalf("read collection %s: %v", name, err)
	}
	const batch = 500
	for at := from; at < from+points; at += batch {
		var list []map[string]any
		for i := at; i < min(at+batch, from+points); i++ {
			list = append(list, map[string]any{"id": ID(i), "vector": info.Config.Params.vectors(i), "payload": Payload(i)})
		}
		body := map[string]any{"points": list}
		if key != nil {
			body["shard_key"] = key
		}
		s.Do(t, http.MethodPut, "/collections/"+escape(name)+"/points?wait=true", body)
	}
}

// ID is the id of the point with this number.
func ID(i int) any {
	if i%5 == 4 {
		return fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(i)*2654435761, i)
	}
	return i
}

// Payload is the payload of the point with this number.
func Payload(i int) map[string]any {
	p := map[string]any{
		"city": []string{"Berlin", "Zürich", "東京", "Москва"}[i%4], "number": i, "large": int64(9007199254740993) + int64(i),
		"ratio": float64(i) + 0.5, "whole": json.RawMessage("2.0"), "nothing": nil, "flag": i%2 == 0, "empty": []any{},
		"nested": map[string]any{"list": []any{i, "two", nil}, "deep": map[string]any{"emoji": "🦀 \u2028 <&>"}},
	}
	if i%7 == 3 {
		p["rare"] = fmt.Sprintf("only in some: %d", i)
	}
	return p
}

// params are those of a collection that matter for its vectors.
type params struct {
	Vectors json.RawMessage            `json:"vectors"`
	Sparse  map[string]json.RawMessage `json:"sparse_vectors"`
}

type vectorSpec struct {
	Size     int    `json:"size"`
	Datatype string `json:"datatype"`
	Multi    any    `json:"multivector_config"`
}

// vectors are those of the point with this number: one, or several by name. Every ninth point lacks one of several.
func (p params) vectors(i int) any {
	random := rand.New(rand.NewPCG(uint64(i), 7)) // #nosec G404: the same each time
	var one vectorSpec
	if json.Unmarshal(p.Vectors, &one) == nil && one.Size > 0 && len(p.Sparse) == 0 {
		return one.random(random)
	}
	out := map[string]any{}
	var named map[string]vectorSpec
	switch {
	case one.Size > 0:
		out[""] = one.random(random)
	case json.Unmarshal(p.Vectors, &named) == nil:
		for _, name := range sortedKeys(named) {
			out[name] = named[name].random(random)
		}
	}
	for _, name := range sortedKeys(p.Sparse) {
		out[name] = sparse(random)
	}
	if names := sortedKeys(out); i%9 == 8 && len(names) > 1 {
		delete(out, names[0])
	}
	return out
}

func (v vectorSpec) random(r *rand.Rand) any {
	row := func() []float32 {
		out := make([]float32, v.Size)
		for i := range out {
			if out[i] = r.Float32()*2 - 1; v.Datatype == "uint8" {
				out[i] = float32(r.IntN(256))
			}
		}
		return out
	}
	if v.Multi == nil {
		return row()
	}
	rows := make([][]float32, 1+r.IntN(3))
	for i := range rows {
		rows[i] = row()
	}
	return rows
}

func sparse(r *rand.Rand) any {
	indices, values := []uint32{}, []float32{}
	for at := uint32(r.IntN(10)); len(indices) < 1+r.IntN(5); at += 1 + uint32(r.IntN(1000)) {
		indices, values = append(indices, at), append(values, r.Float32()+0.1)
	}
	return map[string]any{"indices": indices, "values": values}
}
