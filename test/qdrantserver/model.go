package qdrantserver

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"maps"
	"slices"
	"sync"
)

// collection is everything of one collection, on all nodes. Cluster.mu guards it.
type collection struct {
	name   string
	uuid   string
	config map[string]any // as GET /collections/{} shows it: params, hnsw_config, optimizer_config, …
	// schema is the payload schema: field → "keyword" or {"type":"keyword",…}, as it was asked for.
	schema map[string]json.RawMessage
	shards map[uint32]*shard
	keys   []shardKey // in order of creation

	status, optimizerError string // set by tests
	reads, writes          limiter
	transfers              []transfer
}

// shardKey is a key and the shards behind it.
type shardKey struct {
	key any // string or uint64
	ids []uint32
}

// transfer is a replica that is catching up.
type transfer struct {
	shard    uint32
	from, to uint64
}

type shard struct {
	id       uint32
	key      any // nil without custom sharding
	replicas map[uint64]*replica
}

// replica is one copy of a shard, on the node called peer.
type replica struct {
	peer  uint64
	state string
	// broken is why there is no data behind this replica: a recovery failed half-way.
	broken string
	local  *local
	// snapshot lets one snapshot at a time run. It is not guarded by Cluster.mu and survives a recovery.
	snapshot *sync.Mutex
	// snapshots counts those that are running; the collection is yellow while there are any.
	snapshots int
}

// Replica states that matter here.
const (
	stateActive   = "Active"
	stateDead     = "Dead"
	stateCatching = "Recovery" // catches up with what it missed
	statePartial  = "Partial"
)

// local is the data of a replica: segments are what snapshots are made of, points is what reads look at.
type local struct {
	segments []*segment
	points   map[pointID]*stored
	op       uint64
	sorted   []pointID // nil when ids came or went
	vectors  map[string]vectorKind
}

// stored is a point and where it is.
type stored struct {
	*point
	seg *segment
	off int
}

// point never changes once stored; an update stores another one.
type point struct {
	id      pointID
	stored  json.RawMessage // the payload as the storage has it, nil if there is none
	payload json.RawMessage // the payload as reads show it
	tree    map[string]any  // payload, decoded
	vectors map[string]vector
	version uint64
	// What could not be read of a point that came out of an archive.
	badPayload, badVector error
}

func newUUID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return formatUUID(u)
}

func newReplica(peer uint64, kinds map[string]vectorKind) *replica {
	return &replica{peer: peer, state: stateActive, local: newLocal(kinds), snapshot: &sync.Mutex{}}
}

func newLocal(kinds map[string]vectorKind) *local {
	l := &local{points: map[pointID]*stored{}, vectors: kinds}
	for range 2 {
		l.segments = append(l.segments, newSegment(kinds, true))
	}
	return l
}

// appendable is the segment that new points go to: the smallest.
func (l *local) appendable() *segment {
	var best *segment
	for _, s := range l.segments {
		if s.appendable && maps.Equal(s.kinds, l.vectors) && (best == nil || len(s.ids) < len(best.ids)) {
			best = s
		}
	}
	if best == nil {
		best = newSegment(l.vectors, true)
		l.segments = append(l.segments, best)
	}
	return best
}

// put stores points as one operation.
func (l *local) put(points []*point) {
	l.op++
	target := l.appendable()
	for _, p := range points {
		p := *p
		p.version = l.op
		l.putOne(target, &p)
	}
}

func (l *local) putOne(target *segment, p *point) {
	old, known := l.points[p.id]
	if known && old.seg.appendable && maps.Equal(old.seg.kinds, l.vectors) {
		old.seg.write(old.off, p)
		old.point = p
		return
	}
	if known {
		old.seg.kill(old.off, p.version) // what is optimised does not change: the point moves
	} else {
		l.sorted = nil
	}
	l.points[p.id] = &stored{point: p, seg: target, off: target.add(p)}
}

// remove deletes points as one operation.
func (l *local) remove(ids []pointID) {
	l.op++
	for _, id := range ids {
		if s, ok := l.points[id]; ok {
			s.seg.kill(s.off, l.op)
			delete(l.points, id)
			l.sorted = nil
		}
	}
}

// ids are all ids in order.
func (l *local) ids() []pointID {
	if l.sorted == nil {
		l.sorted = slices.SortedFunc(maps.Keys(l.points), pointID.compare)
	}
	return l.sorted
}

// optimize merges everything into one new segment that is not written to any more.
func (l *local) optimize() {
	merged := newSegment(l.vectors, false)
	for _, id := range l.ids() {
		s := l.points[id]
		s.off, s.seg = merged.add(s.point), merged
	}
	merged.index()
	l.segments = []*segment{merged, newSegment(l.vectors, true)}
}

// clone is the same data as another replica has it: in segments of its own.
func (l *local) clone() *local {
	c := newLocal(l.vectors)
	c.op = l.op
	target := c.appendable()
	for _, id := range l.ids() {
		c.points[id] = &stored{point: l.points[id].point, seg: target, off: target.add(l.points[id].point)}
	}
	return c
}

// sortedShards are the shards by id.
func (col *collection) sortedShards() []*shard {
	return slices.SortedFunc(maps.Values(col.shards), func(a, b *shard) int { return cmp.Compare(a.id, b.id) })
}

func (s *shard) sortedReplicas() []*replica {
	return slices.SortedFunc(maps.Values(s.replicas), func(a, b *replica) int { return cmp.Compare(a.peer, b.peer) })
}

// readable is the replica that a node reads from: its own if it can, else another's. nil when there is none.
func (c *Cluster) readable(s *shard, self uint64) *replica {
	usable := func(r *replica) bool {
		return r != nil && r.local != nil && r.state == stateActive && c.isUp(r.peer)
	}
	if usable(s.replicas[self]) {
		return s.replicas[self]
	}
	for _, r := range s.sortedReplicas() {
		if usable(r) {
			return r
		}
	}
	return nil
}

// custom says whether points go to shards by key.
func (col *collection) custom() bool {
	method, _ := col.params()["sharding_method"].(string)
	return method == "custom"
}

func (col *collection) params() map[string]any {
	params, _ := col.config["params"].(map[string]any)
	return params
}

// number is a count among the parameters.
func (col *collection) number(name string) int {
	n, _ := col.params()[name].(json.Number)
	i, _ := n.Int64()
	return int(i)
}

// keyOf reads a shard key: a string, or a number that is not negative.
func keyOf(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	switch k := v.(type) {
	case string:
		return k, nil
	case json.Number:
		var n uint64
		if err := json.Unmarshal([]byte(k), &n); err == nil {
			return n, nil
		}
	}
	return nil, fail(kindFormat, "Format error in JSON body: data did not match any variant of untagged enum ShardKey")
}

// showKey is a shard key in an error message.
func showKey(key any) string { return string(encode(key)) }
