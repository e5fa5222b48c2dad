package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/holdfast-io/holdfast/test/azureserver"
	"github.com/holdfast-io/holdfast/test/gcsserver"
	"github.com/holdfast-io/holdfast/test/hfbin"
	"github.com/holdfast-io/holdfast/test/pgserver"
	"github.com/holdfast-io/holdfast/test/s3server"
)

const storesPolicy = `
holdfast {
  state = "STATE"
}
store "primary" {
  url = "STORE"
  encryption {
    recipients = ["RECIPIENT"]
  }
}
source "files" "config" {
  root = "data"
}
source "postgres" "app" {
  dsn = env("APP_URL")
}
retention "two" {
  last = 2
}
backup "config" {
  source    = source.files.config
  store     = store.primary
  retention = retention.two
  schedule { every = "1h" }
  verify { after = "read" }
}
backup "app" {
  source    = source.postgres.app
  store     = store.primary
  retention = retention.two
  schedule { every = "1h" }
  logical {
    databases = ["app"]
  }
  verify { after = "read" }
}
`

// The main job with store and state in buckets: nothing is on this host but the policy and the key.
func TestMainJobInBuckets(t *testing.T) {
	amazon, google, azure := s3server.Start(t), gcsserver.Start(t), azureserver.Start(t)
	database := pgserver.Start(t, pgserver.Options{})
	guarded := func(lock bool) string {
		raw, err := amazon.NewGuardedBucket(t.Context(), lock)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	locked := guarded(true)
	buckets := map[string]string{"S3 with object lock": locked, "Google": google.URL, "Azure": azure.URL}
	if os.Getenv("HOLDFAST_LONG") != "" { // the faults go through a plain bucket in any case
		buckets["S3"], buckets["S3 with versions"] = amazon.URL, guarded(false)
	}
	for name, bucket := range buckets {
		t.Run(name, func(t *testing.T) { mainJob(t, bucket, database) })
	}

	// Under object lock nothing is gone: what holdfast deletes or replaces stays as a version.
	t.Run("versions stay", func(t *testing.T) {
		out, err := amazon.Client().ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: new(s3server.BucketOf(locked))})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.DeleteMarkers) == 0 || len(out.Versions) == 0 {
			t.Errorf("%d versions and %d marks of deletion", len(out.Versions), len(out.DeleteMarkers))
		}
	})
}

func mainJob(t *testing.T, bucket string, database *pgserver.Server) {
	for _, sql := range []string{"DROP DATABASE IF EXISTS app", "DROP DATABASE IF EXISTS restored", "CREATE DATABASE app"} {
		if err := database.Exec(t.Context(), "postgres", sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := database.Exec(t.Context(), "app", appData); err != nil {
		t.Fatal(err)
	}
	s := hfbin.New(t)
	s.Env = append(s.Env, "APP_URL="+database.DSN("app"))
	s.Write("main.hf.hcl", strings.NewReplacer(
		"STATE", s3server.Below(bucket, "state"), "STORE", s3server.Below(bucket, "store"), "RECIPIENT", s.Recipient).Replace(storesPolicy))
	s.Write("data/a.yaml", "a: 1\n")
	s.Write("data/sub/b.yaml", strings.Repeat("b: 2\n", 100000))
	s.Must("init")
	s.Must("apply", "-auto-approve")
	s.Prints(s.Must("plan"), "No changes")

	// Twice more than retention keeps: the first points expire, and what only they needed is condemned.
	for i := range 3 {
		s.Write("data/a.yaml", fmt.Sprintf("a: %d\n", i+2))
		if err := database.Exec(t.Context(), "app", fmt.Sprintf("UPDATE documents SET title = 'changed %d' WHERE id = 7", i)); err != nil {
			t.Fatal(err)
		}
		s.Must("apply", "-auto-approve", "-force=backup.config", "-force=backup.app")
	}
	points := s.Points()
	if len(points) != 4 {
		t.Errorf("%d points, want two of each backup: %+v", len(points), points)
	}
	for _, p := range points {
		if !p.Verified {
			t.Errorf("not verified: %+v", p)
		}
	}
	s.Prints(s.Must("verify", "-level=read"), "4 of 4 restore points verified")

	s.Must("restore", "backup.config", "-target=back", "-auto-approve")
	for _, name := range []string{"a.yaml", "sub/b.yaml"} {
		want, err := os.ReadFile(filepath.Join(s.Dir, "data", name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(s.Dir, "back", name)); err != nil || string(got) != string(want) {
			t.Errorf("%s did not come back: %v", name, err)
		}
	}
	s.Must("restore", "backup.app", "-target="+database.DSN("restored"), "-auto-approve")
	sameRows(t, database.DSN("app"), database.DSN("restored"), "documents", `"Odd Name"`)
	s.Must("apply", "-auto-approve")
	s.Prints(s.Must("plan"), "No changes")
}

// One apply whose objects are more than a service lists at a time: 250 backups of a file each.
func TestThousandObjects(t *testing.T) {
	if os.Getenv("HOLDFAST_LONG") == "" {
		t.Skip("takes more than a minute: the verification of each backup reads all indexes; HOLDFAST_LONG=1 runs it")
	}
	const backups = 250
	server := s3server.Start(t)
	s := hfbin.New(t)
	head, _, _ := strings.Cut(storesPolicy, `source "files"`)
	var b strings.Builder
	b.WriteString(strings.NewReplacer("STATE", "file://./state", "STORE", s3server.Below(server.URL, "store"), "RECIPIENT", s.Recipient).Replace(head))
	for i := range backups {
		fmt.Fprintf(&b, "source \"files\" \"s%d\" {\n  root = \"data/%d\"\n}\nbackup \"b%d\" {\n  source = source.files.s%d\n  store = store.primary\n  schedule { every = \"1h\" }\n}\n", i, i, i, i)
		s.Write(fmt.Sprintf("data/%d/file", i), fmt.Sprintf("content %d\n", i))
	}
	s.Write("main.hf.hcl", b.String())
	s.Must("init")
	s.Must("apply", "-auto-approve")
	if n := len(s.Points()); n != backups {
		t.Errorf("%d points", n)
	}
	objects := 0
	pages := s3.NewListObjectsV2Paginator(server.Client(), &s3.ListObjectsV2Input{Bucket: new(s3server.BucketOf(server.URL))})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		objects += len(page.Contents)
	}
	if objects <= 1000 {
		t.Errorf("%d objects, want more than a page", objects)
	}

	s.Prints(s.Must("verify"), fmt.Sprintf("%d of %d restore points verified", backups, backups))
	s.Prints(s.Must("plan"), "No changes")
	s.Must("restore", "backup.b7", "-target=back", "-auto-approve")
	if got, err := os.ReadFile(filepath.Join(s.Dir, "back/file")); err != nil || string(got) != "content 7\n" {
		t.Errorf("came back: %q, %v", got, err)
	}
}
