// Package azureserver starts azurite, Microsoft's emulator of Azure Blob Storage, for tests.
//
// Requests are signed and checked. What it does otherwise than the service is written where a test depends on it. Its
// version is pinned in tools/azurite; it is installed with npm into a cache folder when it was never installed here, and
// runs with node, which test/setup.sh installs.
package azureserver

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"github.com/holdfast-io/holdfast/test/toolserver"
)

// The credentials of every server; they guard nothing.
const (
	Account = "holdfasttest"
	Key     = "aG9sZGZhc3QtdGVzdC1zZWNyZXQ="
)

// Server is a running server.
type Server struct {
	// URL is a store on a container of its own: azblob://container?protocol=http&domain=… It needs Env.
	URL string
	// Endpoint is the address of the server: http://127.0.0.1:port.
	Endpoint string

	mu   sync.Mutex
	made int
}

// Env returns the credentials as environment variables, "NAME=value".
func (s *Server) Env() []string {
	return []string{"AZURE_STORAGE_ACCOUNT=" + Account, "AZURE_STORAGE_KEY=" + Key}
}

// ConnectionString is the other way to give everything a client needs.
func (s *Server) ConnectionString() string {
	return fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%s;AccountKey=%s;BlobEndpoint=%s/%s;", Account, Key, s.Endpoint, Account)
}

// NewContainer makes an empty container and returns its URL.
func (s *Server) NewContainer(ctx context.Context) (string, error) {
	s.mu.Lock()
	s.made++
	name := fmt.Sprintf("container-%d", s.made)
	s.mu.Unlock()
	client, err := service.NewClientFromConnectionString(s.ConnectionString(), nil)
	if err == nil {
		_, err = client.NewContainerClient(name).Create(ctx, nil)
	}
	if err != nil {
		return "", fmt.Errorf("make container: %w", err)
	}
	q := url.Values{"protocol": {"http"}, "domain": {strings.TrimPrefix(s.Endpoint, "http://")}}
	return "azblob://" + name + "?" + q.Encode(), nil
}

// Start runs a server for the length of the test and sets the credentials in its environment, so the test cannot be
// parallel.
func Start(t testing.TB) *Server {
	t.Helper()
	modules, err := toolserver.NPM(context.Background(), "azurite")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	endpoint, stop, err := toolserver.Run(func(host, port string) *exec.Cmd {
		// #nosec: all arguments are ours
		cmd := exec.Command("node", filepath.Join(modules, "azurite/dist/src/blob/main.js"), "--blobHost", host, "--blobPort", port,
			"--location", folder, "--silent", "--disableTelemetry", "--disableProductStyleUrl", "--skipApiVersionCheck")
		cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+Account+":"+Key)
		return cmd
	}, "/")
	if err != nil {
		t.Fatalf("start azurite: %v", err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop azurite: %v", err)
		}
	})
	s := &Server{Endpoint: endpoint}
	if s.URL, err = s.NewContainer(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, v := range s.Env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	return s
}
