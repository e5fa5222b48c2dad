package qdrantserver

import (
	"encoding/json"
	"strings"
)

// info is what GET /collections/{} shows on a node.
func (c *Cluster) info(col *collection, self uint64) (object, error) {
	points, segments, running := 0, 0, 0
	var all []*local
	for _, s := range col.sortedShards() {
		rep := c.readable(s, self)
		if rep == nil {
			if local := s.replicas[self]; local != nil && local.broken != "" {
				return nil, readFailed("Failed to Get Info,  %s", local.broken)
			}
			if col.custom() {
				continue
			}
			return nil, noReplica(s.id, self)
		}
		points, segments = points+len(rep.local.points), segments+len(rep.local.segments)
		running += rep.snapshots
		all = append(all, rep.local)
	}
	schema := object{}
	for field, raw := range col.schema {
		schema[field] = indexInfo(field, raw, all)
	}
	info := object{
		"status": "green", "optimizer_status": "ok", "indexed_vectors_count": 0, "points_count": points, "segments_count": segments,
		"config": col.config, "payload_schema": schema, "update_queue": object{"length": 0},
	}
	if running > 0 {
		info["status"] = "yellow"
	}
	if col.status != "" {
		info["status"] = col.status
	}
	if col.optimizerError != "" {
		info["optimizer_status"] = object{"error": col.optimizerError}
	}
	return deepCopy(info), nil
}

// readFailed is what a read says when no replica could carry it out.
func readFailed(format string, args ...any) error {
	return internal("1 of 1 read operations failed:\n  Service internal error: "+format, args...)
}

func noReplica(shard uint32, self uint64) error {
	return internal("The replica set for shard %d on peer %d has no active replica", shard, self)
}

// deepCopy lets an answer be written after Cluster.mu was given back.
func deepCopy(o object) object { return parseObject(string(encode(o))) }

// indexInfo describes an index: its type, how it was asked for, and how many points it knows.
func indexInfo(field string, raw json.RawMessage, all []*local) object {
	info := object{}
	var name string
	if json.Unmarshal(raw, &name) == nil {
		info["data_type"] = name
	} else {
		params := parseObject(string(raw))
		info["data_type"], info["params"] = params["type"], params
	}
	n := 0
	kind, _ := info["data_type"].(string)
	for _, l := range all {
		for _, s := range l.points {
			if indexes(kind, flattened(fieldValues(s.tree, field))) {
				n++
			}
		}
	}
	info["points"] = n
	return info
}

// indexes says whether an index of this type knows any of the values.
func indexes(kind string, values []any) bool {
	for _, v := range values {
		switch v := v.(type) {
		case string:
			switch kind {
			case "keyword", "text":
				return true
			case "uuid":
				if _, err := parseUUID(v); err == nil {
					return true
				}
			case "datetime":
				if _, ok := parseTime(v); ok {
					return true
				}
			}
		case bool:
			if kind == "bool" {
				return true
			}
		case json.Number:
			if kind == "float" || kind == "integer" && !strings.ContainsAny(string(v), ".e") {
				return true
			}
		case object:
			if _, lat := v["lat"]; lat && kind == "geo" {
				return true
			}
		}
	}
	return false
}
