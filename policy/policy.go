// Package policy is the desired state as plain values: what to protect, where copies go, how long they stay, when.
//
// It does no I/O, reads no clock and knows no HCL: policy/lang makes these values from files. Every value that takes part
// in a plan is encoded by its JSON tags; a Secret encodes as the expression that was written, never as what it stands for.
package policy

import (
	"path"
	"slices"
	"time"
)

// Set is one whole configuration: every *.hf.hcl and *.hf.json file of a directory, evaluated.
type Set struct {
	Settings   Settings             `json:"holdfast"`
	Stores     map[string]Store     `json:"stores"`     // by address, "store.primary"
	Sources    map[string]Source    `json:"sources"`    // by address, "source.postgres.app" or `source.postgres.app["eu"]`
	Retentions map[string]Retention `json:"retentions"` // by address, "retention.standard"
	Backups    map[string]Backup    `json:"backups"`    // by address, "backup.app" or `backup.app["eu"]`
	Text       []byte               `json:"-"`          // the files as written, in name order, then the variable values given from outside; stored with each restore point

	Moved   []Moved      `json:"-"` // renames, in the order of the files
	Removed []Removed    `json:"-"` // policies that are gone and said to be
	Checks  []HouseCheck `json:"-"` // house rules, evaluated on this set; ordered by address
}

// Moved says that what was applied under From is declared as To now.
type Moved struct{ From, To string }

// Removed says what becomes of the restore points of a backup that is not declared any more: they stay until the retention
// that the catalog keeps for it ends, or go at once with Destroy.
type Removed struct {
	From    string
	Destroy bool
}

// HouseCheck is one assertion of a `check` block, evaluated.
type HouseCheck struct {
	Address  string // check.offsite_copy, or check.offsite_copy["backup.app"] with for_each
	Severity string // error blocks apply, warning is shown
	Status   string // pass, fail, or error when the condition could not be computed
	Message  string // the error_message, or why it could not be computed; empty for pass
}

// Settings is the `holdfast` block.
type Settings struct {
	RequiredVersion string `json:"required_version,omitempty"`
	State           string `json:"state,omitempty"`    // bucket URL; empty means the default beside the policy
	Identity        string `json:"identity,omitempty"` // path of an age identity file
}

// Store is where copies live.
type Store struct {
	Address    string     `json:"-"`
	URL        string     `json:"url"`
	Encryption Encryption `json:"encryption"`
	Versioning bool       `json:"versioning,omitempty"`  // the bucket's versioning must be on; drift when it is not
	ObjectLock bool       `json:"object_lock,omitempty"` // the same for its object lock
	Capacity   int64      `json:"capacity,omitempty"`    // bytes; a plan that would pass it is blocked. 0: no limit
	MaxRate    int64      `json:"max_rate,omitempty"`    // bytes per second to and from the store, of this process. 0: no limit
	PruneGrace Duration   `json:"prune_grace,omitempty"` // between condemning a pack and deleting it; 0 means DefaultPruneGrace
}

// DefaultPruneGrace is how long a pack that nothing needs stays condemned before it is deleted.
const DefaultPruneGrace = Duration(24 * time.Hour)

// Grace returns PruneGrace or its default.
func (s Store) Grace() time.Duration {
	if s.PruneGrace > 0 {
		return s.PruneGrace.Std()
	}
	return DefaultPruneGrace.Std()
}

// Encryption says who can read a store. None is true only when the policy says `encryption { none = true }`.
type Encryption struct {
	None       bool     `json:"none,omitempty"`
	Recipients []string `json:"recipients,omitempty"` // age recipients that can read everything
	Writers    []string `json:"writers,omitempty"`    // age recipients that can add, deduplicate and prune, but not read
}

// SourceKind is the kind of system a source is. It is also the key of the executor map.
type SourceKind string

// The kinds of source.
const (
	KindPostgres SourceKind = "postgres"
	KindQdrant   SourceKind = "qdrant"
	KindFiles    SourceKind = "files"
)

// Source is a system to protect. Exactly the field named by Kind is set.
type Source struct {
	Address  string          `json:"-"`
	Kind     SourceKind      `json:"kind"`
	Postgres *PostgresSource `json:"postgres,omitempty"`
	Qdrant   *QdrantSource   `json:"qdrant,omitempty"`
	Files    *FilesSource    `json:"files,omitempty"`
}

// PostgresSource is a PostgreSQL server: either DSN, or the single fields.
type PostgresSource struct {
	DSN      *Secret `json:"dsn,omitempty"`
	Host     string  `json:"host,omitempty"`
	Port     int     `json:"port,omitempty"`
	User     string  `json:"user,omitempty"`
	Database string  `json:"database,omitempty"` // to connect to; which databases are backed up is the backup's choice
	SSLMode  string  `json:"sslmode,omitempty"`
	Password *Secret `json:"password,omitempty"`
}

