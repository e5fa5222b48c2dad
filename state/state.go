// Package state is the catalog as plain values: what exists, what was applied, what ran.
//
// It does no I/O and reads no clock. state/statefile encodes it, state/backend loads and commits it. No value here ever
// holds a secret. Invariant: a restore point is in the catalog only after its manifest was stored and read back.
package state

import (
	"encoding/json"
	"time"
)

// Catalog is everything holdfast knows at one serial of one lineage.
type Catalog struct {
	Lineage string // random, made once; tells one state's history from another's
	Serial  uint64 // grows by one with each commit; 0 is the empty catalog before the first

	Objects map[string]Object         // policy objects last applied, by address
	Points  map[string][]RestorePoint // restore points by backup address, ordered by Time then ID
	WAL     map[string][]WAL          // write-ahead logs by backup address, ordered by Store then System
	Runs    []Run                     // newest last; the backend keeps the last KeepRuns finished ones
}

// KeepRuns is how many finished runs a catalog remembers.
const KeepRuns = 1000

// Object is a policy object as it was when last applied. Attributes are its canonical JSON; secrets appear as references.
type Object struct {
	Attributes json.RawMessage `json:"attributes"`
	Hash       string          `json:"hash"`                 // hex SHA-256 of Attributes
	Forgotten  bool            `json:"forgotten,omitempty"`  // its block is gone; restore points stay, unmanaged
	Repository string          `json:"repository,omitempty"` // stores: the id of the repository that was found or made there
	Identity   string          `json:"identity,omitempty"`   // sources: what told this one from another when it was last backed up
	Retention  json.RawMessage `json:"retention,omitempty"`  // forgotten backups: attributes of the retention that was in force
	Usage      *Usage          `json:"usage,omitempty"`      // stores: what was last seen of it
}

// Usage is what a store held when it was last looked at, and what has happened to it since.
type Usage struct {
	At        time.Time `json:"at"`                  // when it was looked at; backups, copies and expiries since are added to the numbers
	Bytes     int64     `json:"bytes"`               // everything stored, condemned packs included
	Objects   int64     `json:"objects,omitempty"`   // number of objects at At
	Expired   int64     `json:"expired,omitempty"`   // stored bytes of points that left the catalog since the last prune: about what it may free
	Points    int64     `json:"points,omitempty"`    // number of those points
	Condemned int64     `json:"condemned,omitempty"` // bytes of packs that wait for the end of their grace
	Due       time.Time `json:"due,omitzero"`        // when the first of them may be deleted
}

// RestorePoint is a moment that can be restored to: one finished, immutable copy of one source.
type RestorePoint struct {
	ID         string    `json:"id"`            // 20261121T021500Z-9fd2ma
	Time       time.Time `json:"time"`          // the moment its data stands for, UTC
	Slot       time.Time `json:"slot,omitzero"` // the schedule slot it serves; zero for one made on demand
	Finished   time.Time `json:"finished"`
	Run        string    `json:"run"`
	Source     string    `json:"source"`               // address
	Method     string    `json:"method"`               // logical, physical, files
	Incomplete bool      `json:"incomplete,omitempty"` // some of the source could not be read; never counts as protection
	Size       int64     `json:"size"`                 // plain bytes it restores to
	Items      int64     `json:"items"`                // files, databases
	Version    string    `json:"version,omitempty"`    // of the source's server
	Position   string    `json:"position,omitempty"`   // LSN at the moment, where there is one
	Hold       *Hold     `json:"hold,omitempty"`       // it never expires while held
	StoredAs   string    `json:"stored_as,omitempty"`  // address it was stored under, when its backup was renamed since
	Base       *Base     `json:"base,omitempty"`       // physical backups: where it stands in the write-ahead log
	Copies     []Copy    `json:"copies"`
}

// Hold keeps a restore point whatever retention says, until it is released.
type Hold struct {
	Reason string    `json:"reason"`
	Who    string    `json:"who"` // user@host
	At     time.Time `json:"at"`
}

// Copy is one stored copy of a restore point.
type Copy struct {
	Store      string  `json:"store"`            // address
	Repository string  `json:"repository"`       // id of the repository in it
	Manifest   string  `json:"manifest"`         // hex SHA-256 of the stored manifest object
	Summary    string  `json:"summary"`          // hex SHA-256 of the stored summary object
	Stored     int64   `json:"stored"`           // bytes this point added to the store
	Proofs     []Proof `json:"proofs,omitempty"` // the newest of each level
}

// Proof is evidence from reading a copy back. A failed proof stays until a newer one of the same level replaces it.
type Proof struct {
	Level string    `json:"level"` // added, stored, read, restore
	At    time.Time `json:"at"`
	OK    bool      `json:"ok"`
	Run   string    `json:"run,omitempty"`
	Error string    `json:"error,omitempty"`
	// Final tells of a failed proof that nothing is left to repair the copy with: what was damaged was set aside.
	Final bool `json:"final,omitempty"`
}

// RunStatus is how a run or one of its actions stands.
type RunStatus string

// The states of a run. A pending run whose lease has ended is dead; the next plan recovers it.
const (
	RunPending     RunStatus = "pending"
	RunOK          RunStatus = "ok"
	RunFailed      RunStatus = "failed"
	RunInterrupted RunStatus = "interrupted"
	RunSkipped     RunStatus = "skipped" // actions only: a dependency failed, or it was no longer needed
)

// Run is one apply, verify or restore. It is committed as pending before its first byte is written.
type Run struct {
	ID        string      `json:"id"`
	Operation string      `json:"operation"` // apply, verify, restore, refresh, import, hold, release
	Who       string      `json:"who"`       // user@host
	Started   time.Time   `json:"started"`
	Finished  time.Time   `json:"finished,omitzero"`
	Status    RunStatus   `json:"status"`
	Actions   []RunAction `json:"actions,omitempty"`
}

// RunAction is one action of a run, pending until committed as finished.
type RunAction struct {
	Address  string    `json:"address"`
	Kind     string    `json:"kind"`            // a plan.ActionKind
	Point    string    `json:"point,omitempty"` // the restore point it makes or concerns
	Store    string    `json:"store,omitempty"` // address of the store it writes to
	Slot     time.Time `json:"slot,omitzero"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	Status   RunStatus `json:"status"`
	Bytes    int64     `json:"bytes,omitempty"`  // plain bytes read or written
	Stored   int64     `json:"stored,omitempty"` // bytes added to (or freed in) the store
	Error    string    `json:"error,omitempty"`
	Note     string    `json:"note,omitempty"`    // what a person said of it: why a point is held, or no longer
	Deletes  []Left    `json:"deletes,omitempty"` // expire: what must still be deleted, as the point has left the catalog
}

// Left is what a point that left the catalog may still have in a store.
type Left struct {
	Store   string `json:"store"`   // address
	Address string `json:"address"` // that it is stored under
}

// LeaseInfo says who is working on the state. It is politeness; commits are safe without it.
type LeaseInfo struct {
	ID        string    `json:"id"`
	Who       string    `json:"who"`
	Operation string    `json:"operation"`
	Run       string    `json:"run"`
	ExpiresAt time.Time `json:"expires_at"`
	Fence     uint64    `json:"fence"`
	Process   string    `json:"process,omitempty"` // names the holder's process on its machine; empty when unknown
}
