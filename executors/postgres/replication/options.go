package replication

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Checkpoint says how a base backup begins.
type Checkpoint string

// A fast checkpoint writes everything at once; a spread one takes its time, minutes by default, and spares the server.
const (
	Fast   Checkpoint = "fast"
	Spread Checkpoint = "spread"
)

// The server's bounds of MAX_RATE, in kB/s (src/include/backup/basebackup.h).
const (
	minRate = 32
	maxRate = 1 << 20
)

// BackupOptions say what a base backup shall hold. The zero value is the server's own: no manifest, no WAL.
type BackupOptions struct {
	Label             string     // stands in backup_label and the server's log; empty: "base backup"
	Checkpoint        Checkpoint // empty: spread
	MaxRate           int        // kB/s, from 32 to 1048576; 0 means unlimited
	Manifest          bool       // an incremental backup can only be made on top of a backup that has one
	ManifestChecksums string     // NONE, CRC32C, SHA224, SHA256, SHA384 or SHA512; empty: CRC32C
	Progress          bool       // tells the sizes of the tablespaces; the server reads its folders once more for it
	TablespaceMap     bool       // a file tablespace_map in place of the links in pg_tblspc
	WAL               bool       // the WAL that makes the backup consistent, in the last archive
	NoWait            bool       // do not wait until the server has archived that WAL
	SkipPageChecksums bool       // do not verify page checksums on the server
	Incremental       bool       // what changed since the backup of the manifest given to UploadManifest; 17 and newer

	// IdleLimit is how long the server may be silent between two pieces of data; 0 means for ever. It does not count while
	// the server waits for its checkpoint or its archive, of which it gives notice within seconds: use 15 s or more.
	IdleLimit time.Duration
	// OnNotice is told what the server says aside, such as the file and block of a damaged page. May be nil.
	OnNotice func(*pgconn.Notice)
}

var checksumAlgorithms = []string{"NONE", "CRC32C", "SHA224", "SHA256", "SHA384", "SHA512"}

func (o BackupOptions) check(major int) error {
	if strings.ContainsRune(o.Label, 0) || len(o.Label) > 1024 {
		return errors.New("the label must have at most 1024 bytes and none of them may be zero")
	}
	if o.Checkpoint != "" && o.Checkpoint != Fast && o.Checkpoint != Spread {
		return fmt.Errorf("checkpoint %.40q is neither fast nor spread", o.Checkpoint)
	}
	if o.MaxRate != 0 && (o.MaxRate < minRate || o.MaxRate > maxRate) {
		return fmt.Errorf("a rate of %d kB/s is out of range; PostgreSQL takes %d to %d", o.MaxRate, minRate, maxRate)
	}
	if o.ManifestChecksums != "" {
		if !o.Manifest {
			return errors.New("checksums of a manifest need a manifest")
		}
		known := false
		for _, a := range checksumAlgorithms {
			known = known || a == o.ManifestChecksums
		}
		if !known {
			return fmt.Errorf("checksum %.40q is unknown; use one of %s", o.ManifestChecksums, strings.Join(checksumAlgorithms, ", "))
		}
	}
	if o.Incremental && major < versionIncremental {
		return fmt.Errorf("incremental backups need PostgreSQL %d, the server is %d; make a full one: %w", versionIncremental, major, ErrUnsupported)
	}
	return nil
}

// command is BASE_BACKUP as the version wants it: keywords one after the other before 15, a list in parentheses since
// (src/backend/replication/repl_gram.y of each).
func (o BackupOptions) command(major int) string {
	if major < versionTypedCopy {
		return strings.TrimSpace("BASE_BACKUP " + strings.Join(o.keywords(), " "))
	}
	if list := o.list(); len(list) > 0 {
		return "BASE_BACKUP (" + strings.Join(list, ", ") + ")"
	}
	return "BASE_BACKUP"
}

func (o BackupOptions) keywords() []string {
	return chosen(
		option{o.Label != "", "LABEL " + quote(o.Label)},
		option{o.Progress, "PROGRESS"},
		option{o.Checkpoint == Fast, "FAST"},
		option{o.WAL, "WAL"},
		option{o.NoWait, "NOWAIT"},
		option{o.MaxRate != 0, "MAX_RATE " + strconv.Itoa(o.MaxRate)},
		option{o.TablespaceMap, "TABLESPACE_MAP"},
		option{o.SkipPageChecksums, "NOVERIFY_CHECKSUMS"},
		option{o.Manifest, "MANIFEST 'yes'"},
		option{o.ManifestChecksums != "", "MANIFEST_CHECKSUMS " + quote(o.ManifestChecksums)},
	)
}

func (o BackupOptions) list() []string {
	return chosen(
		option{o.Label != "", "LABEL " + quote(o.Label)},
		option{o.Progress, "PROGRESS"},
		option{o.Checkpoint != "", "CHECKPOINT " + quote(string(o.Checkpoint))},
		option{o.WAL, "WAL"},
		option{o.NoWait, "WAIT 0"},
		option{o.MaxRate != 0, "MAX_RATE " + strconv.Itoa(o.MaxRate)},
		option{o.TablespaceMap, "TABLESPACE_MAP"},
		option{o.SkipPageChecksums, "VERIFY_CHECKSUMS 0"},
		option{o.Manifest, "MANIFEST 'yes'"},
		option{o.ManifestChecksums != "", "MANIFEST_CHECKSUMS " + quote(o.ManifestChecksums)},
		option{o.Incremental, "INCREMENTAL"},
	)
}

type option struct {
	wanted bool
	text   string
}

func chosen(options ...option) []string {
	var out []string
	for _, o := range options {
		if o.wanted {
			out = append(out, o.text)
		}
	}
	return out
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
