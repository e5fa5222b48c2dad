package qdrantserver

import (
	"bufio"
	"encoding/json"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"
)

// uploadShardSnapshot brings the data of a shard back from an uploaded archive, which is not kept.
func (r *request) uploadShardSnapshot() {
	q, path, _, sum, ok := r.received(false)
	if !ok {
		return
	}
	r.waitOr(func() (any, error) {
		defer func() { _ = os.Remove(path) }()
		if q.Checksum != nil && !strings.EqualFold(sum, *q.Checksum) {
			return nil, fail(kindChecksum, "expected %s, actual %s", sum, *q.Checksum)
		}
		col, s, err := r.anyShard()
		if err != nil {
			return nil, err
		}
		return nil, r.n.recoverShard(col, s, path, q.priority()) // the result is null, other than that of recover
	})
}

// anyShard finds a shard, whether or not this node has a replica of it.
func (r *request) anyShard() (*collection, *shard, error) {
	id, err := r.shardArg()
	if err != nil {
		return nil, nil, err
	}
	r.n.c.mu.Lock()
	defer r.n.c.mu.Unlock()
	col, err := r.n.c.find(r.args[0])
	if err != nil {
		return nil, nil, err
	}
	if col.shards[id] == nil {
		return nil, nil, notFound("shard %d not found", id)
	}
	return col, col.shards[id], nil
}

// recoverShardSnapshot takes a URL, or the bare name of a snapshot of this shard.
func (r *request) recoverShardSnapshot() {
	q, err := r.recoverBody()
	if err != nil {
		r.fail(err)
		return
	}
	r.waitOr(func() (any, error) {
		location, err := url.Parse(q.Location)
		isURL := err == nil && location.Scheme != ""
		if isURL && r.n.c.opts.NoURLRecovery && (location.Scheme == "http" || location.Scheme == "https") {
			return nil, forbidden("Snapshot recovery from remote URLs is disabled in the configuration")
		}
		if err := r.role.mayWrite(); err != nil {
			return nil, err
		}
		col, s, err := r.anyShard()
		if err != nil {
			return nil, err
		}
		path, temporary, err := r.shardSource(q, location, isURL)
		if err != nil {
			return nil, err
		}
		if temporary {
			defer func() { _ = os.Remove(path) }()
		}
		return true, r.n.recoverShard(col, s, path, q.priority())
	})
}

func (r *request) shardSource(q *recovery, location *url.URL, isURL bool) (path string, temporary bool, err error) {
	if isURL {
		if location.Scheme != "http" && location.Scheme != "https" {
			return "", false, badInput("Invalid snapshot URL %s: URLs with %s scheme are not supported", location, location.Scheme)
		}
		return r.n.fetch(location, q)
	}
	path, err = r.shardSnapshot(q.Location)
	if err != nil {
		return "", false, err
	}
	if _, err := os.Stat(path); err != nil {
		return "", false, notFound("Snapshot %s not found", showKey(path))
	}
	if q.Checksum != nil {
		sum, err := sumFile(path)
		if err != nil {
			return "", false, err
		}
		if !strings.EqualFold(sum, *q.Checksum) {
			return "", false, badInput("Snapshot checksum mismatch: expected %s, got %s", *q.Checksum, sum)
		}
	}
	return path, false, nil
}

func unpackFile(path string) (map[string]*file, error) {
	f, err := os.Open(path) // #nosec G304: a temporary file or a snapshot
	if err != nil {
		return nil, internal("%v", err)
	}
	defer func() { _ = f.Close() }()
	files, err := unpack(bufio.NewReader(f))
	if err != nil {
		return nil, internal("File IO error: %v", err)
	}
	return files, nil
}

