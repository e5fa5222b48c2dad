package cloud_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/cloud"
	"github.com/holdfast-io/holdfast/test/azureserver"
	"github.com/holdfast-io/holdfast/test/faultproxy"
	"github.com/holdfast-io/holdfast/test/gcsserver"
	"github.com/holdfast-io/holdfast/test/s3server"
)

// proxied is a bucket behind a proxy, and the same one without.
type proxied struct {
	name          string
	bucket, plain *cloud.Bucket
	proxy         *faultproxy.Proxy
}

// everyService starts each of the servers with a proxy before it.
func everyService(t *testing.T) []proxied {
	t.Helper()
	amazon, google, azure := s3server.Start(t), gcsserver.Start(t), azureserver.Start(t)
	amazonProxy, googleProxy, azureProxy := faultproxy.Start(t, amazon.Endpoint), faultproxy.Start(t, google.Endpoint), faultproxy.Start(t, azure.Endpoint)
	all := []proxied{
		{"S3", open(t, strings.Replace(amazon.URL, strings.TrimPrefix(amazon.Endpoint, "http://127.0.0.1:"), strings.TrimPrefix(amazonProxy.URL, "http://127.0.0.1:"), 1)), open(t, amazon.URL), amazonProxy},
		{"Google", nil, open(t, google.URL), googleProxy},
		{"Azure", open(t, strings.Replace(azure.URL, strings.TrimPrefix(azure.Endpoint, "http://127.0.0.1:"), strings.TrimPrefix(azureProxy.URL, "http://127.0.0.1:"), 1)), open(t, azure.URL), azureProxy},
	}
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(googleProxy.URL, "http://"))
	all[1].bucket = open(t, google.URL)
	return all
}

// What a repository writes at once, a pack of 32 MiB, and more: every object goes up in one conditional request, whole or not at all, so
// there are no parts to lose.
func TestUploadsAreOneCheckedRequest(t *testing.T) {
	data := make([]byte, 33<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	for _, s := range everyService(t) {
		t.Run(s.name, func(t *testing.T) {
			s.proxy.Set()
			if err := s.bucket.Create(t.Context(), "packs/large", data); err != nil {
				t.Fatal(err)
			}
			if n := len(s.proxy.Requests()); n != 1 {
				t.Errorf("%d requests: %q", n, s.proxy.Requests())
			}
			if got, err := s.plain.Get(t.Context(), "packs/large"); err != nil || !bytes.Equal(got, data) {
				t.Errorf("it is not what was sent: %d bytes, %v", len(got), err)
			}
			if err := s.bucket.Create(t.Context(), "packs/large", data[:1000]); !errors.Is(err, blob.ErrExists) {
				t.Errorf("a second create: %v, want ErrExists", err)
			}

			s.proxy.Set(faultproxy.Fault{Garble: true, Times: 2})
			for _, write := range []func() error{
				func() error { return s.bucket.Create(t.Context(), "packs/altered", data) },
				func() error { return s.bucket.Put(t.Context(), "packs/altered", data) },
			} {
				err := write()
				// Google's answer is a general "invalid"; azurite says "InvalidOperation", where Azure documents "Md5Mismatch".
				if err == nil || errors.Is(err, blob.ErrExists) || !blob.IsRetryable(err) && s.name == "S3" {
					t.Errorf("half of it was altered on the way: %v, want a retryable error", err)
				}
			}
			s.proxy.CheckStruck(t)
			if _, err := s.plain.Stat(t.Context(), "packs/altered"); !errors.Is(err, blob.ErrNotFound) {
				t.Errorf("what was altered is stored: %v, want ErrNotFound", err)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	data := []byte(strings.Repeat("content ", 10_000))
	for _, s := range everyService(t) {
		t.Run(s.name, func(t *testing.T) {
			if err := s.plain.Put(t.Context(), "x", data); err != nil {
				t.Fatal(err)
			}
			get := func() error { _, err := s.bucket.Get(t.Context(), "x"); return err }
			ranged := func() error { _, err := s.bucket.GetRange(t.Context(), "x", 8, 1000); return err }
			create := func() error { return s.bucket.Create(t.Context(), "new", data) }
			cases := []struct {
				name  string
				fault faultproxy.Fault
				do    func() error
			}{
				{"answer that breaks off", faultproxy.Fault{CutAnswer: true, Times: -1}, get},
				{"shorter answer", faultproxy.Fault{Truncate: true, Times: -1}, get},
				{"range that breaks off", faultproxy.Fault{CutAnswer: true, Times: -1}, ranged},
				{"shorter range", faultproxy.Fault{Truncate: true, Times: -1}, ranged},
				{"request that breaks off", faultproxy.Fault{CutRequest: true, Times: -1}, create},
				{"lost answer", faultproxy.Fault{Lost: true, Times: -1}, create},
			}
			for _, c := range cases {
				s.proxy.Set(c.fault)
				err := c.do()
				if !blob.IsRetryable(err) || errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrExists) {
					t.Errorf("%s: %v, want a retryable error", c.name, err)
				}
				s.proxy.CheckStruck(t)
			}
			s.proxy.Set()
			if got, err := s.bucket.Get(t.Context(), "x"); err != nil || !bytes.Equal(got, data) {
				t.Errorf("afterwards: %d bytes, %v", len(got), err)
			}
			if got, err := s.bucket.Get(t.Context(), "new"); err != nil || !bytes.Equal(got, data) {
				t.Errorf("what was made although the answer was lost: %d bytes, %v", len(got), err)
			}
		})
	}
}

// What the service says about credentials reaches the reader with what to do.
func TestDenials(t *testing.T) {
	amazon := s3server.Start(t)
	proxy := faultproxy.Start(t, amazon.Endpoint)
	b := open(t, amazon.Through(amazon.URL, proxy.URL))
	for _, c := range []struct {
		status     int
		code, want string
	}{
		{http.StatusBadRequest, "ExpiredToken", "renew them"},
		{http.StatusForbidden, "ExpiredToken", "renew them"},
		{http.StatusForbidden, "RequestTimeTooSkewed", "clock"},
		{http.StatusForbidden, "InvalidAccessKeyId", "Credentials"},
		{http.StatusForbidden, "AccessDenied", "Permissions"},
	} {
		proxy.Set(faultproxy.Fault{Status: c.status, Code: c.code, Times: -1})
		_, gerr := b.Get(t.Context(), "x")
		lerr := b.List(t.Context(), "", func(blob.Info) error { return nil })
		for op, err := range map[string]error{"get": gerr, "list": lerr, "put": b.Put(t.Context(), "x", nil)} {
			if !errors.Is(err, blob.ErrDenied) || blob.IsRetryable(err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s answered %d %s: %v, want a final denial with %q", op, c.status, c.code, err, c.want)
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for _, s := range everyService(t) {
		s.proxy.Set(faultproxy.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown", RetryAfter: 7, Times: -1})
		err := s.bucket.Put(t.Context(), "x", []byte("x"))
		if !blob.IsRetryable(err) || blob.RetryAfter(err) != 7*time.Second {
			t.Errorf("%s: %v, to be left alone for %v", s.name, err, blob.RetryAfter(err))
		}
	}
}
