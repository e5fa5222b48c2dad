package qdrantserver_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

func TestKeys(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{APIKey: "all", ReadOnlyKey: "look"})
	name := s.Name(t, "keys")
	s.Fill(t, name, nil, 3, 2)
	made := makeSnapshot(t, s, "/collections/"+name+"/snapshots")
	base := "/collections/" + name
	keys := [][]string{{"api-key", ""}, {"api-key", "wrong"}, {"api-key", "look"}, {"api-key", "all"}}
	for _, c := range []struct {
		call string
		want [4]int // no key, a wrong one, the one for reading, the one for everything
	}{
		{"GET /", [4]int{200, 200, 200, 200}},
		{"GET /readyz", [4]int{200, 200, 200, 200}},
		{"GET /none", [4]int{401, 401, 404, 404}},
		{"GET /metrics", [4]int{401, 401, 200, 200}},
		{"GET " + base, [4]int{401, 401, 200, 200}},
		{"GET " + base + "/snapshots", [4]int{401, 401, 200, 200}},
		{"GET " + base + "/snapshots/" + made.Name, [4]int{401, 401, 200, 200}},
		{"GET " + base + "/shards/0/snapshot", [4]int{401, 401, 403, 200}},
		{"POST " + base + "/snapshots", [4]int{401, 401, 403, 200}},
		{"POST " + base + "/shards/0/snapshots", [4]int{401, 401, 403, 200}},
		{"DELETE " + base + "/snapshots/none", [4]int{401, 401, 403, 404}},
		{"POST /snapshots", [4]int{401, 401, 403, 200}},
		{"POST " + base + "/snapshots/upload", [4]int{401, 401, 403, 415}},
		{"POST " + base + "/shards/0/snapshots/upload", [4]int{401, 401, 403, 415}},
		{"DELETE " + base, [4]int{401, 401, 403, 200}},
	} {
		method, path, _ := strings.Cut(c.call, " ")
		for i, key := range keys {
			resp, text := ask(t, s, method, path, key...)
			if resp.StatusCode != c.want[i] {
				t.Errorf("%s with %v: %s %s, want %d", c.call, key, resp.Status, text, c.want[i])
			}
			if resp.StatusCode == http.StatusUnauthorized && strings.HasPrefix(string(text), "{") {
				t.Errorf("%s: %s", c.call, text)
			}
		}
	}
	resp, _ := ask(t, s, http.MethodGet, "/collections", "api-key", "", "Authorization", "Bearer all")
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("an empty api-key is looked at before a bearer token: %s", resp.Status)
	}
}

func TestTLS(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{TLS: true, Nodes: 2})
	name := s.Name(t, "tls")
	s.Fill(t, name, nil, 3, 2)
	if !strings.HasPrefix(s.URLs[1], "https://") || s.Own.CAFile() == "" {
		t.Errorf("%v %q", s.URLs, s.Own.CAFile())
	}
	made := makeSnapshot(t, s, "/collections/"+name+"/snapshots")
	s.Do(t, http.MethodPut, "/collections/"+name+"/snapshots/recover", M{"location": s.URLs[0] + "/collections/" + name + "/snapshots/" + made.Name})
}