// recoverShard replaces the data of a shard on this node with that of an archive.
func (n *node) recoverShard(col *collection, s *shard, path, priority string) error {
	c := n.c
	n.recovering.add(col.name, 1)
	defer n.recovering.add(col.name, -1)
	files, err := unpackFile(path)
	if err != nil {
		return err
	}
	found, err := openShard(files, c.distributed(), path)
	if err != nil {
		return err
	}
	if !found.local {
		return badRequest("Invalid snapshot")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.install(col, s, n.peer, found); err != nil {
		return err
	}
	c.settle(col, s, n.peer, priority, false)
	return nil
}

// install puts restored data into the replica of a node, which is made if there is none. The old data is gone before the
// new is read: when that fails nothing is left but a dummy, which only a cluster shows as dead. Cluster.mu must be held.
func (c *Cluster) install(col *collection, s *shard, peer uint64, found *restoredShard) error {
	kinds := kindsOf(col.params())
	rep := s.replicas[peer]
	if rep == nil {
		rep = newReplica(peer, kinds)
		s.replicas[peer] = rep
	}
	rep.local = nil
	loaded, err := found.load(kinds)
	if err != nil {
		rep.broken = "Failed to restore local replica"
		if c.distributed() {
			rep.state = stateDead
			c.resync(col, s)
		}
		return internal("%v", err)
	}
	rep.local, rep.broken, rep.state = loaded, "", stateActive
	return nil
}

// settle decides what becomes of the other replicas after one was recovered. Cluster.mu must be held.
func (c *Cluster) settle(col *collection, s *shard, peer uint64, priority string, wholeCollection bool) {
	var others []*replica
	for _, rep := range s.sortedReplicas() {
		if rep.peer != peer && rep.state == stateActive {
			others = append(others, rep)
		}
	}
	if len(others) == 0 || priority == "no_sync" {
		return
	}
	// The answer is given before the nodes have agreed: for a moment nothing looks different.
	c.later(agreement, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if s.replicas[peer] != nil {
			c.agree(col, s, peer, others, priority, wholeCollection)
		}
	})
}

// agreement is how long the nodes take to agree on the state of a replica.
const agreement = 10 * time.Millisecond

// agree applies what settle has decided. Cluster.mu must be held.
func (c *Cluster) agree(col *collection, s *shard, peer uint64, others []*replica, priority string, wholeCollection bool) {
	switch {
	case priority == "snapshot":
		surplus := 0
		if wholeCollection {
			surplus = max(0, len(others)-(col.number("replication_factor")-1))
		}
		for i, rep := range others {
			if i < surplus {
				delete(s.replicas, rep.peer)
				continue
			}
			rep.state = stateDead
		}
		c.resync(col, s)
	case wholeCollection:
		// The other replica's data wins, even when it has none.
		s.replicas[peer].state = statePartial
		c.sync(col, s, peer, others[0].peer)
	default:
		s.replicas[peer].state = stateDead
		c.resync(col, s)
	}
}

// recoverCollection brings a collection back from an archive, making it if it does not exist. name may be an alias.
func (n *node) recoverCollection(name, path, priority string) error {
	c := n.c
	n.recovering.add(name, 1)
	defer n.recovering.add(name, -1)
	files, err := unpackFile(path)
	if err != nil {
		return err
	}
	found, err := openCollection(files, c.distributed())
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	col, err := c.find(name)
	if err != nil {
		// A collection with shard keys is made without any shards, so nothing is recovered below. Qdrant reports success.
		if col, err = c.create(name, nil, found.newConfig()); err != nil {
			return err
		}
		for field, schema := range found.schema {
			col.schema[field] = schema
		}
	}
	if err := found.fits(col); err != nil {
		return err
	}
	for _, s := range col.sortedShards() {
		shard := found.shards[s.id]
		if shard == nil {
			return internal("No shard found: %d at %s", s.id, path)
		}
		if !shard.local {
			continue
		}
		if err := c.install(col, s, n.peer, shard); err != nil {
			return err
		}
		c.settle(col, s, n.peer, priority, true)
	}
	return nil
}

// newConfig is the configuration that a collection gets which is made from this snapshot. How reads fan out is lost.
func (found *restoredCollection) newConfig() object {
	config := deepCopy(found.config)
	if params, ok := config["params"].(object); ok {
		delete(params, "read_fan_out_factor")
		delete(params, "read_fan_out_delay_ms")
	}
	return config
}

// fits compares what must be the same in a collection that exists: vectors and the number of shards, nothing else.
func (found *restoredCollection) fits(col *collection) error {
	probe := &collection{config: found.config}
	if have, want := col.params()["vectors"], probe.params()["vectors"]; !reflect.DeepEqual(plain(have), plain(want)) {
		return badInput("Snapshot is not compatible with existing collection: Collection vectors: %s Snapshot Vectors: %s", encode(have), encode(want))
	}
	if have, want := col.params()["shard_number"], probe.params()["shard_number"]; plain(have) != plain(want) {
		return badInput("Snapshot is not compatible with existing collection: Collection shard number: %s Snapshot shard number: %s", encode(have), encode(want))
	}
	return nil
}

// plain makes values comparable that were read in different ways.
func plain(v any) any {
	var out any
	_ = json.Unmarshal(encode(v), &out)
	return out
}
