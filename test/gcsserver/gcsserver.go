// Package gcsserver starts fake-gcs-server, which speaks Google Cloud Storage's protocol, for tests.
//
// It is not Google's: nothing checks credentials, and what it does otherwise than the service is written where a test
// depends on it. Its version is pinned in tools/fake-gcs-server, and it is built when it was never built here.
package gcsserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-io/holdfast/test/toolserver"
)

// Server is a running server.
type Server struct {
	// URL is a store on a bucket of its own: gs://bucket?anonymous=true. It needs Env.
	URL string
	// Endpoint is the address of the server: http://127.0.0.1:port.
	Endpoint string

	mu   sync.Mutex
	made int
}

// Env returns what sends Google's client to the server, "NAME=value".
func (s *Server) Env() []string {
	return []string{"STORAGE_EMULATOR_HOST=" + strings.TrimPrefix(s.Endpoint, "http://")}
}

// NewBucket makes an empty bucket, with versioning if the caller wants that, and returns its URL.
func (s *Server) NewBucket(versioning bool) (string, error) {
	s.mu.Lock()
	s.made++
	name := fmt.Sprintf("bucket-%d", s.made)
	s.mu.Unlock()
	body, err := json.Marshal(map[string]any{"name": name, "versioning": map[string]bool{"enabled": versioning}})
	if err != nil {
		return "", err
	}
	resp, err := http.Post(s.Endpoint+"/storage/v1/b?project=test", "application/json", bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("make bucket: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return "", fmt.Errorf("make bucket: %s: %s", resp.Status, text)
	}
	return "gs://" + name + "?anonymous=true", nil
}

// Start runs a server for the length of the test and sends Google's client there by the environment, so the test cannot
// be parallel.
func Start(t testing.TB) *Server {
	t.Helper()
	bin, err := toolserver.Go(context.Background(), "fake-gcs-server", "github.com/fsouza/fake-gcs-server")
	if err != nil {
		t.Fatalf("build fake-gcs-server: %v", err)
	}
	// In memory: its folders cannot hold long names, and keep no versions.
	endpoint, stop, err := toolserver.Run(func(host, port string) *exec.Cmd {
		// #nosec: all arguments are ours
		return exec.Command(bin, "-backend", "memory", "-scheme", "http", "-host", host, "-port", port, "-public-host", host+":"+port,
			"-log-level", "error")
	}, "/_internal/healthcheck")
	if err != nil {
		t.Fatalf("start fake-gcs-server: %v", err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop fake-gcs-server: %v", err)
		}
	})
	s := &Server{Endpoint: endpoint}
	if s.URL, err = s.NewBucket(false); err != nil {
		t.Fatal(err)
	}
	for _, v := range s.Env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	return s
}
