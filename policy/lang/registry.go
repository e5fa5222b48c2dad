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
			{Name: "versioning", Type: TypeBool, Unavailable: true, Doc: "Whether the bucket's versioning must be on."},
			{Name: "capacity", Type: TypeBytes, Unavailable: true, Doc: "A plan that would pass it is blocked."},
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
	{Type: "source", Kind: "qdrant", Named: true, ForEach: true, Unavailable: true, Doc: "A Qdrant server or cluster."},
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
			{Name: "min_verified", Type: TypeInt, Max: maxCount, Doc: "Never fewer verified restore points than this, whatever the rules say. It keeps nothing by itself."},
			{Name: "max_prune_percent", Type: TypeInt, Min: 1, Max: 100, Doc: "One apply expires at most this share of a backup's restore points; no limit when absent."},
			{Name: "continuous", Type: TypeDuration, Unavailable: true, Doc: "Every instant of this window (WAL)."},
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
			{Name: "copies", Type: TypeAny, Unavailable: true, Doc: "Further stores."},
			{Name: "impact", Type: TypeString, Unavailable: true, Doc: "How much of production's throughput a backup may cost."},
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
					{Name: "rpo", Type: TypeDuration, Doc: "Greatest age of the newest restore point. A schedule that cannot meet it is an error."},
					{Name: "rto", Type: TypeDuration, Doc: "Longest restore."},
				},
			},
			{
				Type: "logical", Doc: "pg_dump. Required for PostgreSQL sources, and only for them.",
				Attributes: []Attribute{
					{Name: "databases", Type: TypeStrings, Doc: "Globs; every database that allows connections, templates aside, when absent."},
					{Name: "exclude_databases", Type: TypeStrings, Doc: "Globs that are left out."},
					{Name: "tables", Type: TypeStrings, Doc: "pg_dump patterns such as `\"public.*\"`."},
					{Name: "exclude_tables", Type: TypeStrings, Doc: "pg_dump patterns that are left out."},
				},
			},
			{
				Type: "verify", Doc: "How each new copy is proven.",
				Attributes: []Attribute{
					{
						Name: "after", Type: TypeString, Default: `"stored"`, Enum: []string{"none", "stored", "read"}, EnumLater: []string{"restore"},
						Doc: "`stored` compares the hash of every stored byte and needs no key (bytes that earlier copies share and that were read back in the last 7 days are only looked for: `points` then says `added`); `read` decrypts and decodes everything, each time.",
					},
				},
				Blocks: []Block{{Type: "restore", Unavailable: true, Doc: "Restore to a scratch server, on its own schedule."}, {Type: "check", Named: true, Repeatable: true, Unavailable: true, Doc: "A query whose answer is checked."}},
			},
			{Type: "physical", Unavailable: true, Doc: "Base backups and WAL."},
			{Type: "snapshot", Unavailable: true, Doc: "Qdrant snapshots."},
			{Type: "export", Unavailable: true, Doc: "Qdrant points through scroll."},
		},
	},
	{Type: "recovery", Named: true, Unavailable: true, Doc: "A recovery plan: steps, checks and drills."},
	{Type: "notify", Named: true, Unavailable: true, Doc: "Who hears about it."},
	{Type: "check", Named: true, Unavailable: true, Doc: "House rules."},
	{Type: "moved", Repeatable: true, Unavailable: true, Doc: "A rename."},
	{Type: "removed", Repeatable: true, Unavailable: true, Doc: "A policy that is gone."},
}

// maxCount bounds counts, so that a slip of the keyboard is found and arithmetic stays small.
const maxCount = 100000
