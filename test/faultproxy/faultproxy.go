// Package faultproxy stands between a client and an HTTP server and makes chosen requests go wrong the ways networks and
// services do.
//
// It speaks of requests and bytes and knows no service, except that errors look as S3 writes them. Its invariant: what no
// fault matches passes unchanged.
package faultproxy

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault is one way for requests to go wrong. Method and Path choose them; of the rest one field says what happens.
type Fault struct {
	Method string // empty: any
	Path   string // a part of the request's path; empty: any
	Skip   int    // so many that match pass first
	Times  int    // how often it strikes; 0 means once, -1 always

	Status     int           // answered instead of the server, with Code
	Code       string        // S3's name of the error
	RetryAfter int           // seconds, with Status
	Delay      time.Duration // before the request is passed on
	Lost       bool          // the server carries the request out; its answer never arrives
	CutRequest bool          // the connection breaks in the middle of the request's body
	CutAnswer  bool          // the connection breaks in the middle of the answer's body
	Truncate   bool          // the answer ends in the middle, and its length says so: all is well but the checksum
	Garble     bool          // the second half of the request's body reaches the server as zeros
}

type armed struct {
	Fault
	seen, struck int
}

// Proxy is a running proxy.
type Proxy struct {
	URL string

	forward *httputil.ReverseProxy
	mu      sync.Mutex
	faults  []*armed
	log     []string
}

// Start runs a proxy before the server at target until the test ends.
func Start(t testing.TB, target string) *Proxy {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{forward: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
			if !strings.HasPrefix(r.In.Header.Get("Authorization"), "AWS4-") { // which signs the host
				r.Out.Host = to.Host
			}
		},
		ErrorLog: log.New(io.Discard, "", 0), // broken connections are its business
	}}
	server := httptest.NewUnstartedServer(p)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// Set replaces the faults, and forgets the requests seen.
func (p *Proxy) Set(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults, p.log = nil, nil
	for _, f := range faults {
		if f.Times == 0 {
			f.Times = 1
		}
		p.faults = append(p.faults, &armed{Fault: f})
	}
}

// Requests lists what came in since Set, as "METHOD path".
func (p *Proxy) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.log...)
}

// CheckStruck fails the test when a fault did not strike as often as it should have: such a test proves nothing.
func (p *Proxy) CheckStruck(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.faults {
		if a.struck == 0 || a.struck < a.Times {
			t.Errorf("fault %+v struck %d times", a.Fault, a.struck)
		}
	}
}

func (p *Proxy) strike(r *http.Request) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, r.Method+" "+r.URL.Path)
	for _, a := range p.faults {
		if a.Method != "" && a.Method != r.Method || !strings.Contains(r.URL.Path, a.Path) || a.Times >= 0 && a.struck >= a.Times {
			continue
		}
		if a.seen++; a.seen > a.Skip {
			a.struck++
			return &a.Fault
		}
	}
	return nil
}

// ServeHTTP passes a request on, or makes it go wrong.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := p.strike(r)
	switch {
	case f == nil:
		p.forward.ServeHTTP(w, r)
	case f.Delay > 0:
		select {
		case <-r.Context().Done():
		case <-time.After(f.Delay):
			p.forward.ServeHTTP(w, r)
		}
	case f.Status != 0:
		answer(w, r, f)
	case f.CutRequest:
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		panic(http.ErrAbortHandler)
	case f.Garble:
		body, _ := io.ReadAll(r.Body)
		clear(body[len(body)/2:])
		r.Body = io.NopCloser(bytes.NewReader(body))
		p.forward.ServeHTTP(w, r)
	default:
		p.spoil(w, r, f)
	}
}

func answer(w http.ResponseWriter, r *http.Request, f *Fault) {
	_, _ = io.Copy(io.Discard, r.Body)
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(f.Status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>made by the test</Message></Error>", f.Code)
	}
}

// spoil lets the server answer and spoils the answer.
func (p *Proxy) spoil(w http.ResponseWriter, r *http.Request, f *Fault) {
	got := httptest.NewRecorder()
	p.forward.ServeHTTP(got, r)
	if f.Lost {
		panic(http.ErrAbortHandler)
	}
	body := got.Body.Bytes()
	half := body[:len(body)/2]
	for name, values := range got.Header() {
		w.Header()[name] = values
	}
	length := len(half)
	if f.CutAnswer {
		length = len(body)
	}
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(got.Code)
	_, _ = w.Write(half)
	if f.CutAnswer {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}
