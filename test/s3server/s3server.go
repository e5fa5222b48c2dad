// Package s3server starts a real S3-compatible server, versitygw, for tests, demonstrations and benchmarks.
//
// It is not a fake: requests are signed, checked and carried out by a program that was written by others, over the
// network, on files in a folder of its own. Its invariant: no test is skipped for want of a server. The program is built
// from source, with its version pinned in tools/versitygw, when it was never built here; that takes one to two minutes.
package s3server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// The credentials of every server; they guard nothing.
const (
	AccessKey = "holdfast-test"
	SecretKey = "holdfast-test-secret"
	region    = "us-east-1"
)

// Server is a running server.
type Server struct {
	// URL is a store on a bucket of its own, as a policy would write it: s3://bucket?endpoint=…
	URL string
	// Endpoint is the address of the server: http://127.0.0.1:port.
	Endpoint string

	root string
	mu   sync.Mutex
	made int
}

// Env returns the credentials as environment variables, "NAME=value".
func (s *Server) Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey, "AWS_REGION=" + region}
}

// NewBucket makes an empty bucket and returns its URL.
func (s *Server) NewBucket() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	name := fmt.Sprintf("bucket-%d", s.made)
	// The server's posix backend has a folder for each bucket.
	if err := os.Mkdir(s.folder(name), 0o700); err != nil {
		return "", fmt.Errorf("make bucket: %w", err)
	}
	q := url.Values{"endpoint": {s.Endpoint}, "region": {region}, "use_path_style": {"true"}}
	return "s3://" + name + "?" + q.Encode(), nil
}

func (s *Server) folder(bucket string) string { return filepath.Join(s.root, bucket) }

// Start runs a server for the length of the test and sets the credentials in its environment, so the test cannot be
// parallel. Nothing is shared with other tests.
func Start(t testing.TB) *Server {
	t.Helper()
	s, stop, err := Run(t.TempDir())
	if err != nil {
		t.Fatalf("start S3 server: %v", err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop S3 server: %v", err)
		}
	})
	t.Setenv("AWS_ACCESS_KEY_ID", AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", SecretKey)
	t.Setenv("AWS_REGION", region)
	return s
}

// Run runs a server on the folder dir until stop is called. The caller hands Env to whatever talks to the server, and
// removes the folder.
func Run(dir string) (s *Server, stop func() error, err error) {
	bin, err := binary(context.Background())
	if err != nil {
		return nil, nil, err
	}
	// Between finding a free port and listening on it somebody else may take it.
	for range 5 {
		if s, stop, err = run(bin, dir); err == nil {
			return s, stop, nil
		}
	}
	return nil, nil, err
}

func run(bin, dir string) (*Server, func() error, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, nil, err
	}
	var out bytes.Buffer // read only after the server has ended
	// #nosec: all arguments are ours
	cmd := exec.Command(bin, "--access", AccessKey, "--secret", SecretKey, "--region", region, "--port", addr,
		"--health", "/health", "--quiet", "posix", dir)
	cmd.Stdout, cmd.Stderr = &out, &out
	endWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start versitygw: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := func() error {
		_ = cmd.Process.Kill() // it keeps nothing that would need a farewell
		var exit *exec.ExitError
		if err := <-ended; err != nil && !errors.As(err, &exit) {
			return err
		}
		return nil
	}
	if err := waitUntilHealthy("http://"+addr, ended); err != nil {
		if !errors.Is(err, errEnded) {
			_ = stop()
		}
		return nil, nil, fmt.Errorf("%w\n%s", err, out.String())
	}
	s := &Server{Endpoint: "http://" + addr, root: dir}
	if s.URL, err = s.NewBucket(); err != nil {
		_ = stop()
		return nil, nil, err
	}
	return s, stop, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

var errEnded = errors.New("versitygw ended at once")

// waitUntilHealthy asks until the server answers. A loaded machine may take seconds.
func waitUntilHealthy(endpoint string, ended <-chan error) error {
	deadline := time.After(30 * time.Second)
	client := http.Client{Timeout: 5 * time.Second}
	for {
		if resp, err := client.Get(endpoint + "/health"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-ended:
			return fmt.Errorf("%w: %v", errEnded, err)
		case <-deadline:
			return errors.New("versitygw did not become healthy in 30 seconds")
		case <-time.After(20 * time.Millisecond):
		}
	}
}
