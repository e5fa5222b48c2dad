package qdrantserver

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// request is one REST call on its way through a handler.
type request struct {
	*http.Request
	n     *node
	w     http.ResponseWriter
	args  []string // what stood for {} in the route
	begun time.Time
	role  role
}

// handler is what answers on a node's REST port: faults first, as they are about the wire, then keys, then routes.
func (n *node) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.c.requests.add(r)
		if f := n.c.faults.hit(n.index, r.Method, r.URL.Path); f != nil {
			n.faulty(f, w, r, n.serveREST)
			return
		}
		n.serveREST(w, r)
	})
}

func (n *node) serveREST(w http.ResponseWriter, r *http.Request) {
	if n.down.Load() {
		panic(http.ErrAbortHandler)
	}
	req := &request{Request: r, n: n, begun: time.Now()}
	zw := &gzipWriter{ResponseWriter: w, on: acceptsGzip(r)}
	req.w = zw
	found, args := findRoute(r)
	var refused string
	if req.role, refused = n.c.roleOf(r.Header.Get("api-key"), r.Header.Get("Authorization"), r.Header["Api-Key"] != nil); refused != "" && (found == nil || !found.open) {
		w.Header()["Content-Type"] = nil // none at all
		zw.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(zw, refused)
		zw.finish()
		return
	}
	if found == nil {
		zw.on = false
		zw.WriteHeader(http.StatusNotFound)
		return
	}
	req.args = args
	found.serve(req)
	zw.finish()
}

// ok answers with a result.
func (r *request) ok(result any) { r.envelope(http.StatusOK, result, "ok") }

// accepted is the answer to those who do not wait.
func (r *request) accepted() { r.envelope(http.StatusAccepted, nil, "accepted") }

func (r *request) envelope(status int, result, state any) {
	answer := map[string]any{"status": state, "time": time.Since(r.begun).Seconds()}
	if status == http.StatusOK {
		answer["result"] = result
	}
	r.json(status, answer)
}

func (r *request) json(status int, answer any) {
	text := encode(answer)
	r.w.Header().Set("Content-Type", "application/json")
	r.w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	r.w.WriteHeader(status)
	_, _ = r.w.Write(text)
}

// fail answers with an error in the JSON envelope.
func (r *request) fail(err error) {
	f := asFailure(err)
	if f.retryAfter > 0 {
		r.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.retryAfter.Seconds()))))
	}
	r.envelope(f.kind.status, nil, map[string]any{"error": f.Error()})
}

// failPlain answers with an error as text, as the routes do that answer with a stream.
func (r *request) failPlain(err error) {
	f := asFailure(err)
	r.plain(f.kind.status, f.Error())
}

// failStream is failPlain, except for what is wrong with the path itself.
func (r *request) failStream(err error) {
	if asFailure(err).kind == kindFormat {
		r.fail(err)
		return
	}
	r.failPlain(err)
}

func (r *request) plain(status int, text string) {
	r.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	r.w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	r.w.WriteHeader(status)
	_, _ = io.WriteString(r.w, text)
}

// answer is ok or fail.
func (r *request) answer(result any, err error) {
	if err != nil {
		r.fail(err)
		return
	}
	r.ok(result)
}

// waitOr does the work and answers with what came of it, or answers at once and does it in the background.
func (r *request) waitOr(work func() (any, error)) {
	wait := r.URL.Query().Get("wait")
	switch wait {
	case "", "true":
		r.answer(work())
	case "false":
		r.n.c.later(0, func() { _, _ = work() })
		r.accepted()
	default:
		r.fail(fail(kindFormat, "Deserialize error in query parameters: provided string was not `true` or `false`"))
	}
}

// body decodes the JSON body, keeping numbers as they were written.
func (r *request) body(into any) error {
	text, err := readBody(r.Request)
	if err != nil {
		return fail(kindFormat, "Payload error: %v", err)
	}
	if len(text) > 32<<20 {
		return &failure{kind: kind{"", http.StatusBadRequest, 0}, text: "JSON payload (" + strconv.Itoa(len(text)) + " bytes) is larger than allowed (limit: 33554432 bytes)."}
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return fail(kindFormat, "Format error in JSON body: EOF while parsing a value at line 1 column 0")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		if f, ok := errors.AsType[*failure](err); ok {
			return f
		}
		return fail(kindFormat, "Format error in JSON body: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fail(kindFormat, "Format error in JSON body: trailing characters")
	}
	return nil
}

func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	return io.ReadAll(r.Body)
}

func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // only values of our own making get here
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

func acceptsGzip(r *http.Request) bool {
	for _, offer := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(offer), ";")
		if strings.TrimSpace(name) == "gzip" && strings.TrimSpace(weight) != "q=0" {
			return true
		}
	}
	return false
}

// gzipWriter compresses whatever is answered to a client that says it can take it; the length is then unknown.
type gzipWriter struct {
	http.ResponseWriter
	on     bool
	z      *gzip.Writer
	headed bool
}

func (w *gzipWriter) WriteHeader(status int) {
	w.headed = true
	h := w.Header()
	if h.Get("Content-Encoding") == "identity" || status == http.StatusNoContent || status == http.StatusNotModified {
		w.on = false
	}
	if w.on {
		h.Del("Content-Length")
		h.Set("Content-Encoding", "gzip")
		h.Add("Vary", "accept-encoding")
		w.z = gzip.NewWriter(w.ResponseWriter)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *gzipWriter) Write(p []byte) (int, error) {
	if !w.headed {
		w.WriteHeader(http.StatusOK)
	}
	if w.z != nil {
		return w.z.Write(p)
	}
	return w.ResponseWriter.Write(p)
}

func (w *gzipWriter) Flush() {
	if w.z != nil {
		_ = w.z.Flush()
	}
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

func (w *gzipWriter) finish() {
	if w.z != nil {
		_ = w.z.Close()
	}
}

// route is one line of the table in routes.go.
type route struct {
	method  string
	pattern []string // "{}" matches anything
	open    bool     // needs no key
	serve   func(*request)
}

// findRoute returns the route of a request and what its placeholders stand for. A known path with another method is as
// unknown as any other.
func findRoute(r *http.Request) (*route, []string) {
	path := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	for i, segment := range path {
		if plain, err := url.PathUnescape(segment); err == nil {
			path[i] = plain
		}
	}
	for i := range routes {
		if routes[i].method != r.Method {
			continue
		}
		if args, ok := routes[i].match(path); ok {
			return &routes[i], args
		}
	}
	return nil, nil
}

func (t *route) match(path []string) ([]string, bool) {
	if len(path) != len(t.pattern) {
		return nil, false
	}
	var args []string
	for i, want := range t.pattern {
		switch {
		case want == "{}":
			args = append(args, path[i])
		case want != path[i]:
			return nil, false
		}
	}
	return args, true
}
