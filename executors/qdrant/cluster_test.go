package qdrant

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

// replicasOf are the peers of each shard that are active, as a node tells it.
func replicasOf(t testing.TB, s *qdranttest.Server, name string) map[uint32][]string {
	t.Helper()
	c, err := quick().openSource(t.Context(), sourceOf(s), toRead)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	l, err := c.layout(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	out := map[uint32][]string{}
	for _, one := range l.shards {
		for _, peer := range one.active() {
			out[one.id] = append(out[one.id], fmt.Sprint(peer))
		}
	}
	return out
}

// elsewhere leaves out of an image what depends on the number of nodes.
func elsewhere(image string) string {
	return regexp.MustCompile(`"(replication_factor|write_consistency_factor)":\d+,?`).ReplaceAllString(image, "")
}

func TestClusterRoundTrip(t *testing.T) {
	for _, replicas := range []int{1, 2, 3} {
		for _, method := range methodNames {
			t.Run(fmt.Sprintf("%s, %d replicas", method, replicas), func(t *testing.T) {
				s, single := qdranttest.Cluster(t), qdranttest.Shared(t)
				name := s.Name(t, "nodes")
				create := rich()
				create["shard_number"], create["replication_factor"], create["write_consistency_factor"] = 4, replicas, 1
				s.Fill(t, name, create, 200, 0)
				addIndex(t, s, name, "city", map[string]any{"type": "keyword", "is_tenant": true})
				r := newRun(t, sourceOf(s, name), methods[method])
				_, res, err := r.try("p1")
				if err != nil || len(res.Problems) > 0 {
					t.Fatalf("backup: %v %s %s", err, missing(res), doubtful(res))
				}
				from := r.store.Supply("p1")
				got := contentsOf(t, from)
				if len(got.point.Peers) != 3 {
					t.Errorf("the peers are %v", got.point.Peers)
				}
				there, ids := replicasOf(t, s, name), []uint32{}
				for _, sh := range got.collections[0].Shards {
					ids = append(ids, sh.ID)
					if !slices.Contains(there[sh.ID], sh.Peer) {
						t.Errorf("shard %d was read from node %q, its active replicas are on %v", sh.ID, sh.Peer, there[sh.ID])
					}
				}
				if d := cmp.Diff(pick(method, "export", []uint32{}, []uint32{0, 1, 2, 3}), ids); d != "" {
					t.Errorf("archives of shards (-want +got):\n%s", d)
				}

				// Under another name in the same cluster, all nodes telling the same of it.
				if _, err := r.back(from, name+"-back", false); err != nil {
					t.Fatal(err)
				}
				for node := range s.URLs {
					if d := cmp.Diff(s.ImageNode(t, node, name), s.ImageNode(t, node, name+"-back")); d != "" {
						t.Errorf("node %d (-want +got):\n%.2000s", node, d)
					}
				}
				for id, peers := range replicasOf(t, s, name+"-back") {
					if len(peers) != replicas {
						t.Errorf("shard %d has replicas on %v, want %d", id, peers, replicas)
					}
				}

				// To a single server, and from there back to the cluster.
				at := single.Name(t, "nodes")
				req := r.request(at)
				req.Source = sourceOf(single)
				pre, _, err := r.both(req, from)
				if err != nil {
					t.Fatal(err)
				}
				note := fmt.Sprintf("has %d replicas of each shard; the target has room for 1", replicas)
				if strings.Contains(strings.Join(pre.Notes, "\n"), note) != (replicas > 1) {
					t.Errorf("notes %q, want %q when there is more than one", pre.Notes, note)
				}
				if d := cmp.Diff(elsewhere(s.Image(t, name)), elsewhere(single.Image(t, at))); d != "" {
					t.Errorf("on a single server (-want +got):\n%.2000s", d)
				}
				back := newRun(t, sourceOf(single, at), methods[method])
				req = r.request(name + "-again")
				if _, err := r.x.Restore(t.Context(), req, back.make("p2")); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(elsewhere(s.Image(t, name)), elsewhere(s.ImageNode(t, 2, name+"-again"))); d != "" {
					t.Errorf("back in the cluster (-want +got):\n%.2000s", d)
				}
				noLeftovers(t, s, name, name+"-back", name+"-again")
				noLeftovers(t, single, at)
			})
		}
	}
}

// Points of shard keys come to a single server as they are when no two keys have the same id, and the other way round they
// get the keys that are recorded.
func TestShardKeysToASingleServer(t *testing.T) {
	s, single := qdranttest.Cluster(t), qdranttest.Shared(t)
	name, at := s.Name(t, "apart"), single.Name(t, "apart")
	s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 8, "distance": "Cosine"}, "sharding_method": "custom", "shard_number": 2}, 0, 0)
	for i, key := range []any{"acme", 7, "zürich"} {
		s.Do(t, "PUT", path("collections", name, "shards"), map[string]any{"shard_key": key})
		s.FillKey(t, name, key, 40*i, 40)
	}
	r := newRun(t, sourceOf(s, name), exports())
	from := r.make("p1")
	req := r.request(at)
	req.Source = sourceOf(single)
	pre, _, err := r.both(req, from)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(pre.Notes, "\n"); !strings.Contains(got, "has shard keys, which a single server does not keep: its points come back without them") {
		t.Errorf("notes: %s", got)
	}
	apart := func(points map[string]string) map[string]string {
		out := map[string]string{}
		for id, text := range points {
			id, _, _ = strings.Cut(strings.TrimPrefix(id, "point "), " ")
			out[id] = regexp.MustCompile(`"shard_key":[^,]*,`).ReplaceAllString(text, "")
		}
		return out
	}
	want, got := apart(pointsIn(s.Image(t, name))), apart(pointsIn(single.Image(t, at)))
	if d := cmp.Diff(want, got); d != "" || len(want) != 120 {
		t.Errorf("%d points (-want +got):\n%.2000s", len(want), d)
	}
	if res, err := r.x.Rehearse(t.Context(), executors.RehearseRequest{Source: sourceOf(single), Backup: r.backup, Dir: t.TempDir()}, from); err != nil || !res.OK() {
		t.Errorf("rehearse: %v %v", err, res.Failure())
	}
}

