// Package apply does what a plan says: it walks the actions, calls executors and commits the catalog after each one.
//
// It decides nothing (planner does) and prints nothing (views hear of it through Events). It is the only room that knows
// both policies and stores, through the small interfaces it declares here. Invariants it keeps: a run is committed as
// pending before its first byte; a restore point enters the catalog after its manifest was stored and read back; a point
// leaves the catalog before its manifest is deleted, and WAL before its objects are; a failure skips dependants only and never counts as success.
package apply

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/internal/dag"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// Repositories opens the repositories of stores by address.
type Repositories interface {
	// Initialize makes the repository of a store that has none, and returns the id of the one that is there afterwards. With
	// like, the address of another store, it shares that one's keys, so that points can be brought over as stored.
	Initialize(ctx context.Context, store, like string) (id string, err error)
	// Open opens a store for work. Repeated calls may return the same value.
	Open(ctx context.Context, store string) (Repository, error)
}

// Repository is one store, as far as apply needs it.
type Repository interface {
	ID() string
	// CanRead tells whether this host holds a key that opens what is stored.
	CanRead() bool
	// NewPoint begins a restore point. Nothing of it counts before Commit returned nil.
	NewPoint(ctx context.Context, o PointOptions) (PointWriter, error)
	// Find tells of a point that is whole in the store; ok is false when its manifest is absent.
	Find(ctx context.Context, address, point string) (found Found, ok bool, err error)
	// Supply opens a restore point for reading.
	Supply(ctx context.Context, address, point string) (executors.Supply, error)
	// VerifyStored compares the hash of every stored byte that the points need. What proven points need too is only looked
	// for, by name and size.
	VerifyStored(ctx context.Context, points, proven []PointCopy, progress func(bytes int64)) (Checked, error)
	// VerifyRead decrypts and decodes every chunk of one point.
	VerifyRead(ctx context.Context, address, point string, progress func(bytes int64)) (Checked, error)
	// DeletePoint deletes a point's manifest and what goes with it. An absent point is not an error.
	DeletePoint(ctx context.Context, address, point string) error

	Keeper
	WALKeeper
}

// WALHolder is a repository that hands out the write-ahead log it holds.
type WALHolder interface {
	WALArchive() executors.WALArchive
}

// Keeper is the part of a repository that keeps copies whole and the store small.
type Keeper interface {
	// CopyPoint brings a whole point over from another repository: as stored where both share their keys, else sealed anew.
	// from is a value that the same Repositories opened. A point that is whole here already is not copied again.
	CopyPoint(ctx context.Context, from Repository, address, point string, progress func(bytes, stored int64)) (Receipt, error)
	// RepairPoint looks at every stored byte a point needs and replaces what is damaged or missing from a good copy. With from
	// nil, or where that cannot help, what is damaged is set aside, so that the next backup stores its content again.
	RepairPoint(ctx context.Context, from Repository, c PointCopy, progress func(bytes int64)) (Repaired, error)
	// Prune condemns packs that nothing needs and deletes those that were condemned for at least the grace. ErrBusy says that
	// somebody else prunes the store already.
	Prune(ctx context.Context, grace time.Duration) (Pruned, error)
}

// PointOptions describe a restore point to be written.
type PointOptions struct {
	Address     string
	Point       string
	Compression policy.Compression
	SizeHint    int64 // plain bytes expected; 0 unknown
	MaxRate     int64 // plain bytes read per second, from all content together; 0: no limit
	Progress    func(bytes, stored int64)
}

// PointWriter is a Sink that ends in a restore point or in nothing.
type PointWriter interface {
	executors.Sink
	// Commit writes index, summary and manifest and reads them back.
	Commit(ctx context.Context, info PointInfo) (Receipt, error)
	// Abort gives up. What was stored is unreferenced. Safe after Commit.
	Abort()
}

// PointInfo is stored with a restore point, so that a store alone tells what it is.
type PointInfo struct {
	Time       time.Time
	Slot       time.Time
	Source     string
	Method     string
	Run        string
	Version    string
	Position   string
	Meta       map[string]string
	Incomplete bool
}

// Receipt is the proof that a point is stored.
type Receipt struct {
	Manifest, Summary   string // hex SHA-256 of the stored objects
	Size, Stored, Items int64
	Warnings            []string // what was found amiss in the store and did no harm to this point
}

