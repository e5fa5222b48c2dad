package qdrant

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
)

func clusterOf(t *testing.T, text, url, shared string) *cluster {
	t.Helper()
	v, err := parseVersion(text)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{version: v, shared: shared, nodes: []*node{{url: url, http: &http.Client{}, timeout: quick().o.Connect}}}
}

func TestCourierWays(t *testing.T) {
	const plain, tls = "http://db:6333", "https://db:6333"
	for _, c := range []struct {
		name, version, url, shared string
		options                    map[string]string
		want                       []via
		refused                    string
	}{
		{"the server fetches", "1.18.3", plain, "", nil, []via{viaURL, viaUpload}, ""},
		{"one that is too old does not", "1.16.3", plain, "", nil, []via{viaUpload}, ""},
		{"nothing is served in clear to a server with TLS", "1.18.3", tls, "", nil, []via{viaUpload}, ""},
		{"unless somebody says where", "1.18.3", tls, "", map[string]string{optionServe: "me:7000"}, []via{viaURL, viaUpload}, ""},
		{"a folder that both see", "1.16.3", plain, "/snapshots", nil, []via{viaFile, viaUpload}, ""},
		{"all ways", "1.18.3", plain, "/snapshots", map[string]string{optionVia: "auto"}, []via{viaFile, viaURL, viaUpload}, ""},
		{"as chosen", "1.18.3", plain, "/snapshots", map[string]string{optionVia: "upload"}, []via{viaUpload}, ""},
		{"a choice that is too new", "1.16.3", plain, "", map[string]string{optionVia: "url"}, nil, "via=url needs Qdrant 1.17, this server is 1.16.3: use via=upload"},
		{"a folder that nobody named", "1.18.3", plain, "", map[string]string{optionVia: "file"}, nil, "via=file needs snapshots_path in a source of a single server"},
		{"no way", "1.18.3", plain, "", map[string]string{optionVia: "pigeon"}, nil, "via=pigeon is not known: auto, upload, url or file"},
		{"an address without a port", "1.18.3", plain, "", map[string]string{optionServe: "me"}, nil, "serve=me is not HOST:PORT, an address of this host that the server can reach"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := clusterOf(t, c.version, c.url, c.shared)
			k, err := newCourier(quick(), cl, executors.RestoreRequest{Options: c.options})
			if c.refused != "" || err != nil {
				if err == nil || !strings.Contains(err.Error(), c.refused) || c.refused == "" {
					t.Errorf("got %v, want %q", err, c.refused)
				}
				return
			}
			got := []via{k.choice}
			if k.choice == viaAuto {
				got = k.ways(cl.nodes[0])
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("ways (-want +got):\n%s", d)
			}
		})
	}
}

// The archive goes to the first who knows its name and key, whole or with a broken connection, and to nobody else.
func TestServed(t *testing.T) {
	offer := func(src io.Reader, size int64) (*served, *httptest.Server) {
		s := &served{path: "/name", key: "key", size: size, src: src, hit: make(chan struct{})}
		server := httptest.NewServer(s)
		t.Cleanup(server.Close)
		return s, server
	}
	ask := func(server *httptest.Server, method, path, key string) (int, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("api-key", key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(data), err
	}
	s, server := offer(strings.NewReader("the archive, and more"), 11)
	for _, c := range []struct{ method, path, key string }{{"GET", "/", "key"}, {"GET", "/name", "no"}, {"GET", "/name", ""}, {"POST", "/name", "key"}, {"HEAD", "/name", "key"}} {
		if status, _, err := ask(server, c.method, c.path, c.key); status != http.StatusNotFound {
			t.Errorf("%s %s with %q: %d, %v", c.method, c.path, c.key, status, err)
		}
	}
	if s.taken {
		t.Error("it counts as given out")
	}
	if status, text, err := ask(server, "GET", "/name", "key"); status != http.StatusOK || text != "the archive" || err != nil {
		t.Errorf("got %d %q, %v", status, text, err)
	}
	<-s.hit
	if status, _, _ := ask(server, "GET", "/name", "key"); status != http.StatusGone {
		t.Errorf("a second one got %d", status)
	}
	if !s.forbid() {
		t.Error("it does not count as given out")
	}

	_, server = offer(io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), iotest.ErrReader(errBroken)), 2<<20)
	if status, text, err := ask(server, "GET", "/name", "key"); err == nil {
		t.Errorf("a source that breaks off looks whole: %d, %d bytes", status, len(text))
	}

	s, server = offer(strings.NewReader("the archive"), 11)
	if s.forbid() {
		t.Error("nobody asked for it")
	}
	if status, _, _ := ask(server, "GET", "/name", "key"); status != http.StatusGone {
		t.Errorf("when the offer had ended there came %d", status)
	}
}

// A way that turned out not to work is not tried for the next shard, and an archive that was touched is not sent twice.
func TestCourierFallsBack(t *testing.T) {
	var asked []string
	refuse := http.StatusForbidden
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		if strings.HasSuffix(r.URL.Path, "recover") {
			http.Error(w, "Snapshot recovery from remote URLs is disabled in the configuration", refuse)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"result":true}`)
	}))
	defer server.Close()
	k, err := newCourier(quick(), clusterOf(t, "1.18.3", server.URL, ""), executors.RestoreRequest{})
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	p := parcel{collection: "c", size: 3, open: func(each func(io.Reader) error) error {
		opened++
		return each(strings.NewReader("tar"))
	}}
	for range 2 {
		if err := k.deliver(t.Context(), k.c.nodes[0], p); err != nil {
			t.Fatal(err)
		}
	}
	const up, fetch = "POST /collections/c/shards/0/snapshots/upload", "PUT /collections/c/shards/0/snapshots/recover"
	if !slices.Equal(asked, []string{fetch, up, up}) || opened != 3 {
		t.Errorf("asked %q, opened %d times", asked, opened)
	}

	// The store's own error is told, not what the server thinks of an archive that broke off.
	p.open = func(each func(io.Reader) error) error { return each(iotest.ErrReader(errBroken)) }
	if err := k.deliver(t.Context(), k.c.nodes[0], p); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	if err := k.deliver(ctx, k.c.nodes[0], p); !errors.Is(err, errBroken) {
		t.Errorf("after its end: %v", err)
	}
}

// Where to listen follows from how the server is reached, or from what is asked for.
func TestCourierListens(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for _, c := range []struct{ serve, want string }{{"", "127.0.0.1"}, {"backup.example.org:0", "backup.example.org"}} {
		k := &courier{x: quick(), serve: c.serve}
		host, l, err := k.listen(t.Context(), &node{url: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		name, port, _ := net.SplitHostPort(host)
		if _, own, _ := net.SplitHostPort(l.Addr().String()); name != c.want || port != own || port == "0" {
			t.Errorf("serve=%q: it listens at %s, the server is told %s", c.serve, l.Addr(), host)
		}
		_ = l.Close()
	}
}
