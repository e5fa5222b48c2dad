package qdrantserver_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

var everyKind = M{
	"vectors": M{
		"dense":  M{"size": 4, "distance": "Cosine"},
		"euclid": M{"size": 3, "distance": "Euclid", "on_disk": true},
		"bytes":  M{"size": 5, "distance": "Dot", "datatype": "uint8"},
		"half":   M{"size": 5, "distance": "Dot", "datatype": "float16"},
		"multi":  M{"size": 3, "distance": "Dot", "multivector_config": M{"comparator": "max_sim"}},
	},
	"sparse_vectors":      M{"words": M{}},
	"hnsw_config":         M{"m": 24},
	"optimizers_config":   M{"default_segment_number": 3},
	"strict_mode_config":  M{"enabled": true, "max_query_limit": 1000},
	"quantization_config": M{"scalar": M{"type": "int8", "always_ram": true}},
	"metadata":            M{"owner": "holdfast"},
}

func TestFillAndImage(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "fill")
	s.Fill(t, name, nil, 60, 8)
	first := s.Image(t, name)
	if first != s.Image(t, name) {
		t.Error("two images of the same data differ")
	}
	for _, must := range []string{`"large":9007199254740994`, `"nothing":null`, "🦀", "Москва", `"whole":2.0`, "count 60", `"distance":"Cosine"`} {
		if !strings.Contains(first, must) {
			t.Errorf("the image lacks %s", must)
		}
	}
	if got := s.Image(t, name+"-missing"); got != "" {
		t.Errorf("image of nothing: %s", got)
	}
}

func TestConfigurationDefaults(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "config")
	s.Do(t, http.MethodPut, "/collections/"+name, M{"vectors": M{"size": 4, "distance": "Dot"}})
	s.Do(t, http.MethodPatch, "/collections/"+name, M{"params": M{"read_fan_out_factor": 2}, "metadata": M{"a": 1}})
	got := read[struct{ Config any }](t, s.Do(t, http.MethodGet, "/collections/"+name, nil)).Config
	wanted := read[any](t, json.RawMessage(`{
		"params":{"vectors":{"size":4,"distance":"Dot"},"shard_number":1,"replication_factor":1,"write_consistency_factor":1,"read_fan_out_factor":2,"on_disk_payload":true},
		"hnsw_config":{"m":16,"ef_construct":100,"full_scan_threshold":10000,"max_indexing_threads":0,"on_disk":false},
		"optimizer_config":{"deleted_threshold":0.2,"vacuum_min_vector_number":1000,"default_segment_number":0,"max_segment_size":null,"memmap_threshold":null,
			"indexing_threshold":10000,"flush_interval_sec":5,"max_optimization_threads":null,"prevent_unoptimized":null},
		"wal_config":{"wal_capacity_mb":32,"wal_segments_ahead":0,"wal_retain_closed":1},"quantization_config":null,"metadata":{"a":1}}`))
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestScrollOrderAndPages(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "scroll")
	s.Do(t, http.MethodPut, "/collections/"+name, M{"vectors": M{"size": 1, "distance": "Dot"}, "shard_number": 3})
	ids := []any{"00000000-0000-4000-8000-000000000002", 18446744073709551615 - uint64(1), 7, "00000000-0000-4000-8000-000000000001", 3}
	for _, id := range ids {
		s.Do(t, http.MethodPut, "/collections/"+name+"/points?wait=true", M{"points": []any{M{"id": id, "vector": []int{1}}}})
	}
	var got []string
	request := M{"limit": 2}
	for {
		page := read[struct {
			Points []struct{ ID json.RawMessage }
			Next   json.RawMessage `json:"next_page_offset"`
		}](t, s.Do(t, http.MethodPost, "/collections/"+name+"/points/scroll", request))
		for _, p := range page.Points {
			got = append(got, string(p.ID))
		}
		if string(page.Next) == "null" {
			break
		}
		request["offset"] = page.Next
	}
	wanted := []string{"3", "7", "18446744073709551614", `"00000000-0000-4000-8000-000000000001"`, `"00000000-0000-4000-8000-000000000002"`}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestFilters(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "filter")
	s.Fill(t, name, nil, 20, 2)
	for text, wanted := range map[string]int{
		`{"must":[{"key":"city","match":{"value":"Berlin"}}]}`:                                              5,
		`{"must":{"key":"city","match":{"any":["Berlin","Zürich"]}}}`:                                       10,
		`{"must_not":[{"key":"city","match":{"value":"Berlin"}}]}`:                                          15,
		`{"must":[{"key":"city","match":{"except":["Berlin","Zürich"]}}]}`:                                  10,
		`{"should":[{"key":"number","range":{"lt":3}},{"key":"number","range":{"gte":18}}]}`:                5,
		`{"must":[{"key":"large","match":{"value":9007199254740994}}]}`:                                     1,
		`{"must":[{"is_null":{"key":"nothing"}}]}`:                                                          20,
		`{"must":[{"is_empty":{"key":"empty"}}]}`:                                                           20,
		`{"must":[{"is_empty":{"key":"rare"}}]}`:                                                            17,
		`{"must":[{"has_id":[1,2,500]}]}`:                                                                   2,
		`{"must":[{"has_vector":""}]}`:                                                                      20,
		`{"must":[{"key":"nested.list[]","match":{"value":"two"}},{"must":[{"has_id":[1,2]}]}]}`:            2,
		`{"min_should":{"conditions":[{"has_id":[1]},{"key":"number","match":{"value":1}}],"min_count":2}}`: 1,
	} {
		got := read[struct{ Count int }](t, s.Do(t, http.MethodPost, "/collections/"+name+"/points/count", M{"exact": true, "filter": json.RawMessage(text)})).Count
		if got != wanted {
			t.Errorf("%s: %d points, want %d", text, got, wanted)
		}
	}
	want(t, s, http.StatusBadRequest, http.MethodPost, "/collections/"+name+"/points/count", `{"filter":{"foo":[]}}`)
	want(t, s, http.StatusUnprocessableEntity, http.MethodPost, "/collections/"+name+"/points/count", `{"filter":{"must":[{"key":"a"}]}}`)
}

