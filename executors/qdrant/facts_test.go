package qdrant

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

func TestInspect(t *testing.T) {
	for _, place := range sortedKeys(places) {
		t.Run(place, func(t *testing.T) {
			s := places[place](t)
			p := s.Name(t, "facts")
			s.Fill(t, p+"a", nil, 100, 64)
			s.Fill(t, p+"b", nil, 100, 64)
			addAliases(t, s, p+"a", p+"alias")
			src := sourceOf(s, p+"a")
			got, err := quick().Inspect(t.Context(), src)
			if err != nil {
				t.Fatal(err)
			}
			nodes := fmt.Sprint(len(s.URLs))
			if d := cmp.Diff(map[string]string{"address": strings.Join(s.URLs, ", "), "nodes": nodes, "nodes_reached": nodes}, got.Extra); d != "" {
				t.Errorf("extra (-want +got):\n%s", d)
			}
			var hello struct{ Version string }
			_, text, err := s.Try("GET", "/", nil)
			if err != nil {
				t.Fatal(err)
			}
			decodeInto(t, text, &hello)
			if got.Version != hello.Version || len(got.Gaps) > 0 {
				t.Errorf("version %s, gaps %q; the server is %s", got.Version, got.Gaps, hello.Version)
			}
			// Every collection is named, so that those that no backup covers are known; only what is covered counts.
			names := slices.DeleteFunc(slices.Clone(got.Names), func(n string) bool { return !strings.HasPrefix(n, p) })
			if d := cmp.Diff([]string{p + "a", p + "b"}, names); d != "" {
				t.Errorf("names (-want +got):\n%s", d)
			}
			if got.Size < 100*64*4 || got.Size > 100*(64*4+4096) {
				t.Errorf("the size of 100 points is %d", got.Size)
			}
			both := sourceOf(s, p+"a", p+"b")
			if twice, err := quick().Inspect(t.Context(), both); err != nil || twice.Size != 2*got.Size {
				t.Errorf("the size of both is %d, of one %d (%v)", twice.Size, got.Size, err)
			}
		})
	}
}

// Servers of our own: other tests' collections must not be met, nodes go down, keys are wanted.
func TestInspectTells(t *testing.T) {
	for _, c := range []struct {
		name    string
		options qdrantserver.Options
		prepare func(s *qdranttest.Server)
		urls    int // of the nodes' are given; 0: all
		key     string
		want    executors.Facts
		gaps    []string // of each gap a part
		err     string
	}{
		{"an empty server", qdrantserver.Options{Version: "1.17.1"}, nil, 0, "", executors.Facts{Version: "1.17.1", Names: []string{}}, nil, ""},
		{"our own collections are none", qdrantserver.Options{}, func(s *qdranttest.Server) {
			for _, name := range []string{"b", "a", "hf_drill_x_y_0", "hf_restore_x_0"} {
				s.Fill(t, name, nil, 1, 4)
			}
		}, 0, "", executors.Facts{Version: "1.18.3", Names: []string{"a", "b"}, Size: 2 * (4*4 + 1024)}, nil, ""},
		{"a node without a URL", qdrantserver.Options{Nodes: 3}, nil, 2, "", executors.Facts{Version: "1.18.3", Names: []string{}}, []string{"no answering URL reaches the cluster's node"}, ""},
		{"two nodes without a URL", qdrantserver.Options{Nodes: 3}, nil, 1, "", executors.Facts{Version: "1.18.3", Names: []string{}}, []string{"give every node's URL in urls", "give every node's URL in urls"}, ""},
		{"a node that is down", qdrantserver.Options{Nodes: 3}, func(s *qdranttest.Server) { s.Own.Down(0) }, 0, "", executors.Facts{Version: "1.18.3", Names: []string{}}, []string{"does not answer", "no answering URL reaches"}, ""},
		{"all nodes are down", qdrantserver.Options{Nodes: 2}, func(s *qdranttest.Server) { s.Own.Down(0); s.Own.Down(1) }, 0, "", executors.Facts{}, nil, "does not answer"},
		{"a key to read with will do", qdrantserver.Options{APIKey: "all", ReadOnlyKey: "read"}, nil, 0, "read", executors.Facts{Version: "1.18.3", Names: []string{}}, nil, ""},
		{"no key", qdrantserver.Options{APIKey: "all"}, nil, 0, "", executors.Facts{}, nil, "the server wants a key: set api_key"},
		{"the wrong key", qdrantserver.Options{APIKey: "all"}, nil, 0, "wrong", executors.Facts{}, nil, "is not the server's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := qdranttest.Start(t, c.options)
			if c.prepare != nil {
				c.prepare(s)
			}
			src := sourceOf(s)
			if c.urls > 0 {
				src.Qdrant.URLs = s.URLs[:c.urls]
			}
			src.Qdrant.APIKey = nil
			if c.key != "" {
				src.Qdrant.APIKey = secret(c.key)
			}
			got, err := quick().Inspect(t.Context(), src)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Gaps) != len(c.gaps) {
				t.Errorf("gaps %q, want %q", got.Gaps, c.gaps)
			}
			for i, want := range c.gaps {
				if i < len(got.Gaps) && !strings.Contains(got.Gaps[i], want) {
					t.Errorf("gap %q, want %q", got.Gaps[i], want)
				}
			}
			got.Extra, got.Gaps = nil, nil
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("facts (-want +got):\n%s", d)
			}
		})
	}
}
