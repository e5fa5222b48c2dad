// Package qdrantserver is a Qdrant server, or a cluster of them, inside the test's own process: REST and gRPC, points,
// shards, replicas, aliases, and above all snapshots, as Qdrant 1.18 answers them.
//
// It is not a database: everything lives in memory, searches look at every point, and nothing is tuned. It exists for
// what a real server cannot be asked to do on purpose: to break a connection at a byte, to lose an answer after the work
// was done, to end a stream too early as if it were whole, to be one of three nodes that is down. Its invariant: snapshot
// archives are real (old-GNU sparse tars with nested segments), and an archive alone brings the points of its shard back.
// Where it and a real server disagree the real one is right; qdranttest runs the same tests against both.
package qdrantserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Options says what kind of server to run. The zero value is one node without authentication.
type Options struct {
	Nodes         int    // 0 means 1; more than 1 is a cluster in distributed mode
	Version       string // what GET / says; "" means "1.18.3"
	APIKey        string // "" means no authentication
	ReadOnlyKey   string
	TLS           bool // REST and gRPC over TLS with a certificate authority made for this server
	S3Snapshots   bool // as if snapshots were kept in S3: no checksum in descriptions, no Range on downloads
	NoURLRecovery bool // snapshots are not fetched from URLs
}

// Cluster is a running server of one or several nodes. All methods may be called in parallel.
type Cluster struct {
	opts  Options
	dir   string
	nodes []*node
	tls   *tls.Config
	ca    string
	http  *http.Client

	// mu guards every collection, shard, replica and point. No file, network or hook is touched while it is held.
	mu          sync.Mutex
	collections map[string]*collection
	aliases     map[string]string

	faults   faultList
	requests requestLog

	stopping chan struct{}
	// work are the goroutines that outlive a request: snapshots nobody waits for, replicas that catch up. lateMu is held
	// while one is added, so that none is after Stop.
	lateMu  sync.Mutex
	stopped bool
	work    sync.WaitGroup
}

// Run starts a server that keeps its snapshot files below dir, which must exist, until Stop is called.
func Run(dir string, o Options) (*Cluster, error) {
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.Version == "" {
		o.Version = "1.18.3"
	}
	c := &Cluster{
		opts: o, dir: dir, collections: map[string]*collection{}, aliases: map[string]string{}, stopping: make(chan struct{}),
	}
	if o.TLS {
		if err := c.makeCertificates(); err != nil {
			return nil, fmt.Errorf("make certificates: %w", err)
		}
	}
	c.http = c.fetchClient()
	for i := range o.Nodes {
		n := &node{c: c, index: i, peer: newPeerID(), root: filepath.Join(dir, "node-"+strconv.Itoa(i))}
		if err := n.makeFolders(); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
		if err := n.listen(); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		if err := n.serve(); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	return c, nil
}

// newPeerID is above 2^53, so that whoever reads it as a float64 loses its last digits.
func newPeerID() uint64 { return 1<<62 | rand.Uint64()>>2 | 1 } // #nosec G404: a name, not a secret

// Stop ends all nodes and waits for whatever they were still doing. It is safe to call twice.
func (c *Cluster) Stop() error {
	c.lateMu.Lock()
	again := c.stopped
	c.stopped = true
	c.lateMu.Unlock()
	if again {
		return nil
	}
	close(c.stopping)
	for _, n := range c.nodes {
		n.close()
	}
	c.work.Wait()
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
	return nil
}

// URLs are the REST addresses, one a node: http://127.0.0.1:port.
func (c *Cluster) URLs() []string {
	scheme := "http://"
	if c.opts.TLS {
		scheme = "https://"
	}
	var urls []string
	for _, n := range c.nodes {
		urls = append(urls, scheme+n.restAddr)
	}
	return urls
}

// GRPC are the gRPC addresses, one a node: 127.0.0.1:port.
func (c *Cluster) GRPC() []string {
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.grpcAddr)
	}
	return addrs
}

// CAFile is the certificate authority (PEM) that signed the servers' certificate; "" without TLS.
func (c *Cluster) CAFile() string { return c.ca }

// SnapshotsPath is the folder that a node keeps its snapshot files in, laid out as Qdrant does.
func (c *Cluster) SnapshotsPath(node int) string { return c.nodes[node].snapshots }

// PeerID is the number of a node within the cluster.
func (c *Cluster) PeerID(node int) uint64 { return c.nodes[node].peer }

// Requests are all REST requests so far as "METHOD path?query", in order of arrival.
func (c *Cluster) Requests() []string { return c.requests.all() }

// distributed says whether this is a cluster; shard keys and cluster operations exist only there.
func (c *Cluster) distributed() bool { return len(c.nodes) > 1 }

// later runs f after d, unless the server stops first. Stop waits for it.
func (c *Cluster) later(d time.Duration, f func()) {
	c.lateMu.Lock()
	defer c.lateMu.Unlock()
	if c.stopped {
		return
	}
	c.work.Go(func() {
		select {
		case <-time.After(d):
			f()
		case <-c.stopping:
		}
	})
}

// requestLog remembers what was asked.
type requestLog struct {
	mu   sync.Mutex
	list []string
}

func (l *requestLog) add(r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := r.Method + " " + r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		line += "?" + r.URL.RawQuery
	}
	l.list = append(l.list, line)
}

func (l *requestLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.list...)
}

// makeFolders creates what a node writes to.
func (n *node) makeFolders() error {
	n.snapshots, n.tmp = filepath.Join(n.root, "snapshots"), filepath.Join(n.root, "tmp")
	n.bucket = filepath.Join(n.root, "bucket")
	for _, folder := range []string{n.snapshots, n.tmp, n.bucket} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	return nil
}
