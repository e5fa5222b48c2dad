package ragdata

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	client "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
)

// Qdrant is a server that data is put into: URL is where REST answers, GRPC is host:port.
type Qdrant struct{ URL, GRPC string }

// ErrNoQdrant says that the environment names no server.
var ErrNoQdrant = errors.New("HOLDFAST_TEST_QDRANT_URL names no server")

// FindQdrant returns the server that HOLDFAST_TEST_QDRANT_URL names. Its gRPC is at HOLDFAST_TEST_QDRANT_GRPC, or one port
// higher.
func FindQdrant() (Qdrant, error) {
	q := Qdrant{strings.TrimRight(os.Getenv("HOLDFAST_TEST_QDRANT_URL"), "/"), os.Getenv("HOLDFAST_TEST_QDRANT_GRPC")}
	if q.URL == "" {
		return q, ErrNoQdrant
	}
	if q.GRPC != "" {
		return q, nil
	}
	u, err := url.Parse(q.URL)
	if err != nil {
		return q, err
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return q, fmt.Errorf("HOLDFAST_TEST_QDRANT_URL=%s has no port", q.URL)
	}
	q.GRPC = net.JoinHostPort(u.Hostname(), strconv.Itoa(port+1))
	return q, nil
}

// Ask makes a REST call and decodes the result of its answer into out, which may be nil.
func (q Qdrant) Ask(ctx context.Context, method, path string, body, out any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, q.URL+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %.300s", method, path, resp.Status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, &struct {
		Result any `json:"result"`
	}{out})
}

// Version asks for the server's version.
func (q Qdrant) Version(ctx context.Context) (string, error) {
	var hello struct {
		Version string `json:"version"`
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, q.URL, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&hello)
	return hello.Version, err
}

// Dial connects to the server's gRPC.
func (q Qdrant) Dial() (*client.Client, error) {
	host, port, err := net.SplitHostPort(q.GRPC)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	return client.NewClient(&client.Config{
		Host: host, Port: n, SkipCompatibilityCheck: true, PoolSize: 1,
		GrpcOptions: []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30))},
	})
}
