# The backups of a RAG platform, as far as this version goes: PostgreSQL (documents and chunks), Qdrant (their vectors) and
# configuration files. Two keys: the recovery key reads everything and is kept offline; the key on the backup host can only
# add, so what must be read to be proven (verify = "read", rehearsals) is proven where the recovery key is.

holdfast {
  required_version = ">= 0.1.0"
  state            = "s3://acme-holdfast-state/rag?region=eu-central-1"
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

source "qdrant" "vectors" {
  urls        = ["https://10.0.0.5:6333", "https://10.0.0.6:6333"] # every node of the cluster
  api_key     = env("QDRANT_API_KEY")
  collections = ["docs-*", "chat"] # drift names the collections that no backup covers
  tls {
    ca_file = "qdrant-ca.pem"
  }
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
  continuous        = "30d" # every instant of these days, where WAL is kept
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
    after = "read"
    restore { # brought back to a scratch server, on its own schedule
      every = "7d"
      check "documents" {
        query  = "select count(*) from documents"
        expect = self.value > 0
      }
    }
  }
}

backup "app_pitr" { # beside the dumps: back to any second
  source    = source.postgres.app
  store     = store.primary
  copies    = [store.offsite]
  retention = retention.standard
  schedule {
    cron     = "0 2 * * *"
    timezone = "Europe/Berlin"
  }
  objective {
    rpo = "1m" # met by the WAL, not by the daily base backup
    rto = "4h"
  }
  impact = "10%"
  physical {
    max_rate = "100MiB/s"
    wal { # `holdfast wal receive backup.app_pitr` runs as a service beside the timer of `holdfast apply`
      mode    = "stream"
      max_lag = "30s"
    }
  }
  verify {
    after = "read"
  }
}

backup "vectors" {
  source    = source.qdrant.vectors
  store     = store.primary
  copies    = [store.offsite]
  retention = retention.standard
  schedule {
    every = "1h"
  }
  objective {
    rpo = "1h"
  }
  snapshot {} # or export {}: points one by one, portable between versions
  verify {
    after = "read"
    restore {
      every = "7d"
      check "documents" {
        collection = "docs-main"
        expect     = self.points > 0 && self.status == "green"
      }
      check "neighbours" { # of a document that is always there
        collection = "docs-main"
        search     = { query = 1, limit = 3 }
        expect     = self.hits == 3 && self.score > 0.5
      }
    }
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

# ---- history of this file

moved {
  from = backup.postgres_nightly
  to   = backup.app_dump
}

removed { # its restore points stay until their retention ends
  from    = backup.legacy_mongo
  destroy = false
}