func TestStrictMode(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "strict")
	path := "/collections/" + name
	s.Do(t, http.MethodPut, path, M{"vectors": M{"size": 1, "distance": "Dot"}, "strict_mode_config": M{
		"enabled": true, "max_query_limit": 5, "upsert_max_batchsize": 2, "unindexed_filtering_retrieve": false, "search_allow_exact": false,
	}})
	points := func(n int) M {
		list := []M{}
		for i := range n {
			list = append(list, M{"id": i, "vector": []int{1}, "payload": M{"a": "x"}})
		}
		return M{"points": list}
	}
	want(t, s, http.StatusBadRequest, http.MethodPut, path+"/points?wait=true", points(3))
	want(t, s, http.StatusOK, http.MethodPut, path+"/points?wait=true", points(2))
	want(t, s, http.StatusBadRequest, http.MethodPost, path+"/points/scroll", M{"limit": 6})
	want(t, s, http.StatusOK, http.MethodPost, path+"/points/scroll", M{}) // the default is not limited
	filter := M{"must": []M{{"key": "a", "match": M{"value": "x"}}}}
	if got := want(t, s, http.StatusBadRequest, http.MethodPost, path+"/points/scroll", M{"limit": 2, "filter": filter}); !strings.Contains(got, "Index required") {
		t.Error(got)
	}
	s.Do(t, http.MethodPut, path+"/index?wait=true", M{"field_name": "a", "field_schema": "keyword"})
	want(t, s, http.StatusOK, http.MethodPost, path+"/points/scroll", M{"limit": 2, "filter": filter})
	want(t, s, http.StatusBadRequest, http.MethodPost, path+"/points/count", M{"exact": true})
	s.Do(t, http.MethodPatch, path, M{"strict_mode_config": M{"enabled": false}})
	want(t, s, http.StatusOK, http.MethodPost, path+"/points/count", M{"exact": true})
}

func TestRateLimits(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "rates")
	path := "/collections/" + name
	s.Do(t, http.MethodPut, path, M{"vectors": M{"size": 1, "distance": "Dot"}, "strict_mode_config": M{"enabled": true, "read_rate_limit": 2, "write_rate_limit": 4}})
	for i := range 4 {
		status, result, err := s.Try(http.MethodPost, path+"/points/count", M{"exact": true})
		if err != nil || (status == http.StatusTooManyRequests) != (i >= 2) {
			t.Fatalf("read %d: %d %s %v", i, status, result, err)
		}
	}
	resp, err := plain.Post(s.URLs[0]+path+"/points/count", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.Header.Get("Retry-After") == "" && resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s: %v", resp.Status, resp.Header)
	}
	write := M{"points": []M{{"id": 1, "vector": []int{1}}, {"id": 2, "vector": []int{1}}}}
	want(t, s, http.StatusOK, http.MethodPut, path+"/points?wait=true", write)
	if got := want(t, s, http.StatusTooManyRequests, http.MethodPut, path+"/points?wait=true", write); !strings.Contains(got, "Write rate limit exceeded") {
		t.Error(got)
	}
	// Information and snapshots are not limited.
	want(t, s, http.StatusOK, http.MethodGet, path, nil)
	want(t, s, http.StatusOK, http.MethodPost, path+"/shards/0/snapshots", nil)
}

func TestMetricsAndStatus(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{})
	name := s.Name(t, "status")
	s.Fill(t, name, nil, 3, 2)
	s.Own.SetStatus(name, "grey", "no space")
	if got := string(s.Do(t, http.MethodGet, "/collections/"+name, nil)); !strings.Contains(got, `"status":"grey"`) || !strings.Contains(got, `"optimizer_status":{"error":"no space"}`) {
		t.Error(got)
	}
	s.Own.SetStatus(name, "", "")
	s.Own.Fault(0, qdrantserver.Fault{Path: "/shards/0/snapshot$", Times: 1, During: func() {
		if got := string(s.Do(t, http.MethodGet, "/collections/"+name, nil)); !strings.Contains(got, `"status":"yellow"`) {
			t.Errorf("while a snapshot runs: %s", got)
		}
		if _, text := ask(t, s, http.MethodGet, "/metrics"); !strings.Contains(string(text), `snapshot_creation_running{id="`+name+`"} 1`) {
			t.Errorf("%s", text)
		}
	}})
	get(t, s, "/collections/"+name+"/shards/0/snapshot")
	if got := string(s.Do(t, http.MethodGet, "/collections/"+name, nil)); !strings.Contains(got, `"status":"green"`) {
		t.Error(got)
	}
}
