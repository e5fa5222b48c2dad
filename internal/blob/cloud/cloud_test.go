package cloud_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/internal/blob/cloud"
	"github.com/holdfast-io/holdfast/test/s3server"
)

func parse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func open(t *testing.T, raw string) *cloud.Bucket {
	t.Helper()
	b, err := cloud.Open(t.Context(), parse(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func newBucket(t *testing.T, s *s3server.Server) string {
	t.Helper()
	raw, err := s.NewBucket()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestConformanceMemory(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Bucket { return open(t, "mem://") })
}

func TestConformanceS3(t *testing.T) {
	s := s3server.Start(t)
	conformance(t, func(t *testing.T) string { return newBucket(t, s) })
	t.Run("old checksums", func(t *testing.T) {
		b := open(t, newBucket(t, s)+"&request_checksum_calculation=when_required&response_checksum_validation=when_required")
		if err := b.Create(t.Context(), "x", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Get(t.Context(), "x"); err != nil || string(got) != "x" {
			t.Errorf("get: %q, %v", got, err)
		}
	})
}

func TestPrefixSharesTheBucket(t *testing.T) {
	whole, part := open(t, "mem://cloud-prefix"), open(t, "mem://cloud-prefix/a/b")
	for _, name := range []string{"a/bc", "a/b/x", "b"} {
		if err := whole.Put(t.Context(), name, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	if err := part.List(t.Context(), "", func(i blob.Info) error { got = append(got, i.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"x"}, got); diff != "" {
		t.Errorf("names below the prefix (-want +got):\n%s", diff)
	}
}

func TestOpenFindsMistakes(t *testing.T) {
	s := s3server.Start(t)
	check := func(name, raw string, want error, text string) {
		t.Helper()
		b, err := cloud.Open(t.Context(), parse(t, raw))
		if b != nil || err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), text) || blob.IsRetryable(err) {
			t.Errorf("%s: got %v, want a final %v with %q", name, err, want, text)
		}
	}
	check("absent bucket", strings.Replace(s.URL, "bucket-1", "bukcet-1", 1), blob.ErrNotFound, "open store s3://bukcet-1: there is no such bucket")
	check("unknown parameter", s.URL+"&regoin=x", nil, `unknown query parameter "regoin"`)
	check("no bucket", "s3://?region=us-east-1", nil, "names no bucket")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	check("wrong secret", s.URL, blob.ErrDenied, "SignatureDoesNotMatch")
	t.Setenv("AWS_ACCESS_KEY_ID", "nobody")
	// Amazon answers 403; this server says 404 with a code of its own, which must not become "no such bucket".
	check("unknown key", s.URL, nil, "No user exists with the provided access key ID")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("HOME", t.TempDir())
	check("no credentials", s.URL, blob.ErrDenied, "get credentials")
}

func TestServerGone(t *testing.T) {
	s, stop, err := s3server.Run(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range s.Env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	b := open(t, s.URL)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, gerr := b.Get(t.Context(), "x")
	for op, err := range map[string]error{"get": gerr, "create": b.Create(t.Context(), "x", []byte("x"))} {
		if !blob.IsRetryable(err) || errors.Is(err, blob.ErrNotFound) || !strings.Contains(err.Error(), "object x") {
			t.Errorf("%s: %v, want a retryable error that names the object", op, err)
		}
	}
}

// meddler stands between client and server and spoils chosen answers.
type meddler struct {
	*httptest.Server
	spoil atomic.Pointer[func(*http.Response) error]
	puts  atomic.Int32
}

func newMeddler(t *testing.T, endpoint string) *meddler {
	t.Helper()
	target := parse(t, endpoint)
	m := &meddler{}
	proxy := &httputil.ReverseProxy{
		// The request's Host stays as it was signed.
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
			r.Out.Host = r.In.Host
		},
		ErrorLog: log.New(io.Discard, "", 0), // some tests break its connections
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method == http.MethodPut {
				m.puts.Add(1)
			}
			if f := m.spoil.Load(); f != nil {
				return (*f)(r)
			}
			return nil
		},
	}
	m.Server = httptest.NewServer(proxy)
	t.Cleanup(m.Close)
	return m
}

func (m *meddler) spoilAnswers(f func(*http.Response) error) {
	if f == nil {
		m.spoil.Store(nil)
		return
	}
	m.spoil.Store(&f)
}

func answer(status int) func(*http.Response) error {
	return func(r *http.Response) error {
		r.Body.Close()
		r.StatusCode, r.Status = status, http.StatusText(status)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("")), 0
		r.Header.Set("Content-Length", "0")
		return nil
	}
}

func TestSpoiltAnswers(t *testing.T) {
	s := s3server.Start(t)
	m := newMeddler(t, s.Endpoint)
	b := open(t, strings.Replace(s.URL, url.QueryEscape(s.Endpoint), url.QueryEscape(m.URL), 1))
	data := []byte(strings.Repeat("content ", 10_000))
	if err := b.Put(t.Context(), "x", data); err != nil {
		t.Fatal(err)
	}

	// The server makes the object, then its answer is lost. A client that silently sends the request again would hear
	// "exists" and tell us that somebody else made it.
	m.puts.Store(0)
	m.spoilAnswers(answer(http.StatusServiceUnavailable))
	err := b.Create(t.Context(), "made", data)
	if !blob.IsRetryable(err) || errors.Is(err, blob.ErrExists) {
		t.Errorf("create with a lost answer: %v, want a retryable error", err)
	}
	if n := m.puts.Load(); n != 1 {
		t.Errorf("create sent %d requests, want 1", n)
	}

	for status, want := range map[int]error{
		http.StatusForbidden: blob.ErrDenied, http.StatusUnauthorized: blob.ErrDenied, http.StatusInsufficientStorage: blob.ErrNoSpace,
	} {
		m.spoilAnswers(answer(status))
		if err := b.Create(t.Context(), "y", data); !errors.Is(err, want) || blob.IsRetryable(err) {
			t.Errorf("status %d: %v, want a final %v", status, err, want)
		}
	}

	m.spoilAnswers(func(r *http.Response) error {
		if r.Request.Method != http.MethodGet {
			return nil
		}
		whole, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(whole[:len(whole)/2])))
		return err
	})
	if got, err := b.Get(t.Context(), "x"); err == nil || errors.Is(err, blob.ErrNotFound) || !blob.IsRetryable(err) {
		t.Errorf("get that breaks off: %d bytes, %v; want a retryable error", len(got), err)
	}
	if got, err := b.GetRange(t.Context(), "x", 8, 1000); err == nil {
		t.Errorf("range that breaks off: %d bytes and no error", len(got))
	}

	m.spoilAnswers(func(r *http.Response) error {
		whole, err := io.ReadAll(r.Body)
		if len(whole) > 10 {
			whole[10] ^= 1
		}
		r.Body = io.NopCloser(strings.NewReader(string(whole)))
		return err
	})
	if got, err := b.Get(t.Context(), "x"); err == nil {
		t.Errorf("get with a flipped bit: %d bytes and no error", len(got))
	}

	m.spoilAnswers(nil)
	if got, err := b.Get(t.Context(), "made"); err != nil || string(got) != string(data) {
		t.Errorf("get: %d bytes, %v", len(got), err)
	}
}

func TestCancelledRequest(t *testing.T) {
	s := s3server.Start(t)
	m := newMeddler(t, s.Endpoint)
	b := open(t, strings.Replace(s.URL, url.QueryEscape(s.Endpoint), url.QueryEscape(m.URL), 1))
	ctx, cancel := context.WithCancel(t.Context())
	m.spoilAnswers(func(r *http.Response) error {
		cancel() // while the client waits for the answer
		<-ctx.Done()
		<-r.Request.Context().Done()
		return r.Request.Context().Err()
	})
	err := b.Create(ctx, "x", []byte("x"))
	if !errors.Is(err, context.Canceled) || blob.IsRetryable(err) {
		t.Errorf("got %v, want a final error with the cancellation", err)
	}
}
