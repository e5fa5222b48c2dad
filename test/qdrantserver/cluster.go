package qdrantserver

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// catchUp is how long a replica takes to get the data of another one.
const catchUp = 100 * time.Millisecond

func (r *request) getCluster() {
	c := r.n.c
	if !c.distributed() {
		r.ok(object{"status": "disabled"})
		return
	}
	peers := object{}
	failures := object{}
	for _, n := range c.nodes {
		uri := fmt.Sprintf("http://127.0.0.1:%d/", 6335+10*n.index)
		peers[strconv.FormatUint(n.peer, 10)] = object{"uri": uri}
		if n.down.Load() {
			failures[uri] = object{"count": 3, "latest_error": "Error in closure supplied to transport channel pool: status: Unavailable, message: \"Failed to connect\"", "latest_error_timestamp": time.Now().UTC().Format(time.RFC3339Nano)}
		}
	}
	r.ok(object{
		"status": "enabled", "peer_id": r.n.peer, "peers": peers,
		"raft_info": object{
			"term": 1, "commit": 42, "pending_operations": 0, "leader": c.nodes[0].peer,
			"role": map[bool]string{true: "Leader", false: "Follower"}[r.n.index == 0], "is_voter": true,
		},
		"consensus_thread_status": object{"consensus_thread_status": "working", "last_update": time.Now().UTC().Format(time.RFC3339Nano)},
		"message_send_failures":   failures,
	})
}

func (r *request) getCollectionCluster() {
	r.onCollection(false, func(col *collection) (any, error) {
		local, remote, transfers := []object{}, []object{}, []object{}
		for _, s := range col.sortedShards() {
			for _, rep := range s.sortedReplicas() {
				o := object{"shard_id": s.id, "state": rep.state}
				if s.key != nil {
					o["shard_key"] = s.key
				}
				if !r.n.c.isUp(rep.peer) {
					o["state"] = stateDead
				}
				if rep.peer != r.n.peer {
					o["peer_id"] = rep.peer
					remote = append(remote, o)
					continue
				}
				o["points_count"] = 0
				if rep.local != nil {
					o["points_count"] = len(rep.local.points)
				}
				local = append(local, o)
			}
		}
		for _, t := range col.transfers {
			transfers = append(transfers, object{"shard_id": t.shard, "from": t.from, "to": t.to, "sync": true, "method": "stream_records"})
		}
		return object{
			"peer_id": r.n.peer, "shard_count": len(col.shards), "local_shards": local, "remote_shards": remote, "shard_transfers": transfers,
		}, nil
	})
}

func (r *request) getShardKeys() {
	r.onCollection(false, func(col *collection) (any, error) {
		if !col.custom() {
			return object{}, nil
		}
		keys := []object{}
		for _, k := range col.keys {
			keys = append(keys, object{"key": k.key})
		}
		return object{"shard_keys": keys}, nil
	})
}

type shardKeyRequest struct {
	Key          json.RawMessage `json:"shard_key"`
	Shards       int             `json:"shards_number"`
	Replicas     int             `json:"replication_factor"`
	Placement    []uint64        `json:"placement"`
	InitialState string          `json:"initial_state"`
}

func (r *request) putShardKey() {
	var body shardKeyRequest
	if err := r.body(&body); err != nil {
		r.fail(err)
		return
	}
	r.onCluster(func(col *collection) (any, error) { return r.n.c.createShardKey(col, &body) })
}

func (r *request) deleteShardKey() {
	var body shardKeyRequest
	if err := r.body(&body); err != nil {
		r.fail(err)
		return
	}
	r.onCluster(func(col *collection) (any, error) { return col.dropShardKey(&body) })
}

// onCluster is onCollection for what exists in distributed mode only. That is checked before the collection is looked for.
func (r *request) onCluster(f func(col *collection) (any, error)) {
	if err := r.role.mayWrite(); err == nil && !r.n.c.distributed() {
		r.fail(badRequest("Distributed mode disabled"))
		return
	}
	r.onCollection(true, f)
}

