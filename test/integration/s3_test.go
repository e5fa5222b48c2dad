package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/test/hfbin"
	"github.com/holdfast-io/holdfast/test/s3server"
)

const s3Policy = `
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

retention "standard" {
  last = 1
}

backup "config" {
  source    = source.files.config
  store     = store.primary
  retention = retention.standard
  schedule { every = "1h" }
  verify { after = "read" }
}
`

// The main job with store and state in buckets: nothing is on this host but the policy and the key.
func TestS3MainJob(t *testing.T) {
	server := s3server.Start(t)
	s := hfbin.New(t)
	below := func(prefix string) string { return strings.Replace(server.URL, "?", "/"+prefix+"?", 1) }
	text := strings.NewReplacer("STATE", below("state"), "STORE", below("store"), "RECIPIENT", s.Recipient).Replace(s3Policy)
	s.Write("main.hf.hcl", text)
	s.Write("data/a.yaml", "a: 1\n")
	s.Write("data/sub/b.yaml", strings.Repeat("b: 2\n", 100000))
	s.Must("init")
	s.Must("apply", "-auto-approve")
	s.Prints(s.Must("plan"), "No changes")
	s.Write("data/a.yaml", "a: 2\n")
	s.Must("apply", "-auto-approve", "-force=backup.config")
	if points := s.Points(); len(points) != 1 || !points[0].Verified {
		t.Errorf("points %+v", points)
	}
	s.Prints(s.Must("verify"), "1 of 1 restore points verified")
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

	// A store that is down fails the action, not the state.
	t.Setenv("AWS_SECRET_ACCESS_KEY", "expired")
	s.Prints(s.Exits(1, "plan"), "denied")
}
