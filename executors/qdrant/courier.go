package qdrant

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// via is how an archive reaches the server.
type via string

const (
	viaAuto   via = "auto"
	viaUpload via = "upload" // in the body of a request: always possible; the server keeps it as a file first
	viaURL    via = "url"    // the server fetches it from here and unpacks it on the way
	viaFile   via = "file"   // it is put into the server's own folder of snapshots
)

// courier hands archives over, in the cheapest way that works. A way that turned out not to work is not tried again.
type courier struct {
	x       *Executor
	c       *cluster
	choice  via
	serve   string // host:port to listen at; empty chooses
	mu      sync.Mutex
	refused map[via]error
}

func newCourier(x *Executor, c *cluster, req executors.RestoreRequest) (*courier, error) {
	k := &courier{x: x, c: c, choice: via(req.Options[optionVia]), serve: req.Options[optionServe], refused: map[via]error{}}
	switch k.choice {
	case "":
		k.choice = viaAuto
	case viaAuto, viaUpload:
	case viaURL:
		if c.version.less(fetches) {
			return nil, fmt.Errorf("via=url needs Qdrant %d.%d, this server is %s: use via=upload", fetches.major, fetches.minor, c.version.text)
		}
	case viaFile:
		if c.shared == "" {
			return nil, errors.New("via=file needs snapshots_path in a source of a single server: the server's storage.snapshots_path as this host sees it")
		}
	default:
		return nil, fmt.Errorf("via=%s is not known: auto, upload, url or file", k.choice)
	}
	if k.serve != "" {
		if _, _, err := net.SplitHostPort(k.serve); err != nil {
			return nil, fmt.Errorf("serve=%s is not HOST:PORT, an address of this host that the server can reach", k.serve)
		}
	}
	return k, nil
}

// parcel is an archive to be handed over. open may be called again when a way failed before the archive was used up.
type parcel struct {
	collection string
	shard      uint32
	size       int64
	sha256     string
	open       func(each func(io.Reader) error) error
}

// errUnusable says that a way does not work here and that nothing was changed.
var errUnusable = errors.New("this way does not work here")

// deliver puts an archive in the place of a shard. It returns when the server has loaded it.
func (k *courier) deliver(ctx context.Context, n *node, p parcel) error {
	ways := []via{k.choice}
	if k.choice == viaAuto {
		ways = k.ways(n)
	}
	var last error
	for _, w := range ways {
		k.mu.Lock()
		before := k.refused[w]
		k.mu.Unlock()
		if before != nil && w != viaUpload {
			last = before
			continue
		}
		err := k.again(ctx, w, n, p)
		if err == nil || ctx.Err() != nil || !errors.Is(err, errUnusable) {
			return err
		}
		k.mu.Lock()
		k.refused[w] = err
		k.mu.Unlock()
		last = err
	}
	return last
}

// ways are those that may work, the cheapest first.
func (k *courier) ways(n *node) []via {
	var out []via
	if k.c.shared != "" && len(k.c.nodes) == 1 {
		out = append(out, viaFile)
	}
	// An archive is not served in clear to a server that is spoken to over TLS, unless somebody says where.
	if !k.c.version.less(fetches) && (k.serve != "" || !isTLS(n.url)) {
		out = append(out, viaURL)
	}
	return append(out, viaUpload)
}

// again goes one way, and once more when the connection broke. Only where nobody else writes: a server that heard the first
// time may put the archive in its place late, over what was written since.
func (k *courier) again(ctx context.Context, w via, n *node, p parcel) error {
	for try := 1; ; try++ {
		err := k.by(ctx, w, n, p)
		if err == nil || ctx.Err() != nil || errors.Is(err, errUnusable) || !isOurs(p.collection) || try == k.x.margins.tries || !unanswered(err) || isRefused(err) {
			return err
		}
		if err := sleep(ctx, backoff(try)); err != nil {
			return err
		}
	}
}

