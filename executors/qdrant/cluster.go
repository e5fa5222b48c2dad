package qdrant

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/policy"
)

// purpose is what a source is opened for; it decides which key is shown.
type purpose int

const (
	toRead    purpose = iota
	toRestore         // restores and rehearsals need the right to manage
)

// cluster is a server, or the nodes of a cluster that answered.
type cluster struct {
	nodes       []*node // those that answered; never empty
	version     version // the lowest of them: what all of them can do
	newest      version // the highest of them: what an archive may be of
	commit      string
	distributed bool
	peers       map[uint64]string // of the cluster by id, with the address that the others use; nil outside of clusters, and for keys that may not ask
	down        []error           // URLs that did not answer
	shared      string            // snapshots_path; only for a single node
	tls         *tls.Config
	secrets     []string
}

// openSource opens what a policy declares.
func (x *Executor) openSource(ctx context.Context, src policy.Source, why purpose) (*cluster, error) {
	q := src.Qdrant
	if q == nil {
		return nil, fmt.Errorf("open %s: it is not a Qdrant source", cmp.Or(src.Address, "the source"))
	}
	key, name := q.APIKey, "api_key"
	if why == toRestore && q.RestoreAPIKey != nil {
		key, name = q.RestoreAPIKey, "restore_api_key"
	}
	e := endpoint{urls: q.URLs, grpc: q.GRPC, keyName: name, tls: q.TLS}
	if key != nil {
		var err error
		if e.key, err = key.Reveal(); err != nil {
			return nil, fmt.Errorf("open %s: %w", src.Address, err)
		}
	}
	c, err := x.open(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", src.Address, err)
	}
	if len(q.URLs) == 1 {
		c.shared = q.SnapshotsPath
	}
	return c, nil
}

// openURL opens "http://[:KEY@]host:port[,http://host:port]", as targets and scratch servers are named.
func (x *Executor) openURL(ctx context.Context, secret *policy.Secret, like policy.Source) (*cluster, error) {
	text, err := secret.Reveal()
	if err != nil {
		return nil, err
	}
	e := endpoint{keyName: secret.Ref()}
	for _, one := range strings.Split(text, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, errors.New("the server's URL cannot be used: it reads http://host:6333, or https://; several nodes are separated by commas")
		}
		if p, ok := u.User.Password(); ok {
			e.key = p
		}
		u.User, u.Path, u.RawQuery, u.Fragment = nil, "", "", ""
		e.urls = append(e.urls, u.String())
		// A node that the policy knows has its gRPC where the policy says.
		at := ""
		if like.Qdrant != nil {
			if i := slices.Index(like.Qdrant.URLs, u.String()); i >= 0 && i < len(like.Qdrant.GRPC) {
				at = like.Qdrant.GRPC[i]
			}
		}
		e.grpc = append(e.grpc, at)
	}
	if like.Qdrant != nil {
		e.tls = like.Qdrant.TLS
	}
	return x.open(ctx, e)
}

// endpoint is where to connect, and with what.
type endpoint struct {
	urls, grpc   []string
	key, keyName string
	tls          *policy.TLSClient
}

