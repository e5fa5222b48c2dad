package s3server_test

import (
	"net/http"
	"testing"

	"github.com/holdfast-io/holdfast/test/s3server"
)

func TestServerChecksCredentialsAndSeparatesBuckets(t *testing.T) {
	s := s3server.Start(t)
	resp, err := http.Get(s.Endpoint + "/bucket-1")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("request without a signature: status %d, want %d", resp.StatusCode, http.StatusForbidden)
	}
	other, err := s.NewBucket()
	if err != nil {
		t.Fatal(err)
	}
	if other == s.URL {
		t.Errorf("NewBucket returned the first bucket again: %s", other)
	}
}
