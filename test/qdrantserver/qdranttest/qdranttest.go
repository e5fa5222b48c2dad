// Package qdranttest gives tests a Qdrant to talk to: the one named in the environment, or one of our own. A test that
// takes what this package gives must not care which it is.
//
// HOLDFAST_TEST_QDRANT_URL names the REST address of a real server (http://127.0.0.1:6333), HOLDFAST_TEST_QDRANT_GRPC its
// gRPC address (127.0.0.1:6334), HOLDFAST_TEST_QDRANT_API_KEY its key. HOLDFAST_TEST_QDRANT_URLS names all nodes of a real
// cluster, separated by commas.
package qdranttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/test/qdrantserver"
)

// Server is a Qdrant that tests talk to. URLs and GRPC have one address for each node; those of GRPC may be missing when
// the server is a real one.
type Server struct {
	URLs   []string
	GRPC   []string
	APIKey string
	Own    *qdrantserver.Cluster // nil for a real one
	client *http.Client
}

var shared = sync.OnceValues(func() (*Server, error) {
	sweep()
	dir, err := os.MkdirTemp("", tempPrefix)
	if err != nil {
		return nil, err
	}
	return own(dir, qdrantserver.Options{})
})

// tempPrefix begins the names of the folders of shared servers, which end with their process.
const tempPrefix = "holdfast-qdrant-"

// sweep removes what the shared servers of processes that ended long ago have left.
func sweep() {
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*")) // the pattern is a good one
	for _, dir := range old {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			_ = os.RemoveAll(dir)
		}
	}
}

func own(dir string, o qdrantserver.Options) (*Server, error) {
	c, err := qdrantserver.Run(dir, o)
	if err != nil {
		return nil, err
	}
	client, err := clientFor(c.CAFile())
	if err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return &Server{URLs: c.URLs(), GRPC: c.GRPC(), APIKey: o.APIKey, Own: c, client: client}, nil
}

// Shared is the server that HOLDFAST_TEST_QDRANT_URL names, or one of our own, without a key, that the tests of this
// binary share.
func Shared(t testing.TB) *Server {
	t.Helper()
	if url := os.Getenv("HOLDFAST_TEST_QDRANT_URL"); url != "" {
		s := real([]string{url})
		if addr := os.Getenv("HOLDFAST_TEST_QDRANT_GRPC"); addr != "" {
			s.GRPC = []string{addr}
		}
		return s
	}
	s, err := shared()
	if err != nil {
		t.Fatalf("start Qdrant: %v", err)
	}
	return s
}

func real(urls []string) *Server {
	s := &Server{APIKey: os.Getenv("HOLDFAST_TEST_QDRANT_API_KEY"), client: &http.Client{}}
	for _, url := range urls {
		s.URLs = append(s.URLs, strings.TrimRight(strings.TrimSpace(url), "/"))
	}
	return s
}

// Cluster is the real cluster when HOLDFAST_TEST_QDRANT_URLS names two nodes or more, or three nodes of our own for this
// test alone.
func Cluster(t testing.TB) *Server {
	t.Helper()
	if urls := strings.Split(os.Getenv("HOLDFAST_TEST_QDRANT_URLS"), ","); len(urls) > 1 {
		s := real(urls)
		if addrs := os.Getenv("HOLDFAST_TEST_QDRANT_GRPC"); strings.Contains(addrs, ",") {
			s.GRPC = strings.Split(addrs, ",")
		}
		return s
	}
	return Start(t, qdrantserver.Options{Nodes: 3})
}

// Start runs a server of our own for the length of the test.
func Start(t testing.TB, o qdrantserver.Options) *Server {
	t.Helper()
	s, err := own(t.TempDir(), o)
	if err != nil {
		t.Fatalf("start Qdrant: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Own.Stop(); err != nil {
			t.Errorf("stop Qdrant: %v", err)
		}
	})
	return s
}

// Try makes a REST call to the first node. body is encoded as JSON, or sent as it is when it is a json.RawMessage or a
// string; nil sends none. result is what the answer has under that name; when there is none, as for an error, it is the
// whole answer. err is about the connection only.
func (s *Server) Try(method, path string, body any) (status int, result json.RawMessage, err error) {
	return s.TryNode(0, method, path, body)
}

// TryNode is Try with another node.
func (s *Server) TryNode(node int, method, path string, body any) (status int, result json.RawMessage, err error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return 0, nil, err
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, s.URLs[node]+path, reader)
	if err != nil {
		return 0, nil, err
	}
	if reader != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.APIKey != "" {
		req.Header.Set("api-key", s.APIKey)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, nil, err
	}
	var envelope struct {
		Result json.RawMessage `json:"result"`
	}
	if json.Unmarshal(text, &envelope) == nil && envelope.Result != nil {
		return resp.StatusCode, envelope.Result, nil
	}
	return resp.StatusCode, text, nil
}

// Do is Try for what has to work: the test fails unless the status is 2xx.
func (s *Server) Do(t testing.TB, method, path string, body any) json.RawMessage {
	t.Helper()
	status, result, err := s.Try(method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, status, result)
	}
	return result
}

var names atomic.Int64

// Name is a name for a collection that nothing else has. That collection, and every one whose name begins with it, is
// deleted when the test ends.
func (s *Server) Name(t testing.TB, prefix string) string {
	t.Helper()
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, t.Name(), os.Getpid(), time.Now().UnixNano())
	name := fmt.Sprintf("%s-%x-%d-", prefix, h.Sum32(), names.Add(1))
	name = strings.TrimSuffix(name, "-") + "x" // no name is the beginning of another one
	t.Cleanup(func() { s.forget(t, name) })
	return name
}

func (s *Server) forget(t testing.TB, prefix string) {
	_, result, err := s.Try(http.MethodGet, "/collections", nil)
	if err != nil {
		return // the test has stopped the server itself
	}
	var list struct {
		Collections []struct {
			Name string `json:"name"`
		} `json:"collections"`
	}
	if json.Unmarshal(result, &list) != nil {
		return
	}
	for _, c := range list.Collections {
		if !strings.HasPrefix(c.Name, prefix) {
			continue
		}
		if status, text, err := s.Try(http.MethodDelete, "/collections/"+escape(c.Name), nil); err == nil && status != http.StatusOK {
			t.Logf("delete collection %s: %d %s", c.Name, status, text)
		}
	}
}
