package qdrantserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

func TestClusterInfo(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{Nodes: 3})
	type info struct {
		Status string
		Peer   uint64 `json:"peer_id"`
		Peers  map[string]struct{ URI string }
	}
	seen := map[uint64]bool{}
	for node := range 3 {
		got := read[info](t, json.RawMessage(wantNode(t, s, node, http.StatusOK, http.MethodGet, "/cluster", nil)))
		if got.Status != "enabled" || len(got.Peers) != 3 || got.Peer != s.Own.PeerID(node) || got.Peer < 1<<53 {
			t.Errorf("%+v", got)
		}
		seen[got.Peer] = true
	}
	if len(seen) != 3 {
		t.Errorf("peers %v", seen)
	}
	if got := qdranttest.Start(t, qdrantserver.Options{}).Do(t, http.MethodGet, "/cluster", nil); string(got) != `{"status":"disabled"}` {
		t.Errorf("one node: %s", got)
	}
}

func TestShardsElsewhere(t *testing.T) {
	s := qdranttest.Cluster(t)
	name := s.Name(t, "elsewhere")
	s.Fill(t, name, M{"vectors": M{"size": 2, "distance": "Dot"}, "shard_number": 3}, 60, 2)
	for node := range s.URLs {
		if n := count(t, s, node, name); n != 60 {
			t.Errorf("node %d: %d points", node, n)
		}
	}
	c := clusterOf(t, s, 0, name)
	if len(c.Local)+len(c.Other) != 3 || len(c.Other) == 0 {
		t.Fatalf("%+v", c)
	}
	path := fmt.Sprintf("/collections/%s/shards/%d", name, c.Other[0].ID)
	for _, call := range []string{"POST /snapshots", "GET /snapshots", "GET /snapshot", "GET /snapshots/x", "DELETE /snapshots/x"} {
		method, end, _ := strings.Cut(call, " ")
		if got := want(t, s, http.StatusBadRequest, method, path+end, nil); !strings.Contains(got, "is not a local") {
			t.Errorf("%s: %s", call, got)
		}
	}
	// Lists are those of one node.
	s.Do(t, http.MethodPost, "/collections/"+name+"/snapshots", nil)
	if got := wantNode(t, s, 1, http.StatusOK, http.MethodGet, "/collections/"+name+"/snapshots", nil); got != "[]" {
		t.Errorf("node 1 lists %s", got)
	}
}

func TestRecoveryMakesReplicasFollow(t *testing.T) {
	s := qdranttest.Cluster(t)
	for _, priority := range []string{"snapshot", "replica"} {
		name := s.Name(t, priority)
		s.Fill(t, name, M{"vectors": M{"size": 2, "distance": "Dot"}, "shard_number": 1, "replication_factor": 2}, 60, 2)
		node, other := holders(t, s, name)
		archive := getNode(t, s, node, "/collections/"+name+"/shards/0/snapshot")
		s.Do(t, http.MethodPost, "/collections/"+name+"/points/delete?wait=true", M{"filter": M{"must": []M{{"key": "flag", "match": M{"value": true}}}}})
		mustUpload(t, s, node, "/collections/"+name+"/shards/0/snapshots/upload?priority="+priority, archive)
		expected := map[string]int{"snapshot": 60, "replica": 30}[priority]
		eventually(t, priority, func() (bool, string) {
			states := clusterOf(t, s, 0, name).states(0)
			a, b := count(t, s, node, name), count(t, s, other, name)
			return states == "Active Active " && a == expected && b == expected, fmt.Sprint(states, a, " ", b)
		})
	}
}

// holders are two nodes with a replica of shard 0.
func holders(t *testing.T, s *qdranttest.Server, name string) (int, int) {
	t.Helper()
	var found []int
	for node := range s.URLs {
		if len(clusterOf(t, s, node, name).Local) > 0 {
			found = append(found, node)
		}
	}
	if len(found) != 2 {
		t.Fatalf("replicas on %v", found)
	}
	return found[0], found[1]
}

