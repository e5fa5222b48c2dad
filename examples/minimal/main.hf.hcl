# The smallest useful policy: one folder of files, copied into a folder on another disk every hour.
#
#   holdfast key generate -out=$HOME/holdfast.key     # put the recipient that it prints below
#   holdfast init && holdfast plan && holdfast apply

store "disk" {
  url = "file:///mnt/backups"
  encryption {
    recipients = ["age1cy0su9fwf3gf9mw868g5yut09p6nytfmmnktexz2ya5uqg9vl9sss4euqm"]
  }
}

source "files" "config" {
  root = "/etc"
}

retention "month" {
  hourly = 24
  daily  = 30
}

backup "config" {
  source    = source.files.config
  store     = store.disk
  retention = retention.month
  schedule {
    every = "1h"
  }
}
