package qdrantserver

import (
	"hash/fnv"
	"slices"
	"strings"
)

// upsert stores points in the shards that they belong to, on every replica that takes writes.
func (c *Cluster) upsert(col *collection, points []*point, keys keySelector) error {
	if len(points) == 0 {
		return badRequest("Empty update request")
	}
	if err := col.checkWrite(len(points), nil, true); err != nil {
		return err
	}
	kinds := kindsOf(col.params())
	var ready []*point
	for _, p := range points {
		prepared := *p
		prepared.vectors = map[string]vector{}
		for name, v := range p.vectors {
			kind, ok := kinds[name]
			if !ok {
				return badInput("Not existing vector name error: %s", name)
			}
			v, err := kind.prepare(v)
			if err != nil {
				return nameVector(err, name)
			}
			prepared.vectors[name] = v
		}
		ready = append(ready, &prepared)
	}
	return c.write(col, keys, func(s *shard, all []*shard) func(*local) {
		var mine []*point
		for _, p := range ready {
			if owner(all, p.id) == s {
				mine = append(mine, p)
			}
		}
		return func(l *local) {
			if len(mine) > 0 {
				l.put(mine)
			}
		}
	})
}

// nameVector adds the name to what is wrong with a vector's length.
func nameVector(err error, name string) error {
	if f := asFailure(err); name != "" && strings.HasPrefix(f.text, "Vector dimension error") {
		return badInput("%s for vector '%s'", f.text, name)
	}
	return err
}

// write applies an operation to the shards of each key. op says, given a shard and the shards it shares points with, what
// to do to its data.
func (c *Cluster) write(col *collection, keys keySelector, op func(s *shard, all []*shard) func(*local)) error {
	groups, err := col.writeGroups(keys)
	if err != nil {
		return err
	}
	for _, all := range groups {
		for _, s := range all {
			if err := c.canWrite(s); err != nil {
				return err
			}
		}
	}
	for _, all := range groups {
		for _, s := range all {
			do := op(s, all)
			for _, rep := range s.replicas {
				if rep.local != nil && rep.state != stateDead && c.isUp(rep.peer) {
					do(rep.local)
				}
			}
		}
	}
	return nil
}

func (c *Cluster) canWrite(s *shard) error {
	broken := ""
	for _, rep := range s.replicas {
		if rep.local != nil && rep.state != stateDead && c.isUp(rep.peer) {
			return nil
		}
		broken = rep.broken
	}
	if broken != "" {
		return internal("Failed to Update Points,  %s", broken)
	}
	return internal("Failed to apply operation to at least one `Active` replica. Consistency of this update is not guaranteed. Please retry.")
}

// writeGroups are the shards that a write goes to, one group for each key. Within a group a point has one shard.
func (col *collection) writeGroups(keys keySelector) ([][]*shard, error) {
	if !col.custom() {
		if keys.set {
			return nil, badInput("Shard key %s not found", showKey(keys.keys[0]))
		}
		return [][]*shard{col.sortedShards()}, nil
	}
	if !keys.set {
		return nil, badInput("Shard key not specified")
	}
	var groups [][]*shard
	for _, key := range keys.keys {
		shards := col.shardsOf(key)
		if shards == nil {
			return nil, badInput("Shard key %s not found", showKey(key))
		}
		groups = append(groups, shards)
	}
	return groups, nil
}

// shardsOf are the shards behind a key, nil when there is no such key.
func (col *collection) shardsOf(key any) []*shard {
	for _, k := range col.keys {
		if k.key == key {
			var shards []*shard
			for _, id := range k.ids {
				shards = append(shards, col.shards[id])
			}
			return shards
		}
	}
	return nil
}

// owner is the shard of a point among several.
func owner(shards []*shard, id pointID) *shard {
	h := fnv.New32a()
	_, _ = h.Write(id.bytes())
	return shards[int(h.Sum32())%len(shards)]
}

// selection is what a write by ids or by filter changes.
type selection struct {
	Points []pointID   `json:"points"`
	Filter *filter     `json:"filter"`
	Key    keySelector `json:"shard_key"`
}

// of are the ids in a shard's data that the selection means.
func (s *selection) of(l *local) []pointID {
	if s.Filter == nil {
		return slices.DeleteFunc(slices.Clone(s.Points), func(id pointID) bool { return l.points[id] == nil })
	}
	var ids []pointID
	for _, id := range l.ids() {
		if s.Filter.matches(l.points[id].point) {
			ids = append(ids, id)
		}
	}
	return ids
}

// check refuses a selection of nothing at all.
func (s *selection) check() error {
	if s.Filter == nil && s.Points == nil {
		return fail(kindFormat, "Format error in JSON body: data did not match any variant of untagged enum PointsSelector")
	}
	return nil
}

// writeSelected changes what is selected in every shard that the selection reaches.
func (c *Cluster) writeSelected(col *collection, s *selection, do func(l *local, ids []pointID)) error {
	if err := col.checkWrite(len(s.Points), s.Filter, false); err != nil {
		return err
	}
	return c.write(col, s.Key, func(*shard, []*shard) func(*local) {
		return func(l *local) { do(l, s.of(l)) }
	})
}
