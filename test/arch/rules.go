// Package arch holds the import law of this project as data, and checks it.
//
// It is no linter of style: it knows packages and what they may import. It keeps the invariant that the tree stays what
// docs/architecture.md says: the planner knows nothing of storage, the repository nothing of policies, and what must be
// pure cannot reach a clock, a file or a network.
package arch

// module is the path every package of ours begins with.
const module = "github.com/holdfast-io/holdfast"

// Rule says what one package, or one folder of packages ("internal/repo/..."), may import of ours. The first rule whose
// Of matches a package is its rule; a package without one is a finding.
type Rule struct {
	Of  string
	May []string // patterns of our packages, as in Of; none makes a leaf
}

// Rules is the allowed arrows, from the top of the tree down.
var Rules = []Rule{
	{"cmd/holdfast", []string{"internal/cli"}},
	{"internal/cli/view", []string{"policy", "state", "planner/plan", "internal/diag"}},
	{"internal/cli", []string{
		"internal/cli/view", "internal/agent", "internal/apply", "internal/repo", "internal/repo/manifest", "internal/repo/wal", "internal/blob/...", "internal/clock",
		"internal/diag", "internal/redact", "planner", "planner/plan", "policy/...", "state/...",
		"executors/...",
	}},
	{"internal/agent", []string{"internal/apply", "internal/clock", "internal/diag", "planner", "planner/plan", "policy", "state"}},
	{"internal/apply", []string{"internal/dag", "internal/diag", "planner/plan", "policy", "state", "executors"}},

	{"planner/plan", []string{"internal/diag", "policy", "state"}},
	{"planner/recovery", []string{"internal/dag", "internal/diag", "planner/plan", "policy", "state"}},
	{"planner", []string{"policy", "policy/retention", "policy/schedule", "state", "planner/plan", "internal/dag", "internal/diag"}},

	{"policy", nil},
	{"policy/retention", []string{"policy", "state"}},
	{"policy/schedule", []string{"policy", "state"}},
	{"policy/lang/...", []string{"policy", "policy/lang/...", "policy/schedule", "internal/diag"}},

	{"state", nil},
	{"state/statefile", []string{"state"}},
	{"state/backend", []string{"state", "state/statefile", "internal/blob", "internal/clock"}},

	{"executors", []string{"policy"}},
	{"executors/executortest", []string{"executors", "policy"}},
	{"executors/postgres/wal", nil}, // positions in the log; no server
	{"executors/postgres/replication", []string{"executors/postgres/wal"}},
	{"executors/postgres/archive", nil}, // what a dump's bytes mean; no server, no policy
	{"executors/postgres/wal", nil},     // what the write-ahead log's bytes and names mean
	{"executors/postgres/pgdata", []string{"executors/postgres/wal"}},
	{"executors/postgres/manifest", []string{"executors/postgres/wal"}},
	{"executors/postgres/replication", []string{"executors/postgres/wal"}},
	{"executors/postgres/basebackup", []string{"executors", "executors/postgres/..."}},
	{"executors/qdrant/archive", nil}, // the same of a collection's archives
	{"executors/scratch", nil},        // folders that leave nothing behind
	{"executors/...", []string{"executors", "executors/postgres/...", "executors/qdrant/archive", "executors/scratch", "policy", "internal/diag"}},

	{"internal/repo/...", []string{"internal/repo/...", "internal/blob", "internal/clock"}},
	{"internal/blob/blobtest", []string{"internal/blob"}},
	{"internal/blob/connect", []string{"internal/blob/..."}},
	{"internal/blob", nil},
	{"internal/blob/...", []string{"internal/blob"}},

	{"internal/clock", nil},
	{"internal/clock/clocktest", []string{"internal/clock"}},
	{"internal/dag", nil},
	{"internal/diag", nil},
	{"internal/redact", nil},

	{"test/arch", nil},
	{"test/ragdata/...", []string{"test/ragdata/..."}},
	{"test/...", []string{"..."}},
}

// Pure are the packages whose results depend on their arguments alone. The law below holds for them and for every
// package of ours they import.
var Pure = []string{
	"policy/...", "planner/...", "state", "state/statefile",
	"executors/postgres/wal", "executors/postgres/pgdata", "executors/postgres/manifest",
}

// NotPure are the exceptions inside those folders.
var NotPure = []string{"policy/lang/..."}

