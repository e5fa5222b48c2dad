# A database and its uploads, kept near and far: every restore point is copied to a second provider, rehearsed each week, and
# house rules refuse a policy that forgets one of the two.

locals {
  recovery_key = "age1cy0su9fwf3gf9mw868g5yut09p6nytfmmnktexz2ya5uqg9vl9sss4euqm" # kept offline; reads everything
  backup_host  = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg" # adds and prunes, cannot read
}

# ---- where copies live

store "near" {
  url        = "s3://acme-backups/shop?region=eu-central-1"
  versioning = true     # drift when it is switched off
  capacity   = "500GiB" # a plan that would pass it is blocked
  encryption {
    recipients = [local.recovery_key]
    writers    = [local.backup_host]
  }
}

store "far" { # the same recipients: copies are brought over as they are stored, without a key
  url         = "gs://acme-backups-dr/shop"
  max_rate    = "50MiB/s"
  prune_grace = "3d"
  encryption {
    recipients = [local.recovery_key]
    writers    = [local.backup_host]
  }
}

# ---- what is protected, and for how long

source "postgres" "shop" {
  dsn = env("SHOP_DATABASE_URL")
}

source "files" "uploads" {
  root = "/srv/shop/uploads"
}

retention "standard" {
  last              = 3
  daily             = 14
  weekly            = 8
  min_verified      = 2
  max_prune_percent = 25
}

# ---- the policies

backup "shop" {
  source    = source.postgres.shop
  store     = store.near
  copies    = [store.far]
  retention = retention.standard
  schedule { every = "6h" }
  objective { rpo = "6h" }
  logical {
    databases = ["shop"]
  }
  verify {
    after = "stored"
    restore { # the newest restore point on a scratch server, each week; needs the recovery key
      every = "7d"
      check "orders" {
        query  = "select count(*) from orders"
        expect = self.value > 0
      }
    }
  }
}

backup "uploads" {
  source    = source.files.uploads
  store     = store.near
  copies    = [store.far]
  retention = retention.standard
  max_rate  = "100MiB/s"
  schedule { every = "1h" }
  objective { rpo = "1h" }
}

# ---- house rules

check "second_copy" {
  for_each = backup
  severity = "error" # blocks apply
  assert {
    condition     = each.value.objective.rpo == null || length(each.value.copies) > 0
    error_message = "${each.key} promises an RPO but has no second copy."
  }
}

check "rpo" {
  for_each = backup
  severity = "warning"
  assert {
    condition     = each.value.objective.rpo == null || seconds(each.value.objective.rpo) <= seconds("1d")
    error_message = "${each.key} may lose more than a day."
  }
}

# ---- history of this file

moved { # keeps the restore points under the new name
  from = backup.nightly
  to   = backup.shop
}

removed { # its restore points stay until their retention ends
  from    = backup.old_uploads
  destroy = false
}
