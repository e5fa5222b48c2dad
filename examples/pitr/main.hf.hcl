# PostgreSQL to any second. docs/pitr.md tells what the server needs and how to come back.

store "primary" {
  url = "file:///var/backups/holdfast"
  encryption {
    recipients = ["age1cy0su9fwf3gf9mw868g5yut09p6nytfmmnktexz2ya5uqg9vl9sss4euqm"] # from `holdfast key generate`
  }
}

source "postgres" "app" {
  dsn = env("APP_DATABASE_URL") # a role with REPLICATION
}

retention "standard" {
  continuous = "7d"
  daily      = 14
}

backup "app" {
  source    = source.postgres.app
  store     = store.primary
  retention = retention.standard
  schedule {
    cron = "0 2 * * *"
  }
  objective {
    rpo = "1m"
  }
  physical {
    wal {
      max_lag = "30s"
    }
  }
  verify {
    after = "read"
  }
}
