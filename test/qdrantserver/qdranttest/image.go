package qdranttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Image is everything of a collection that must survive a backup, as text: its configuration, payload schema, shard
// keys, and every point with payload and vectors. It is "" when there is no such collection. Two images of the same data
// are the same, whatever server, node or state they were taken from.
func (s *Server) Image(t testing.TB, name string) string { return s.ImageNode(t, 0, name) }

// ImageNode is Image, read from another node.
func (s *Server) ImageNode(t testing.TB, node int, name string) string {
	t.Helper()
	path := "/collections/" + escape(name)
	status, text, err := s.TryNode(node, http.MethodGet, path, nil)
	if err != nil {
		t.Fatalf("read collection %s: %v", name, err)
	}
	if status == http.StatusNotFound {
		return ""
	}
	if status != http.StatusOK {
		t.Fatalf("read collection %s: %d %s", name, status, text)
	}
	info := decode(t, text).(map[string]any)
	var b strings.Builder
	config := info["config"].(map[string]any)
	for _, part := range sortedKeys(config) {
		if config[part] != nil {
			fmt.Fprintf(&b, "%s %s\n", part, canonical(config[part]))
		}
	}
	schema, _ := info["payload_schema"].(map[string]any)
	for _, field := range sortedKeys(schema) {
		index := schema[field].(map[string]any)
		fmt.Fprintf(&b, "index %s %s %s\n", field, canonical(index["data_type"]), canonical(index["params"]))
	}
	keys := []any{nil}
	if params, _ := config["params"].(map[string]any); params["sharding_method"] == "custom" {
		keys = s.shardKeys(t, node, path)
		fmt.Fprintf(&b, "shard keys %s\n", canonical(keys))
	}
	for _, key := range keys {
		s.points(t, node, path, key, &b)
	}
	return b.String()
}

func (s *Server) must(t testing.TB, node int, method, path string, body any) any {
	t.Helper()
	status, text, err := s.TryNode(node, method, path, body)
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s %s: %d %s %v", method, path, status, text, err)
	}
	return decode(t, text)
}

func (s *Server) shardKeys(t testing.TB, node int, path string) []any {
	t.Helper()
	list, _ := s.must(t, node, http.MethodGet, path+"/shards", nil).(map[string]any)["shard_keys"].([]any)
	var keys []any
	for _, k := range list {
		keys = append(keys, k.(map[string]any)["key"])
	}
	slices.SortFunc(keys, func(a, b any) int { return strings.Compare(canonical(a), canonical(b)) })
	return keys
}

// points writes all points of a shard key, or all there are, in the order of their ids.
func (s *Server) points(t testing.TB, node int, path string, key any, b *strings.Builder) {
	t.Helper()
	request := map[string]any{"limit": 250, "with_payload": true, "with_vector": true}
	number := map[string]any{"exact": true}
	if key != nil {
		request["shard_key"], number["shard_key"] = key, key
	}
	total := 0
	for {
		page := s.must(t, node, http.MethodPost, path+"/points/scroll", request).(map[string]any)
		list, _ := page["points"].([]any)
		total += len(list)
		for _, p := range list {
			point := p.(map[string]any)
			fmt.Fprintf(b, "point %s %s\n", canonical(point["id"]), canonical(map[string]any{
				"payload": point["payload"], "vector": point["vector"], "shard_key": point["shard_key"],
			}))
		}
		if request["offset"] = page["next_page_offset"]; request["offset"] == nil {
			break
		}
	}
	count := s.must(t, node, http.MethodPost, path+"/points/count", number).(map[string]any)["count"]
	fmt.Fprintf(b, "count %v\n", count)
	if fmt.Sprint(count) != fmt.Sprint(total) {
		t.Fatalf("%s: %v points by count, %d by scroll", path, count, total)
	}
}

func decode(t testing.TB, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("decode %.200s: %v", text, err)
	}
	return v
}

// canonical is a value as JSON with sorted keys and numbers as they came.
func canonical(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // it was decoded from JSON
	return strings.TrimSpace(b.String())
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