// A replica that is not active is behind: it is not read. Servers of our own, which can be told so.
func TestReplicasThatAreBehind(t *testing.T) {
	for _, state := range []string{"Dead", "Partial", "Initializing", "Recovery"} {
		s := qdranttest.Start(t, qdrantserver.Options{Nodes: 3})
		s.Fill(t, "docs", map[string]any{"vectors": map[string]any{"size": 4, "distance": "Dot"}, "shard_number": 3, "replication_factor": 3}, 90, 0)
		behind := map[uint32][]string{}
		for shard := range 3 {
			for node := range 2 { // one replica of three is left, on another node for each shard
				n := (shard + node) % 3
				s.Own.SetReplicaState("docs", shard, n, state)
				behind[uint32(shard)] = append(behind[uint32(shard)], fmt.Sprint(s.Own.PeerID(n)))
			}
		}
		r := newRun(t, sourceOf(s, "docs"), snapshots(policy.SnapshotAuto))
		peers := map[string]bool{}
		for _, sh := range contentsOf(t, r.make("p1")).collections[0].Shards {
			peers[sh.Peer] = true
			if slices.Contains(behind[sh.ID], sh.Peer) {
				t.Errorf("%s: shard %d was read from node %s", state, sh.ID, sh.Peer)
			}
		}
		if len(peers) != 3 {
			t.Errorf("%s: shards were read from %d nodes, want each from its own", state, len(peers))
		}
		s.Own.SetReplicaState("docs", 1, 0, state)
		_, res, err := newRun(t, sourceOf(s, "docs"), snapshots(policy.SnapshotAuto)).try("p2")
		if err != nil || !strings.Contains(missing(res), "shard 1") || !strings.Contains(missing(res), "no active replica") {
			t.Errorf("%s: %v, missing %q", state, err, missing(res))
		}
		if _, err := r.x.Restore(t.Context(), r.request("*-new"), r.store.Supply("p1")); err != nil {
			t.Errorf("%s: what is whole: %v", state, err)
		}
	}
}

// What moves while it is read is told.
func TestShardsOnTheMove(t *testing.T) {
	for _, c := range []struct{ field, missing, told string }{
		{"shard_transfers", "", "1 shards are being transferred between nodes; active replicas are read"},
		{"resharding_operations", "it is being resharded, and points move between shards meanwhile; back it up again when that is done", ""},
	} {
		for _, method := range methodNames {
			s := qdranttest.Start(t, qdrantserver.Options{Nodes: 3})
			s.Fill(t, "docs", nil, 30, 4)
			var layout map[string]any
			d := json.NewDecoder(strings.NewReader(string(s.Do(t, "GET", "/collections/docs/cluster", nil))))
			d.UseNumber()
			if err := d.Decode(&layout); err != nil {
				t.Fatal(err)
			}
			layout[c.field] = []any{map[string]any{"shard_id": 0}}
			answer, err := json.Marshal(map[string]any{"result": layout, "status": "ok", "time": 0})
			if err != nil {
				t.Fatal(err)
			}
			s.Own.Fault(0, qdrantserver.Fault{Path: "^/collections/docs/cluster$", Status: 200, Body: string(answer)})
			r := newRun(t, sourceOf(s, "docs"), methods[method])
			_, res, err := r.try("p1")
			if err != nil || !strings.Contains(missing(res), c.missing) || (missing(res) == "") != (c.missing == "") || !strings.Contains(doubtful(res), c.told) {
				t.Errorf("%s by %s: %v, missing %q, told %q", c.field, method, err, missing(res), doubtful(res))
			}
		}
	}
}

// Addresses that do not belong together are refused before anything is read, by every call.
func TestNodesThatDoNotBelongTogether(t *testing.T) {
	s, single := qdranttest.Cluster(t), qdranttest.Shared(t)
	other := qdranttest.Start(t, qdrantserver.Options{Nodes: 2})
	for _, c := range []struct {
		name string
		urls []string
		err  string
	}{
		{"a node twice", []string{s.URLs[0], s.URLs[1], s.URLs[0] + "/"}, "reach the same node"},
		{"a load balancer in between", []string{s.URLs[0], strings.Replace(s.URLs[0], "127.0.0.1", "localhost", 1)}, "as through a load balancer"},
		{"two clusters", []string{s.URLs[0], other.URLs[0]}, "is not a member of the others' cluster"},
		{"a single server beside a cluster", []string{s.URLs[0], single.URLs[0]}, "is no member of a cluster"},
		{"the other way round", []string{single.URLs[0], s.URLs[0]}, "is no member of a cluster"},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := sourceOf(s)
			src.Qdrant.URLs, src.Qdrant.GRPC = c.urls, nil
			x := quick()
			_, err := x.Inspect(t.Context(), src)
			_, _, berr := newRun(t, src, snapshots(policy.SnapshotAuto)).try("p1")
			for _, err := range []error{err, berr} {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
			}
		})
	}
}
