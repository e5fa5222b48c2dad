package lang

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const secretPolicy = `
variable "pw" { sensitive = true }
locals { from_env = env("PW") }
source "postgres" "env" {
  host     = "db"
  password = env("PW")
}
source "postgres" "local" {
  host     = "db"
  password = "${local.from_env}!"
}
source "postgres" "var" {
  host     = "db"
  password = var.pw
}
source "postgres" "file" {
  host     = "db"
  password = file("db.password")
}
source "postgres" "url" {
  for_each = { eu = "EU" }
  dsn      = "postgres://app:${urlencode(env("PW_${each.value}"))}@db/${each.key}"
}
source "postgres" "copy" {
  host     = "db"
  password = source.postgres.env.password
}
source "postgres" "plain" { dsn = "postgres://app@db/app" }
`

// The environment is read when a secret is revealed, each time anew, and not before.
func TestReveal(t *testing.T) {
	env, reads := map[string]string{}, 0
	o := Options{Env: func(name string) (string, bool) {
		if strings.HasPrefix(name, "PW") {
			reads++
		}
		v, ok := env[name]
		return v, ok
	}}
	dir := writeFiles(t, map[string]string{"main.hf.hcl": secretPolicy})
	env["HOLDFAST_VAR_pw"] = "variable-hunter2"
	env["PW"], env["PW_EU"] = "first-hunter2", "sla/sh"
	res := mustLoad(t, dir, o)
	if reads > 1 { // by the local
		t.Errorf("loading read secrets %d times", reads)
	}
	get := func(address string, dsn bool) (string, error) {
		p := res.Set.Sources[address].Postgres
		if dsn {
			return p.DSN.Reveal()
		}
		return p.Password.Reveal()
	}
	if err := os.WriteFile(dir+"/db.password", []byte("file-hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(address string, dsn bool, want string) {
		t.Helper()
		if got, err := get(address, dsn); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", address, got, err, want)
		}
	}
	check("source.postgres.env", false, "first-hunter2")
	check("source.postgres.local", false, "first-hunter2!")
	check("source.postgres.copy", false, "first-hunter2")
	check("source.postgres.var", false, "variable-hunter2")
	check("source.postgres.file", false, "file-hunter2")
	check(`source.postgres.url["eu"]`, true, "postgres://app:sla%2Fsh@db/eu")
	check("source.postgres.plain", true, "postgres://app@db/app")
	env["PW"] = "second-hunter2"
	check("source.postgres.env", false, "second-hunter2")

	known := res.Sensitive()
	slices.Sort(known)
	want := []string{"file-hunter2", "first-hunter2", "first-hunter2!", "postgres://app:sla%2Fsh@db/eu", "second-hunter2", "sla/sh", "variable-hunter2"}
	if diff := cmp.Diff(want, known); diff != "" {
		t.Errorf("sensitive values (-want +got):\n%s", diff)
	}
	delete(env, "PW")
	_, err := get("source.postgres.env", false)
	wantErr := "Environment variable PW is not set"
	if err == nil || !strings.Contains(err.Error(), wantErr) || !strings.Contains(err.Error(), "source.postgres.env") {
		t.Errorf("got error %v, want %q", err, wantErr)
	}
}

// A plan needs no secret: nothing of what is missing is an error, and nothing of what is there is in the set.
func TestLoadNeedsNoSecrets(t *testing.T) {
	dir := writeFiles(t, map[string]string{"main.hf.hcl": secretPolicy})
	mustLoad(t, dir, Options{})
	mustLoad(t, dir, Options{Static: true})
	res := mustLoad(t, dir, Options{Env: func(string) (string, bool) { return "hunter2", true }})
	out, err := json.Marshal(res.Set)
	if err != nil {
		t.Fatal(err)
	}
	if all := fmt.Sprintf("%s %v %+v %#v", out, res.Set, res.Set, res.Set.Sources["source.postgres.env"].Postgres.Password); strings.Contains(all, "hunter2") {
		t.Error("a secret is in the set")
	}
	if got, want := res.Set.Sources["source.postgres.url[\"eu\"]"].Postgres.DSN.Ref(), `"postgres://app:${urlencode(env("PW_${each.value}"))}@db/${each.key}"`; got != want {
		t.Errorf("reference: got %s, want %s", got, want)
	}
}

// Secrets in errors of revealing: functions quote their arguments, we do not.
func TestRevealErrorsHideValues(t *testing.T) {
	dir := writeFiles(t, map[string]string{"main.hf.hcl": `
source "postgres" "a" {
  host     = "db"
  password = base64decode(env("PW"))
}
source "postgres" "b" {
  host     = "db"
  password = tostring(parseint(env("PW"), 10))
}
source "postgres" "c" {
  host     = "db"
  password = jsondecode(env("PW")).password
}
`})
	res := mustLoad(t, dir, Options{Env: func(string) (string, bool) { return "hunter2 is no such thing", true }})
	for address, s := range res.Set.Sources {
		if got, err := s.Postgres.Password.Reveal(); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %q, error %v", address, got, err)
		}
	}
}

// Backups run side by side, and each reveals what it needs.
func TestRevealConcurrently(t *testing.T) {
	dir := writeFiles(t, map[string]string{"main.hf.hcl": secretPolicy})
	res := mustLoad(t, dir, Options{Env: func(string) (string, bool) { return "hunter2", true }})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for _, address := range []string{"source.postgres.env", "source.postgres.var", "source.postgres.copy"} {
				if got, err := res.Set.Sources[address].Postgres.Password.Reveal(); err != nil || got != "hunter2" {
					t.Errorf("%s: got %q, %v", address, got, err)
				}
				res.Sensitive()
			}
		})
	}
	group.Wait()
}

func TestMarksHideValues(t *testing.T) {
	s := &secret{value: "hunter2", name: "env"}
	if got := fmt.Sprintf("%v %+v %#v %s", s, s, s, s); strings.Contains(got, "hunter2") {
		t.Error(got)
	}
}