// Found is a point as the store alone tells it.
type Found struct {
	Info    PointInfo
	Receipt Receipt
}

// Repaired tells what a repair did.
type Repaired struct {
	Replaced []string // objects that were replaced from the good copy
	SetAside []string // objects that were damaged beyond repair and are out of the way now
	Receipt  Receipt  // the copy's hashes afterwards; zero when they are what they were
	Bytes    int64    // read
}

// Pruned tells what a prune did and what it left. Sizes are stored bytes.
type Pruned struct {
	Deleted, DeletedBytes     int64         // packs
	Condemned, CondemnedBytes int64         // waiting for the end of their grace, newly condemned ones included
	Bytes, Objects            int64         // everything in the store afterwards
	DueIn                     time.Duration // until the first condemned pack may be deleted
	Rewritten, RewrittenBytes int64         // packs that were mostly dead: what points need of them was stored anew
	Missing                   int64         // packs that points need and that are lost; with any, nothing was taken away
	Summaries                 []PointCopy   // points whose summary is another object now
}

// PointCopy names one stored copy.
type PointCopy struct{ Address, Point, Manifest, Summary string }

// Checked is the outcome of reading back.
type Checked struct {
	Objects, Bytes int64
	Damage         []Damage
}

// Damage is one damaged object and the points that need it, as address and id, as far as this host can tell.
type Damage struct {
	Object  string
	Problem string
	Points  []string
}

// String is the sentence a person reads.
func (d Damage) String() string { return d.Object + ": " + d.Problem }

// Lease is the right to commit; state/backend's Leased is one.
type Lease interface {
	Context() context.Context
	// Update edits the catalog and commits it, again on a fresh catalog when somebody else committed in between.
	Update(ctx context.Context, c *state.Catalog, edit func(*state.Catalog) error) error
}

// Events hear what happens, from several goroutines.
type Events interface {
	ActionStarted(a plan.Action)
	ActionProgress(a plan.Action, bytes, stored, expected int64)
	ActionNote(a plan.Action, note string)
	ActionFinished(a plan.Action, done state.RunAction)
}

// Runner applies one plan. Its fields are set once, before Run.
type Runner struct {
	Policy       policy.Set
	Objects      map[string]state.Object // what the catalog's objects become
	Executors    map[policy.SourceKind]executors.Executor
	Repositories Repositories
	Lease        Lease
	Refresh      func(ctx context.Context, c *state.Catalog) error // replaces c by the newest catalog
	// StillExpires returns the planned expiries that the catalog still allows: fewer than planned, never others.
	StillExpires func(c *state.Catalog, now time.Time, planned []plan.Action) []plan.Action
	// StillExpiresWAL does the same for WAL: what it returns holds the segments that may still go.
	StillExpiresWAL func(c *state.Catalog, now time.Time, planned []plan.Action) []plan.Action
	// Seen books what was seen before the run, together with its beginning; nil for nothing.
	Seen func(c *state.Catalog)
	// LookAtWAL looks at what the stores hold of write-ahead log now, and returns how that is booked; nil for nothing. It reads c
	// and does not change it.
	LookAtWAL   func(ctx context.Context, c *state.Catalog) (book func(*state.Catalog))
	Events      Events
	Log         *slog.Logger
	Now         func() time.Time
	NewPointID  func(t time.Time) string
	Parallelism int
	RunID, Who  string
}

// Outcome is how a run ended.
type Outcome struct {
	Run    state.Run
	Counts map[state.RunStatus]int
}

