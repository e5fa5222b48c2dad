package qdrantserver

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// find resolves a name, aliases first, and returns its collection. Cluster.mu must be held.
func (c *Cluster) find(name string) (*collection, error) {
	if target, ok := c.aliases[name]; ok {
		name = target
	}
	col, ok := c.collections[name]
	if !ok {
		return nil, notFound("Collection `%s` doesn't exist!", name)
	}
	return col, nil
}

// locked runs f with Cluster.mu held.
func (c *Cluster) locked(f func() (any, error)) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return f()
}

// onCollection answers with what f makes of the collection that the path names.
func (r *request) onCollection(write bool, f func(col *collection) (any, error)) {
	r.answer(r.n.c.locked(func() (any, error) {
		if write {
			if err := r.role.mayWrite(); err != nil {
				return nil, err
			}
		}
		col, err := r.n.c.find(r.args[0])
		if err != nil {
			return nil, err
		}
		return f(col)
	}))
}

func (r *request) listCollections() {
	r.answer(r.n.c.locked(func() (any, error) {
		list := []object{}
		for _, name := range slices.Sorted(maps.Keys(r.n.c.collections)) {
			list = append(list, object{"name": name})
		}
		return object{"collections": list}, nil
	}))
}

func (r *request) getExists() {
	r.answer(r.n.c.locked(func() (any, error) {
		_, err := r.n.c.find(r.args[0])
		return object{"exists": err == nil}, nil
	}))
}

func (r *request) getCollection() {
	r.onCollection(false, func(col *collection) (any, error) { return r.n.c.info(col, r.n.peer) })
}

func (r *request) putCollection() {
	var body object
	err := r.body(&body)
	if err == nil {
		err = checkName(r.args[0])
	}
	if err == nil {
		err = r.role.mayWrite()
	}
	if err != nil {
		r.fail(err)
		return
	}
	r.answer(r.n.c.locked(func() (any, error) {
		_, err := r.n.c.create(r.args[0], body, nil)
		return true, err
	}))
}

func checkName(name string) error {
	if len(name) == 0 || len(name) > 255 {
		return fail(kindInvalid, "Validation error in path parameters: [collection_name: value %s invalid, must be from 1 to 255 characters]", showKey(name))
	}
	if i := strings.IndexAny(name, badNameChars); i >= 0 {
		return fail(kindInvalid, "Validation error in path parameters: [collection_name: collection name cannot contain %s char]", showKey(name[i:i+1]))
	}
	return nil
}

// create makes a collection; config is given when it comes out of a snapshot. Cluster.mu must be held.
func (c *Cluster) create(name string, body, config object) (*collection, error) {
	if _, exists := c.collections[name]; exists {
		return nil, fail(kindExists, "Collection `%s` already exists!", name)
	}
	if _, alias := c.aliases[name]; alias {
		return nil, badInput("Can't create collection with name %s. Alias with the same name already exists", name)
	}
	if config == nil {
		made, err := newConfig(body, len(c.nodes))
		if err != nil {
			return nil, err
		}
		config = made
	}
	col := &collection{name: name, uuid: newUUID(), config: config, schema: map[string]json.RawMessage{}, shards: map[uint32]*shard{}}
	if !col.custom() {
		for id := range col.number("shard_number") {
			c.addShard(col, uint32(id), nil, c.peersFor(id, col.number("replication_factor")))
		}
	}
	c.collections[name] = col
	return col, nil
}

// peersFor spreads replicas evenly over the nodes.
func (c *Cluster) peersFor(shard, replicas int) []uint64 {
	var peers []uint64
	for i := range min(replicas, len(c.nodes)) {
		peers = append(peers, c.nodes[(shard+i)%len(c.nodes)].peer)
	}
	return peers
}

func (c *Cluster) addShard(col *collection, id uint32, key any, peers []uint64) {
	s := &shard{id: id, key: key, replicas: map[uint64]*replica{}}
	for _, peer := range peers {
		s.replicas[peer] = newReplica(peer, kindsOf(col.params()))
	}
	col.shards[id] = s
}

func (r *request) patchCollection() {
	var body object
	if err := r.body(&body); err != nil {
		r.fail(err)
		return
	}
	r.onCollection(true, func(col *collection) (any, error) { return true, col.patch(body) })
}

// deleteCollection takes the name as it is: the name of an alias deletes nothing.
func (r *request) deleteCollection() {
	r.answer(r.n.c.locked(func() (any, error) {
		if err := r.role.mayWrite(); err != nil {
			return nil, err
		}
		c, name := r.n.c, r.args[0]
		if _, exists := c.collections[name]; !exists {
			return false, nil
		}
		delete(c.collections, name)
		maps.DeleteFunc(c.aliases, func(_, target string) bool { return target == name })
		return true, nil
	}))
}

func (r *request) putIndex() {
	var body struct {
		Field  string          `json:"field_name"`
		Schema json.RawMessage `json:"field_schema"`
		Type   json.RawMessage `json:"field_type"`
	}
	if err := r.body(&body); err != nil {
		r.fail(err)
		return
	}
	if body.Schema == nil {
		body.Schema = body.Type
	}
	schema, err := normalSchema(body.Schema)
	if err != nil {
		r.fail(err)
		return
	}
	r.onCollection(true, func(col *collection) (any, error) {
		col.schema[body.Field] = schema
		col.tick()
		return col.done(r), nil
	})
}

// fillIndexParams adds what is shown even when it was not asked for.
func fillIndexParams(kind string, params object) {
	shown := map[string]object{"integer": {"lookup": nil, "range": nil, "is_principal": nil}, "text": {"tokenizer": "word"}}
	for name, value := range shown[kind] {
		if _, set := params[name]; !set {
			params[name] = value
		}
	}
}

// tick counts an operation that changes no point.
func (col *collection) tick() {
	for _, s := range col.shards {
		for _, rep := range s.replicas {
			if rep.local != nil {
				rep.local.op++
			}
		}
	}
}

func normalSchema(raw json.RawMessage) (json.RawMessage, error) {
	text, err := normalJSON(raw)
	if err != nil {
		return nil, badRequest("Can't auto-detect field type, please specify `field_schema` in the request")
	}
	var name string
	if json.Unmarshal(text, &name) != nil {
		var params object
		if err := json.Unmarshal(text, &params); err != nil {
			return nil, fail(kindFormat, "Format error in JSON body: data did not match any variant of untagged enum PayloadFieldSchema")
		}
		name, _ = params["type"].(string)
		pretty := pruned(parseObject(string(text))).(object)
		fillIndexParams(name, pretty)
		text = encode(pretty)
	}
	if !slices.Contains([]string{"keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid"}, name) {
		return nil, fail(kindFormat, "Format error in JSON body: data did not match any variant of untagged enum PayloadFieldSchema")
	}
	return text, nil
}

func (r *request) deleteIndex() {
	r.onCollection(true, func(col *collection) (any, error) {
		delete(col.schema, r.args[1])
		col.tick()
		return col.done(r), nil
	})
}
