package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/test/hfbin"
	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

const qdrantPolicy = `
store "primary" {
  url = "file://./store"
  encryption {
    recipients = ["RECIPIENT"]
  }
}

source "qdrant" "vectors" {
  urls            = URLS
  api_key         = env("QDRANT_KEY")
  restore_api_key = env("QDRANT_KEY")
  collections     = ["NAME-docs", "NAME-empty"]
}

retention "standard" {
  last = 3
}

backup "vectors" {
  source    = source.qdrant.vectors
  store     = store.primary
  retention = retention.standard
  schedule { every = "1h" }
  objective { rpo = "1h" }
  METHOD
  verify {
    after = "restore"
    restore {
      check "documents" {
        collection = "NAME-docs"
        expect     = self.points == POINTS && self.vectors == POINTS && self.status == "green"
      }
      check "neighbours" {
        collection = "NAME-docs"
        search     = { query = 2, limit = 3 }
        expect     = self.hits == 3 && self.score > 0
      }
    }
  }
}
`

// qdrantSite is a server with two collections, one of them empty, and a policy that protects them.
func qdrantSite(t *testing.T, server *qdranttest.Server, method string) (s *hfbin.Site, name string) {
	t.Helper()
	name = server.Name(t, "site")
	server.Fill(t, name+"-docs", nil, 600, 24)
	server.Fill(t, name+"-empty", nil, 0, 4)
	server.Do(t, "PUT", "/collections/"+name+"-docs/index?wait=true", map[string]any{"field_name": "city", "field_schema": "keyword"})
	server.Do(t, "POST", "/collections/aliases", map[string]any{"actions": []any{
		map[string]any{"create_alias": map[string]any{"alias_name": name + "-live", "collection_name": name + "-docs"}},
	}})
	s = hfbin.New(t)
	urls := `["` + strings.Join(server.URLs, `", "`) + `"]`
	if len(server.GRPC) == len(server.URLs) {
		urls += "\n  grpc = [\"" + strings.Join(server.GRPC, `", "`) + `"]`
	}
	text := strings.NewReplacer("RECIPIENT", s.Recipient, "URLS", urls, "NAME", name, "METHOD", method, "POINTS", "600").Replace(qdrantPolicy)
	if server.APIKey == "" {
		text = strings.ReplaceAll(strings.ReplaceAll(text, `restore_api_key = env("QDRANT_KEY")`, ""), `api_key         = env("QDRANT_KEY")`, "")
	}
	s.Write("main.hf.hcl", text)
	s.Env = append(s.Env, "QDRANT_KEY="+server.APIKey)
	s.Must("init")
	return s, name
}

// TestQdrantMainJob is a user's whole job, by every method, through the binary.
func TestQdrantMainJob(t *testing.T) {
	for _, method := range []string{"snapshot {}", `snapshot { mode = "snapshot" }`, "export {}"} {
		t.Run(method, func(t *testing.T) {
			server := qdranttest.Shared(t)
			s, name := qdrantSite(t, server, method)
			docs := name + "-docs"
			s.Prints(s.Must("validate"), "valid")
			r := s.Must("apply", "-auto-approve")
			s.Prints(r, "backed up", "restored to a scratch place", `check "documents" holds: self.points = 600, self.vectors = 600, self.status = "green"`, `check "neighbours" holds`)
			s.Prints(s.Must("plan"), "No changes")
			s.Prints(s.Must("status"), "protected")
			s.Must("verify", "-level=read")
			points := s.Points()
			if len(points) != 1 || !points[0].Verified || points[0].Incomplete || !strings.HasPrefix(points[0].Version, "1.") {
				t.Fatalf("points %+v", points)
			}
			before := server.Image(t, docs)

			// Documents are lost, and noticed later.
			server.Do(t, "POST", "/collections/"+docs+"/points/delete?wait=true", map[string]any{"points": []int{0, 1, 2, 3}})
			damaged := server.Image(t, docs)

			// Beside the one in use, compared, then the alias is switched to it.
			s.Must("restore", "backup.vectors", "-only=*-docs", "-target=*-restored", "-auto-approve")
			if d := cmp.Diff(before, server.Image(t, docs+"-restored")); d != "" {
				t.Errorf("restored under another name (-want +got):\n%.2000s", d)
			}
			s.Prints(s.Exits(1, "restore", "backup.vectors", "-only=*-docs", "-target=*-restored", "-auto-approve"), "exists", "-replace")
			r = s.Must("restore", "backup.vectors", "-only=*-docs", "-target=*-restored", "-replace", "-aliases", "-auto-approve")
			s.Prints(r, name+"-live will point to "+docs+"-restored")
			if d := cmp.Diff(before, server.Image(t, name+"-live")); d != "" {
				t.Errorf("through the alias (-want +got):\n%.2000s", d)
			}

			// An alias is never written through.
			s.Prints(s.Exits(1, "restore", "backup.vectors", "-only=*-docs", "-target="+name+"-live", "-replace", "-auto-approve"), "alias")
			if d := cmp.Diff(damaged, server.Image(t, docs)); d != "" {
				t.Errorf("what is in use was changed (-want +got):\n%.2000s", d)
			}

			// Only what was lost, into the collection in use.
			s.Must("restore", "backup.vectors", "-only=*-docs", "-target=*", "-replace", "-auto-approve", `-filter={"must":[{"has_id":[0,1,2,3]}]}`)
			if d := cmp.Diff(before, server.Image(t, docs)); d != "" {
				t.Errorf("after the selected points came back (-want +got):\n%.2000s", d)
			}

			// All of it in its place.
			server.Do(t, "DELETE", "/collections/"+docs, nil)
			s.Must("restore", "backup.vectors", "-only=*-docs", "-target=*", "-auto-approve")
			if d := cmp.Diff(before, server.Image(t, docs)); d != "" {
				t.Errorf("restored in its place (-want +got):\n%.2000s", d)
			}
		})
	}
}

// TestQdrantDrift: what no backup covers is named, and a deleted collection is no success.
func TestQdrantDrift(t *testing.T) {
	server := qdranttest.Start(t, qdrantserver.Options{APIKey: "s3cr3t-of-the-vectors"})
	s, name := qdrantSite(t, server, "snapshot {}")
	r := s.Must("apply", "-auto-approve")
	s.Must("plan", "-out=p", "-json-into=p.json", "-markdown-into=p.md", "-force=backup.vectors")
	leaks(t, s, r, server.APIKey)
	server.Fill(t, name+"-forgotten", nil, 3, 4)
	s.Prints(s.Exits(2, "drift"), fmt.Sprintf("no backup covers %q", name+"-forgotten"))
	server.Do(t, "DELETE", "/collections/"+name+"-forgotten", nil)

	server.Do(t, "DELETE", "/collections/"+name+"-empty", nil)
	r = s.Exits(14, "apply", "-auto-approve", "-force=backup.vectors")
	s.Prints(r, fmt.Sprintf("there is no collection %q", name+"-empty"), "incomplete")
	points := s.Points()
	if len(points) != 2 || !points[1].Incomplete {
		t.Errorf("points %+v", points)
	}

	s.Env = append(s.Env, "QDRANT_KEY=wrong-"+server.APIKey)
	r = s.Exits(14, "apply", "-auto-approve", "-force=backup.vectors")
	s.Prints(r, "401", "api_key")
	leaks(t, s, r, server.APIKey)
}
