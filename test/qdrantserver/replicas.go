package qdrantserver

import (
	"slices"
	"time"
)

// sync makes a replica active a moment later, with the data of an active one, by way of the states in between.
// Cluster.mu must be held.
func (c *Cluster) sync(col *collection, s *shard, to, from uint64) {
	mine := transfer{shard: s.id, from: from, to: to}
	if slices.Contains(col.transfers, mine) {
		return
	}
	col.transfers = append(col.transfers, mine)
	for i, state := range []string{stateCatching, statePartial} {
		c.later(catchUp*time.Duration(i+1)/3, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if rep := s.replicas[to]; rep != nil && rep.state != stateActive && slices.Contains(col.transfers, mine) {
				rep.state = state
			}
		})
	}
	c.later(catchUp, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		col.transfers = slices.DeleteFunc(col.transfers, func(t transfer) bool { return t == mine })
		rep := s.replicas[to]
		if c.collections[col.name] != col || col.shards[s.id] != s || rep == nil {
			return
		}
		source := c.readable(s, from)
		switch {
		case !c.isUp(to) || source == nil && rep.local == nil:
			rep.state = stateDead
			return
		case source != nil && source.peer != to:
			rep.local = source.local.clone()
		}
		rep.state, rep.broken = stateActive, ""
	})
}

// resync lets every replica of a shard that is not active catch up with one that is. Cluster.mu must be held.
func (c *Cluster) resync(col *collection, s *shard) {
	for _, rep := range s.sortedReplicas() {
		if rep.state == stateActive || !c.isUp(rep.peer) {
			continue
		}
		if source := c.readable(s, 0); source != nil {
			c.sync(col, s, rep.peer, source.peer)
		}
	}
}

func (c *Cluster) markDown(peer uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.eachReplica(peer, func(_ *collection, s *shard, rep *replica) {
		// Whoever holds the only copy is not dead, just away.
		if len(s.replicas) > 1 && rep.state == stateActive {
			rep.state = stateDead
		}
	})
}

func (c *Cluster) markUp(peer uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.eachReplica(peer, func(col *collection, s *shard, rep *replica) {
		if rep.state == stateDead {
			c.resync(col, s)
		}
	})
}

func (c *Cluster) eachReplica(peer uint64, f func(*collection, *shard, *replica)) {
	for _, col := range c.collections {
		for _, s := range col.shards {
			if rep := s.replicas[peer]; rep != nil {
				f(col, s, rep)
			}
		}
	}
}
