package pgdata

import (
	"path"
	"strings"
)

// emptied are the folders that a backup keeps and whose content it leaves out: a server makes it anew, or it belongs to the
// server that was backed up. WAL is backed up in its own way.
var emptied = []string{
	"pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans", "pg_wal",
}

// walFolders are the folders inside pg_wal that a server expects, the last one from 17 on.
var walFolders = map[string]bool{"pg_wal/archive_status": true, "pg_wal/summaries": true}

// leftOut are files that a backup leaves out wherever they are. A label, a map or a manifest is of an earlier backup: the new
// one's are not in the data directory.
var leftOut = map[string]bool{
	"backup_label": true, "backup_manifest": true, "current_logfiles.tmp": true, "postgresql.auto.conf.tmp": true,
	"postmaster.opts": true, "postmaster.pid": true, "tablespace_map": true,
}

// Prefixes of names that a backup leaves out: a cache that is made anew, and temporary files and their folders.
const (
	relationCache = "pg_internal.init"
	temporary     = "pgsql_tmp"
)

// Excluded says whether a base backup leaves out a file or folder, as PostgreSQL's own do (src/backend/backup/basebackup.c). The
// path is relative to the data directory, with slashes. Of a folder that is left out everything is. Unlogged relations take more than a
// path to know: see Unlogged.
func Excluded(name string) bool {
	for _, folder := range emptied {
		if strings.HasPrefix(name, folder+"/") {
			return !walFolders[name]
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, temporary) {
			return true
		}
	}
	base := path.Base(name)
	return leftOut[base] || strings.HasPrefix(base, relationCache) || inRelations(name) && temporaryName.MatchString(base)
}

// inRelations says whether a path is below the folders that hold relations.
func inRelations(name string) bool {
	return strings.HasPrefix(name, "base/") || strings.HasPrefix(name, "pg_tblspc/")
}