func TestShardKeys(t *testing.T) {
	s := qdranttest.Cluster(t)
	name := s.Name(t, "keys")
	path := "/collections/" + name
	s.Do(t, http.MethodPut, path, M{"vectors": M{"size": 2, "distance": "Dot"}, "sharding_method": "custom"})
	point := M{"points": []M{{"id": 1, "vector": []int{1, 2}}}}
	if got := want(t, s, http.StatusBadRequest, http.MethodPut, path+"/points", point); !strings.Contains(got, "Shard key not specified") {
		t.Error(got)
	}
	for _, key := range []any{"a", 7, "7"} {
		s.Do(t, http.MethodPut, path+"/shards", M{"shard_key": key})
		s.FillKey(t, name, key, 0, 10)
	}
	want(t, s, http.StatusBadRequest, http.MethodPut, path+"/shards", M{"shard_key": "a"})
	want(t, s, http.StatusBadRequest, http.MethodPut, path+"/shards", M{"shard_key": -1})
	// The same ids are in three keys: all are counted, and each is scrolled once.
	if n := count(t, s, 0, name); n != 30 {
		t.Errorf("%d points", n)
	}
	all := read[struct{ Points []any }](t, s.Do(t, http.MethodPost, path+"/points/scroll", M{"limit": 100}))
	if len(all.Points) != 10 {
		t.Errorf("%d points scrolled", len(all.Points))
	}
	if got := want(t, s, http.StatusBadRequest, http.MethodPost, path+"/points/scroll", M{"shard_key": "none"}); !strings.Contains(got, "not found") {
		t.Error(got)
	}
	want(t, s, http.StatusBadRequest, http.MethodPost, path+"/points/delete?wait=true", M{"points": []int{1}})
	// Ids are never filled up.
	s.Do(t, http.MethodPost, path+"/shards/delete", M{"shard_key": 7})
	s.Do(t, http.MethodPut, path+"/shards", M{"shard_key": "late"})
	c := clusterOf(t, s, 0, name)
	got := map[int]any{}
	for _, r := range append(c.Local, c.Other...) {
		got[r.ID] = r.Key
	}
	if diff := cmp.Diff(map[int]any{1: "a", 3: "7", 4: "late"}, got); diff != "" {
		t.Errorf("shards (-want +got):\n%s", diff)
	}
	if image := s.Image(t, name); !strings.Contains(image, `shard keys ["7","a","late"]`) || strings.Count(image, "count 10\n") != 2 {
		t.Errorf("image:\n%s", image)
	}
}

func TestShardKeysNeedACluster(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{})
	name := s.Name(t, "alone")
	s.Do(t, http.MethodPut, "/collections/"+name, M{"sharding_method": "custom"})
	if got := want(t, s, http.StatusBadRequest, http.MethodPut, "/collections/"+name+"/shards", M{"shard_key": "a"}); !strings.Contains(got, "Distributed mode disabled") {
		t.Error(got)
	}
}

// A collection with shard keys that is restored into a new one is empty, and the server says that all is well.
func TestRestoredShardKeysAreEmpty(t *testing.T) {
	s := qdranttest.Cluster(t)
	name := s.Name(t, "lost")
	s.Do(t, http.MethodPut, "/collections/"+name, M{"vectors": M{"size": 2, "distance": "Dot"}, "sharding_method": "custom"})
	s.Do(t, http.MethodPut, "/collections/"+name+"/shards", M{"shard_key": "a"})
	s.FillKey(t, name, "a", 0, 10)
	made := makeSnapshot(t, s, "/collections/"+name+"/snapshots")
	archive := get(t, s, "/collections/"+name+"/snapshots/"+made.Name)
	mustUpload(t, s, 0, "/collections/"+name+"-new/snapshots/upload?priority=snapshot", archive)
	if got := string(s.Do(t, http.MethodGet, "/collections/"+name+"-new/shards", nil)); got != `{"shard_keys":[]}` {
		t.Errorf("keys: %s", got)
	}
	if n := count(t, s, 0, name+"-new"); n != 0 {
		t.Errorf("%d points", n)
	}
}

func TestDownAndUp(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{Nodes: 3})
	name := s.Name(t, "down")
	s.Fill(t, name, M{"vectors": M{"size": 2, "distance": "Dot"}, "shard_number": 1, "replication_factor": 2}, 20, 2)
	stays, leaves := holders(t, s, name)
	s.Own.Down(leaves)
	if _, _, err := tryAsk(t, s, leaves, http.MethodGet, "/"); err == nil {
		t.Error("a node that is down answers")
	}
	if got := clusterOf(t, s, stays, name).states(0); got != "Active Dead " {
		t.Errorf("states %s", got)
	}
	wantNode(t, s, stays, http.StatusOK, http.MethodPost, "/collections/"+name+"/points/delete?wait=true", M{"points": []int{1, 2, 3}})
	s.Own.Up(leaves)
	eventually(t, "the node comes back", func() (bool, string) {
		states, n := clusterOf(t, s, leaves, name).states(0), count(t, s, leaves, name)
		return states == "Active Active " && n == 17, fmt.Sprint(states, n)
	})
	// The only copy is not dead, but nobody can read it.
	alone := s.Name(t, "alone")
	s.Fill(t, alone, M{"vectors": M{"size": 2, "distance": "Dot"}, "shard_number": 3}, 20, 2)
	s.Own.Down(2)
	wantNode(t, s, 0, http.StatusInternalServerError, http.MethodPost, "/collections/"+alone+"/points/count", M{})
	s.Own.SetReplicaState(alone, 0, 0, "Partial")
	if got := clusterOf(t, s, 1, alone); got.states(0) != "Partial " || got.states(2) != "Dead " {
		t.Errorf("%+v", got)
	}
}
