// Package planner decides: Plan(desired, observed, now) → plan. It does no I/O and reads no clock; the same input gives
// the same bytes.
package planner

import (
	"time"

	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// Input is everything a plan depends on.
type Input struct {
	Desired policy.Set
	Catalog state.Catalog
	Now     time.Time
	Targets []string // addresses to limit the plan to; empty means all
	Force   []string // addresses of backups to run now, due or not
	// Alive holds the ids of pending runs whose lease has not ended: they are working, not dead.
	Alive []string
}
