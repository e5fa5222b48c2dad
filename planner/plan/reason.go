package plan

// Reason is a stable code for why a change or an action is in the plan. Codes are a public interface.
type Reason string

// Reasons of changes.
const (
	ReasonDeclared    Reason = "declared"     // new in the policy
	ReasonEdited      Reason = "edited"       // differs from what was applied
	ReasonNotDeclared Reason = "not_declared" // applied before, gone from the policy
	ReasonRedeclared  Reason = "redeclared"   // forgotten before, declared again
	ReasonMoved       Reason = "moved"        // a moved block says so
	ReasonRemoved     Reason = "removed"      // a removed block says so
)

// Reasons of actions.
const (
	ReasonNoRepository Reason = "no_repository"    // the store is declared and was never initialized
	ReasonFirst        Reason = "no_restore_point" // the backup has none yet
	ReasonSlot         Reason = "slot_passed"
	ReasonForced       Reason = "forced"
	ReasonIncomplete   Reason = "incomplete" // the newest point misses part of its source
	ReasonDeadRun      Reason = "run_interrupted"
	ReasonVerifyAfter  Reason = "verify_after"     // each new copy is proven
	ReasonUnverified   Reason = "not_verified"     // an earlier copy was never proven at the wanted level, or failed
	ReasonRetention    Reason = "retention"        // no rule keeps the point
	ReasonDestroy      Reason = "destroy"          // removed { destroy = true } takes every point
	ReasonDamaged      Reason = "damaged"          // repair, back up: reading a copy back failed
	ReasonCopyMissing  Reason = "copy_missing"     // the point is not in a store that `copies` names
	ReasonWALMissing   Reason = "wal_copy_missing" // copy WAL: a store that `copies` names lacks WAL that stays
	ReasonRehearsal    Reason = "rehearsal"        // verify: the last restore to a scratch place is too old
	ReasonWALGap       Reason = "wal_gap"          // back up: WAL is missing after the newest base backup
	ReasonWALUnneeded  Reason = "wal_unneeded"     // expire WAL: no kept restore point and no instant of the window needs it
	ReasonReclaim      Reason = "reclaim"          // prune: restore points left, or a grace is over
)

// Reasons of drift.
const (
	DriftStoreUnreachable  Reason = "store_unreachable"  // a refresh could not look at it
	DriftStoreSwapped      Reason = "store_swapped"      // it holds another repository than the catalog knows
	DriftPointMissing      Reason = "point_missing"      // the catalog knows a point that the store does not hold
	DriftPointUnmanaged    Reason = "point_unmanaged"    // the store holds a point that the catalog does not know
	DriftObjectDamaged     Reason = "object_damaged"     // missing, of another size, or with other bytes
	DriftObjectUnknown     Reason = "object_unknown"     // belongs to nothing
	DriftCopyDamaged       Reason = "copy_damaged"       // the newest proof of a copy failed
	DriftCopyMissing       Reason = "copy_missing"       // a point waits for a further store
	DriftOverRetention     Reason = "over_retention"     // points that should have expired by an earlier run are still there
	DriftUnderRetention    Reason = "under_retention"    // fewer verified points than the floor
	DriftRetentionUnused   Reason = "retention_unused"   // no backup refers to it: it matches nothing
	DriftExpireFailed      Reason = "expire_failed"      // the last attempt to delete failed
	DriftVersioningOff     Reason = "versioning_off"     // the policy says the bucket keeps versions; it does not
	DriftObjectLockOff     Reason = "object_lock_off"    // the same for object lock
	DriftRecipients        Reason = "recipients_differ"  // the store is sealed to others than the policy says
	DriftSlotMissed        Reason = "slot_missed"        // a slot passed without a restore point
	DriftRPO               Reason = "rpo_breach"         // the newest point is older than promised
	DriftWALGap            Reason = "wal_gap"            // WAL is missing after the newest base backup
	DriftProofOld          Reason = "proof_old"          // evidence is older than the policy asks for
	DriftRehearsalOld      Reason = "rehearsal_old"      // no good rehearsal within its span
	DriftNotCovered        Reason = "not_covered"        // a database, collection or part of a source that no backup covers
	DriftServerSetup       Reason = "server_setup"       // the source is not set up for a backup of it
	DriftSourceIdentity    Reason = "source_identity"    // another server answers
	DriftSourceVersion     Reason = "source_version"     // another major version answers (Qdrant: minor)
	DriftSourceUnreachable Reason = "source_unreachable" // a refresh could not look at it
	DriftClock             Reason = "clock_skew"         // a restore point of the catalog is later than now
	DriftCapacity          Reason = "capacity_near"      // more than 85 % of a store's capacity is used
)
