package qdrantserver

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// The configuration of a collection is kept as JSON, so that fields which this server knows nothing of survive. These
// are the values that a server without a configuration file fills in.
const (
	defaultHNSW       = `{"m":16,"ef_construct":100,"full_scan_threshold":10000,"max_indexing_threads":0,"on_disk":false}`
	defaultOptimizers = `{"deleted_threshold":0.2,"vacuum_min_vector_number":1000,"default_segment_number":0,"max_segment_size":null,` +
		`"memmap_threshold":null,"indexing_threshold":10000,"flush_interval_sec":5,"max_optimization_threads":null,"prevent_unoptimized":null}`
	defaultWAL = `{"wal_capacity_mb":32,"wal_segments_ahead":0,"wal_retain_closed":1}`
)

type object = map[string]any

func parseObject(text string) object {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var o object
	if err := d.Decode(&o); err != nil {
		panic(err)
	}
	return o
}

// newConfig is the configuration of a collection that is created with the fields of body.
func newConfig(body object, peers int) (object, error) {
	if err := checkConfig(body); err != nil {
		return nil, err
	}
	shards := json.Number("1")
	if method, _ := body["sharding_method"].(string); peers > 1 && method != "custom" {
		shards = json.Number(string(encode(peers)))
	}
	params := object{
		"vectors": object{}, "shard_number": shards, "replication_factor": json.Number("1"),
		"write_consistency_factor": json.Number("1"), "on_disk_payload": true,
	}
	config := object{
		"params": params, "hnsw_config": merged(parseObject(defaultHNSW), body["hnsw_config"]),
		"optimizer_config": optimizers(parseObject(defaultOptimizers), first(body, "optimizers_config", "optimizer_config")),
		"wal_config":       merged(parseObject(defaultWAL), body["wal_config"]), "quantization_config": nil,
	}
	for name, value := range body {
		if value == nil {
			continue
		}
		switch name {
		case "hnsw_config", "optimizers_config", "optimizer_config", "wal_config", "uuid":
		case "quantization_config", "quantization":
			config["quantization_config"] = pruned(value)
		case "strict_mode_config":
			config[name] = merged(object{}, value)
		case "metadata":
			config[name] = value
		default:
			params[name] = pruned(value)
		}
	}
	return config, nil
}

func first(body object, names ...string) any {
	for _, name := range names {
		if v, ok := body[name]; ok {
			return v
		}
	}
	return nil
}

// merged is base with the fields of diff that are not null.
func merged(base object, diff any) object {
	d, _ := diff.(object)
	out := object{}
	maps.Copy(out, base)
	for name, value := range d {
		if value != nil {
			out[strings.TrimSuffix(name, "_kb")] = pruned(value)
		}
	}
	return out
}

// optimizers knows that "auto" threads are stored as null.
func optimizers(base object, diff any) object {
	out := merged(base, diff)
	if out["max_optimization_threads"] == "auto" {
		out["max_optimization_threads"] = nil
	}
	return out
}

// pruned leaves out what is null; Qdrant does not show fields that are not set.
func pruned(v any) any {
	switch v := v.(type) {
	case object:
		out := object{}
		for name, value := range v {
			if value != nil {
				out[name] = pruned(value)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = pruned(v[i])
		}
		return out
	}
	return v
}

// checkConfig refuses what would not be a collection.
func checkConfig(body object) error {
	for _, name := range []string{"shard_number", "replication_factor", "write_consistency_factor"} {
		if n, ok := body[name].(json.Number); ok && n == "0" {
			return fail(kindInvalid, "Validation error in JSON body: [%s: value 0 invalid, must be 1 or larger]", name)
		}
	}
	check := func(spec object) error {
		distance, _ := spec["distance"].(string)
		if n, _ := spec["size"].(json.Number); n == "0" || n == "" || !slices.Contains([]string{"Cosine", "Dot", "Euclid", "Manhattan"}, distance) {
			return fail(kindFormat, "Format error in JSON body: data did not match any variant of untagged enum VectorsConfig")
		}
		return nil
	}
	vectors, _ := body["vectors"].(object)
	if _, single := vectors["size"].(json.Number); single {
		return check(vectors)
	}
	for name, spec := range vectors {
		spec, ok := spec.(object)
		if !ok {
			return fail(kindFormat, "Format error in JSON body: data did not match any variant of untagged enum VectorsConfig")
		}
		if strings.ContainsAny(name, badNameChars) {
			return badInput("Invalid dense vector name `%s`", name)
		}
		if err := check(spec); err != nil {
			return err
		}
	}
	return nil
}

// badNameChars cannot be in the names of new collections and vectors.
const badNameChars = "<>:\"/\\|?*\x00\x1f"

// patch changes a configuration as PATCH /collections/{} does.
func (col *collection) patch(body object) error {
	config, params := maps.Clone(col.config), maps.Clone(col.params())
	config["params"] = params
	for name, value := range body {
		if value == nil {
			continue
		}
		diff, _ := value.(object)
		switch name {
		case "params":
			maps.Copy(params, merged(params, diff))
		case "hnsw_config", "wal_config":
			config[name] = merged(config[name].(object), diff)
		case "optimizers_config", "optimizer_config":
			config["optimizer_config"] = optimizers(config["optimizer_config"].(object), diff)
		case "quantization_config":
			if value == "Disabled" {
				config[name] = nil
			} else {
				config[name] = pruned(value)
			}
		case "strict_mode_config":
			old, _ := config[name].(object)
			config[name] = merged(old, diff)
			col.reads, col.writes = limiter{}, limiter{}
		case "metadata":
			config[name] = mergedMetadata(config[name], diff)
		case "vectors":
			if err := patchVectors(params, diff); err != nil {
				return err
			}
		case "sparse_vectors":
			if err := patchSparse(params, diff); err != nil {
				return err
			}
		}
	}
	col.config = config
	return nil
}

// mergedMetadata takes over the keys of diff; null removes one.
func mergedMetadata(old any, diff object) object {
	o, _ := old.(object)
	out := object{}
	maps.Copy(out, o)
	for name, value := range diff {
		if value == nil {
			delete(out, name)
		} else {
			out[name] = value
		}
	}
	return out
}

func patchVectors(params, diff object) error {
	vectors := maps.Clone(params["vectors"].(object))
	for name, change := range diff {
		c, _ := change.(object)
		if _, single := vectors["size"].(json.Number); single && name == "" {
			vectors = patchVector(vectors, c)
			continue
		}
		spec, ok := vectors[name].(object)
		if !ok {
			return badInput("Not existing vector name error: %s", name)
		}
		vectors[name] = patchVector(spec, c)
	}
	params["vectors"] = vectors
	return nil
}

func patchVector(spec, change object) object {
	out := maps.Clone(spec)
	for name, value := range change {
		switch {
		case value == nil:
		case value == "Disabled":
			delete(out, name)
		case name == "hnsw_config":
			old, _ := out[name].(object)
			out[name] = merged(old, value)
		default:
			out[name] = pruned(value)
		}
	}
	return out
}

func patchSparse(params, diff object) error {
	old, _ := params["sparse_vectors"].(object)
	sparse := maps.Clone(old)
	for name, change := range diff {
		spec, ok := sparse[name].(object)
		if !ok {
			return badInput("Not existing vector name error: %s", name)
		}
		sparse[name] = merged(spec, change)
	}
	params["sparse_vectors"] = sparse
	return nil
}
