package faultproxy

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Link is a TCP connection's way to a server, for protocols that are not HTTP. It can stall, as a network does that
// drops packets without a word.
type Link struct {
	Addr string // host:port to connect to

	mu      sync.Mutex
	changed *sync.Cond
	stalled bool
	closed  bool
	conns   map[net.Conn]bool
}

// StartLink runs a link to the server at target, host:port, until the test ends.
func StartLink(t testing.TB, target string) *Link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Link{Addr: listener.Addr().String(), conns: map[net.Conn]bool{}}
	l.changed = sync.NewCond(&l.mu)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { l.pass(conn, target) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		l.Cut()
		l.changed.Broadcast()
		running.Wait()
	})
	return l
}

// Stall lets no byte through, in either direction, until Resume. Connections stay open.
func (l *Link) Stall() { l.set(true) }

// Resume ends a stall. What was sent meanwhile arrives.
func (l *Link) Resume() { l.set(false) }

// Cut breaks all connections.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		_ = conn.Close()
	}
}

func (l *Link) set(stalled bool) {
	l.mu.Lock()
	l.stalled = stalled
	l.mu.Unlock()
	l.changed.Broadcast()
}

func (l *Link) pass(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	l.mu.Lock()
	l.conns[client], l.conns[server] = true, true
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { l.copy(server, client) })
	both.Go(func() { l.copy(client, server) })
	both.Wait()
	l.mu.Lock()
	delete(l.conns, client)
	delete(l.conns, server)
	l.mu.Unlock()
}

func (l *Link) copy(to, from net.Conn) {
	defer to.Close()
	_, _ = io.Copy(gate{l, to}, from) // how a connection ends is the client's and the server's business
}

// gate holds what is written while its link stalls.
type gate struct {
	l  *Link
	to io.Writer
}

func (g gate) Write(p []byte) (int, error) {
	g.l.mu.Lock()
	for g.l.stalled && !g.l.closed {
		g.l.changed.Wait()
	}
	g.l.mu.Unlock()
	return g.to.Write(p)
}
