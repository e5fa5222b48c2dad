# A Qdrant cluster of three nodes, read in two ways side by side: snapshots each hour, which restore fastest, and a weekly
# export, which any version and any number of shards takes back.
#
# Blue and green: searches go to the alias `docs`, which points to docs-a or docs-b. Both are backed up, and each restore
# point knows where the alias pointed. Restore beside what is there, under other names, and let the alias follow when it is
# complete:
#
#   holdfast restore backup.snapshots -target='*-restored' -only='docs-b' -aliases

holdfast {
  required_version = ">= 0.1.0"
  state            = "s3://acme-holdfast-state/vectors?region=eu-central-1"
}

locals {
  nodes = ["qdrant-1", "qdrant-2", "qdrant-3"]
}

store "primary" {
  url = "s3://acme-backups/vectors?region=eu-central-1"
  encryption {
    recipients = ["age1cy0su9fwf3gf9mw868g5yut09p6nytfmmnktexz2ya5uqg9vl9sss4euqm"]
  }
}

source "qdrant" "docs" {
  urls            = [for n in local.nodes : "https://${n}.acme.internal:6333"] # every node: each holds shards of its own
  api_key         = env("QDRANT_API_KEY")
  restore_api_key = env("QDRANT_ADMIN_API_KEY") # read only when something is restored or rehearsed
  collections     = ["docs-*"]
  tls {
    ca_file = "qdrant-ca.pem"
  }
}

retention "hourly" {
  last              = 3
  hourly            = 24
  daily             = 14
  min_verified      = 2
  max_prune_percent = 25
}

retention "weekly" {
  last              = 2
  weekly            = 8
  monthly           = 12
  min_verified      = 1
  max_prune_percent = 25
}

backup "snapshots" {
  source    = source.qdrant.docs
  store     = store.primary
  retention = retention.hourly
  schedule {
    every = "1h"
  }
  objective {
    rpo = "1h"
    rto = "30m"
  }
  snapshot {}
  verify {
    after = "read"
    restore { # in scratch collections of the cluster itself; server = … names another one
      every = "7d"
      check "whole" {
        collection = "docs-a"
        expect     = self.points > 0 && self.status == "green"
      }
      check "finds" { # the neighbours of a point that is always there
        collection = "docs-a"
        search     = { query = 1, limit = 3 }
        expect     = self.hits == 3 && self.score > 0.5
      }
    }
  }
}

backup "portable" {
  source    = source.qdrant.docs
  store     = store.primary
  retention = retention.weekly
  schedule {
    cron     = "30 3 * * 0"
    timezone = "Europe/Berlin"
  }
  compression = "better"
  export {
    batch  = 500
    filter = { must_not = [{ key = "draft", match = { value = true } }] }
  }
  verify {
    after = "read"
  }
}