// createShardKey makes the shards of a key. Their ids follow the highest there is, whatever was dropped in between.
func (c *Cluster) createShardKey(col *collection, body *shardKeyRequest) (any, error) {
	key, err := keyOf(body.Key)
	if err != nil {
		return nil, err
	}
	if !col.custom() {
		return nil, badRequest("Shard Key cannot be created with Auto sharding method")
	}
	if col.shardsOf(key) != nil {
		return nil, badRequest("Sharding key %s already exists for collection %s", showKey(key), col.name)
	}
	for _, peer := range body.Placement {
		if c.nodeOf(peer) == nil {
			return nil, badRequest("Peer %d does not exist", peer)
		}
	}
	if body.Shards == 0 {
		body.Shards = col.number("shard_number")
	}
	if body.Replicas == 0 {
		body.Replicas = col.number("replication_factor")
	}
	next := uint32(1) // the first key of a collection gets shard 1
	for id := range col.shards {
		next = max(next, id+1)
	}
	made := shardKey{key: key}
	for i := range body.Shards {
		id := next + uint32(i)
		peers := c.peersFor(int(id), body.Replicas)
		if body.Placement != nil {
			peers = nil
			for j := range min(body.Replicas, len(body.Placement)) {
				peers = append(peers, body.Placement[(i*body.Replicas+j)%len(body.Placement)])
			}
		}
		c.addShard(col, id, key, peers)
		made.ids = append(made.ids, id)
	}
	col.keys = append(col.keys, made)
	return true, nil
}

func (col *collection) dropShardKey(body *shardKeyRequest) (any, error) {
	key, err := keyOf(body.Key)
	if err != nil {
		return nil, err
	}
	if !col.custom() {
		return nil, badRequest("Shard Key cannot be created with Auto sharding method")
	}
	for i, k := range col.keys {
		if k.key == key {
			for _, id := range k.ids {
				delete(col.shards, id)
			}
			col.keys = slices.Delete(col.keys, i, i+1)
			return true, nil
		}
	}
	return nil, badRequest("Sharding key %s does not exist for collection %s", showKey(key), col.name)
}

// postCollectionCluster does what a backup tool may want to do to replicas: copy, move, drop.
func (r *request) postCollectionCluster() {
	var body map[string]struct {
		shardKeyRequest
		Shard uint32 `json:"shard_id"`
		From  uint64 `json:"from_peer_id"`
		To    uint64 `json:"to_peer_id"`
		Peer  uint64 `json:"peer_id"`
	}
	if err := r.body(&body); err != nil {
		r.fail(err)
		return
	}
	r.onCluster(func(col *collection) (any, error) {
		c := r.n.c
		for name, op := range body {
			s := col.shards[op.Shard]
			if s == nil && strings.HasSuffix(name, "_shard") || s == nil && name == "drop_replica" {
				return nil, badRequest("Shard %d of %s does not exist", op.Shard, r.args[0])
			}
			switch name {
			case "create_sharding_key":
				return c.createShardKey(col, &op.shardKeyRequest)
			case "drop_sharding_key":
				return col.dropShardKey(&op.shardKeyRequest)
			case "replicate_shard", "move_shard":
				from := s.replicas[op.From]
				if c.nodeOf(op.To) == nil || from == nil || from.local == nil {
					return nil, badRequest("Peer %d does not exist", op.To)
				}
				s.replicas[op.To] = &replica{peer: op.To, state: statePartial, local: newLocal(kindsOf(col.params())), snapshot: newReplica(0, nil).snapshot}
				if name == "move_shard" {
					delete(s.replicas, op.From)
					s.replicas[op.To].local = from.local.clone()
				}
				c.sync(col, s, op.To, op.From)
				return true, nil
			case "drop_replica":
				if len(s.replicas) == 1 {
					return nil, badRequest("Shard %d must have at least one active replica after removing %d", op.Shard, op.Peer)
				}
				delete(s.replicas, op.Peer)
				return true, nil
			}
		}
		return nil, fail(kindFormat, "Format error in JSON body: data did not match any variant of untagged enum ClusterOperations")
	})
}