func (k *courier) by(ctx context.Context, w via, n *node, p parcel) error {
	var used error
	err := p.open(func(r io.Reader) error {
		switch src := (&watchedReader{r: r}); w {
		case viaFile:
			used = k.file(ctx, n, p, src)
			return cmp.Or(src.err, used)
		case viaURL:
			used = k.url(ctx, n, p, src)
			return cmp.Or(src.err, used)
		default:
			used = k.upload(ctx, n, p, src)
			return cmp.Or(src.err, used)
		}
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("hand shard %d of %q over (%s): %w", p.shard, p.collection, w, err)
}

// watchedReader remembers why reading failed: what a server says of an archive that broke off is of no use.
type watchedReader struct {
	r   io.Reader
	n   int64
	err error
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.n += int64(n)
	if err != nil && err != io.EOF { //nolint:errorlint // a wrapped EOF is a failure
		w.err = err
	}
	return n, err
}

// upload sends the archive in a form. Its length is told, which proxies like.
func (k *courier) upload(ctx context.Context, n *node, p parcel, src io.Reader) error {
	var head strings.Builder
	form := multipart.NewWriter(&head)
	if _, err := form.CreateFormFile("snapshot", "holdfast.snapshot"); err != nil {
		return err
	}
	query := "?wait=true&priority=snapshot"
	if p.sha256 != "" { // a safety snapshot of a server that gives none
		query += "&checksum=" + p.sha256
	}
	tail := "\r\n--" + form.Boundary() + "--\r\n"
	body := io.MultiReader(strings.NewReader(head.String()), io.LimitReader(src, p.size), strings.NewReader(tail))
	resp, err := n.request(ctx, http.MethodPost, shardPath(p.collection, p.shard, "snapshots", "upload")+query, body, func(r *http.Request) {
		r.ContentLength = int64(head.Len()) + p.size + int64(len(tail))
		r.Header.Set("Content-Type", form.FormDataContentType())
	})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// recover asks the server to fetch an archive from a place.
func (k *courier) recover(ctx context.Context, n *node, p parcel, location, key string) error {
	body := map[string]any{"location": location, "priority": "snapshot", "checksum": p.sha256}
	if key != "" {
		body["api_key"] = key
	}
	return n.call(ctx, limitless, http.MethodPut, shardPath(p.collection, p.shard, "snapshots", "recover")+"?wait=true", body, nil)
}

// file puts the archive where the server keeps its own snapshots of the shard.
func (k *courier) file(ctx context.Context, n *node, p parcel, src io.Reader) error {
	unusable := func(err error) error { return fmt.Errorf("%w: %w", errUnusable, err) }
	info, err := os.Stat(k.c.shared)
	if err != nil {
		return unusable(err)
	}
	// The archive and what is unpacked of it, which are on one disk as a rule.
	if !roomIn(k.c.shared, 2*p.size) {
		return unusable(fmt.Errorf("%s has no room for twice %s", k.c.shared, policy.FormatBytes(p.size)))
	}
	dir := k.c.shared
	for _, name := range []string{p.collection, "shards", fmt.Sprint(p.shard)} {
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o700); err == nil {
			likeOwner(dir, info)
			defer os.Remove(dir) //nolint:errcheck // the server may have put something into it
		} else if !errors.Is(err, os.ErrExist) {
			return unusable(err)
		}
	}
	name := "holdfast-" + newToken() + ".snapshot"
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return unusable(err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // the server may have removed it
	if !likeOwner(f.Name(), info) {
		_ = f.Close()
		return unusable(errors.New("this account may not make files that the server's account can read"))
	}
	_, err = io.Copy(f, io.LimitReader(src, p.size))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	err = k.recover(ctx, n, p, name, "")
	if isGone(err) {
		return unusable(fmt.Errorf("the server does not see the file in %s, which snapshots_path says is its storage.snapshots_path: %w", k.c.shared, err))
	}
	return err
}

// likeOwner gives a path to the owner of the folder; it fails when that is somebody else and this account may not.
func likeOwner(path string, like os.FileInfo) bool {
	st, ok := like.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() {
		return true
	}
	return unix.Lchown(path, int(st.Uid), int(st.Gid)) == nil
}

// url serves the archive once, to whoever knows its name and key, and lets the server fetch it.
func (k *courier) url(ctx context.Context, n *node, p parcel, src io.Reader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	host, listener, err := k.listen(ctx, n)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnusable, err)
	}
	s := &served{path: "/" + rand.Text(), key: rand.Text(), size: p.size, src: src, hit: make(chan struct{})}
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // ends by Close
	defer serving.Wait()
	defer server.Close() //nolint:errcheck // nothing of it is needed any more

	asked := make(chan error, 1)
	go func() { asked <- k.recover(ctx, n, p, "http://"+host+s.path, s.key) }()
	waiting := time.NewTimer(k.x.margins.reached)
	defer waiting.Stop()
	select {
	case err = <-asked:
	case <-s.hit:
		err = <-asked
	case <-waiting.C:
		cancel(errUnusable)
		<-asked
		if s.forbid() {
			return fmt.Errorf("the server began to fetch the archive from %s too late", host)
		}
		return fmt.Errorf("%w: the server did not fetch the archive from %s within %s; -serve=HOST:PORT names an address that it can reach", errUnusable, host, k.x.margins.reached)
	}
	_ = server.Close() // whoever still reads has no use for it
	if taken := s.forbid(); err != nil && !taken && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", errUnusable, err)
	}
	return err
}