func TestNearest(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "nearest")
	s.Fill(t, name, everyKind, 40, 0)
	points := read[[]struct {
		ID     any
		Vector map[string]json.RawMessage
	}](t, s.Do(t, http.MethodPost, "/collections/"+name+"/points", M{"ids": []int{3}, "with_vector": true}))
	for vector, value := range points[0].Vector {
		hits := read[struct{ Points []struct{ ID any } }](t, s.Do(t, http.MethodPost, "/collections/"+name+"/points/query",
			M{"query": value, "using": vector, "limit": 40, "params": M{"exact": true}}))
		found := false
		for i, p := range hits.Points {
			found = found || p.ID == float64(3) && (i == 0 || vector != "dense" && vector != "euclid")
		}
		if !found {
			t.Errorf("the vector %s does not find its own point: %v", vector, hits)
		}
	}
}

func TestFloatsAreReadAsTheServerReadsThem(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "floats")
	s.Do(t, http.MethodPut, "/collections/"+name, M{"vectors": M{}})
	s.Do(t, http.MethodPut, "/collections/"+name+"/points?wait=true", `{"points":[{"id":1,"vector":{},"payload":{"n":[12345678901234567.0,1e300,1E2,-0,18446744073709551616,9007199254740993,0.00001]}}]}`)
	got := s.Do(t, http.MethodPost, "/collections/"+name+"/points", M{"ids": []int{1}, "with_payload": true})
	if want := `[{"id":1,"payload":{"n":[1.2345678901234566e+16,1e+300,100.0,-0.0,1.8446744073709552e+19,9007199254740993,0.00001]}}]`; string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAliases(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "alias")
	s.Fill(t, name+"-a", nil, 3, 2)
	s.Fill(t, name+"-b", nil, 1, 2)
	alias := name + "-alias"
	do := func(status int, actions ...M) string {
		return want(t, s, status, http.MethodPost, "/collections/aliases", M{"actions": actions})
	}
	do(http.StatusOK, M{"create_alias": M{"collection_name": name + "-a", "alias_name": alias}})
	if n := count(t, s, 0, alias); n != 3 {
		t.Errorf("%d points behind the alias", n)
	}
	want(t, s, http.StatusBadRequest, http.MethodPut, "/collections/"+alias, M{"vectors": M{}})
	do(http.StatusConflict, M{"create_alias": M{"collection_name": name + "-a", "alias_name": name + "-b"}})
	do(http.StatusNotFound, M{"rename_alias": M{"old_alias_name": "no-such-alias", "new_alias_name": "x"}})
	// What came before an action that fails stays done.
	do(http.StatusNotFound, M{"create_alias": M{"collection_name": name + "-b", "alias_name": alias}}, M{"create_alias": M{"collection_name": name + "-none", "alias_name": "x"}})
	if n := count(t, s, 0, alias); n != 1 {
		t.Errorf("%d points behind the moved alias", n)
	}
	// The name of an alias deletes nothing; deleting the collection deletes its aliases.
	if got := want(t, s, http.StatusOK, http.MethodDelete, "/collections/"+alias, nil); got != "false" {
		t.Errorf("deleting by alias: %s", got)
	}
	s.Do(t, http.MethodDelete, "/collections/"+name+"-b", nil)
	if got := string(s.Do(t, http.MethodGet, "/aliases", nil)); strings.Contains(got, alias) {
		t.Errorf("the alias outlives its collection: %s", got)
	}
}
