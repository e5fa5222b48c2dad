package cloud_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// scripted answers like a service whose bucket lists as its field says and that answers every other request with one
// status. It proves what the vendors' clients make of answers, not that the services behave like this.
type scripted struct {
	list string

	mu       sync.Mutex
	status   int
	header   [2]string
	requests []string
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	if r.Method == http.MethodGet && (q.Get("comp") == "list" || strings.HasSuffix(r.URL.Path, "/o")) {
		if s.status == 0 {
			fmt.Fprint(w, s.list)
			return
		}
	}
	condition := r.Header.Get("If-None-Match") + q.Get("ifGenerationMatch")
	s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+condition))
	if s.header[0] != "" {
		w.Header().Set(s.header[0], s.header[1])
	}
	w.WriteHeader(s.status)
}

// answer sets the script and forgets the requests seen so far.
func (s *scripted) answer(status int, header ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.header, s.requests = status, [2]string{}, nil
	copy(s.header[:], header)
}

func (s *scripted) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func TestGoogleAnswers(t *testing.T) {
	s := &scripted{list: `{"kind":"storage#objects"}`}
	srv := httptest.NewServer(s)
	defer srv.Close()
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(srv.URL, "http://"))
	testAnswers(t, s, open(t, "gs://bucket/prefix?anonymous=true"), "POST 0", nil)
}

func TestAzureAnswers(t *testing.T) {
	const empty = `<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs></Blobs><NextMarker/></EnumerationResults>`
	s := &scripted{list: empty}
	srv := httptest.NewServer(s)
	defer srv.Close()
	t.Setenv("AZURE_STORAGE_ACCOUNT", "account")
	t.Setenv("AZURE_STORAGE_KEY", "c2VjcmV0")
	b := open(t, "azblob://container/prefix?protocol=http&domain="+strings.TrimPrefix(srv.URL, "http://"))
	testAnswers(t, s, b, "PUT *", []string{"x-ms-error-code", "BlobAlreadyExists"})
	t.Run("taken name, as the documentation says", func(t *testing.T) {
		s.answer(http.StatusPreconditionFailed, "x-ms-error-code", "ConditionNotMet")
		if err := b.Create(t.Context(), "x", nil); !errors.Is(err, blob.ErrExists) {
			t.Errorf("got %v, want ErrExists", err)
		}
	})
	t.Run("listing in the order of the service", func(t *testing.T) {
		entry := func(name string) string {
			return "<Blob><Name>" + name + "</Name><Properties><Content-Length>1</Content-Length><Last-Modified>Sun, 22 Nov 2026 00:00:00 GMT</Last-Modified></Properties></Blob>"
		}
		s.answer(0)
		s.list = strings.Replace(empty, "<Blobs>", "<Blobs>"+entry("prefix/a/b")+entry("prefix/a-b")+entry("prefix/B"), 1)
		var got []string
		if err := b.List(t.Context(), "", func(i blob.Info) error { got = append(got, i.Name); return nil }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"B", "a-b", "a/b"}, got); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
	})
}

// testAnswers checks that each operation is one request, whatever the answer, and that the answers mean the right thing.
func testAnswers(t *testing.T, s *scripted, b blob.Bucket, create string, taken []string) {
	data := make([]byte, 20<<20) // more than the clients' usual part
	cases := []struct {
		status int
		header []string
		want   error
		retry  bool
	}{
		{status: http.StatusServiceUnavailable, retry: true},
		{status: http.StatusInternalServerError, retry: true},
		{status: http.StatusTooManyRequests, retry: true},
		{status: http.StatusForbidden, want: blob.ErrDenied},
		{status: http.StatusUnauthorized, want: blob.ErrDenied},
		{status: http.StatusBadRequest},
	}
	for _, c := range cases {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			check := func(op string, err error) {
				t.Helper()
				ok := err != nil && (c.want == nil || errors.Is(err, c.want)) && !errors.Is(err, blob.ErrNotFound) && !errors.Is(err, blob.ErrExists)
				if !ok || blob.IsRetryable(err) != c.retry {
					t.Errorf("%s: %v (retryable %v), want %v (retryable %v)", op, err, blob.IsRetryable(err), c.want, c.retry)
				}
				if n := len(s.seen()); n != 1 {
					t.Errorf("%s sent %d requests, want 1: %q", op, n, s.seen())
				}
			}
			s.answer(c.status, c.header...)
			check("create", b.Create(t.Context(), "x", data))
			if diff := cmp.Diff([]string{create}, s.seen()); diff != "" {
				t.Errorf("requests of create (-want +got):\n%s", diff)
			}
			s.answer(c.status, c.header...)
			_, err := b.Get(t.Context(), "x")
			check("get", err)
			s.answer(c.status, c.header...)
			_, err = b.Stat(t.Context(), "x")
			check("stat", err)
			s.answer(c.status, c.header...)
			check("delete", b.Delete(t.Context(), "x"))
			s.answer(c.status, c.header...)
			check("list", b.List(t.Context(), "", func(blob.Info) error { return nil }))
		})
	}
	t.Run("taken name", func(t *testing.T) {
		status := http.StatusPreconditionFailed
		if taken != nil {
			status = http.StatusConflict
		}
		s.answer(status, taken...)
		if err := b.Create(t.Context(), "x", data); !errors.Is(err, blob.ErrExists) || blob.IsRetryable(err) {
			t.Errorf("create: %v, want a final ErrExists", err)
		}
	})
	t.Run("absent", func(t *testing.T) {
		s.answer(http.StatusNotFound)
		if _, err := b.Get(t.Context(), "x"); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("get: %v, want ErrNotFound", err)
		}
		if err := b.Delete(t.Context(), "x"); err != nil {
			t.Errorf("delete: %v", err)
		}
	})
}