// open asks every node who it is. Nodes that do not answer are remembered; none answering is an error, and so are nodes that
// do not belong together.
func (x *Executor) open(ctx context.Context, e endpoint) (_ *cluster, err error) {
	if len(e.urls) == 0 {
		return nil, errors.New("no URL is given")
	}
	c := &cluster{}
	if e.key != "" {
		c.secrets = []string{e.key}
	}
	defer func() { err = c.hide(err) }()
	if c.tls, err = tlsConfig(e.tls); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		DialContext:     (&net.Dialer{Timeout: x.o.Connect, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig: c.tls, TLSHandshakeTimeout: x.o.Connect,
		// A server that may compress would compress whole snapshots, and say neither their length nor take ranges of them.
		DisableCompression: true,
		// No HTTP/2: one connection for each of the few long transfers.
		ForceAttemptHTTP2: false, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
		WriteBufferSize: 256 << 10, ReadBufferSize: 256 << 10,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for i, u := range e.urls {
		n := &node{url: strings.TrimRight(u, "/"), http: client, key: e.key, keyName: e.keyName, timeout: x.o.Connect}
		if n.grpc, err = grpcAddress(n.url, e.grpc, i); err != nil {
			return nil, err
		}
		if err := c.greet(ctx, n); err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			var said *statusError
			if errors.As(err, &said) && (said.Status == http.StatusUnauthorized || said.Status == http.StatusForbidden) {
				return nil, err
			}
			c.down = append(c.down, fmt.Errorf("%s does not answer: %w", n.url, err))
		}
	}
	if len(c.nodes) == 0 {
		return nil, errors.Join(c.down...)
	}
	return c, c.consistent()
}

// greet asks a node for its version and its place in the cluster.
func (c *cluster) greet(ctx context.Context, n *node) error {
	var said struct{ Title, Version, Commit string }
	if err := n.hello(ctx, &said); err != nil {
		return err
	}
	v, err := parseVersion(said.Version)
	if err != nil {
		return fmt.Errorf("%s: %w", n.url, err)
	}
	var status struct {
		Status string `json:"status"`
		PeerID uint64 `json:"peer_id"`
		Peers  map[string]struct {
			URI string `json:"uri"`
		} `json:"peers"`
	}
	err = n.get(ctx, "/cluster", &status)
	if hasStatus(err, http.StatusForbidden) {
		// A token for some collections may not ask for the cluster, but where the shards of one are: that tells who answers.
		status.Status = "enabled"
		status.PeerID, err = n.peerByCollection(ctx)
	}
	if err != nil {
		return err
	}
	n.peer = status.PeerID
	if len(c.nodes) == 0 || v.less(c.version) {
		c.version = v
	}
	if len(c.nodes) == 0 || c.newest.less(v) {
		c.newest, c.commit = v, said.Commit
	}
	if status.Status == "enabled" {
		c.distributed = true
		for id, p := range status.Peers {
			if c.peers == nil {
				c.peers = map[uint64]string{}
			}
			if peer, err := strconv.ParseUint(id, 10, 64); err == nil {
				c.peers[peer] = p.URI
				n.members = append(n.members, peer)
			}
		}
	}
	c.nodes = append(c.nodes, n)
	return nil
}

// peerByCollection finds out who a node is by the shards of a collection that the key may see; 0 when it may see none.
func (n *node) peerByCollection(ctx context.Context) (uint64, error) {
	var seen struct {
		Collections []struct {
			Name string `json:"name"`
		} `json:"collections"`
	}
	if err := n.get(ctx, "/collections", &seen); err != nil || len(seen.Collections) == 0 {
		return 0, err
	}
	var said struct {
		PeerID uint64 `json:"peer_id"`
	}
	err := n.get(ctx, path("collections", seen.Collections[0].Name, "cluster"), &said)
	return said.PeerID, err
}

// hello asks for the greeting, which has no envelope.
func (n *node) hello(ctx context.Context, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, n.timeout, fmt.Errorf("no answer within %s", n.timeout))
	defer cancel()
	resp, err := n.request(ctx, http.MethodGet, "/", nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return decodeBody(resp.Body, out)
}

// knows tells whether another node is a member of this one's cluster. A token that may not ask for the members knows all.
func (n *node) knows(other *node) bool {
	return len(n.members) == 0 || slices.Contains(n.members, other.peer)
}

// consistent refuses nodes that do not belong together.
func (c *cluster) consistent() error {
	seen := map[uint64]*node{}
	for _, n := range c.nodes {
		switch other := seen[n.peer]; {
		case n.peer != 0 && other != nil:
			return fmt.Errorf("%s and %s reach the same node (peer %d), as through a load balancer: snapshots are kept by each node, so give each node's own URL", other.url, n.url, n.peer)
		case n.peer == 0 && len(c.nodes) > 1:
			return fmt.Errorf("%s is no member of a cluster, but %d URLs are given: give each server a source of its own", n.url, len(c.nodes))
		case !c.nodes[0].knows(n) && !n.knows(c.nodes[0]):
			return fmt.Errorf("%s (peer %d) is not a member of the others' cluster: give each cluster a source of its own", n.url, n.peer)
		}
		seen[n.peer] = n
	}
	return nil
}

func (c *cluster) close() { c.nodes[0].http.CloseIdleConnections() }

// ask puts a question to one node after the other until one answers: each knows what all know. Exact counts and searches of
// large collections take long and have no limit.
func (c *cluster) ask(ctx context.Context, method, path string, body, out any) error {
	const tries = 3
	for try := 1; ; try++ {
		err := c.each(ctx, func(error) bool { return true }, func(n *node) error {
			limit := limitless
			if method == http.MethodGet {
				limit = n.timeout
			}
			return n.call(ctx, limit, method, path, body, out)
		})
		// A node's call asks again by itself where the method says that it is a question.
		if err == nil || ctx.Err() != nil || method == http.MethodGet || try == tries || !unanswered(err) || isRefused(err) {
			return err
		}
		if err := sleep(ctx, backoff(try)); err != nil {
			return err
		}
	}
}

// order makes a change, through any node. Another one is tried only when the first did not hear of it.
func (c *cluster) order(ctx context.Context, method, path string, body, out any) error {
	return c.each(ctx, isRefused, func(n *node) error { return n.call(ctx, limitless, method, path, body, out) })
}

// layout tells where a collection's shards are.
func (c *cluster) layout(ctx context.Context, collection string) (out *layout, err error) {
	err = c.each(ctx, func(error) bool { return true }, func(n *node) (err error) {
		out, err = n.layout(ctx, collection)
		return err
	})
	return out, err
}

// each calls fn with one node after the other until one gives an answer, good or bad, or again says that trying the next is
// of no use.
func (c *cluster) each(ctx context.Context, again func(error) bool, fn func(*node) error) error {
	var errs []error
	for _, n := range c.nodes {
		err := fn(n)
		var said *statusError
		if err == nil || ctx.Err() != nil || errors.As(err, &said) || !again(err) {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// address is the servers in short, for people.
func (c *cluster) address() string {
	urls := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		urls[i] = n.url
	}
	return strings.Join(urls, ", ")
}

// byPeer finds the node of a peer; outside of clusters the only one.
func (c *cluster) byPeer(peer uint64) *node {
	if !c.distributed {
		return c.nodes[0]
	}
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.peer == peer })
	if i < 0 {
		return nil
	}
	return c.nodes[i]
}

// holders are the nodes that have an active replica of a shard and that a URL reaches.
func (c *cluster) holders(s *shard) []*node {
	var out []*node
	for _, peer := range s.active() {
		if n := c.byPeer(peer); n != nil {
			out = append(out, n)
		}
	}
	return out
}

// errUnreached says that a policy or a target does not name all nodes.
var errUnreached = errors.New("no URL reaches a node that has")

// home is a node from which a shard of a collection is read, or to which it is written.
func (c *cluster) home(l *layout, collection string, id uint32) (*node, error) {
	if i := slices.IndexFunc(l.shards, func(s shard) bool { return s.id == id }); i >= 0 {
		if nodes := c.holders(&l.shards[i]); len(nodes) > 0 {
			return nodes[0], nil
		}
	}
	return nil, fmt.Errorf("%w shard %d of %q: give the URL of every node", errUnreached, id, collection)
}

// gaps names what no URL reaches.
func (c *cluster) gaps() []string {
	var out []string
	for _, err := range c.down {
		out = append(out, err.Error())
	}
	for _, id := range sortedKeys(c.peers) {
		if c.byPeer(id) == nil {
			out = append(out, fmt.Sprintf("no answering URL reaches the cluster's node %d (%s); give every node's URL in urls", id, c.peers[id]))
		}
	}
	return out
}

// grpcAddress is the address of the i-th node's gRPC: as written, or the URL's host one port higher.
func grpcAddress(base string, written []string, i int) (string, error) {
	if i < len(written) && written[i] != "" {
		return written[i], nil
	}
	u, err := url.Parse(base)
	if err != nil || u.Hostname() == "" {
		return "", fmt.Errorf("%q is no URL of a server", base)
	}
	port, err := strconv.Atoi(cmp.Or(u.Port(), "6333")) // a URL without a port is a proxy's; gRPC is behind it at its usual port
	if err != nil {
		return "", fmt.Errorf("%q has no port that can be used", base)
	}
	return net.JoinHostPort(u.Hostname(), strconv.Itoa(port+1)), nil
}

// tlsConfig reads the files that the policy names.
func tlsConfig(t *policy.TLSClient) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t == nil {
		return cfg, nil
	}
	cfg.ServerName, cfg.InsecureSkipVerify = t.ServerName, t.InsecureSkipVerify //nolint:gosec // the policy says so, and validate warns
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.Path(t.CAFile))
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read ca_file %s: it holds no certificate in PEM", t.Path(t.CAFile))
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.Path(t.CertFile), t.Path(t.KeyFile))
		if err != nil {
			return nil, fmt.Errorf("read cert_file and key_file: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
