package lang

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/diag"
	"github.com/holdfast-io/holdfast/policy"
)

const recipient = "age1cy0su9fwf3gf9mw868g5yut09p6nytfmmnktexz2ya5uqg9vl9sss4euqm"

// writeFiles makes a folder with the given files.
func writeFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// mustLoad loads a folder and fails on any diagnostic.
func mustLoad(t testing.TB, dir string, o Options) *Result {
	t.Helper()
	res, list := Load(dir, o)
	if len(list) > 0 {
		t.Fatalf("unexpected diagnostics:\n%s", render(list))
	}
	return res
}

const everything = `
holdfast {
  required_version = "~> 1.2"
  state            = "file:///var/lib/holdfast"
  identity         = "key.txt"
}
store "primary" {
  url         = "s3://acme/${var.environment}?region=eu-central-1"
  versioning  = true
  object_lock = true
  capacity    = "500GiB"
  max_rate    = "50MiB/s"
  prune_grace = "36h"
  encryption {
    recipients = [local.key]
    writers    = [local.key]
  }
}
store "offsite" {
  url         = "gs://acme/${var.environment}"
  prune_grace = "24h"
  encryption { recipients = [local.key] }
}
variable "environment" { default = "production" }
locals { key = "` + recipient + `" }
source "postgres" "app" {
  host     = "db"
  port     = 5433
  user     = "backup"
  database = "app"
  sslmode  = "verify-full"
  password = env("PW")
}
source "files" "tenant" {
  for_each        = toset(["us", "eu"])
  root            = "/srv/${each.key}"
  include         = ["**/*.yaml"]
  exclude         = ["tmp/**"]
  one_file_system = true
}
source "qdrant" "vectors" {
  urls            = ["https://a:6333", "https://b:6333/"]
  grpc            = ["a:6334", "b:6334"]
  api_key         = env("KEY")
  restore_api_key = env("ROOT_KEY")
  collections     = ["docs-*", "chat"]
  tls {
    ca_file              = "ca.pem"
    cert_file            = "client.pem"
    key_file             = "client-key.pem"
    server_name          = "qdrant.internal"
    insecure_skip_verify = false
  }
}
source "qdrant" "local" {
  urls           = ["http://localhost:6333"]
  snapshots_path = "/var/lib/qdrant/snapshots"
}
retention "standard" {
  last              = 3
  within            = "48h"
  hourly            = 24
  daily             = 14
  weekly            = 8
  monthly           = 12
  yearly            = 3
  min_verified      = 2
  max_prune_percent = 25
}
backup "app" {
  source    = source.postgres.app
  store     = store.primary
  retention = retention.standard
  schedule {
    cron     = "15 */6 * * *"
    timezone = "Europe/Berlin"
    jitter   = "5m"
  }
  compression = "better"
  objective {
    rpo = "8h"
    rto = "4h"
  }
  logical {
    databases         = ["app"]
    exclude_databases = ["app_old"]
    tables            = ["public.*"]
    exclude_tables    = ["audit.*"]
  }
  max_rate = "1MB/s"
  copies   = [store.offsite]
  verify {
    after = "restore"
    restore {
      every  = "7d"
      server = env("SCRATCH")
      check "documents" {
        query    = "select count(*) from documents"
        database = "app"
        expect   = self.value > 0
      }
    }
  }
}
backup "vectors" {
  source = source.qdrant.vectors
  store  = store.primary
  snapshot { mode = "stream" }
  schedule { every = "1h" }
  objective { rpo = "1h" }
  copies = [store.offsite]
  verify {
    restore {
      every  = "7d"
      server = env("SCRATCH")
      check "docs" {
        collection = "docs-main"
        search     = { query = [0.25, -1], limit = 3 }
        expect     = self.points > 0 && self.score > 0.5
      }
    }
  }
}
backup "points" {
  source = source.qdrant.vectors
  store  = store.primary
  export {
    include_payload = false
    include_vectors = true
    filter          = "{\"must\": [ {\"key\": \"tenant\", \"match\": {\"value\": 18446744073709551615}} ]}"
    batch           = 500
  }
}
backup "plain" {
  source = source.qdrant.vectors
  store  = store.primary
  export {}
}
moved {
  from = backup.older
  to   = backup.old
}
moved {
  from = backup.old
  to   = backup.app
}
moved {
  from = backup.folder
  to   = backup.tenant
}
removed {
  from    = backup.legacy
  destroy = true
}
removed { from = backup.folder["asia"] }
check "copied" {
  for_each = backup
  severity = "warning"
  assert {
    condition     = each.value.objective.rpo == null || length(each.value.copies) > 0
    error_message = "x"
  }
}
backup "tenant" {
  for_each = source.files.tenant
  source   = each.value
  store    = store.primary
  schedule { every = backup.app.objective.rto }
}
`