// QdrantSource is a Qdrant server or cluster.
type QdrantSource struct {
	URLs          []string   `json:"urls"`                      // REST base URL of every node: "http://10.0.0.5:6333"
	GRPC          []string   `json:"grpc,omitempty"`            // gRPC "host:port" of the nodes; empty: the hosts of URLs, one port above REST's
	APIKey        *Secret    `json:"api_key,omitempty"`         // to read: the key, or a token with the access rw to the collections
	RestoreAPIKey *Secret    `json:"restore_api_key,omitempty"` // to restore and rehearse: the key itself; nil means APIKey
	Collections   []string   `json:"collections,omitempty"`     // globs over names; empty means every collection
	SnapshotsPath string     `json:"snapshots_path,omitempty"`  // the server's storage.snapshots_path as this host sees it; empty: not at hand
	TLS           *TLSClient `json:"tls,omitempty"`
}

// TLSClient says how a server is trusted and what is shown to it. Paths are files in PEM.
type TLSClient struct {
	CAFile             string `json:"ca_file,omitempty"` // trusted instead of the system's authorities
	CertFile           string `json:"cert_file,omitempty"`
	KeyFile            string `json:"key_file,omitempty"`
	ServerName         string `json:"server_name,omitempty"`
	InsecureSkipVerify bool   `json:"insecure_skip_verify,omitempty"`
	Base               string `json:"-"` // the policy's folder, that relative paths start from
}

// Path is where one of the files is, seen from the policy's folder when it is relative.
func (t TLSClient) Path(name string) string {
	if name == "" || t.Base == "" || path.IsAbs(name) {
		return name
	}
	return path.Join(t.Base, name)
}

// FilesSource is a tree of files. Globs are doublestar patterns relative to Root; no Include means everything.
type FilesSource struct {
	Root          string   `json:"root"`
	Include       []string `json:"include,omitempty"`
	Exclude       []string `json:"exclude,omitempty"`
	OneFileSystem bool     `json:"one_file_system,omitempty"`
	Base          string   `json:"-"` // the policy's folder; empty is the working directory
}

// Path is where the tree is: Root, seen from the policy's folder when it is relative. Root itself stays as written, so that
// a plan does not depend on the folder it is made from.
func (f FilesSource) Path() string {
	if f.Base == "" || path.IsAbs(f.Root) {
		return f.Root
	}
	return path.Join(f.Base, f.Root)
}

// Retention says which restore points remain: a point stays while any rule keeps it.
type Retention struct {
	Address         string   `json:"-"`
	Last            int      `json:"last,omitempty"`
	Within          Duration `json:"within,omitempty"`
	Hourly          int      `json:"hourly,omitempty"`
	Daily           int      `json:"daily,omitempty"`
	Weekly          int      `json:"weekly,omitempty"`
	Monthly         int      `json:"monthly,omitempty"`
	Yearly          int      `json:"yearly,omitempty"`
	MinVerified     int      `json:"min_verified,omitempty"`      // never fewer verified restore points than this
	MaxPrunePercent int      `json:"max_prune_percent,omitempty"` // 0 means no limit
	Continuous      Duration `json:"continuous,omitempty"`        // backups with WAL: every instant younger than this stays
}

// Backup is the policy of one source: how, when, where, how long, how proven. References hold addresses.
type Backup struct {
	Address     string      `json:"-"`
	Source      string      `json:"source"`
	Store       string      `json:"store"`
	Copies      []string    `json:"copies,omitempty"` // further stores that every point is brought to
	Retention   string      `json:"retention,omitempty"`
	Schedule    *Schedule   `json:"schedule,omitempty"` // nil: runs only when asked for by -force
	Compression Compression `json:"compression"`
	Objective   Objective   `json:"objective,omitzero"`
	Logical     *Logical    `json:"logical,omitempty"`  // PostgreSQL by pg_dump
	Physical    *Physical   `json:"physical,omitempty"` // PostgreSQL by base backups and WAL
	Snapshot    *Snapshot   `json:"snapshot,omitempty"` // Qdrant by shard snapshots
	Export      *Export     `json:"export,omitempty"`   // Qdrant by scrolling through the points
	Verify      Verify      `json:"verify"`
	MaxRate     int64       `json:"max_rate,omitempty"` // bytes per second read from the source; 0: no limit
	Impact      int         `json:"impact,omitempty"`   // percent of production's throughput it may cost; 0 means DefaultImpact
}

// Stores returns the store the backup writes to, then those of its copies.
func (b Backup) Stores() []string { return append([]string{b.Store}, b.Copies...) }

// Method is how a backup reads its source: "logical" for pg_dump, "physical" for base backups, "snapshot" and "export" for
// Qdrant, "files" for a tree.
func (b Backup) Method() string {
	switch {
	case b.Logical != nil:
		return "logical"
	case b.Physical != nil:
		return "physical"
	case b.Snapshot != nil:
		return "snapshot"
	case b.Export != nil:
		return "export"
	}
	return "files"
}