// listen opens a port for the server, at the address that this host has towards it.
func (k *courier) listen(ctx context.Context, n *node) (host string, l net.Listener, err error) {
	var config net.ListenConfig
	if k.serve != "" {
		host, port, err := net.SplitHostPort(k.serve)
		if err != nil {
			return "", nil, err
		}
		// On that address alone; on all of this host's only where it is no own one, such as a router's.
		if l, err = config.Listen(ctx, "tcp", k.serve); err != nil && !errors.Is(err, syscall.EADDRINUSE) {
			l, err = config.Listen(ctx, "tcp", net.JoinHostPort("", port))
		}
		if err != nil {
			return "", nil, fmt.Errorf("listen at %s (-serve names another address, -via=upload goes without): %w", k.serve, err)
		}
		_, port, _ = net.SplitHostPort(l.Addr().String()) // an address of a listener has a port
		return net.JoinHostPort(host, port), l, nil
	}
	u, err := url.Parse(n.url)
	if err != nil {
		return "", nil, err
	}
	port := u.Port()
	if port == "" {
		port = map[bool]string{true: "443", false: "80"}[u.Scheme == "https"]
	}
	conn, err := (&net.Dialer{Timeout: k.x.o.Connect}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return "", nil, err
	}
	own, _, _ := net.SplitHostPort(conn.LocalAddr().String()) // an address of a connection has a port
	_ = conn.Close()                                          // it told what it was opened for
	if l, err = config.Listen(ctx, "tcp", net.JoinHostPort(own, "0")); err != nil {
		return "", nil, err
	}
	return l.Addr().String(), l, nil
}

// served answers one request with the archive.
type served struct {
	path, key string
	size      int64
	src       io.Reader
	hit       chan struct{}
	mu        sync.Mutex
	taken     bool
	busy      sync.WaitGroup
}

// ServeHTTP gives the archive to the first who asks rightly.
func (s *served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != s.path || r.Header.Get("api-key") != s.key || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	first := !s.taken
	s.taken = true
	if first {
		s.busy.Add(1)
	}
	s.mu.Unlock()
	if !first {
		http.Error(w, "it was given out already", http.StatusGone)
		return
	}
	defer s.busy.Done()
	close(s.hit)
	w.Header().Set("Content-Length", fmt.Sprint(s.size))
	w.Header().Set("Content-Type", "application/octet-stream")
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(s.src, s.size), make([]byte, 1<<20)); err != nil {
		panic(http.ErrAbortHandler) // breaks the connection, so that the server does not take it for the end
	}
}

// forbid ends the offer, waits until nobody reads the archive, and tells whether somebody did.
func (s *served) forbid() (taken bool) {
	s.mu.Lock()
	taken = s.taken
	s.taken = true
	s.mu.Unlock()
	s.busy.Wait()
	return taken
}

// newToken is a short random name.
func newToken() string { return strings.ToLower(rand.Text()[:12]) }