func TestLoadEverything(t *testing.T) {
	dir := writeFiles(t, map[string]string{"main.hf.hcl": everything, "README.md": "no policy", ".hidden.hf.hcl": "{"})
	res := mustLoad(t, dir, Options{Version: "1.2.3"})
	files := func(key string) policy.Source {
		return policy.Source{Address: `source.files.tenant["` + key + `"]`, Kind: policy.KindFiles, Files: &policy.FilesSource{
			Root: "/srv/" + key, Include: []string{"**/*.yaml"}, Exclude: []string{"tmp/**"}, OneFileSystem: true, Base: dir,
		}}
	}
	tenant := func(key string) policy.Backup {
		return policy.Backup{
			Address: `backup.tenant["` + key + `"]`, Source: `source.files.tenant["` + key + `"]`, Store: "store.primary",
			Schedule:    &policy.Schedule{Every: 4 * 3600e9, Timezone: "UTC"},
			Compression: policy.CompressionDefault, Verify: policy.Verify{After: policy.VerifyStored},
		}
	}
	want := policy.Set{
		Settings: policy.Settings{RequiredVersion: "~> 1.2", State: "file:///var/lib/holdfast", Identity: "key.txt"},
		Stores: map[string]policy.Store{"store.primary": {
			Address: "store.primary", URL: "s3://acme/production?region=eu-central-1",
			Encryption: policy.Encryption{Recipients: []string{recipient}, Writers: []string{recipient}},
			Versioning: true, ObjectLock: true, Capacity: 500 << 30, MaxRate: 50 << 20, PruneGrace: 36 * 3600e9,
		}, "store.offsite": {Address: "store.offsite", URL: "gs://acme/production", Encryption: policy.Encryption{Recipients: []string{recipient}}}},
		Sources: map[string]policy.Source{
			"source.postgres.app": {Address: "source.postgres.app", Kind: policy.KindPostgres, Postgres: &policy.PostgresSource{
				Host: "db", Port: 5433, User: "backup", Database: "app", SSLMode: "verify-full", Password: policy.NewSecret(`env("PW")`, nil),
			}},
			"source.qdrant.vectors": {Address: "source.qdrant.vectors", Kind: policy.KindQdrant, Qdrant: &policy.QdrantSource{
				URLs: []string{"https://a:6333", "https://b:6333"}, GRPC: []string{"a:6334", "b:6334"},
				APIKey: policy.NewSecret(`env("KEY")`, nil), RestoreAPIKey: policy.NewSecret(`env("ROOT_KEY")`, nil),
				Collections: []string{"docs-*", "chat"},
				TLS:         &policy.TLSClient{CAFile: "ca.pem", CertFile: "client.pem", KeyFile: "client-key.pem", ServerName: "qdrant.internal", Base: dir},
			}},
			"source.qdrant.local": {Address: "source.qdrant.local", Kind: policy.KindQdrant, Qdrant: &policy.QdrantSource{
				URLs: []string{"http://localhost:6333"}, SnapshotsPath: "/var/lib/qdrant/snapshots",
			}},
			`source.files.tenant["eu"]`: files("eu"),
			`source.files.tenant["us"]`: files("us"),
		},
		Retentions: map[string]policy.Retention{"retention.standard": {
			Address: "retention.standard", Last: 3, Within: 48 * 3600e9, Hourly: 24, Daily: 14, Weekly: 8, Monthly: 12, Yearly: 3,
			MinVerified: 2, MaxPrunePercent: 25,
		}},
		Backups: map[string]policy.Backup{
			"backup.app": {
				Address: "backup.app", Source: "source.postgres.app", Store: "store.primary", Retention: "retention.standard",
				Schedule:    &policy.Schedule{Cron: "15 */6 * * *", Timezone: "Europe/Berlin", Jitter: 300e9},
				Compression: policy.CompressionBetter, Objective: policy.Objective{RPO: 8 * 3600e9, RTO: 4 * 3600e9},
				Logical: &policy.Logical{Databases: []string{"app"}, ExcludeDatabases: []string{"app_old"}, Tables: []string{"public.*"}, ExcludeTables: []string{"audit.*"}},
				MaxRate: 1_000_000, Copies: []string{"store.offsite"},
				Verify: policy.Verify{After: policy.VerifyRestore, Restore: &policy.Rehearsal{
					Every: 7 * 24 * 3600e9, Server: policy.NewSecret(`env("SCRATCH")`, nil),
					Checks: []policy.Check{{Name: "documents", Query: "select count(*) from documents", Database: "app", Expect: policy.NewCondition("self.value > 0", nil)}},
				}},
			},
			"backup.vectors": {
				Address: "backup.vectors", Source: "source.qdrant.vectors", Store: "store.primary", Copies: []string{"store.offsite"},
				Schedule: &policy.Schedule{Every: 3600e9, Timezone: "UTC"}, Objective: policy.Objective{RPO: 3600e9},
				Compression: policy.CompressionDefault, Snapshot: &policy.Snapshot{Mode: policy.SnapshotStream},
				Verify: policy.Verify{After: policy.VerifyStored, Restore: &policy.Rehearsal{
					Every: 7 * 24 * 3600e9, Server: policy.NewSecret(`env("SCRATCH")`, nil),
					Checks: []policy.Check{{
						Name: "docs", Collection: "docs-main", Search: `{"limit":3,"query":[0.25,-1]}`,
						Expect: policy.NewCondition("self.points > 0 && self.score > 0.5", nil),
					}},
				}},
			},
			"backup.points": {
				Address: "backup.points", Source: "source.qdrant.vectors", Store: "store.primary", Compression: policy.CompressionDefault,
				Export: &policy.Export{IncludeVectors: true, Filter: `{"must":[{"key":"tenant","match":{"value":18446744073709551615}}]}`, Batch: 500},
				Verify: policy.Verify{After: policy.VerifyStored},
			},
			"backup.plain": {
				Address: "backup.plain", Source: "source.qdrant.vectors", Store: "store.primary", Compression: policy.CompressionDefault,
				Export: &policy.Export{IncludePayload: true, IncludeVectors: true}, Verify: policy.Verify{After: policy.VerifyStored},
			},
			`backup.tenant["eu"]`: tenant("eu"),
			`backup.tenant["us"]`: tenant("us"),
		},
		Moved: []policy.Moved{
			{From: "backup.older", To: "backup.app"},
			{From: "backup.old", To: "backup.app"},
			{From: `backup.folder["eu"]`, To: `backup.tenant["eu"]`},
			{From: `backup.folder["us"]`, To: `backup.tenant["us"]`},
		},
		Removed: []policy.Removed{{From: "backup.legacy", Destroy: true}, {From: `backup.folder["asia"]`}},
		Checks: []policy.HouseCheck{
			{Address: `check.copied["backup.app"]`, Severity: "warning", Status: "pass"},
			{Address: `check.copied["backup.plain"]`, Severity: "warning", Status: "pass"},
			{Address: `check.copied["backup.points"]`, Severity: "warning", Status: "pass"},
			{Address: `check.copied["backup.tenant[\"eu\"]"]`, Severity: "warning", Status: "pass"},
			{Address: `check.copied["backup.tenant[\"us\"]"]`, Severity: "warning", Status: "pass"},
			{Address: `check.copied["backup.vectors"]`, Severity: "warning", Status: "pass"},
		},
		Text: []byte("# ---- main.hf.hcl\n" + everything),
	}
	byRef := cmp.Comparer(func(a, b *policy.Secret) bool { return (a == nil) == (b == nil) && (a == nil || a.Ref() == b.Ref()) })
	byText := cmp.Comparer(func(a, b policy.Condition) bool { return a.Text() == b.Text() })
	if diff := cmp.Diff(want, res.Set, byRef, byText); diff != "" {
		t.Errorf("set (-want +got):\n%s", diff)
	}
	name := filepath.Join(dir, "main.hf.hcl")
	if diff := cmp.Diff([]string{name}, res.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	wantRange := diag.Range{Filename: name, Start: diag.Pos{Line: 7, Column: 1, Byte: 123}, End: diag.Pos{Line: 7, Column: 16, Byte: 138}}
	if diff := cmp.Diff(wantRange, res.Ranges["store.primary"]); diff != "" {
		t.Errorf("range (-want +got):\n%s", diff)
	}
	if _, ok := res.Ranges[`backup.tenant["eu"]`]; !ok || len(res.Ranges) != 15 {
		t.Errorf("ranges: %v", res.Ranges)
	}
}

func TestJSONMeansTheSame(t *testing.T) {
	hcl := writeFiles(t, map[string]string{"main.hf.hcl": `
variable "tenants" {
  type    = map(string)
  default = { eu = "/srv/eu" }
}
locals { key = "` + recipient + `" }
store "primary" {
  url = "mem://x"
  encryption { recipients = [local.key] }
}
source "files" "tenant" {
  for_each = var.tenants
  root     = each.value
}
retention "r" { last = 3 }
source "qdrant" "v" {
  urls = ["https://v:6333"]
  tls { ca_file = "ca.pem" }
}
backup "v" {
  source = source.qdrant.v
  store  = store.primary
  export {
    batch  = 10
    filter = { must = [{ key = "tenant", match = { any = keys(var.tenants) } }], min_should = null, "<a&b>" = 1.50 }
  }
  verify {
    restore {
      every = "7d"
      check "docs" {
        collection = "docs"
        search     = { query = "${var.tenants.eu}" }
        expect     = self.hits > 0
      }
    }
  }
}
check "portable" {
  for_each = backup
  assert {
    condition     = each.value.export.filter == null || jsondecode(each.value.export.filter).must[0].key == "tenant" && each.value.snapshot.mode == "auto" && each.value.export.include_payload
    error_message = "x"
  }
}
check "nodes" {
  for_each = source
  assert {
    condition     = try(each.value.tls.ca_file == "ca.pem" && !each.value.tls.insecure_skip_verify && length(each.value.urls) == 1, true)
    error_message = "x"
  }
}
backup "tenant" {
  for_each  = source.files.tenant
  source    = source.files.tenant[each.key]
  store     = store.primary
  retention = retention.r
  schedule {
    every  = "1h"
    paused = true
  }
}
`})
	js := writeFiles(t, map[string]string{"main.hf.json": `{
  "//": "comments are ignored",
  "variable": {"tenants": {"type": "map(string)", "default": {"eu": "/srv/eu"}}},
  "locals": {"key": "` + recipient + `"},
  "store": {"primary": {"url": "mem://x", "encryption": {"recipients": ["${local.key}"]}}},
  "source": {
    "files": {"tenant": {"for_each": "${var.tenants}", "root": "${each.value}"}},
    "qdrant": {"v": {"urls": ["https://v:6333/"], "tls": {"ca_file": "ca.pem"}}}
  },
  "retention": {"r": {"last": 3}},
  "backup": {"v": {
    "source": "${source.qdrant.v}", "store": "${store.primary}",
    "export": {"batch": 10, "filter": "{\"must\": [{\"match\": {\"any\": [\"eu\"]}, \"key\": \"tenant\"}], \"min_should\": null, \"<a&b>\": 1.5}"},
    "verify": {"restore": {"every": "7d", "check": {"docs": {
      "collection": "docs", "search": {"query": "${var.tenants.eu}"}, "expect": "${self.hits > 0}"
    }}}}
  }, "tenant": {
    "for_each": "${source.files.tenant}",
    "source": "${source.files.tenant[each.key]}",
    "store": "${store.primary}",
    "retention": "${retention.r}",
    "schedule": [{"every": "1h", "paused": true}]
  }}
}`})
	encode := func(dir string) string {
		set := mustLoad(t, dir, Options{}).Set
		for _, c := range set.Checks {
			if c.Status != "pass" {
				t.Errorf("%+v", c)
			}
		}
		out, err := json.MarshalIndent(set, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if diff := cmp.Diff(encode(hcl), encode(js)); diff != "" {
		t.Errorf("HCL and JSON differ (-hcl +json):\n%s", diff)
	}
}

// Each source of values is beaten by the next one.
func TestVariablePrecedence(t *testing.T) {
	names := []string{"default", "env", "holdfast", "auto_a", "auto_b", "file1", "file2", "var"}
	files := map[string]string{"main.hf.hcl": "", "holdfast.hfvars": "", "a.auto.hfvars": "", "b.auto.hfvars": "", "one.vars": "", "two.vars": ""}
	env, vars := map[string]string{}, map[string]string{}
	for i, n := range names { // a variable of this name is set by the first i+1 sources
		for j, file := range []string{"", "", "holdfast.hfvars", "a.auto.hfvars", "b.auto.hfvars", "one.vars", "two.vars", ""} {
			switch {
			case j > i:
			case j == 1:
				env["HOLDFAST_VAR_"+n] = "env"
			case j == 7:
				vars[n] = "var"
			case file != "":
				files[file] += n + ` = "` + names[j] + "\"\n"
			}
		}
	}
	for _, n := range names {
		files["main.hf.hcl"] += `variable "` + n + `" { default = "default" }
source "files" "` + n + `" { root = "/${var.` + n + `}" }
`
	}
	dir := writeFiles(t, files)
	res := mustLoad(t, dir, Options{
		Vars: vars, VarFiles: []string{filepath.Join(dir, "one.vars"), filepath.Join(dir, "two.vars")},
		Env: func(n string) (string, bool) { v, ok := env[n]; return v, ok },
	})
	for _, n := range names {
		if got, want := res.Set.Sources["source.files."+n].Files.Root, "/"+n; got != want {
			t.Errorf("var.%s: got root %q, want %q", n, got, want)
		}
	}
}

func TestTypedVariables(t *testing.T) {
	dir := writeFiles(t, map[string]string{"main.hf.hcl": `
variable "days" { type = number }
variable "tenants" { type = map(object({ root = string, deep = optional(bool, true) })) }
variable "text" { type = string }
source "files" "t" {
  for_each        = var.tenants
  root            = "${each.value.root}/${var.text}"
  one_file_system = each.value.deep
}
retention "r" { daily = var.days }
`})
	res := mustLoad(t, dir, Options{Vars: map[string]string{"days": "7", "tenants": `{eu = {root = "/eu"}}`, "text": "[1]"}})
	if got := res.Set.Retentions["retention.r"].Daily; got != 7 {
		t.Errorf("daily: got %d, want 7", got)
	}
	want := &policy.FilesSource{Root: "/eu/[1]", OneFileSystem: true, Base: dir}
	if diff := cmp.Diff(want, res.Set.Sources[`source.files.t["eu"]`].Files); diff != "" {
		t.Errorf("source (-want +got):\n%s", diff)
	}
}

func TestLoadOfNothing(t *testing.T) {
	for name, dir := range map[string]string{"empty": t.TempDir(), "absent": filepath.Join(t.TempDir(), "no")} {
		t.Run(name, func(t *testing.T) {
			res, list := Load(dir, Options{})
			if !list.HasErrors() || res == nil || res.Sensitive() != nil {
				t.Errorf("got %v, %v", res, list)
			}
		})
	}
}

func TestMissingVarFile(t *testing.T) {
	dir := writeFiles(t, map[string]string{"main.hf.hcl": ""})
	_, list := Load(dir, Options{VarFiles: []string{"no-such.hfvars"}})
	if len(list) != 1 || list[0].Summary != "File cannot be read" || list[0].Detail != "Read no-such.hfvars: no such file or directory." {
		t.Errorf("got %+v", list)
	}
}

// TestTextCarriesGivenValues: the text stored with each restore point is enough to evaluate the policy again.
func TestTextCarriesGivenValues(t *testing.T) {
	dir := writeFiles(t, map[string]string{"main.hf.hcl": `
variable "keep" { type = number }
variable "plain" { default = "x" }
variable "token" {
  type      = string
  sensitive = true
}
retention "r" { last = var.keep }
`, "x.auto.hfvars": "keep = 7\ntoken = \"hunter2\"\n"})
	res, list := Load(dir, Options{})
	if list.HasErrors() {
		t.Fatal(list)
	}
	text := string(res.Set.Text)
	if strings.Contains(text, "hunter2") {
		t.Fatalf("the text holds a secret:\n%s", text)
	}
	_, values, found := strings.Cut(text, "# ---- holdfast.hfvars\n")
	if want := "# token is sensitive: give it by HOLDFAST_VAR_token\nkeep = 7\n"; !found || values != want {
		t.Errorf("got %q, want %q", values, want)
	}
}

// A file whose name was mistyped is told of: what it declares would be forgotten.
func TestMisnamedFiles(t *testing.T) {
	for name, meant := range map[string]string{
		"main.hf.hc": "main.hf.hcl", "main.hf.hlc": "main.hf.hcl", "main.hf.jsn": "main.hf.json", "main.hf.HCL": "main.hf.hcl",
		"main.hf.hcl.bak": "", "main.hf.hcl~": "", "notes.md": "", "main.tf": "", "a.hf.md": "", ".main.hf.hc": "",
	} {
		dir := writeFiles(t, map[string]string{"ok.hf.hcl": "", name: ""})
		_, list := Load(dir, Options{})
		if meant == "" {
			if len(list) > 0 {
				t.Errorf("%s: %s", name, render(list))
			}
			continue
		}
		if len(list) != 1 || list[0].Severity != diag.Warning || !strings.Contains(list[0].Detail, "Is "+meant+" meant?") {
			t.Errorf("%s: got %s", name, render(list))
		}
	}
}
