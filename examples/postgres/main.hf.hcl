# One PostgreSQL server, dumped every six hours into an S3 bucket and proven by decoding every dump.
#
# DATABASE_PASSWORD is read from the environment only when a dump is made: validate and plan do not need it.

holdfast {
  required_version = ">= 0.1.0"
  state            = "s3://acme-holdfast-state/app?region=eu-central-1"
}

store "primary" {
  url = "s3://acme-backups/app?region=eu-central-1"
  encryption {
    recipients = ["age1cy0su9fwf3gf9mw868g5yut09p6nytfmmnktexz2ya5uqg9vl9sss4euqm"]
  }
}

source "postgres" "app" {
  host     = "db.acme.internal"
  user     = "backup"
  database = "postgres"
  sslmode  = "verify-full"
  password = env("DATABASE_PASSWORD")
}

retention "standard" {
  last              = 3
  within            = "48h"
  daily             = 14
  weekly            = 8
  monthly           = 12
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
  objective {
    rpo = "8h" # six hours, the jitter, and the hour that is repeated in autumn
    rto = "4h"
  }
  logical {
    exclude_databases = ["scratch_*"]
    exclude_tables    = ["audit.*"]
  }
  verify {
    after = "read"
  }
}
