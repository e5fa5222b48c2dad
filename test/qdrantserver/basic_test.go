package qdrantserver_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

func TestFillAndImage(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "fill")
	s.Fill(t, name, nil, 60, 8)
	first := s.Image(t, name)
	if first != s.Image(t, name) {
		t.Error("two images of the same data differ")
	}
	if got := s.Image(t, name+"-missing"); got != "" {
		t.Errorf("image of nothing: %s", got)
	}
}

var everyKind = map[string]any{
	"vectors": map[string]any{
		"dense":  map[string]any{"size": 4, "distance": "Cosine"},
		"euclid": map[string]any{"size": 3, "distance": "Euclid", "on_disk": true},
		"bytes":  map[string]any{"size": 5, "distance": "Dot", "datatype": "uint8"},
		"half":   map[string]any{"size": 5, "distance": "Dot", "datatype": "float16"},
		"multi":  map[string]any{"size": 3, "distance": "Dot", "multivector_config": map[string]any{"comparator": "max_sim"}},
	},
	"sparse_vectors":      map[string]any{"words": map[string]any{}},
	"hnsw_config":         map[string]any{"m": 24},
	"optimizers_config":   map[string]any{"default_segment_number": 3},
	"strict_mode_config":  map[string]any{"enabled": true, "max_query_limit": 1000},
	"quantization_config": map[string]any{"scalar": map[string]any{"type": "int8", "always_ram": true}},
	"metadata":            map[string]any{"owner": "holdfast"},
}

func TestShardSnapshotRoundTrip(t *testing.T) {
	s := qdranttest.Shared(t)
	for _, how := range []string{"snapshot", "stream"} {
		t.Run(how, func(t *testing.T) {
			name := s.Name(t, how)
			s.Fill(t, name, everyKind, 60, 0)
			s.Do(t, http.MethodPut, "/collections/"+name+"/index?wait=true", map[string]any{"field_name": "city", "field_schema": "keyword"})
			want := s.Image(t, name)
			path := "/collections/" + name + "/shards/0/snapshot"
			if how == "snapshot" {
				var made struct{ Name string }
				if err := json.Unmarshal(s.Do(t, http.MethodPost, "/collections/"+name+"/shards/0/snapshots", nil), &made); err != nil {
					t.Fatal(err)
				}
				path = "/collections/" + name + "/shards/0/snapshots/" + made.Name
			}
			_, archive := get(t, s, path, nil)
			s.Do(t, http.MethodPost, "/collections/"+name+"/points/delete?wait=true", map[string]any{"points": []int{0, 1, 2}})
			s.Do(t, http.MethodPost, "/collections/"+name+"/points/payload?wait=true", map[string]any{"points": []int{3, 5}, "payload": map[string]any{"city": "changed"}})
			if s.Image(t, name) == want {
				t.Fatal("nothing changed")
			}
			upload(t, s, "/collections/"+name+"/shards/0/snapshots/upload?priority=snapshot", archive, http.StatusOK)
			if diff := cmp.Diff(want, s.Image(t, name)); diff != "" {
				t.Errorf("after recovery (-want +got):\n%s", diff)
			}
		})
	}
}
