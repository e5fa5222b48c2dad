package qdrantserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// node is one server of the cluster: its two ports and its folder of snapshots. What it stores is in Cluster.
type node struct {
	c         *Cluster
	index     int
	peer      uint64
	root      string // everything of this node
	snapshots string // snapshots_path
	tmp       string // temp_path
	bucket    string // what S3 would hold, with Options.S3Snapshots

	restAddr, grpcAddr string

	mu         sync.Mutex
	rest       *http.Server
	rpc        *grpc.Server
	restL      net.Listener
	grpcL      *trackedListener
	down       atomic.Bool
	ready      atomic.Bool // /readyz was happy since the node came up
	running    sync.WaitGroup
	creating   counterMap // snapshot_creation_running by collection
	recovering counterMap // snapshot_recovery_running by collection
	created    counterMap // snapshot_created_total by collection
}

// listen takes two free ports the first time, and the same two ports again afterwards.
func (n *node) listen() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	restL, err := listenOn(n.restAddr)
	if err != nil {
		return err
	}
	grpcL, err := listenOn(n.grpcAddr)
	if err != nil {
		return errors.Join(err, restL.Close())
	}
	n.restAddr, n.grpcAddr = restL.Addr().String(), grpcL.Addr().String()
	n.restL, n.grpcL = restL, &trackedListener{Listener: grpcL, conns: map[string]net.Conn{}}
	return nil
}

func listenOn(addr string) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var lc net.ListenConfig
	var err error
	// The port was ours a moment ago; another process may have it for the length of one of its own connections.
	for range 100 {
		var l net.Listener
		if l, err = lc.Listen(context.Background(), "tcp", addr); err == nil {
			return l, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, fmt.Errorf("listen on %s: %w", addr, err)
}

func (n *node) serve() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	restL := n.restL
	if n.c.tls != nil {
		cfg := n.c.tls.Clone()
		cfg.NextProtos = []string{"http/1.1"}
		restL = tls.NewListener(restL, cfg)
	}
	n.rest = &http.Server{Handler: n.handler(), ReadHeaderTimeout: time.Minute, ErrorLog: quietLog}
	n.rpc = n.grpcServer()
	rest, rpc, grpcL := n.rest, n.rpc, n.grpcL
	n.running.Add(2)
	go func() {
		defer n.running.Done()
		_ = rest.Serve(restL)
	}()
	go func() {
		defer n.running.Done()
		_ = rpc.Serve(grpcL)
	}()
	return nil
}

// close refuses new connections and cuts the open ones. Handlers that are at work go on, as they do in Qdrant.
func (n *node) close() {
	n.mu.Lock()
	rest, rpc, restL, grpcL := n.rest, n.rpc, n.restL, n.grpcL
	n.mu.Unlock()
	if rest != nil {
		_ = rest.Close()
	} else if restL != nil {
		_ = restL.Close()
	}
	if grpcL != nil {
		_ = grpcL.Close()
		grpcL.closeAll()
	}
	if rpc != nil {
		// Stop waits for handlers; a handler may be hanging on purpose, and then ends when its connection does.
		go rpc.Stop()
	}
	n.running.Wait()
}

// Down refuses connections to a node and cuts the open ones. Its replicas count as dead until Up.
func (c *Cluster) Down(node int) {
	n := c.nodes[node]
	if n.down.Swap(true) {
		return
	}
	n.close()
	c.markDown(n.peer)
}

// Up brings a node back on the same ports. Its replicas catch up with the others and are active a moment later.
func (c *Cluster) Up(node int) {
	n := c.nodes[node]
	if !n.down.Load() {
		return
	}
	if err := n.listen(); err != nil {
		panic(fmt.Sprintf("bring node %d back: %v", node, err)) // a test cannot go on without its port
	}
	if err := n.serve(); err != nil {
		panic(fmt.Sprintf("bring node %d back: %v", node, err))
	}
	n.ready.Store(false)
	n.down.Store(false)
	c.markUp(n.peer)
}

func (c *Cluster) nodeOf(peer uint64) *node {
	for _, n := range c.nodes {
		if n.peer == peer {
			return n
		}
	}
	return nil
}

func (c *Cluster) isUp(peer uint64) bool {
	n := c.nodeOf(peer)
	return n != nil && !n.down.Load()
}

// trackedListener knows its connections by the address of the client, so that a fault can cut one of them.
type trackedListener struct {
	net.Listener
	mu    sync.Mutex
	conns map[string]net.Conn
}

func (l *trackedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.conns[conn.RemoteAddr().String()] = conn
	l.mu.Unlock()
	return conn, nil
}

func (l *trackedListener) cut(client string) {
	l.mu.Lock()
	conn := l.conns[client]
	delete(l.conns, client)
	l.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
}

func (l *trackedListener) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.conns = map[string]net.Conn{}
}

// counterMap counts per collection.
type counterMap struct {
	mu sync.Mutex
	m  map[string]int
}

func (m *counterMap) add(key string, by int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m == nil {
		m.m = map[string]int{}
	}
	m.m[key] += by
}

func (m *counterMap) get(key string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.m[key]
}
