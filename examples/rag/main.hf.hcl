# The backups of a RAG platform, as far as this version goes: PostgreSQL (documents, chunks, embeddings) and configuration
# files. Two keys: the recovery key reads everything and is kept offline; the key on the backup host can only add.

holdfast {
  required_version = ">= 0.1.0"
}

variable "environment" {
  type        = string
  default     = "production"
  description = "Which deployment this configuration protects."
  validation {
    condition     = contains(["staging", "production"], var.environment)
    error_message = "environment must be staging or production."
  }
}

locals {
  recovery_key = "age1cy0su9fwf3gf9mw868g5yut09p6nytfmmnktexz2ya5uqg9vl9sss4euqm"
  backup_host  = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"
}

# ---- where copies live

store "primary" {
  url        = "s3://acme-backups/${var.environment}?region=eu-central-1"
  versioning = true
  capacity   = "500GiB"
  encryption {
    recipients = [local.recovery_key]
    writers    = [local.backup_host]
  }
}

store "offsite" {
  url = "gs://acme-backups-dr/${var.environment}"
  encryption {
    recipients = [local.recovery_key]
    writers    = [local.backup_host]
  }
}

# ---- what is protected

source "postgres" "app" {
  dsn = env("APP_DATABASE_URL")
}

source "files" "config" {
  root    = "/etc/rag"
  include = ["**/*.yaml", "prompts/**"]
  exclude = ["**/*.tmp"]
}

# ---- for how long

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

# ---- the policies

backup "app_dump" {
  source    = source.postgres.app
  store     = store.primary
  copies    = [store.offsite]
  retention = retention.standard
  schedule {
    cron     = "15 */6 * * *"
    timezone = "Europe/Berlin"
    jitter   = "5m"
  }
  compression = "default"
  objective {
    rpo = "8h"
  }
  logical {
    databases      = ["app"]
    exclude_tables = ["audit.*"]
  }
  verify {
    after = "stored" # the backup host has no key that reads; run verify -level=read where the recovery key is
  }
}

backup "config" {
  source    = source.files.config
  store     = store.primary
  copies    = [store.offsite]
  retention = retention.standard
  schedule {
    every = "1h"
  }
  objective {
    rpo = "1h"
  }
}

# ---- house rules

check "offsite_copy" {
  for_each = backup
  assert {
    condition     = each.value.objective.rpo == null || length(each.value.copies) > 0
    error_message = "${each.key} promises an RPO but has no off-site copy."
  }
}