// impure are the imports that would let a pure package see the world.
var impure = []string{
	"os", "os/...", "io/fs", "io/ioutil", "path/filepath", "net", "net/...", "database/sql", "math/rand", "math/rand/v2",
	"crypto/rand", "syscall", "log", "embed", "plugin", "runtime", "runtime/...",
}

// worldly are the functions of the allowed package time that read the clock or wait for it.
var worldly = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// Never are arrows that must not exist even through other packages.
var Never = []struct{ From, To []string }{
	{[]string{"internal/repo/..."}, []string{"policy/...", "planner/...", "state/...", "executors/...", "internal/cli/..."}},
	{[]string{"executors/..."}, []string{"internal/repo/...", "internal/blob/...", "state/...", "planner/..."}},
	{[]string{"planner/...", "policy/...", "state", "state/statefile"}, []string{"internal/repo/...", "internal/blob/...", "executors/..."}},
}

// Outside says who may import what is not ours and not Go's: the first word is a module or a folder of one.
var Outside = []outsider{
	{"filippo.io/age", []string{"internal/repo/...", "internal/cli", "policy/lang/..."}},
	{"github.com/agext/levenshtein", []string{"policy/lang/...", "internal/cli", "internal/blob/connect"}},
	{"github.com/bmatcuk/doublestar/v4", []string{"executors/...", "policy/lang/..."}},
	{"github.com/hashicorp/go-version", []string{"policy/lang/..."}},
	{"github.com/hashicorp/hcl/v2", []string{"policy/lang/..."}},
	{"github.com/jackc/pgx/v5", []string{"executors/postgres/...", "test/..."}},
	{"github.com/klauspost/compress", []string{"internal/repo/...", "state/statefile"}},
	{"github.com/pmezard/go-difflib", []string{"internal/cli"}},
	{"github.com/qdrant/go-client", []string{"executors/qdrant/...", "test/..."}},
	{"github.com/robfig/cron/v3", []string{"policy/schedule"}},
	{"github.com/zclconf/go-cty", []string{"policy/lang/..."}},
	{"github.com/zclconf/go-cty-yaml", []string{"policy/lang/..."}},
	{"github.com/zeebo/blake3", []string{"internal/repo/..."}},
	{"gocloud.dev", []string{"internal/blob/cloud"}},
	{"cloud.google.com/go/storage", []string{"internal/blob/cloud"}},                           // these four: to tell their errors apart
	{"github.com/Azure/azure-sdk-for-go", []string{"internal/blob/cloud", "test/azureserver"}}, // the servers: to make buckets
	{"github.com/aws/aws-sdk-go-v2", []string{"internal/blob/cloud", "test/s3server"}},
	{"golang.org/x/oauth2", []string{"internal/blob/cloud"}},
	{"google.golang.org/api", []string{"internal/blob/cloud"}},
	{"google.golang.org/grpc", []string{"executors/qdrant/...", "test/..."}},
	{"google.golang.org/protobuf", []string{"executors/qdrant/...", "test/..."}},
	{"golang.org/x/sync", []string{"..."}},
	{"golang.org/x/time", []string{"internal/blob/throttle", "internal/cli"}},
	{"golang.org/x/sys", []string{"executors/...", "internal/blob/...", "internal/cli", "test/..."}},
	{"golang.org/x/term", []string{"internal/cli/..."}},

	// For tests alone. Files named _test.go are not looked at; these are the packages that only tests import.
	{"github.com/google/go-cmp", []string{"internal/blob/blobtest", "executors/executortest", "test/..."}},
}

type outsider struct {
	Path string
	By   []string
}

// Forbidden are calls that belong to few places. Methods of the same name are not meant.
var Forbidden = []struct {
	Import, Name string
	But          []string
	Why          string
}{
	{"os", "Exit", []string{"cmd/...", "test/..."}, "only main maps an error to an exit code"},
	{"log", "Fatal", []string{"test/..."}, "only main ends the process"},
	{"os", "Stdout", []string{"cmd/...", "test/..."}, "streams are handed down from main"},
	{"os", "Stderr", []string{"cmd/...", "test/..."}, "streams are handed down from main"},
	{"fmt", "Println", []string{"test/..."}, "stdout belongs to the view"},
	{"fmt", "Printf", []string{"test/..."}, "stdout belongs to the view"},
	{"fmt", "Print", []string{"test/..."}, "stdout belongs to the view"},
	{"log/slog", "Default", []string{"test/..."}, "loggers are handed down"},
	{"log/slog", "SetDefault", []string{"cmd/...", "test/..."}, "loggers are handed down"},
}
