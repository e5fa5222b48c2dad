package qdrantserver

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
)

// shardImage is what one shard was at one moment, ready to be written while the shard goes on.
type shardImage struct {
	segments map[string]map[string]*file
	op       uint64
	local    bool
	state    []byte // replica_state.json
	clocked  bool   // there are clocks in a cluster only
}

// freeze takes the image of the replica that a node has of a shard; without data when it has none. Cluster.mu must be held.
func (s *shard) freeze(peer uint64, fields []string, clocked bool) *shardImage {
	states := map[string]string{}
	for _, rep := range s.replicas {
		states[strconv.FormatUint(rep.peer, 10)] = rep.state
	}
	img := &shardImage{segments: map[string]map[string]*file{}, clocked: clocked}
	if rep := s.replicas[peer]; rep != nil && rep.local != nil {
		img.local, img.op = true, rep.local.op
		for _, seg := range rep.local.segments {
			img.segments[seg.uuid] = seg.freeze(fields)
		}
	}
	img.state = encode(struct {
		IsLocal bool              `json:"is_local"`
		Peer    uint64            `json:"this_peer_id"`
		Peers   map[string]string `json:"peers"`
	}{img.local, peer, states})
	return img
}

// write adds the image to an archive below a folder. Segments are nested archives, or folders when the archive is
// streamed. What tells a whole shard from a part of one comes last.
func (img *shardImage) write(t *tarWriter, folder string, streamed, wal bool) {
	if img.local {
		for id, files := range img.segments { // in no particular order, as in Qdrant
			if streamed {
				for _, name := range archiveOrder(files) {
					t.file(path.Join(folder, "segments", id, "files", name), files[name])
				}
				continue
			}
			t.bytes(path.Join(folder, "segments", id+".tar"), nestedTar(files))
		}
		if img.clocked {
			t.bytes(path.Join(folder, "newest_clocks.json"), img.clocks(img.op))
			t.bytes(path.Join(folder, "oldest_clocks.json"), img.clocks(0))
		}
		img.writeWAL(t, path.Join(folder, "wal"), wal)
		if wal && img.op > 64 {
			t.bytes(path.Join(folder, "applied_seq.json"), fmt.Appendf(nil, `{"op_num":%d}`, img.op))
		}
	}
	t.bytes(path.Join(folder, "replica_state.json"), img.state)
	t.bytes(path.Join(folder, "shard_config.json"), []byte(`{"type":"ReplicaSet"}`))
}

func nestedTar(files map[string]*file) []byte {
	var b bytes.Buffer
	t := &tarWriter{w: &b}
	for _, name := range archiveOrder(files) {
		t.file(path.Join("snapshot/files", name), files[name])
	}
	_ = t.finish() // a buffer takes everything
	return b.Bytes()
}

func (img *shardImage) clocks(tick uint64) []byte {
	return fmt.Appendf(nil, `{"clocks":[{"key":{"peer_id":1,"clock_id":0},"clock":{"current_tick":%d,"token":%d}}]}`, tick, tick*2654435761)
}

// writeWAL adds a log that says how far it got; the segments hold everything already. Where it begins and what is in it
// differs from one snapshot to the next. A shard's own snapshot has an empty one.
func (img *shardImage) writeWAL(t *tarWriter, folder string, whole bool) {
	segment := &file{data: binary.LittleEndian.AppendUint64([]byte("wal\x00"), img.op), size: walSize, mtime: now()}
	if !whole {
		t.folder(folder)
		t.file(path.Join(folder, "closed-"+strconv.FormatUint(img.op+1, 10)), segment)
		return
	}
	for op := range min(img.op, 256) {
		entry := binary.LittleEndian.AppendUint64(nil, img.op-op)
		segment.data = append(segment.data, append(entry, noise16(img.op-op)...)...)
	}
	t.file(path.Join(folder, "open-1"), segment)
	t.file(path.Join(folder, "open-2"), &file{size: walSize, mtime: now()})
}

func noise16(seed uint64) []byte {
	seed = seed*0x9e3779b97f4a7c15 + 1
	b := binary.LittleEndian.AppendUint64(nil, seed)
	return binary.LittleEndian.AppendUint64(b, seed*seed)
}

// indexed are the fields with an index.
func (col *collection) indexed() []string { return slices.Sorted(maps.Keys(col.schema)) }

// collectionImage is what one node has of a collection at one moment.
type collectionImage struct {
	shards map[uint32]*shardImage
	config []byte
	keys   []byte
	schema []byte
}

