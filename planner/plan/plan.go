// Package plan is the vocabulary of plans: changes, actions, windows, reasons, and their forms: text, Markdown, JSON, file.
//
// It decides nothing (planner does), prints nothing (internal/cli does) and executes nothing (internal/apply does). The JSON
// form is a public interface under FormatVersion, the summary line another. Invariants: the same plan gives the same bytes
// in every form; no form leaves out a destructive line without saying so; no name from a catalog can add a line or steer a
// terminal.
package plan

import (
	"time"

	"github.com/holdfast-io/holdfast/internal/diag"
	"github.com/holdfast-io/holdfast/state"
)

// FormatVersion is the version of the JSON form. The major part grows with a breaking change.
const FormatVersion = "1.0"

// Lifetime is how long a saved plan may be applied.
const Lifetime = 24 * time.Hour

// Plan is what holdfast would do, and why. The zero plan does nothing.
type Plan struct {
	Lineage string    `json:"lineage"`
	Serial  uint64    `json:"serial"` // of the catalog it was made from
	Now     time.Time `json:"now"`    // the moment it was made for, UTC

	Targets []string `json:"targets,omitempty"` // addresses it was limited to

	Changes     []Change  `json:"changes"`
	Actions     []Action  `json:"actions"`
	Windows     []Window  `json:"windows"`
	Drift       []Drift   `json:"drift,omitempty"`       // what the catalog or the policy says and the world does not show
	Checks      []Check   `json:"checks,omitempty"`      // house rules, those that passed too
	Refresh     string    `json:"refresh,omitempty"`     // how far the world was looked at: none, list, deep
	Diagnostics diag.List `json:"diagnostics,omitempty"` // warnings; a plan with errors is not made
	Blocks      []Block   `json:"blocks,omitempty"`      // a plan with blocks may not be applied (exit 13)
	Fingerprint string    `json:"fingerprint"`

	// Versions holds, for each address that changes or actions are about, the version of what the catalog held of it. Only
	// when one of them moved is a plan stale.
	Versions map[string]string `json:"versions,omitempty"`
}

// ChangeKind is what happens to a policy object.
//
//	kind    before   after
//	add     absent   declared
//	change  applied  declared, different
//	forget  applied  not declared; restore points stay
//	adopt   forgotten declared again
//	move    applied  declared under another address; restore points go with it
//	destroy applied or forgotten  removed { destroy = true }; every restore point expires
type ChangeKind string

// The kinds of change.
const (
	Add    ChangeKind = "add"
	Update ChangeKind = "change"
	Forget ChangeKind = "forget"
	Adopt  ChangeKind = "adopt"
	Move   ChangeKind = "move"
	// Destroy takes the object and every restore point of it out of the catalog.
	Destroy ChangeKind = "destroy"
)

// WhyEdited is the sentence of a change that needs no other.
const WhyEdited = "differs from what was applied"

// Change is a difference between a declared policy object and the one last applied.
type Change struct {
	Address    string      `json:"address"`
	Kind       ChangeKind  `json:"kind"`
	From       string      `json:"from,omitempty"`       // move: the address until now
	Attributes []Attribute `json:"attributes,omitempty"` // ordered by path
	Reason     Reason      `json:"reason"`
	Why        string      `json:"why"`              // a sentence
	Points     int         `json:"points,omitempty"` // restore points that this change makes expire
	Bytes      int64       `json:"bytes,omitempty"`  // plain bytes of those points
	Lost       []Loss      `json:"lost,omitempty"`   // the spans of time that can no longer be restored by it
}

// Loss is a span of time of which no restore point would be left.
type Loss struct {
	Address string    `json:"address"` // of the backup
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Points  int       `json:"points"`
	Bytes   int64     `json:"bytes,omitempty"`
}

