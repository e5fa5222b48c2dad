package cloud_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/test/azureserver"
	"github.com/holdfast-io/holdfast/test/gcsserver"
	"github.com/holdfast-io/holdfast/test/s3server"
)

// The suite on servers that others wrote, which start empty and hold nothing else.

func TestConformanceGoogle(t *testing.T) {
	s := gcsserver.Start(t)
	conformance(t, func(t *testing.T) string {
		raw, err := s.NewBucket(false)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	})
}

func TestConformanceAzure(t *testing.T) {
	s := azureserver.Start(t)
	conformance(t, func(t *testing.T) string {
		raw, err := s.NewContainer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return raw
	})
}

// conformance runs the suite on buckets of their own, on several stores beside each other in one bucket, and lets several
// clients create the same names.
func conformance(t *testing.T, newBucket func(t *testing.T) string) {
	t.Run("bucket", func(t *testing.T) {
		blobtest.Run(t, func(t *testing.T) blob.Bucket { return open(t, newBucket(t)) })
	})
	t.Run("prefix", func(t *testing.T) {
		if t.Name() != "TestConformanceS3/prefix" && os.Getenv("HOLDFAST_LONG") == "" {
			t.Skip("the code is the same for all services; HOLDFAST_LONG=1 runs it on each")
		}
		raw := newBucket(t)
		n := 0
		// None may see another's objects.
		blobtest.Run(t, func(t *testing.T) blob.Bucket {
			n++
			return open(t, s3server.Below(raw, fmt.Sprintf("team/store-%d/", n)))
		})
	})
	t.Run("create is atomic between clients", func(t *testing.T) {
		raw := newBucket(t)
		var clients []blob.Bucket
		for range 8 {
			clients = append(clients, open(t, raw))
		}
		blobtest.CreateRace(t, clients)
	})
}

func TestGuards(t *testing.T) {
	yes, no := true, false
	amazon, google, azure := s3server.Start(t), gcsserver.Start(t), azureserver.Start(t)
	must := func(raw string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	cases := []struct {
		name, url string
		want      blob.Guards
	}{
		{"S3, plain", amazon.URL, blob.Guards{Versioning: &no, ObjectLock: &no}},
		{"S3, versions", must(amazon.NewGuardedBucket(t.Context(), false)), blob.Guards{Versioning: &yes, ObjectLock: &no}},
		{"S3, lock", must(amazon.NewGuardedBucket(t.Context(), true)), blob.Guards{Versioning: &yes, ObjectLock: &yes}},
		{"Google, plain", google.URL, blob.Guards{Versioning: &no, ObjectLock: &no}},
		{"Google, versions", must(google.NewBucket(true)), blob.Guards{Versioning: &yes, ObjectLock: &no}},
		{"Azure", azure.URL, blob.Guards{ObjectLock: &no}}, // versioning is the account's
		{"memory", "mem://", blob.Guards{}},
	}
	for _, c := range cases {
		got, err := blob.GuardsOf(t.Context(), open(t, c.url))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
