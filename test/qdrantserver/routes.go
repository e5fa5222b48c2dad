package qdrantserver

import (
	"net/http"
	"strings"
)

// routes is everything that REST answers to; whatever is not here is 404. It is filled by init, as handlers look at it.
var routes []route

func init() { // an init breaks the cycle between the table and its handlers
	for _, line := range []struct {
		route string
		serve func(*request)
	}{
		{"GET /", (*request).getVersion},
		{"GET /healthz", (*request).getHealth},
		{"GET /livez", (*request).getHealth},
		{"GET /readyz", (*request).getReady},
		{"GET /telemetry", (*request).getTelemetry},
		{"GET /metrics", (*request).getMetrics},
		{"GET /cluster", (*request).getCluster},
		{"GET /collections", (*request).listCollections},
		{"POST /collections/aliases", (*request).postAliases},
		{"GET /aliases", (*request).listAliases},
		{"GET /collections/{}", (*request).getCollection},
		{"PUT /collections/{}", (*request).putCollection},
		{"PATCH /collections/{}", (*request).patchCollection},
		{"DELETE /collections/{}", (*request).deleteCollection},
		{"GET /collections/{}/exists", (*request).getExists},
		{"GET /collections/{}/aliases", (*request).getAliases},
		{"GET /collections/{}/cluster", (*request).getCollectionCluster},
		{"POST /collections/{}/cluster", (*request).postCollectionCluster},
		{"GET /collections/{}/shards", (*request).getShardKeys},
		{"PUT /collections/{}/shards", (*request).putShardKey},
		{"POST /collections/{}/shards/delete", (*request).deleteShardKey},
		{"PUT /collections/{}/index", (*request).putIndex},
		{"DELETE /collections/{}/index/{}", (*request).deleteIndex},

		{"PUT /collections/{}/points", (*request).putPoints},
		{"POST /collections/{}/points", (*request).getPoints},
		{"GET /collections/{}/points/{}", (*request).getPoint},
		{"POST /collections/{}/points/delete", (*request).deletePoints},
		{"POST /collections/{}/points/payload", (*request).setPayload},
		{"PUT /collections/{}/points/payload", (*request).overwritePayload},
		{"POST /collections/{}/points/payload/delete", (*request).deletePayload},
		{"POST /collections/{}/points/payload/clear", (*request).clearPayload},
		{"PUT /collections/{}/points/vectors", (*request).putVectors},
		{"POST /collections/{}/points/vectors/delete", (*request).deleteVectors},
		{"POST /collections/{}/points/count", (*request).countPoints},
		{"POST /collections/{}/points/scroll", (*request).scrollPoints},
		{"POST /collections/{}/points/query", (*request).queryPoints},
		{"POST /collections/{}/points/search", (*request).searchPoints},

		{"POST /collections/{}/snapshots", (*request).createSnapshot},
		{"GET /collections/{}/snapshots", (*request).listSnapshots},
		{"POST /collections/{}/snapshots/upload", (*request).uploadSnapshot},
		{"PUT /collections/{}/snapshots/recover", (*request).recoverSnapshot},
		{"GET /collections/{}/snapshots/{}", (*request).downloadSnapshot},
		{"DELETE /collections/{}/snapshots/{}", (*request).deleteSnapshot},
		{"POST /collections/{}/shards/{}/snapshots", (*request).createShardSnapshot},
		{"GET /collections/{}/shards/{}/snapshots", (*request).listShardSnapshots},
		{"GET /collections/{}/shards/{}/snapshot", (*request).streamShard},
		{"POST /collections/{}/shards/{}/snapshots/upload", (*request).uploadShardSnapshot},
		{"PUT /collections/{}/shards/{}/snapshots/recover", (*request).recoverShardSnapshot},
		{"GET /collections/{}/shards/{}/snapshots/{}", (*request).downloadShardSnapshot},
		{"DELETE /collections/{}/shards/{}/snapshots/{}", (*request).deleteShardSnapshot},
		{"POST /snapshots", (*request).createFullSnapshot},
		{"GET /snapshots", (*request).listFullSnapshots},
		{"GET /snapshots/{}", (*request).downloadFullSnapshot},
		{"DELETE /snapshots/{}", (*request).deleteFullSnapshot},
	} {
		method, path, _ := strings.Cut(line.route, " ")
		routes = append(routes, route{
			method: method, pattern: strings.Split(strings.Trim(path, "/"), "/"), serve: line.serve,
			open: path == "/" || path == "/healthz" || path == "/livez" || path == "/readyz",
		})
	}
}

func (r *request) getVersion() {
	r.json(http.StatusOK, object{"title": "qdrant - vector search engine", "version": r.n.c.opts.Version, "commit": commit})
}

// commit is the one that version 1.18.3 was made from.
const commit = "db8fa43fcb6aedec1e739487e17a99731b74590a"

func (r *request) getHealth() { r.plain(http.StatusOK, "healthz check passed") }

// getReady is unhappy while a replica of this node is not active, until it was happy once.
func (r *request) getReady() {
	c := r.n.c
	c.mu.Lock()
	ready := true
	for _, col := range c.collections {
		for _, s := range col.shards {
			if rep := s.replicas[r.n.peer]; rep != nil && rep.state != stateActive && c.distributed() {
				ready = false
			}
		}
	}
	c.mu.Unlock()
	if r.n.ready.Load() {
		ready = true
	}
	r.n.ready.Store(ready)
	if !ready {
		r.plain(http.StatusServiceUnavailable, "some shards are not ready")
		return
	}
	r.plain(http.StatusOK, "all shards are ready")
}