// Run carries out the plan on the catalog. The error tells what kept the run itself from working; actions that failed are
// in the outcome. When ctx ends, running actions are given up, the rest is skipped, and the run is committed as interrupted.
func (r *Runner) Run(ctx context.Context, catalog *state.Catalog, p plan.Plan) (Outcome, error) {
	ctx, cancel := mergeContexts(ctx, r.Lease.Context())
	defer cancel()
	b := &book{lease: r.Lease, refresh: r.Refresh, catalog: catalog}
	run := state.Run{ID: r.RunID, Operation: "apply", Who: r.Who, Started: r.Now().UTC(), Status: state.RunPending}
	points := map[string]string{} // backup address → the point this run makes
	var steps, last []dag.Step
	actions := make(map[string]plan.Action, len(p.Actions))
	for _, a := range p.Actions {
		if a.Kind == plan.Backup {
			points[a.Address] = r.NewPointID(r.Now())
			a.Point = points[a.Address]
		} else if (a.Kind == plan.Verify || a.Kind == plan.Copy) && a.Point == "" {
			a.Point = points[a.Address]
		}
		actions[a.ID] = a
		// Pruning comes when everything else has ended, well or not: an expiry that fails every night must not keep the store
		// from ever getting smaller.
		if step := (dag.Step{ID: a.ID, After: a.After}); a.Kind == plan.Prune {
			last = append(last, step)
		} else {
			steps = append(steps, step)
		}
		run.Actions = append(run.Actions, state.RunAction{
			Address: a.Address, Kind: string(a.Kind), Point: a.Point, Store: a.Store, Slot: a.Slot, Status: state.RunPending,
		})
	}
	err := b.update(ctx, func(c *state.Catalog) error {
		c.Runs = append(c.Runs, run)
		if r.Seen != nil {
			r.Seen(c)
		}
		r.declare(c, p)
		return nil
	})
	if err != nil {
		return Outcome{Run: run}, fmt.Errorf("record run %s: %w", r.RunID, err)
	}
	slices.SortStableFunc(steps, func(x, y dag.Step) int { return cmp.Compare(rank(actions[x.ID]), rank(actions[y.ID])) })
	w := &walker{Runner: r, book: b, actions: actions, index: indexByID(p.Actions)}
	for _, some := range [][]dag.Step{steps, last} {
		if _, err = dag.Walk(ctx, some, r.Parallelism, w.do); err != nil {
			return Outcome{Run: run}, err
		}
	}
	w.lookAtWAL(ctx)
	return w.close(ctx)
}

// rank orders actions of which either could begin: what makes new restore points comes before what copies and tidies old
// ones, so that a store of copies that is slow or down makes no backup wait.
func rank(a plan.Action) int {
	switch {
	case a.Kind == plan.Copy, a.Kind == plan.CopyWAL, a.Kind == plan.Initialize && a.From != "":
		return 1
	case a.Kind.Destructive(), a.Kind == plan.Prune:
		return 2
	default:
		return 0
	}
}

// declare records the plan's changes. A store that still lacks its repository is recorded by its Initialize action.
func (r *Runner) declare(c *state.Catalog, p plan.Plan) {
	for _, ch := range p.Changes {
		if ch.Kind == plan.Move {
			c.Move(ch.From, ch.Address)
		}
	}
	initialize := map[string]bool{}
	for _, a := range p.Actions {
		if a.Kind == plan.Initialize {
			initialize[a.Address] = true
		}
	}
	if c.Objects == nil {
		c.Objects = map[string]state.Object{}
	}
	for _, ch := range p.Changes {
		switch ch.Kind {
		case plan.Move:
		case plan.Forget:
			o := c.Objects[ch.Address]
			o.Forgotten, o.Retention = true, retentionOf(c, o)
			c.Objects[ch.Address] = o
		case plan.Destroy:
			delete(c.Objects, ch.Address)
		default:
			if o, ok := r.Objects[ch.Address]; ok && !initialize[ch.Address] {
				before := c.Objects[ch.Address]
				o.Repository, o.Usage, o.Identity = before.Repository, before.Usage, before.Identity
				c.Objects[ch.Address] = o
			}
		}
	}
}

// retentionOf returns the retention in force of a backup that is forgotten now: its own block may go, or change.
func retentionOf(c *state.Catalog, o state.Object) json.RawMessage {
	var b policy.Backup
	if len(o.Retention) > 0 || json.Unmarshal(o.Attributes, &b) != nil || b.Retention == "" {
		return o.Retention
	}
	return c.Objects[b.Retention].Attributes
}

func indexByID(actions []plan.Action) map[string]int {
	index := make(map[string]int, len(actions))
	for i, a := range actions {
		index[a.ID] = i
	}
	return index
}

// mergeContexts ends when either does, with that one's cause.
func mergeContexts(ctx, other context.Context) (context.Context, func()) {
	merged, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return merged, func() { stop(); cancel(nil) }
}

// ErrBusy says that somebody else is doing what was asked for.
var ErrBusy = errors.New("somebody else is at it")

// errInterrupted marks an action that was given up because the run was told to stop.
var errInterrupted = errors.New("interrupted")
