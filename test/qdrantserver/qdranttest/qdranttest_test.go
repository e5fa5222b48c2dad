package qdranttest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/test/qdrantserver"
)

func TestNamesAreForgotten(t *testing.T) {
	s := Start(t, qdrantserver.Options{})
	var name string
	t.Run("one", func(t *testing.T) {
		name = s.Name(t, "one")
		if other := s.Name(t, "one"); strings.HasPrefix(other, name) || strings.HasPrefix(name, other) {
			t.Errorf("%s and %s", name, other)
		}
		s.Fill(t, name, nil, 3, 2)
		s.Fill(t, name+"-restored", nil, 3, 2)
	})
	for _, n := range []string{name, name + "-restored"} {
		if got := s.Image(t, n); got != "" {
			t.Errorf("%s is still there", n)
		}
	}
}

func TestImageTellsEverythingApart(t *testing.T) {
	s := Shared(t)
	name := s.Name(t, "image")
	s.Fill(t, name, nil, 10, 2)
	path := "/collections/" + name
	before := s.Image(t, name)
	for what, change := range map[string]func(){
		"a payload": func() {
			s.Do(t, http.MethodPost, path+"/points/payload?wait=true", map[string]any{"points": []int{1}, "payload": map[string]any{"x": 1}})
		},
		"an index": func() {
			s.Do(t, http.MethodPut, path+"/index?wait=true", map[string]any{"field_name": "city", "field_schema": "keyword"})
		},
		"metadata":        func() { s.Do(t, http.MethodPatch, path, map[string]any{"metadata": map[string]any{"a": 1}}) },
		"a point":         func() { s.Do(t, http.MethodPost, path+"/points/delete?wait=true", map[string]any{"points": []int{2}}) },
		"a configuration": func() { s.Do(t, http.MethodPatch, path, map[string]any{"hnsw_config": map[string]any{"m": 20}}) },
	} {
		change()
		after := s.Image(t, name)
		if after == before {
			t.Errorf("%s does not show", what)
		}
		before = after
	}
}

func TestNodesAndTries(t *testing.T) {
	s := Cluster(t)
	if len(s.URLs) < 2 {
		t.Fatalf("a cluster of %v", s.URLs)
	}
	for node := range s.URLs {
		if status, text, err := s.TryNode(node, http.MethodGet, "/cluster", nil); err != nil || status != http.StatusOK || !strings.Contains(string(text), "peer_id") {
			t.Errorf("node %d: %d %s %v", node, status, text, err)
		}
	}
	if status, text, err := s.Try(http.MethodGet, "/collections/none", nil); err != nil || status != http.StatusNotFound || !strings.Contains(string(text), "doesn't exist") {
		t.Errorf("%d %s %v", status, text, err)
	}
}
