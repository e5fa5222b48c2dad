package qdrant

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	client "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxMessage bounds one answer over gRPC. Pages are made much smaller; the client's default of 4 MiB is not enough for them.
const maxMessage = 1 << 30

// dialer opens the gRPC connections of a cluster's nodes when they are needed.
type dialer struct {
	c  *cluster
	mu sync.Mutex
	to map[*node]*client.Client
}

func newDialer(c *cluster) *dialer { return &dialer{c: c, to: map[*node]*client.Client{}} }

// apiKey is shown with each call. go-client would do it too, and write to the process's own log when there is no TLS; validate
// says so instead.
type apiKey string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (k apiKey) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"api-key": string(k)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: servers inside of a private network have none.
func (apiKey) RequireTransportSecurity() bool { return false }

// client returns the connection to a node. go-client connects when it is used.
func (d *dialer) client(n *node) (*client.Client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.to[n]; c != nil {
		return c, nil
	}
	host, port, err := net.SplitHostPort(n.grpc)
	if err != nil {
		return nil, fmt.Errorf("connect to gRPC at %q: %w", n.grpc, err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("connect to gRPC at %q: %w", n.grpc, err)
	}
	cfg := &client.Config{
		Host: host, Port: number, UseTLS: isTLS(n.url), SkipCompatibilityCheck: true, PoolSize: 1,
		GrpcOptions: []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage))},
	}
	if cfg.UseTLS {
		cfg.TLSConfig = d.c.tls
	}
	if n.key != "" {
		cfg.GrpcOptions = append(cfg.GrpcOptions, grpc.WithPerRPCCredentials(apiKey(n.key)))
	}
	c, err := client.NewClient(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to gRPC at %s: %w", n.grpc, err)
	}
	d.to[n] = c
	return c, nil
}

// close ends the connections.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.to {
		_ = c.Close() // nothing is under way
	}
	d.to = map[*node]*client.Client{}
}

// each tries fn with one node after the other until it succeeds or an answer says that trying on is of no use.
func (d *dialer) each(ctx context.Context, tries int, limit time.Duration, fn func(context.Context, *client.Client) error) error {
	var last error
	for try := range max(tries, len(d.c.nodes)) {
		n := d.c.nodes[try%len(d.c.nodes)]
		c, err := d.client(n)
		if err == nil {
			call, cancel := ctx, context.CancelFunc(func() {})
			if limit > 0 {
				call, cancel = context.WithTimeout(ctx, limit)
			}
			err = fn(call, c)
			cancel()
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		last = d.explain(n, err)
		if !passing(err) {
			return last
		}
		if err := sleep(ctx, backoff(try+1)); err != nil {
			return err
		}
	}
	return last
}

// passing tells whether trying again, perhaps elsewhere, may help.
func passing(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.ResourceExhausted, codes.Aborted, codes.DeadlineExceeded, codes.Internal, codes.Unknown:
		return true
	}
	return false
}

// explain adds what to do.
func (d *dialer) explain(n *node, err error) error {
	err = fmt.Errorf("gRPC at %s: %w", n.grpc, err)
	switch status.Code(err) {
	case codes.Unavailable:
		return fmt.Errorf("%w (points are read and written over gRPC; if it listens elsewhere, say so in grpc = [\"host:port\"])", err)
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("%w (the key in %s may not do this)", err, n.keyName)
	}
	return err
}

// isNotFound tells that a collection or shard key is not there.
func isNotFound(err error) bool { return isGRPC(err) && status.Code(err) == codes.NotFound }

// isGRPC tells that an error is an answer over gRPC.
func isGRPC(err error) bool {
	var s interface{ GRPCStatus() *status.Status }
	return errors.As(err, &s)
}