// Schedule is when a backup is due: exactly one of Cron (five fields) and Every is set.
type Schedule struct {
	Cron     string   `json:"cron,omitempty"`
	Every    Duration `json:"every,omitempty"`
	Timezone string   `json:"timezone,omitempty"` // IANA name; empty means UTC
	Jitter   Duration `json:"jitter,omitempty"`   // each slot is delayed by a fixed amount below this, derived from address and slot
	Paused   bool     `json:"paused,omitempty"`
}

// Compression is a level: none, fast, default or better.
type Compression string

// The levels.
const (
	CompressionNone    Compression = "none"
	CompressionFast    Compression = "fast"
	CompressionDefault Compression = "default"
	CompressionBetter  Compression = "better"
)

// Objective is a promise: RPO is the greatest age of the newest moment that can be restored, RTO the longest restore. Zero
// means none given.
type Objective struct {
	RPO Duration `json:"rpo,omitempty"`
	RTO Duration `json:"rto,omitempty"`
}

// Logical is the pg_dump method. No Databases means every database that allows connections, templates aside.
// Patterns are pg_dump's own, such as "audit.*".
type Logical struct {
	Databases        []string `json:"databases,omitempty"` // globs
	ExcludeDatabases []string `json:"exclude_databases,omitempty"`
	Tables           []string `json:"tables,omitempty"`
	ExcludeTables    []string `json:"exclude_tables,omitempty"`
}

// Snapshot is the method that takes the server's own snapshots of every shard.
type Snapshot struct {
	Mode SnapshotMode `json:"mode"`
}

// SnapshotMode is how a shard's snapshot leaves the server.
type SnapshotMode string

// The modes.
const (
	SnapshotAuto   SnapshotMode = "auto"     // stream where the server's version does it safely, else file
	SnapshotFile   SnapshotMode = "snapshot" // the server makes a file, which is downloaded and deleted
	SnapshotStream SnapshotMode = "stream"   // the server sends while it reads, without a file
)

// Export is the method that reads points one by one: slower, portable between versions and numbers of shards.
type Export struct {
	IncludePayload bool   `json:"include_payload"`
	IncludeVectors bool   `json:"include_vectors"`
	Filter         string `json:"filter,omitempty"` // Qdrant's filter in JSON; empty: every point
	Batch          int    `json:"batch,omitempty"`  // points per request; 0 means that the executor chooses
}

// VerifyLevel is how far a copy is read back. Higher levels include the lower ones.
type VerifyLevel string

// The levels, from weakest to strongest.
const (
	VerifyNone VerifyLevel = "none"
	// VerifyAdded is how far holdfast itself goes after most backups when the policy says stored: every byte that the copy
	// added is hashed, and what was hashed before, not long ago, is there in its full size. A policy cannot ask for it.
	VerifyAdded  VerifyLevel = "added"
	VerifyStored VerifyLevel = "stored" // the hash of every stored byte; needs no key
	VerifyRead   VerifyLevel = "read"   // decrypted, decompressed, every chunk id, the content decoded by its executor
	// VerifyRestore brings the point back to a scratch server or folder and runs the policy's checks there.
	VerifyRestore VerifyLevel = "restore"
)

// Rank orders levels: none 0, added 1, stored 2, read 3, restore 4; -1 for anything else.
func (l VerifyLevel) Rank() int {
	return slices.Index([]VerifyLevel{VerifyNone, VerifyAdded, VerifyStored, VerifyRead, VerifyRestore}, l)
}

// Reread is how long a stored byte that was read back counts as proven, when later copies that need it are verified.
const Reread = 7 * 24 * time.Hour

// Verify says how each new copy is proven. After defaults to stored.
type Verify struct {
	After   VerifyLevel `json:"after"`
	Restore *Rehearsal  `json:"restore,omitempty"` // proofs of level restore, on their own schedule and for After = restore
}

// Rehearsal says how a restore point is brought back to a scratch place, and what must hold there.
type Rehearsal struct {
	Every  Duration `json:"every,omitempty"`  // the newest point is rehearsed when the last good rehearsal is older; 0: only by After
	Server *Secret  `json:"server,omitempty"` // PostgreSQL: URL of a server to make a scratch database on; nil starts one. Qdrant: URL of a node; nil is the source itself
	Checks []Check  `json:"checks,omitempty"`
}

// Check is a question asked of restored data.
type Check struct {
	Name     string `json:"name"`
	Database string `json:"database,omitempty"` // PostgreSQL: where to ask; empty is the only (or first) database of the point
	Query    string `json:"query,omitempty"`    // PostgreSQL: self.value is the first column of the first row, self.rows their number
	Path     string `json:"path,omitempty"`     // files: a glob; self.count and self.bytes tell of the files that match
	// Collection (Qdrant) is the one to ask: self.points (exact), self.vectors (exact, all names together), self.status.
	Collection string    `json:"collection,omitempty"`
	Search     string    `json:"search,omitempty"` // Qdrant: a query in JSON, as its query endpoint takes it; self.hits, self.ids, self.scores tell what it found, best first
	Expect     Condition `json:"expect"`
}

// Duration is a span of time that encodes as the shortest policy text, such as "36h" or "7d" (d is exactly 24h, w 7d).
type Duration time.Duration

// Std returns the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }
