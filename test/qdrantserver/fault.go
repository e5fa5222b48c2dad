package qdrantserver

import (
	"bytes"
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

// Fault is something that goes wrong. A request is hit by at most one fault, the first that matches.
type Fault struct {
	Method string // "" is any
	Path   string // regular expression over the URL's path, or over a gRPC method such as "/qdrant.Points/Scroll"
	Skip   int    // let so many matching requests pass first
	Times  int    // then hit so many; 0 is every one

	// Answer this instead of doing anything: plain text unless Body begins with "{".
	Status   int
	Body     string
	Header   http.Header
	GRPCCode codes.Code // the same for gRPC, with Body as the message

	// CutAfter lets so many bytes of the real body out. Then the connection breaks; with Clean the body ends there as if it
	// were whole: a chunked one ends properly, one with a length has claimed the shorter length.
	CutAfter int64
	Clean    bool
	Corrupt  int64 // flip a bit of the body at this offset, when above zero

	// DropAnswer does the work and breaks the connection before any answer; with Late the connection breaks at once and the
	// work is done that much later.
	DropAnswer bool
	Late       time.Duration

	Delay time.Duration // before handling
	Hang  bool          // never answer, until the client leaves

	Before func() // called before the request is handled
	During func() // called after CutAfter bytes of the body went out, or after 4096, at the latest when the body ends
}

type fault struct {
	Fault
	node   int
	path   *regexp.Regexp
	passed int
	hits   int
}

type faultList struct {
	mu   sync.Mutex
	list []*fault
}

// Fault makes something go wrong on a node, or on every node for -1, until remove is called.
func (c *Cluster) Fault(node int, f Fault) (remove func()) {
	installed := &fault{Fault: f, node: node, path: regexp.MustCompile(f.Path)}
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.list = append(c.faults.list, installed)
	return func() {
		c.faults.mu.Lock()
		defer c.faults.mu.Unlock()
		c.faults.list = slices.DeleteFunc(c.faults.list, func(other *fault) bool { return other == installed })
	}
}

// hit returns the fault that this request gets, or nil. method is "" for gRPC.
func (l *faultList) hit(node int, method, path string) *Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.list {
		switch {
		case f.node >= 0 && f.node != node,
			f.Method != "" && method != "" && f.Method != method,
			f.Times > 0 && f.hits >= f.Times,
			!f.path.MatchString(path):
			continue
		case f.passed < f.Skip:
			f.passed++
			continue
		}
		f.hits++
		hit := f.Fault
		return &hit
	}
	return nil
}

// wait is false when the server stops or the client leaves first.
func (n *node) wait(ctx context.Context, d time.Duration) bool {
	var elapsed <-chan time.Time
	if d >= 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		elapsed = timer.C
	}
	select {
	case <-elapsed:
		return true
	case <-ctx.Done():
	case <-n.c.stopping:
	}
	return false
}

// faulty carries the request out with the fault.
func (n *node) faulty(f *Fault, w http.ResponseWriter, r *http.Request, real http.HandlerFunc) {
	if f.Before != nil {
		f.Before()
	}
	switch {
	case f.Hang:
		n.wait(r.Context(), -1)
		panic(http.ErrAbortHandler)
	case f.Delay > 0 && !n.wait(r.Context(), f.Delay):
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		answerInstead(f, w)
	case f.DropAnswer:
		n.dropAnswer(f, r, real)
	default:
		fw := &faultyWriter{ResponseWriter: w, f: f, duringAt: 4096}
		if f.CutAfter > 0 {
			fw.duringAt = f.CutAfter
		}
		real(fw, r)
		fw.during()
	}
}

func answerInstead(f *Fault, w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if strings.HasPrefix(f.Body, "{") {
		w.Header().Set("Content-Type", "application/json")
	}
	for name, values := range f.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(f.Body))
}

// dropAnswer does the work for nobody.
func (n *node) dropAnswer(f *Fault, r *http.Request, real http.HandlerFunc) {
	if f.Late == 0 {
		real(&deafWriter{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	}
	body, err := readBody(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	late := r.Clone(context.Background())
	late.Body = readCloser{bytes.NewReader(body)}
	n.c.later(f.Late, func() {
		defer func() { _ = recover() }() // the handler may want to break a connection that is gone
		real(&deafWriter{header: http.Header{}}, late)
	})
	panic(http.ErrAbortHandler)
}

// deafWriter takes an answer that nobody will see.
type deafWriter struct{ header http.Header }

func (w *deafWriter) Header() http.Header         { return w.header }
func (w *deafWriter) WriteHeader(int)             {}
func (w *deafWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *deafWriter) Flush()                      {}
