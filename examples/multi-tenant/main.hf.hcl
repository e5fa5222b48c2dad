# One database server and one folder for each tenant, from one list. Addresses are backup.database["acme"] and so on;
# a tenant that leaves the list is forgotten, and its restore points stay.

variable "tenants" {
  type = map(object({
    host = string
    gold = optional(bool, false)
  }))
  description = "Tenants by name. See holdfast.hfvars."
}

locals {
  prefix = "s3://acme-tenants/backups?region=eu-central-1"
  gold   = { for name, tenant in var.tenants : name => tenant if tenant.gold }
}

store "primary" {
  url = local.prefix
  encryption {
    recipients = ["age1cy0su9fwf3gf9mw868g5yut09p6nytfmmnktexz2ya5uqg9vl9sss4euqm"]
  }
}

source "postgres" "tenant" {
  for_each = var.tenants
  host     = each.value.host
  user     = "backup"
  database = each.key
  sslmode  = "require"
  password = env("PASSWORD_${upper(each.key)}")
}

source "files" "uploads" {
  for_each = local.gold
  root     = "/srv/tenants/${each.key}/uploads"
}

retention "standard" {
  daily = 14
}

retention "gold" {
  daily   = 30
  monthly = 12
}

backup "database" {
  for_each  = source.postgres.tenant
  source    = source.postgres.tenant[each.key]
  store     = store.primary
  retention = var.tenants[each.key].gold ? retention.gold : retention.standard
  schedule {
    every  = var.tenants[each.key].gold ? "1h" : "24h"
    jitter = "30m"
  }
  logical {
    databases = [each.key]
  }
}

backup "uploads" {
  for_each  = source.files.uploads
  source    = each.value
  store     = store.primary
  retention = retention.gold
  schedule {
    every = "6h"
  }
}
