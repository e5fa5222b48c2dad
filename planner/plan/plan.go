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
type ChangeKind string

// The kinds of change.
const (
	Add    ChangeKind = "add"
	Update ChangeKind = "change"
	Forget ChangeKind = "forget"
	Adopt  ChangeKind = "adopt"
)

// Change is a difference between a declared policy object and the one last applied.
type Change struct {
	Address    string      `json:"address"`
	Kind       ChangeKind  `json:"kind"`
	Attributes []Attribute `json:"attributes,omitempty"` // ordered by path
	Reason     Reason      `json:"reason"`
	Why        string      `json:"why"`              // a sentence
	Points     int         `json:"points,omitempty"` // restore points that this change makes expire
	Bytes      int64       `json:"bytes,omitempty"`  // plain bytes of those points
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
	Expire     ActionKind = "expire"
)

// Destructive tells whether the action takes something away.
func (k ActionKind) Destructive() bool { return k == Expire }

// Action is one thing that apply will do. ID is unique in the plan and stable for the same inputs.
type Action struct {
	ID      string     `json:"id"` // "expire backup.app 20261121T021500Z-9fd2ma"
	Kind    ActionKind `json:"kind"`
	Address string     `json:"address"`         // of the backup, or of the store for initialize
	Point   string     `json:"point,omitempty"` // empty where the point will be made by the action named in After
	Store   string     `json:"store,omitempty"`
	Run     string     `json:"run,omitempty"`   // recover: the dead run
	Slot    time.Time  `json:"slot,omitzero"`   // back up: the slot it serves
	Level   string     `json:"level,omitempty"` // verify
	Reason  Reason     `json:"reason"`
	Why     string     `json:"why"`
	Bytes   int64      `json:"bytes,omitempty"`   // expected, from the last run or the catalog
	Seconds float64    `json:"seconds,omitempty"` // expected, from the last run
	After   []string   `json:"after,omitempty"`   // IDs of actions that must have succeeded first
}

// Window is the span of time a backup can be restored to, before and after the plan.
type Window struct {
	Address string `json:"address"`
	Before  Span   `json:"before"`
	After   Span   `json:"after"`
	Lost    bool   `json:"lost,omitempty"` // the plan shortens what can be restored
}

// Span runs from the oldest to the newest restore point.
type Span struct {
	From   time.Time `json:"from,omitzero"`
	To     time.Time `json:"to,omitzero"`
	Points int       `json:"points"`
}

// Block is a guard that forbids the plan.
type Block struct {
	Guard   string `json:"guard"` // max_prune_percent, ...
	Address string `json:"address"`
	Why     string `json:"why"`
}

// Empty tells whether there is nothing to change and nothing to do.
func (p Plan) Empty() bool { return len(p.Changes) == 0 && len(p.Actions) == 0 }
