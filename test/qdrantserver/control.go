package qdrantserver

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Optimize merges the segments of every shard into new ones, as an optimizer run does.
func (c *Cluster) Optimize(collection string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	col := c.mustFind(collection)
	for _, s := range col.shards {
		for _, rep := range s.replicas {
			if rep.local != nil {
				rep.local.optimize()
			}
		}
	}
}

// SetStatus makes a collection show a status such as "red", "grey" or "yellow", and an error of the optimizer if that is
// not "". An empty status is the real one again.
func (c *Cluster) SetStatus(collection, status, optimizerError string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	col := c.mustFind(collection)
	col.status, col.optimizerError = status, optimizerError
}

// SetReplicaState puts a node's replica of a shard into a state such as "Dead" or "Partial", where it stays.
func (c *Cluster) SetReplicaState(collection string, shard int, node int, state string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.mustFind(collection).shards[uint32(shard)]
	if s == nil || s.replicas[c.nodes[node].peer] == nil {
		panic(fmt.Sprintf("node %d has no replica of shard %d", node, shard))
	}
	s.replicas[c.nodes[node].peer].state = state
}

// mustFind is for tests that name what they have just made.
func (c *Cluster) mustFind(name string) *collection {
	col, err := c.find(name)
	if err != nil {
		panic(err)
	}
	return col
}

func (r *request) getTelemetry() {
	r.answer(r.n.c.locked(func() (any, error) {
		return object{
			"id": "00000000-0000-4000-8000-000000000000", "app": object{"name": "qdrant", "version": r.n.c.opts.Version},
			"collections": object{"number_of_collections": len(r.n.c.collections)},
			"cluster":     object{"enabled": r.n.c.distributed()},
		}, nil
	}))
}

// getMetrics shows what is going on with snapshots.
func (r *request) getMetrics() {
	c := r.n.c
	c.mu.Lock()
	var names []string
	for name := range c.collections {
		names = append(names, name)
	}
	c.mu.Unlock()
	slices.Sort(names)
	var b strings.Builder
	fmt.Fprintf(&b, "# HELP app_info information about qdrant server\n# TYPE app_info gauge\napp_info{name=\"qdrant\",version=\"%s\"} 1\n", c.opts.Version)
	fmt.Fprintf(&b, "# HELP collections_total number of collections\n# TYPE collections_total gauge\ncollections_total %d\n", len(names))
	for _, m := range []struct {
		name, help, kind string
		counter          *counterMap
	}{
		{"snapshot_creation_running", "amount of snapshot creations currently running", "gauge", &r.n.creating},
		{"snapshot_recovery_running", "amount of snapshot recovery operations currently running", "gauge", &r.n.recovering},
		{"snapshot_created_total", "total amount of snapshots created", "counter", &r.n.created},
	} {
		if len(names) == 0 {
			continue
		}
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
		for _, name := range names {
			fmt.Fprintf(&b, "%s{id=\"%s\"} %d\n", m.name, name, m.counter.get(name))
		}
	}
	r.plain(http.StatusOK, b.String())
}