// freeze takes the image of everything that a node has of the collection. Cluster.mu must be held.
func (col *collection) freeze(peer uint64, clocked bool) *collectionImage {
	img := &collectionImage{shards: map[uint32]*shardImage{}}
	fields := col.indexed()
	for id, s := range col.shards {
		img.shards[id] = s.freeze(peer, fields, clocked)
	}
	config := maps.Clone(col.config)
	config["uuid"] = col.uuid
	img.config = encode(config)
	mapping := []object{}
	for _, k := range col.keys {
		mapping = append(mapping, object{"key": k.key, "shard_ids": k.ids})
	}
	img.keys = encode(mapping)
	img.schema = encode(object{"schema": col.schema})
	return img
}

func (img *collectionImage) write(w io.Writer) error {
	t := &tarWriter{w: w}
	for id, s := range img.shards {
		s.write(t, strconv.Itoa(int(id)), false, true)
	}
	t.bytes("version.info", []byte("0.4.2"))
	t.bytes("config.json", img.config)
	t.bytes("shard_key_mapping.json", img.keys)
	t.bytes("payload_index.json", img.schema)
	return t.finish()
}

// restoredShard is a shard as it came out of an archive.
type restoredShard struct {
	// local says that there is data: the archive of a node without the shard has none.
	local    bool
	segments map[string]map[string]*file
}

// openShard looks at the files of a shard, but not yet at the points in them.
func openShard(files map[string]*file, distributed bool, where string) (*restoredShard, error) {
	var state struct {
		IsLocal bool `json:"is_local"`
	}
	if f := files["replica_state.json"]; f != nil {
		if err := json.Unmarshal(f.data, &state); err != nil {
			return nil, internal("Json error: %v", err)
		}
	}
	if !distributed && !state.IsLocal {
		return nil, internal("Can't restore snapshot in local mode with missing data at shard: %s", where)
	}
	found := &restoredShard{local: len(below(files, "wal")) > 0 && len(below(files, "segments")) > 0}
	if len(below(files, "segments")) == 0 && state.IsLocal && len(below(files, "wal")) > 0 {
		return nil, internal("IO Error: failed to read directory `%s/segments`: No such file or directory (os error 2)", where)
	}
	if !state.IsLocal {
		return found, nil // nothing is unpacked further, so the shard comes back empty, and without an error
	}
	segments, err := shardSegments(files)
	if err != nil {
		return nil, internal("File IO error: %v", err)
	}
	found.segments = segments
	return found, nil
}

// load reads the points of a restored shard.
func (r *restoredShard) load(kinds map[string]vectorKind) (*local, error) {
	return openLocal(kinds, r.segments)
}

// restoredCollection is a collection as it came out of an archive.
type restoredCollection struct {
	config object
	schema map[string]json.RawMessage
	shards map[uint32]*restoredShard
}

// openCollection looks at an unpacked collection snapshot.
func openCollection(files map[string]*file, distributed bool) (*restoredCollection, error) {
	f := files["config.json"]
	if f == nil {
		return nil, internal("File IO error: failed to open file `config.json`: No such file or directory (os error 2)")
	}
	found := &restoredCollection{shards: map[uint32]*restoredShard{}, schema: map[string]json.RawMessage{}}
	d := json.NewDecoder(bytes.NewReader(f.data))
	d.UseNumber()
	if err := d.Decode(&found.config); err != nil {
		return nil, internal("Json error: %v", err)
	}
	delete(found.config, "uuid")
	if f := files["payload_index.json"]; f != nil {
		var schema struct {
			Schema map[string]json.RawMessage `json:"schema"`
		}
		if err := json.Unmarshal(f.data, &schema); err != nil {
			return nil, internal("Failed to load payload index schema: %v", err)
		}
		found.schema = schema.Schema
	}
	ids, err := found.shardIDs(files)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		folder := strconv.Itoa(int(id))
		if files[folder+"/shard_config.json"] == nil {
			return nil, internal("Can't read shard config at %s", folder)
		}
		if found.shards[id], err = openShard(below(files, folder), distributed, folder); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// shardIDs are the shards that must be in the archive: all numbers below the count, or those of the keys.
func (found *restoredCollection) shardIDs(files map[string]*file) ([]uint32, error) {
	probe := &collection{config: found.config}
	var ids []uint32
	if !probe.custom() {
		for id := range probe.number("shard_number") {
			ids = append(ids, uint32(id))
		}
		return ids, nil
	}
	var mapping []struct {
		IDs []uint32 `json:"shard_ids"`
	}
	if f := files["shard_key_mapping.json"]; f != nil {
		if err := json.Unmarshal(f.data, &mapping); err != nil {
			return nil, internal("Json error: %v", err)
		}
	}
	for _, m := range mapping {
		ids = append(ids, m.IDs...)
	}
	slices.Sort(ids)
	return ids, nil
}