// Attribute is one changed attribute. Values are JSON text; an absent one is empty. Secrets appear as references.
type Attribute struct {
	Path   string `json:"path"` // daily, encryption.recipients
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// ActionKind is something to do.
type ActionKind string

// The kinds of action.
const (
	Initialize ActionKind = "initialize" // make the repository in an empty store
	Recover    ActionKind = "recover"    // adopt or discard what a dead run left
	Backup     ActionKind = "back up"
	Verify     ActionKind = "verify"
	Copy       ActionKind = "copy"     // bring a point to a further store, and verify it there
	CopyWAL    ActionKind = "copy WAL" // bring write-ahead log to a further store
	Repair     ActionKind = "repair"   // replace what is damaged of a copy from a good one, or set it aside when there is none
	Expire     ActionKind = "expire"
	ExpireWAL  ActionKind = "expire WAL" // delete write-ahead log that nothing kept needs
	Prune      ActionKind = "prune"      // condemn packs that nothing needs, delete those whose grace is over
)

// Destructive tells whether the action takes something away.
func (k ActionKind) Destructive() bool { return k == Expire || k == ExpireWAL }

// Action is one thing that apply will do. ID is unique in the plan and stable for the same inputs.
type Action struct {
	ID      string     `json:"id"` // "expire backup.app 20261121T021500Z-9fd2ma"
	Kind    ActionKind `json:"kind"`
	Address string     `json:"address"`         // of the backup, or of the store for initialize
	Point   string     `json:"point,omitempty"` // empty where the point will be made by the action named in After
	Store   string     `json:"store,omitempty"`
	From    string     `json:"from,omitempty"`  // copy, copy WAL, repair: the store of the good copy; initialize: the store whose keys it shares
	Run     string     `json:"run,omitempty"`   // recover: the dead run
	Slot    time.Time  `json:"slot,omitzero"`   // back up: the slot it serves
	Level   string     `json:"level,omitempty"` // verify
	Reason  Reason     `json:"reason"`
	Why     string     `json:"why"`
	Bytes   int64      `json:"bytes,omitempty"`   // expected, from the last run or the catalog
	Seconds float64    `json:"seconds,omitempty"` // expected, from the last run
	After   []string   `json:"after,omitempty"`   // IDs of actions that must have succeeded first
	System  string     `json:"system,omitempty"`  // copy WAL, expire WAL: the server's system identifier
	WAL     []Segments `json:"wal,omitempty"`     // copy WAL: what is missing, expire WAL: what goes; ascending by timeline and position
}

// Segments is a run of segments of a write-ahead log.
type Segments struct {
	Timeline uint32    `json:"timeline"`
	From     state.LSN `json:"from"` // beginning of the first
	To       state.LSN `json:"to"`   // end of the last, or of what there is of it
	First    string    `json:"first"`
	Last     string    `json:"last"`
	Count    int64     `json:"count"`
	Stored   int64     `json:"stored"` // bytes in the store, about
}

// Window is the span of time a backup can be restored to, before and after the plan.
type Window struct {
	Address string `json:"address"`
	Before  Span   `json:"before"`
	After   Span   `json:"after"`
	Lost    bool   `json:"lost,omitempty"` // the plan shortens what can be restored
}

// Span runs from the oldest to the newest moment that can be restored.
type Span struct {
	From   time.Time `json:"from,omitzero"`
	To     time.Time `json:"to,omitzero"`
	Points int       `json:"points"`
	// Continuous are the stretches inside of which every instant can be restored, ascending and apart from each other.
	Continuous []Stretch `json:"continuous,omitempty"`
}

// Stretch is a stretch of time, both ends included.
type Stretch struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Block is a guard that forbids the plan, or its deletions.
type Block struct {
	Guard   Guard  `json:"guard"`
	Address string `json:"address"`
	Why     string `json:"why"`
}

// Guard is a stable code for what blocks a plan. Codes are a public interface.
type Guard string

// The guards. Those of deletion withhold every deletion of the plan and the changes that cause them; backups, proofs and
// copies are made all the same. The others forbid the whole plan.
const (
	GuardVerifiedNewer Guard = "verified_newer"    // deletion: no newer, verified restore point of the same backup would remain
	GuardMinVerified   Guard = "min_verified"      // deletion: fewer verified restore points than the floor would remain
	GuardHold          Guard = "hold"              // deletion: a held restore point would go
	GuardMaxPrune      Guard = "max_prune_percent" // deletion: too large a share at once, unless an approved plan names the points
	GuardCapacity      Guard = "capacity"          // the store would overflow
	GuardCheck         Guard = "check"             // a check block of severity error failed
)

// Deletion tells whether the guard withholds deletions only.
func (g Guard) Deletion() bool {
	return g == GuardVerifiedNewer || g == GuardMinVerified || g == GuardHold || g == GuardMaxPrune
}

// Approvable tells whether an approved plan (a saved one, or one whose fingerprint was expected) lifts the guard.
func (g Guard) Approvable() bool { return g == GuardMaxPrune }

// Drift is a difference between what the catalog or the policy says and what the world shows.
type Drift struct {
	Address string    `json:"address"` // of the backup, store or source
	Reason  Reason    `json:"reason"`
	Why     string    `json:"why"`
	Point   string    `json:"point,omitempty"`
	Store   string    `json:"store,omitempty"`
	Object  string    `json:"object,omitempty"` // name of an object in the store
	Bytes   int64     `json:"bytes,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	// Fixed tells that an action of this plan does away with it.
	Fixed bool `json:"fixed,omitempty"`
}

// Check is one assertion of a house rule.
type Check struct {
	Address  string `json:"address"`
	Severity string `json:"severity"` // error, warning
	Status   string `json:"status"`   // pass, fail, error
	Message  string `json:"message,omitempty"`
}

// Empty tells whether there is nothing to change and nothing to do.
func (p Plan) Empty() bool { return len(p.Changes) == 0 && len(p.Actions) == 0 }
