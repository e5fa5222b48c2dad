package plan

// Reason is a stable code for why a change or an action is in the plan. Codes are a public interface.
type Reason string

// Reasons of changes.
const (
	ReasonDeclared    Reason = "declared"     // new in the policy
	ReasonEdited      Reason = "edited"       // differs from what was applied
	ReasonNotDeclared Reason = "not_declared" // applied before, gone from the policy
	ReasonRedeclared  Reason = "redeclared"   // forgotten before, declared again
)

// Reasons of actions.
const (
	ReasonNoRepository Reason = "no_repository"    // the store is declared and was never initialized
	ReasonFirst        Reason = "no_restore_point" // the backup has none yet
	ReasonSlot         Reason = "slot_passed"
	ReasonForced       Reason = "forced"
	ReasonIncomplete   Reason = "incomplete" // the newest point misses part of its source
	ReasonDeadRun      Reason = "run_interrupted"
	ReasonVerifyAfter  Reason = "verify_after" // each new copy is proven
	ReasonUnverified   Reason = "not_verified" // an earlier copy was never proven at the wanted level, or failed
	ReasonRetention    Reason = "retention"    // no rule keeps the point
)
