package qdrant

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
	"strconv"
	"strings"
	"syscall"
	"time"
)

// node is one server, reached at its own URL.
type node struct {
	url     string   // without a slash at the end
	grpc    string   // host:port
	peer    uint64   // 0 outside of clusters
	members []uint64 // of its cluster, as it tells; none outside of clusters, and when it may not be asked
	http    *http.Client
	key     string
	keyName string // as written in the policy, for errors
	timeout time.Duration
}

// statusError is an answer that is no success.
type statusError struct {
	node       *node
	what       string // method and path
	Status     int
	text       string
	retryAfter time.Duration
}

// Error tells what the server said, and what to do where that is known.
func (e *statusError) Error() string {
	out := fmt.Sprintf("%s at %s: %d %s", e.what, e.node.url, e.Status, e.text)
	switch {
	case e.Status == http.StatusUnauthorized && e.node.key == "":
		return out + fmt.Sprintf(" (the server wants a key: set %s)", e.node.keyName)
	case e.Status == http.StatusUnauthorized:
		return out + fmt.Sprintf(" (the key in %s is not the server's)", e.node.keyName)
	case e.Status == http.StatusForbidden && !strings.Contains(e.text, "disabled"):
		return out + fmt.Sprintf(" (the key in %s may not do this: snapshots need a key or token that may write to the collections, restores need the server's own key: restore_api_key)", e.node.keyName)
	case e.Status == http.StatusRequestEntityTooLarge:
		return out + " (a proxy in front of the server limits the size of requests: raise its limit, give the server's own URL, or restore with -via=url)"
	case strings.Contains(e.text, noSpace):
		return out + " (the server's disk is full: free space there; snapshot { mode = \"stream\" } needs none)"
	}
	return out
}

// noSpace is what every error of a full disk says, also in the words of a server.
const noSpace = "No space left"

// isGone tells that a collection, a shard or a snapshot is not there.
func isGone(err error) bool { return hasStatus(err, http.StatusNotFound) }

func hasStatus(err error, status int) bool {
	var e *statusError
	return errors.As(err, &e) && e.Status == status
}

// path makes a URL's path of parts, each escaped.
func path(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteByte('/')
		// url.PathEscape leaves dots alone, and clients remove "." and ".." from paths.
		if p == "." || p == ".." {
			p = strings.ReplaceAll(p, ".", "%2E")
		} else {
			p = url.PathEscape(p)
		}
		b.WriteString(p)
	}
	return b.String()
}

// request begins a request without a limit of time. The caller closes the body. Answers other than want are errors.
func (n *node) request(ctx context.Context, method, path string, body io.Reader, prepare func(*http.Request), want ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, n.url+path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, n.url+path, err)
	}
	if n.key != "" {
		req.Header.Set("api-key", n.key)
	}
	req.Header.Set("User-Agent", "holdfast")
	if prepare != nil {
		prepare(req)
	}
	resp, err := n.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("ask Qdrant: %w", err)
	}
	if resp.StatusCode == http.StatusOK || containsInt(want, resp.StatusCode) {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, n.failure(method+" "+path, resp)
}

func containsInt(list []int, v int) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

// failure reads what the server says of an error: JSON, or a plain text.
func (n *node) failure(what string, resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what came is told
	what, _, _ = strings.Cut(what, "?")
	e := &statusError{node: n, what: what, Status: resp.StatusCode, text: strings.TrimSpace(string(data))}
	var doc struct {
		Status json.RawMessage `json:"status"`
	}
	if json.Unmarshal(data, &doc) == nil {
		var said struct {
			Error string `json:"error"`
		}
		switch {
		case json.Unmarshal(doc.Status, &said) == nil && said.Error != "":
			e.text = said.Error
		case len(doc.Status) > 0:
			e.text = string(doc.Status)
		}
	}
	if s, err := strconv.ParseFloat(resp.Header.Get("Retry-After"), 64); err == nil && s >= 0 {
		e.retryAfter = time.Duration(s * float64(time.Second))
	}
	if len(e.text) > 500 {
		e.text = e.text[:500] + "…"
	}
	return e
}

// maxAnswer bounds an answer that is kept in memory: sixteen points with large payloads take some megabytes.
const maxAnswer = 256 << 20

// limitless is the timeout of calls that may take as long as they take: the server works, and says nothing meanwhile.
const limitless = time.Duration(0)

// call sends one request with a JSON body (nil for none) and decodes the result of the answer into out (nil for none). What
// the server is too busy for, and questions that a broken connection interrupted, are asked again.
func (n *node) call(ctx context.Context, limit time.Duration, method, path string, body, out any) error {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	const tries = 4
	for try := 1; ; try++ {
		err := n.once(ctx, limit, method, path, data, out)
		pause := backoff(try)
		var said *statusError
		switch {
		case err == nil || ctx.Err() != nil || try == tries:
			return err
		case errors.As(err, &said):
			switch said.Status {
			case http.StatusTooManyRequests:
				pause = max(pause, min(said.retryAfter, time.Minute))
			case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
				if method != http.MethodGet {
					return err
				}
			default:
				return err
			}
		case method != http.MethodGet || isRefused(err):
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

func (n *node) once(ctx context.Context, limit time.Duration, method, path string, data []byte, out any) error {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, &silence{fmt.Sprintf("%s %s: no answer within %s", method, n.url+path, limit)})
		defer cancel()
	}
	var body io.Reader
	if data != nil {
		body = bytes.NewReader(data)
	}
	resp, err := n.request(ctx, method, path, body, func(r *http.Request) {
		if data != nil {
			r.Header.Set("Content-Type", "application/json")
		}
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		return fmt.Errorf("%s %s: the answer is larger than %d MiB", method, n.url+path, maxAnswer>>20)
	}
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%s %s: read the answer: %w", method, n.url+path, err)
	}
	if out == nil {
		return nil
	}
	var envelope struct {
		Result json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(answer, &envelope); err != nil || envelope.Result == nil {
		return fmt.Errorf("%s %s: the answer is not Qdrant's: %.200q", method, n.url+path, answer)
	}
	if err := json.Unmarshal(envelope.Result, out); err != nil {
		return fmt.Errorf("%s %s: decode the answer: %w", method, n.url+path, err)
	}
	return nil
}

// silence says that no answer came in time.
type silence struct{ text string }

func (s *silence) Error() string { return s.text }

// Timeout is what net.Error calls it.
func (*silence) Timeout() bool { return true }

// get asks a small question.
func (n *node) get(ctx context.Context, path string, out any) error {
	return n.call(ctx, n.timeout, http.MethodGet, path, nil, out)
}

// unanswered tells that a question may be asked again: no answer came, or one that says that the server cannot answer now.
func unanswered(err error) bool {
	var said *statusError
	if errors.As(err, &said) {
		return said.Status == http.StatusBadGateway || said.Status == http.StatusServiceUnavailable || said.Status == http.StatusGatewayTimeout
	}
	return isTransport(err)
}

// isFinal tells that a server refused to do something: it did not, and will not.
func isFinal(err error) bool {
	var said *statusError
	return errors.As(err, &said) && said.Status >= 400 && said.Status < 500 && said.Status != http.StatusRequestTimeout || isRefused(err)
}

// isRefused tells that nobody listens, or that the name is not known: asking again at once does not help.
func isRefused(err error) bool {
	var dns *net.DNSError
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &dns)
}

func backoff(try int) time.Duration {
	return min(200*time.Millisecond<<(try-1), 5*time.Second)
}

// sleep waits, or returns why the context ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
