package lang

// registry is the language: every block and attribute, once. Blocks of one type stand together.
var registry = []Block{
	{
		Type: "holdfast",
		Doc:  "Settings of this configuration. At most one block in all files together.",
		Example: `holdfast {
  required_version = ">= 0.1.0"
  state            = "s3://acme-holdfast-state/rag?region=eu-central-1"
}`,
		Attributes: []Attribute{
			{Name: "required_version", Type: TypeString, Doc: "Which versions of holdfast may use this configuration, such as `\">= 0.1.0, < 2.0.0\"`."},
			{Name: "state", Type: TypeString, Doc: "Bucket URL of the state: file, s3, gs, azblob or mem; the folder `.holdfast/state` beside the policy when absent."},
			{Name: "identity", Type: TypeString, Doc: "Path of an age identity file, used when neither -identity nor HOLDFAST_IDENTITY_FILE says another. Relative to the policy's folder."},
		},
	},
	{
		Type: "variable", Named: true,
		Doc: "An input. Values come from `HOLDFAST_VAR_name`, `holdfast.hfvars`, `*.auto.hfvars`, `-var-file` and `-var`; later ones win. Read it as `var.name`.",
		Example: `variable "environment" {
  type        = string
  default     = "production"
  description = "Which deployment this configuration protects."
  validation {
    condition     = contains(["staging", "production"], var.environment)
    error_message = "environment must be staging or production."
  }
}`,
		Attributes: []Attribute{
			{Name: "type", Type: TypeType, Default: "any", Doc: "A type constraint: `string`, `number`, `bool`, `any`, `list(…)`, `set(…)`, `map(…)`, `tuple([…])`, `object({…})` with `optional(…)`."},
			{Name: "default", Type: TypeAny, Doc: "The value when none is given. Without it a value is required. It may call functions but refers to nothing."},
			{Name: "description", Type: TypeString, Doc: "What it is for."},
			{Name: "sensitive", Type: TypeBool, Default: "false", Doc: "Its value is a secret: it is hidden everywhere and accepted only where secrets are."},
			{Name: "nullable", Type: TypeBool, Default: "true", Doc: "Whether null is a value. With false, null means the default."},
		},
		Blocks: []Block{{
			Type: "validation", Repeatable: true, Doc: "A rule that the value must meet.",
			Attributes: []Attribute{
				{Name: "condition", Type: TypeAny, Required: true, Doc: "True when the value is good."},
				{Name: "error_message", Type: TypeAny, Required: true, Doc: "What to tell the person when it is not."},
			},
		}},
	},
	{
		Type: "locals", Free: true, Repeatable: true,
		Doc: "Named values, read as `local.name`. A local may refer to anything that does not refer back to it.",
		Example: `locals {
  bucket = "s3://acme-backups/${var.environment}"
}`,
	},
	{
		Type: "store", Named: true,
		Doc: "Where copies live: a bucket or folder, and the encrypted repository inside it. Refer to it as `store.name`.",
		Example: `store "primary" {
  url = "s3://acme-backups/production?region=eu-central-1"
  encryption {
    recipients = ["age1cy0su9fwf3gf9mw868g5yut09p6nytfmmnktexz2ya5uqg9vl9sss4euqm"]
  }
}`,
		Attributes: []Attribute{
			{Name: "url", Type: TypeString, Required: true, Doc: "Bucket URL: `file://` (a relative path is relative to the policy's folder), `s3://`, `gs://`, `azblob://` or `mem://`."},
			{Name: "versioning", Type: TypeBool, Default: "false", Doc: "The bucket's versioning must be on; drift when it is not."},
			{Name: "object_lock", Type: TypeBool, Default: "false", Doc: "The bucket's object lock must be on; drift when it is not."},
			{Name: "capacity", Type: TypeBytes, Doc: "A plan that would pass it is blocked; no limit when absent."},
			{Name: "max_rate", Type: TypeRate, Doc: "At most this much per second to and from the store, of one process; no limit when absent."},
			{Name: "prune_grace", Type: TypeDuration, Default: `"24h"`, Doc: "How long a pack that nothing needs stays before it is deleted. At least 1h, so that a writer that slept can still find what it relied on."},
		},
		Blocks: []Block{{
			Type: "encryption", Required: true, Doc: "Who can read the store.",
			Attributes: []Attribute{
				{Name: "recipients", Type: TypeStrings, Doc: "age recipients (`age1…`, or `age1pq1…` for post-quantum) that can read everything. The two kinds do not mix."},
				{Name: "writers", Type: TypeStrings, Doc: "age recipients that can add, deduplicate, verify as stored and prune, but not read."},
				{Name: "none", Type: TypeBool, Default: "false", Doc: "`true` stores everything readable, with a warning. Excludes the other two."},
			},
		}},
	},
	{
		Type: "source", Kind: "postgres", Named: true, ForEach: true,
		Doc: "A PostgreSQL server. Give either `dsn`, or the single fields. Refer to it as `source.postgres.name`.",
		Example: `source "postgres" "app" {
  host     = "db.internal"
  user     = "backup"
  database = "app"
  sslmode  = "verify-full"
  password = env("APP_DATABASE_PASSWORD")
}`,
		Attributes: []Attribute{
			{Name: "dsn", Type: TypeString, Sensitive: true, Doc: "Connection URL or keyword string. With a password in it, it must come from `env`, `file` or a sensitive variable."},
			{Name: "host", Type: TypeString, Doc: "Host name, address or folder of a Unix socket."},
			{Name: "port", Type: TypeInt, Min: 1, Max: 65535, Doc: "TCP port; PostgreSQL's own default when absent."},
			{Name: "user", Type: TypeString, Doc: "Role to connect as."},
			{Name: "database", Type: TypeString, Doc: "Database to connect to. Which databases are backed up is the backup's choice."},
			{Name: "sslmode", Type: TypeString, Enum: []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}, Doc: "As in libpq."},
			{Name: "password", Type: TypeString, Sensitive: true, Doc: "Password, from `env`, `file` or a sensitive variable."},
		},
	},
	{
		Type: "source", Kind: "files", Named: true, ForEach: true,
		Doc: "A tree of files. Refer to it as `source.files.name`.",
		Example: `source "files" "config" {
  root    = "/etc/rag"
  include = ["**/*.yaml", "prompts/**"]
  exclude = ["**/*.tmp"]
}`,
		Attributes: []Attribute{
			{Name: "root", Type: TypeString, Required: true, Doc: "The folder. A relative path is relative to the policy's folder."},
			{Name: "include", Type: TypeStrings, Doc: "Globs relative to root (`*`, `**`, `?`, `[a-z]`, `{a,b}`); everything when absent."},
			{Name: "exclude", Type: TypeStrings, Doc: "Globs that are left out, whatever include says."},
			{Name: "one_file_system", Type: TypeBool, Default: "false", Doc: "Do not cross into other mounted file systems."},
		},
	},
	{
		Type: "source", Kind: "qdrant", Named: true, ForEach: true,
		Doc: "A Qdrant server or cluster. Refer to it as `source.qdrant.name`.",
		Example: `source "qdrant" "vectors" {
  urls        = ["https://qdrant-1.internal:6333", "https://qdrant-2.internal:6333"]
  api_key     = env("QDRANT_API_KEY")
  collections = ["docs-*", "chat"]
  tls {
    ca_file = "qdrant-ca.pem"
  }
}`,
		Attributes: []Attribute{
			{Name: "urls", Type: TypeStrings, Required: true, Doc: "REST base URL of every node of the cluster, such as `\"http://10.0.0.5:6333\"`: all `http://`, or all `https://`."},
			{Name: "grpc", Type: TypeStrings, Doc: "`\"host:port\"` of gRPC, one for each of urls and in their order; the hosts of urls, one port higher, when absent."},
			{Name: "api_key", Type: TypeString, Sensitive: true, Doc: "What reads: an API key, or a token that may read and make snapshots."},
			{Name: "restore_api_key", Type: TypeString, Sensitive: true, Doc: "What restores and rehearses, which needs more rights than backups; api_key when absent."},
			{Name: "collections", Type: TypeStrings, Doc: "Globs over names; every collection when absent."},
			{Name: "snapshots_path", Type: TypeString, Doc: "The server's `storage.snapshots_path` as this host sees it, an absolute path: archives are handed over as local files. For a server of one node, on a disk that the two share."},
		},
		Blocks: []Block{{
			Type: "tls", Doc: "How `https://` servers are trusted, and what is shown to them. Relative paths are relative to the policy's folder.",
			Attributes: []Attribute{
				{Name: "ca_file", Type: TypeString, Doc: "Authorities in PEM, trusted instead of the system's."},
				{Name: "cert_file", Type: TypeString, Doc: "Certificate in PEM to show to the server; with `key_file`."},
				{Name: "key_file", Type: TypeString, Doc: "Its key in PEM."},
				{Name: "server_name", Type: TypeString, Doc: "Name that the server's certificate must have; that of the URL when absent."},
				{Name: "insecure_skip_verify", Type: TypeBool, Default: "false", Doc: "Trust whoever answers, with a warning."},
			},
		}},
	},
	{
		Type: "retention", Named: true,
		Doc: "How long restore points stay: one stays while any rule keeps it. Refer to it as `retention.name`.",
		Example: `retention "standard" {
  last              = 3
  within            = "48h"
  daily             = 14
  weekly            = 8
  monthly           = 12
  min_verified      = 2
  max_prune_percent = 25
}`,
		Attributes: []Attribute{
			{Name: "last", Type: TypeInt, Max: maxCount, Doc: "Keep this many newest restore points."},
			{Name: "within", Type: TypeDuration, Doc: "Keep every restore point younger than this."},
			{Name: "hourly", Type: TypeInt, Max: maxCount, Doc: "Keep the newest of each of this many hours that have one."},
			{Name: "daily", Type: TypeInt, Max: maxCount, Doc: "The same for days."},
			{Name: "weekly", Type: TypeInt, Max: maxCount, Doc: "The same for ISO weeks."},
			{Name: "monthly", Type: TypeInt, Max: maxCount, Doc: "The same for months."},
			{Name: "yearly", Type: TypeInt, Max: maxCount, Doc: "The same for years."},
			{Name: "min_verified", Type: TypeInt, Max: maxCount, Doc: "Never fewer verified restore points than this, whatever the rules say: the newest verified ones stay."},
			{Name: "max_prune_percent", Type: TypeInt, Min: 1, Max: 100, Doc: "One apply expires at most this share of a backup's restore points; no limit when absent."},
			{Name: "continuous", Type: TypeDuration, Doc: "PostgreSQL backups with WAL: every instant younger than this can be restored. The base backup that the window begins with stays, and all WAL since; older restore points keep just the WAL that makes them consistent. `\"24h\"` for them when absent."},
		},
	},
	{
		Type: "backup", Named: true, ForEach: true,
		Doc: "The policy of one source: how, when, where, for how long, how proven. Its address is `backup.name`.",
		Example: `backup "app" {
  source    = source.postgres.app
  store     = store.primary
  retention = retention.standard
  schedule {
    cron     = "15 */6 * * *"
    timezone = "Europe/Berlin"
    jitter   = "5m"
  }
  objective { rpo = "8h" }
  logical { databases = ["app"] }
  verify { after = "read" }
}`,
		Attributes: []Attribute{
			{Name: "source", Type: TypeReference, Reference: "source", Required: true, Doc: "What to protect."},
			{Name: "store", Type: TypeReference, Reference: "store", Required: true, Doc: "Where copies go."},
			{Name: "retention", Type: TypeReference, Reference: "retention", Doc: "How long they stay; for ever when absent."},
			{Name: "compression", Type: TypeString, Default: `"default"`, Enum: []string{"none", "fast", "default", "better"}, Doc: "How hard to compress."},
			{Name: "copies", Type: TypeReferences, Reference: "store", Default: "[]", Doc: "Further stores that every restore point is brought to, and verified there."},
			{Name: "max_rate", Type: TypeRate, Doc: "At most this much per second is read from the source; no limit when absent."},
			{Name: "impact", Type: TypePercent, Default: `"10%"`, Doc: "At most this much of production's throughput may be lost while a `physical` backup runs, which paces itself: `\"1%\"` to `\"100%\"`."},
		},
		Blocks: []Block{
			{
				Type: "schedule", Doc: "When it is due: exactly one of `cron` and `every`. Without the block it runs only when asked for.",
				Attributes: []Attribute{
					{Name: "cron", Type: TypeString, Doc: "Five fields: minute, hour, day of month, month, day of week."},
					{Name: "every", Type: TypeDuration, Doc: "An interval, such as `\"1h\"`."},
					{Name: "timezone", Type: TypeString, Default: `"UTC"`, Doc: "IANA name. A slot skipped by daylight saving runs once, a doubled one runs once."},
					{Name: "jitter", Type: TypeDuration, Doc: "Each slot is delayed by a fixed amount below this, so that many backups do not start together."},
					{Name: "paused", Type: TypeBool, Default: "false", Doc: "No slot is due; the plan still shows it."},
				},
			},
			{
				Type: "objective", Doc: "What is promised.",
				Attributes: []Attribute{
					{Name: "rpo", Type: TypeDuration, Doc: "Greatest age of the newest moment that can be restored. A schedule that cannot meet it is an error; where WAL is stored, `max_lag` decides instead."},
					{Name: "rto", Type: TypeDuration, Doc: "Longest restore."},
				},
			},
			{
				Type: "logical", Doc: "pg_dump: portable, one database or table can come back alone. A PostgreSQL source needs this block or `physical`.",
				Attributes: []Attribute{
					{Name: "databases", Type: TypeStrings, Doc: "Globs; every database that allows connections, templates aside, when absent."},
					{Name: "exclude_databases", Type: TypeStrings, Doc: "Globs that are left out."},
					{Name: "tables", Type: TypeStrings, Doc: "pg_dump patterns such as `\"public.*\"`."},
					{Name: "exclude_tables", Type: TypeStrings, Doc: "pg_dump patterns that are left out."},
				},
			},
			{
				Type: "physical", Doc: "Base backups of the whole server, and its WAL: any instant can be restored. A PostgreSQL source needs this block or `logical`.",
				Attributes: []Attribute{
					{Name: "reader", Type: TypeString, Default: `"auto"`, Enum: []string{"auto", "local", "remote"}, Doc: "`local` reads the data directory, on the server's own host; `remote` goes over the replication protocol; `auto`: local where the data directory is at hand."},
					{Name: "max_rate", Type: TypeRate, Doc: "The same as `max_rate` of the backup; give one of the two."},
					{Name: "checkpoint", Type: TypeString, Default: `"spread"`, Enum: []string{"fast", "spread"}, Doc: "The checkpoint that a base backup begins with: `fast` is written at once, `spread` over minutes, which spares the server."},
				},
				Blocks: []Block{{
					Type: "wal", Doc: "The write-ahead log between base backups. Without the block it is not stored, and only the base backups themselves can be restored.",
					Attributes: []Attribute{
						{Name: "mode", Type: TypeString, Default: `"stream"`, Enum: []string{"stream", "archive", "none"}, Doc: "`stream` receives it as it is made, from a replication slot; `archive` takes finished segments from the server's `archive_command`; `none` stores none."},
						{Name: "max_lag", Type: TypeDuration, Doc: "What was committed this long ago is stored; more lag breaks the rpo. At least 1s. `\"30s\"` with `stream` and `\"5m\"` with `archive` when absent."},
						{Name: "slot", Type: TypeString, Doc: "With `stream`: name of the replication slot, of lower-case letters, digits and underscores, at most 63; `holdfast_` and the backup's name when absent. Each backup has a slot of its own."},
					},
				}},
			},
			{
				Type: "snapshot", Doc: "Qdrant's own snapshots of every shard, indexes included. A Qdrant source needs this block or `export`.",
				Attributes: []Attribute{
					{
						Name: "mode", Type: TypeString, Default: `"auto"`, Enum: []string{"auto", "snapshot", "stream"},
						Doc: "`snapshot`: the server makes a file, which is downloaded and deleted; `stream`: it sends while it reads, without a file; `auto`: stream where the server's version does it safely.",
					},
				},
			},
			{
				Type: "export", Doc: "Qdrant's points, read one by one: slower, portable between versions and numbers of shards; indexes are built anew.",
				Attributes: []Attribute{
					{Name: "include_payload", Type: TypeBool, Default: "true", Doc: "Keep the payloads."},
					{Name: "include_vectors", Type: TypeBool, Default: "true", Doc: "Keep the vectors."},
					{Name: "filter", Type: TypeJSON, Doc: "Qdrant's filter: only the points that it selects; every point when absent."},
					{Name: "batch", Type: TypeInt, Min: 1, Max: 10000, Doc: "Points per request; chosen by their size when absent."},
				},
			},
			{
				Type: "verify", Doc: "How each new copy is proven.",
				Attributes: []Attribute{
					{
						Name: "after", Type: TypeString, Default: `"stored"`, Enum: []string{"none", "stored", "read", "restore"},
						Doc: "`stored` compares the hash of every stored byte and needs no key (bytes that earlier copies share and that were read back in the last 7 days are only looked for: `points` then says `added`); `read` decrypts and decodes everything, each time; `restore` also brings it back to a scratch place and runs the checks of the `restore` block there.",
					},
				},
				Blocks: []Block{{
					Type: "restore", Doc: "Rehearsals: a restore point is brought back to a scratch server or folder, and the checks run there.",
					Attributes: []Attribute{
						{Name: "every", Type: TypeDuration, Doc: "The newest restore point is rehearsed when the last good rehearsal is older. Without it only `after = \"restore\"` rehearses."},
						{Name: "server", Type: TypeString, Sensitive: true, Doc: "PostgreSQL: URL of a server to make a scratch database on; without it a temporary server is started. Qdrant: URL of a node to rehearse on; without it the source's own servers, in scratch collections named `hf_drill_…`."},
					},
					Blocks: []Block{{
						Type: "check", Named: true, Repeatable: true, Doc: "A question asked of the restored data: a `query` of a database, the files of a `path`, or a `collection` and a `search` in it.",
						Attributes: []Attribute{
							{Name: "query", Type: TypeString, Doc: "PostgreSQL: `self.value` is the first column of the first row, `self.rows` the number of rows."},
							{Name: "database", Type: TypeString, Doc: "PostgreSQL: where to ask; the only, or first, database of the restore point when absent."},
							{Name: "path", Type: TypeString, Doc: "Files: a glob relative to the root; `self.count` and `self.bytes` tell of the files that match."},
							{Name: "collection", Type: TypeString, Doc: "Qdrant: the one to look at, by its name in the restore point; `self.points` and `self.vectors` are their exact numbers, `self.status` is such as `\"green\"`."},
							{Name: "search", Type: TypeJSON, Doc: "Qdrant: a query of the collection, as the body of its query endpoint; `self.hits` is how many points it found, `self.ids` and `self.scores` tell of them, best first, `self.score` is the best."},
							{Name: "expect", Type: TypeCondition, Required: true, Doc: "True when the answer is good, such as `self.value > 0`. It sees self, variables, locals and functions."},
						},
					}},
				}},
			},
		},
	},
	{Type: "recovery", Named: true, Unavailable: true, Doc: "A recovery plan: steps, checks and drills."},
	{Type: "notify", Named: true, Unavailable: true, Doc: "Who hears about it."},
	{
		Type: "check", Named: true, ForEach: true,
		Doc: "A house rule, evaluated on the policy at each plan. `backup`, `store`, `source` and `retention` are objects by name; with `for_each = backup` (or one of the others) the rule looks at each of them, instances of a block with for_each included: `each.key` is the address without its type, such as `app` or `postgres.app`, and `each.value` everything it says.",
		Example: `check "offsite_copy" {
  for_each = backup
  severity = "error"
  assert {
    condition     = each.value.objective.rpo == null || length(each.value.copies) > 0
    error_message = "${each.key} promises an RPO but has no second copy."
  }
}`,
		Attributes: []Attribute{
			{Name: "severity", Type: TypeString, Default: `"error"`, Enum: []string{"error", "warning"}, Doc: "`error` blocks plan and apply (exit 13), `warning` is shown."},
		},
		Blocks: []Block{{
			Type: "assert", Repeatable: true, Required: true, Doc: "What must hold.",
			Attributes: []Attribute{
				{Name: "condition", Type: TypeAny, Required: true, Doc: "True when all is well. Durations are texts as written, arguments that are absent null; compare by `seconds(…)` and `bytes(…)`."},
				{Name: "error_message", Type: TypeAny, Required: true, Doc: "What to tell when it is not."},
			},
		}},
	},
	{
		Type: "moved", Repeatable: true,
		Doc: "A rename: what was applied under one address is declared under another now, and keeps its restore points. Both are of one type. The address of a block with for_each means all of its instances. The block may stay for ever.",
		Example: `moved {
  from = backup.nightly
  to   = backup.app
}`,
		Attributes: []Attribute{
			{Name: "from", Type: TypeAddress, Required: true, Doc: "The old address, which is not declared any more: `backup.a`, `backup.a[\"key\"]`, or the same of a store, source or retention."},
			{Name: "to", Type: TypeAddress, Required: true, Doc: "The new address, which is declared, or moved on by another block."},
		},
	},
	{
		Type: "removed", Repeatable: true,
		Doc: "What becomes of the restore points of a backup that is not declared any more. Without this block they stay for ever.",
		Example: `removed {
  from    = backup.legacy
  destroy = false
}`,
		Attributes: []Attribute{
			{Name: "from", Type: TypeAddress, Required: true, Doc: "The backup's address: `backup.a`, or `backup.a[\"key\"]` for one instance; each instance has a block of its own."},
			{Name: "destroy", Type: TypeBool, Default: "false", Doc: "`false`: they expire by the retention that was in force. `true`: they are destroyed; the guards of that retention still hold."},
		},
	},
}

// maxCount bounds counts, so that a slip of the keyboard is found and arithmetic stays small.
const maxCount = 100000
