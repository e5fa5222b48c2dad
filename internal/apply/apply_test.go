package apply_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/internal/blob/connect"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/backend"
)

var now = time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)

// world is everything a run touches, in memory but for the state, which is real.
type world struct {
	t       *testing.T
	backend *backend.Backend
	store   *fakeStore
	source  *fakeSource
	moved   []policy.Moved
	log     []string // what happened, in order

	stillWAL func(planned []plan.Action) []plan.Action // nil: all of them
	look     func(c *state.Catalog)                    // what the look at WAL books

	mu sync.Mutex
}

func newWorld(t *testing.T) *world {
	b, err := connect.Open(t.Context(), "file://"+t.TempDir(), connect.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, backend: backend.New(b, backend.Options{Holder: "test@host"})}
	w.store = &fakeStore{world: w, points: map[string]apply.Found{}}
	w.source = &fakeSource{}
	return w
}

func (w *world) tell(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

// run applies actions on what the state holds now.
func (w *world) run(ctx context.Context, id string, actions ...plan.Action) (apply.Outcome, error) {
	w.t.Helper()
	catalog, err := w.backend.Load(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	lease, err := w.backend.Lease(w.t.Context(), state.LeaseInfo{Operation: "apply", Run: id}, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer lease.Release(w.t.Context())
	r := &apply.Runner{
		Policy: policy.Set{
			Stores:  map[string]policy.Store{"store.s": {}, "store.copy": {}},
			Sources: map[string]policy.Source{"source.files.a": {Kind: policy.KindFiles, Files: &policy.FilesSource{Root: "/"}}},
			Backups: map[string]policy.Backup{"backup.a": {Source: "source.files.a", Store: "store.s"}, "backup.b": {Source: "source.files.a", Store: "store.s"}},
			Moved:   w.moved,
		},
		Executors:    map[policy.SourceKind]executors.Executor{policy.KindFiles: w.source},
		Repositories: w.store, Lease: lease, Refresh: w.backend.Refresh,
		StillExpires: func(_ *state.Catalog, _ time.Time, planned []plan.Action) []plan.Action { return planned },
		StillExpiresWAL: func(_ *state.Catalog, _ time.Time, planned []plan.Action) []plan.Action {
			if w.stillWAL != nil {
				return w.stillWAL(planned)
			}
			return planned
		},
		LookAtWAL: func(context.Context, *state.Catalog) func(*state.Catalog) { return w.look },
		Events:    silent{}, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
		NewPointID: func(time.Time) string { return "point-" + id }, RunID: id, Who: "test@host",
	}
	for _, m := range w.moved {
		delete(r.Policy.Backups, m.From)
	}
	return r.Run(ctx, catalog, plan.Plan{Actions: actions})
}

func (w *world) catalog() *state.Catalog {
	w.t.Helper()
	c, err := w.backend.Load(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) points(address string) []string {
	ids := []string{}
	for _, p := range w.catalog().Points[address] {
		ids = append(ids, p.ID)
	}
	return ids
}

func backupOf(address string) plan.Action {
	return plan.Action{ID: "back up " + address, Kind: plan.Backup, Address: address, Store: "store.s", Slot: now}
}

func verifyAfter(address string) plan.Action {
	return plan.Action{ID: "verify " + address, Kind: plan.Verify, Address: address, Store: "store.s", Level: "stored", After: []string{"back up " + address}}
}

func expire(address, point string, after ...string) plan.Action {
	return plan.Action{ID: "expire " + point, Kind: plan.Expire, Address: address, Point: point, Store: "store.s", After: after}
}

type silent struct{}

func (silent) ActionStarted(plan.Action)                       {}
func (silent) ActionProgress(plan.Action, int64, int64, int64) {}
func (silent) ActionNote(plan.Action, string)                  {}
func (silent) ActionFinished(plan.Action, state.RunAction)     {}

// fakeStore keeps points in memory and tells the order of what is done to it.
type fakeStore struct {
	*world
	apply.Keeper
	points    map[string]apply.Found
	deleteErr error
	commitErr error
	pruneErr  error
	damage    []apply.Damage

	name    string // of a further store; empty for the first
	openErr error
	others  map[string]*fakeStore
	repairs apply.Repaired

	walCopied apply.WALCopied
}

func (s *fakeStore) Initialize(context.Context, string, string) (string, error) {
	return "repo", nil
}

func (s *fakeStore) Open(_ context.Context, address string) (apply.Repository, error) {
	if other := s.others[address]; other != nil {
		if other.openErr != nil {
			s.tell("%s is down", address)
			return nil, other.openErr
		}
		return other, nil
	}
	if !strings.HasPrefix(address, "store.s") && address != "store.copy" {
		return nil, errors.New("the policy declares no " + address)
	}
	return s, nil
}

func (s *fakeStore) ID() string    { return "repo" + s.name }
func (s *fakeStore) CanRead() bool { return false }

func (s *fakeStore) Supply(context.Context, string, string) (executors.Supply, error) {
	return nil, errors.New("unused")
}

func (s *fakeStore) NewPoint(_ context.Context, o apply.PointOptions) (apply.PointWriter, error) {
	return &fakeWriter{store: s, o: o}, nil
}

func (s *fakeStore) Find(_ context.Context, address, point string) (apply.Found, bool, error) {
	f, ok := s.points[address+"/"+point]
	return f, ok, nil
}

func (s *fakeStore) VerifyStored(_ context.Context, _, proven []apply.PointCopy, _ func(int64)) (apply.Checked, error) {
	s.tell("verify, %d proven before", len(proven))
	return apply.Checked{Bytes: 1, Damage: s.damage}, nil
}

func (s *fakeStore) VerifyRead(context.Context, string, string, func(int64)) (apply.Checked, error) {
	return apply.Checked{}, errors.New("unused")
}

// where tells what is not usual: another store, another address.
func (s *fakeStore) where(address string) (where string) {
	if s.name != "" {
		where += " in " + s.name
	}
	if address != "backup.a" && address != "backup.b" {
		where += " as " + address
	}
	return where
}

func (s *fakeStore) DeletePoint(_ context.Context, address, point string) error {
	listed := slices.Contains(s.world.points(address), point)
	s.tell("delete %s%s (in catalog: %v)", point, s.where(address), listed)
	if s.deleteErr == nil {
		delete(s.points, address+"/"+point)
	}
	return s.deleteErr
}

type fakeWriter struct {
	store *fakeStore
	o     apply.PointOptions
}

func (w *fakeWriter) Add(context.Context, executors.Entry, executors.Content) error { return nil }

// Err implements executors.Sink.
func (w *fakeWriter) Err() error { return nil }

func (w *fakeWriter) Flush(context.Context) error { return nil }
func (w *fakeWriter) Abort()                      {}

func (w *fakeWriter) Commit(_ context.Context, info apply.PointInfo) (apply.Receipt, error) {
	if w.store.commitErr != nil {
		return apply.Receipt{}, w.store.commitErr
	}
	w.store.tell("manifest %s (in catalog: %v)", w.o.Point, slices.Contains(w.store.world.points(w.o.Address), w.o.Point))
	receipt := apply.Receipt{Manifest: "m", Summary: "s", Size: 10, Stored: 5, Items: 1}
	w.store.points[w.o.Address+"/"+w.o.Point] = apply.Found{Info: info, Receipt: receipt}
	return receipt, nil
}

// fakeSource backs nothing up, or fails as told.
type fakeSource struct {
	executors.Executor
	backup func(ctx context.Context) (executors.Result, error)
}

func (f *fakeSource) Inspect(context.Context, policy.Source) (executors.Facts, error) {
	return executors.Facts{Size: 10}, nil
}

func (f *fakeSource) Backup(ctx context.Context, _ executors.BackupRequest, _ executors.Sink) (executors.Result, error) {
	if f.backup != nil {
		return f.backup(ctx)
	}
	return executors.Result{}, nil
}

func TestBackupIsStoredBeforeItIsCatalogued(t *testing.T) {
	w := newWorld(t)
	out, err := w.run(t.Context(), "r1", backupOf("backup.a"), verifyAfter("backup.a"))
	if err != nil || out.Run.Status != state.RunOK {
		t.Fatalf("run: %+v, %v", out, err)
	}
	if diff := cmp.Diff([]string{"manifest point-r1 (in catalog: false)", "verify, 0 proven before"}, w.log); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	p := w.catalog().Points["backup.a"][0]
	if !p.Verified() || !p.Slot.Equal(now) || p.Copies[0].Manifest != "m" {
		t.Errorf("point %+v", p)
	}
}

func TestFailureSkipsDependantsOnly(t *testing.T) {
	w := newWorld(t)
	fail := true
	w.source.backup = func(context.Context) (executors.Result, error) {
		if fail {
			fail = false
			return executors.Result{}, errors.New("pg_dump died")
		}
		return executors.Result{}, nil
	}
	out, err := w.run(t.Context(), "r1", backupOf("backup.a"), verifyAfter("backup.a"), expire("backup.a", "old", "back up backup.a"), backupOf("backup.b"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]state.RunStatus{}
	for _, ra := range w.catalog().Runs[0].Actions {
		got[ra.Kind+" "+ra.Address] = ra.Status
	}
	want := map[string]state.RunStatus{
		"back up backup.a": state.RunFailed, "verify backup.a": state.RunSkipped, "expire backup.a": state.RunSkipped, "back up backup.b": state.RunOK,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
	if out.Run.Status != state.RunFailed || len(w.points("backup.a")) != 0 || len(w.points("backup.b")) != 1 {
		t.Errorf("run %s, points %v %v", out.Run.Status, w.points("backup.a"), w.points("backup.b"))
	}
}

func TestMissingItemsMakeThePointIncompleteAndTheActionFail(t *testing.T) {
	w := newWorld(t)
	w.source.backup = func(context.Context) (executors.Result, error) {
		return executors.Result{Problems: []executors.Problem{{Path: "secret", Err: errors.New("permission denied"), Missing: true}}}, nil
	}
	out, err := w.run(t.Context(), "r1", backupOf("backup.a"))
	if err != nil || out.Run.Status != state.RunFailed {
		t.Fatalf("run %+v, %v", out.Run, err)
	}
	if p := w.catalog().Points["backup.a"]; len(p) != 1 || !p[0].Incomplete {
		t.Errorf("points %+v", p)
	}
	if e := out.Run.Actions[0].Error; !strings.Contains(e, "1 item could not be read") || !strings.Contains(e, "permission denied") {
		t.Errorf("error %q", e)
	}
}

func TestExpireLeavesTheCatalogFirst(t *testing.T) {
	w := newWorld(t)
	if _, err := w.run(t.Context(), "r1", backupOf("backup.a")); err != nil {
		t.Fatal(err)
	}
	w.log = nil
	if _, err := w.run(t.Context(), "r2", expire("backup.a", "point-r1")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"delete point-r1 (in catalog: false)"}, w.log); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// A manifest that could not be deleted is deleted by a later run, and the point does not come back.
func TestFailedDeleteIsRecovered(t *testing.T) {
	w := newWorld(t)
	if _, err := w.run(t.Context(), "r1", backupOf("backup.a")); err != nil {
		t.Fatal(err)
	}
	w.store.deleteErr = errors.New("store is down")
	out, err := w.run(t.Context(), "r2", expire("backup.a", "point-r1"))
	if err != nil || out.Run.Status != state.RunPending {
		t.Fatalf("run %+v, %v", out.Run, err)
	}
	w.store.deleteErr = nil
	recovery := plan.Action{ID: "recover", Kind: plan.Recover, Address: "backup.a", Point: "point-r1", Store: "store.s", Run: "r2"}
	if _, err := w.run(t.Context(), "r3", recovery); err != nil {
		t.Fatal(err)
	}
	if len(w.store.points) != 0 || len(w.points("backup.a")) != 0 {
		t.Errorf("store %v, catalog %v", w.store.points, w.points("backup.a"))
	}
	if got := w.catalog().Runs[1].Status; got != state.RunInterrupted {
		t.Errorf("dead run is %s", got)
	}
}

// deadRun leaves a state as a killed process does: the run is pending, the action as well.
func (w *world) deadRun(id, point string) {
	w.t.Helper()
	err := w.backend.Update(w.t.Context(), func(c *state.Catalog) error {
		c.Runs = append(c.Runs, state.Run{
			ID: id, Operation: "apply", Started: now, Status: state.RunPending,
			Actions: []state.RunAction{{Address: "backup.a", Kind: string(plan.Backup), Point: point, Store: "store.s", Slot: now, Status: state.RunPending}},
		})
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestRecoverAdoptsAWholePointAndTheBackupIsSkipped(t *testing.T) {
	w := newWorld(t)
	w.deadRun("dead", "point-dead")
	w.store.points["backup.a/point-dead"] = apply.Found{Info: apply.PointInfo{Time: now, Slot: now}, Receipt: apply.Receipt{Manifest: "m", Size: 10}}
	recovery := plan.Action{ID: "recover", Kind: plan.Recover, Address: "backup.a", Point: "point-dead", Store: "store.s", Run: "dead"}
	again := backupOf("backup.a")
	again.After = []string{"recover"}
	out, err := w.run(t.Context(), "r1", recovery, again, verifyAfter("backup.a"))
	if err != nil || out.Run.Status != state.RunOK {
		t.Fatalf("run %+v, %v", out.Run, err)
	}
	if diff := cmp.Diff([]string{"point-dead"}, w.points("backup.a")); diff != "" {
		t.Errorf("points (-want +got):\n%s", diff)
	}
	if got := out.Run.Actions[1].Status; got != state.RunSkipped {
		t.Errorf("the backup was %s, want skipped", got)
	}
	if got := out.Run.Actions[2]; got.Status != state.RunOK || got.Point != "point-dead" || !w.catalog().Points["backup.a"][0].Verified() {
		t.Errorf("the verification of the new point is not done to the adopted one: %+v", got)
	}
}

func TestRecoverDiscardsAPartialPoint(t *testing.T) {
	w := newWorld(t)
	w.deadRun("dead", "point-dead")
	recovery := plan.Action{ID: "recover", Kind: plan.Recover, Address: "backup.a", Point: "point-dead", Store: "store.s", Run: "dead"}
	if out, err := w.run(t.Context(), "r1", recovery, backupOf("backup.a")); err != nil || out.Run.Status != state.RunOK {
		t.Fatalf("run %+v, %v", out.Run, err)
	}
	if diff := cmp.Diff([]string{"point-r1"}, w.points("backup.a")); diff != "" {
		t.Errorf("points (-want +got):\n%s", diff)
	}
}

func TestDamageIsEvidenceAndFailure(t *testing.T) {
	w := newWorld(t)
	w.store.damage = []apply.Damage{{Object: "packs/aa/aa", Problem: "its bytes changed"}}
	out, err := w.run(t.Context(), "r1", backupOf("backup.a"), verifyAfter("backup.a"))
	if err != nil || out.Run.Status != state.RunFailed {
		t.Fatalf("run %+v, %v", out.Run, err)
	}
	p := w.catalog().Points["backup.a"][0]
	if p.Verified() || len(p.Copies[0].Proofs) != 1 || !strings.Contains(p.Copies[0].Proofs[0].Error, "packs/aa/aa") {
		t.Errorf("proofs %+v", p.Copies[0].Proofs)
	}
}

// A verification after a backup rests on earlier evidence, but never on evidence that is older than a week.
func TestVerifyOnTopOfRecentEvidence(t *testing.T) {
	w := newWorld(t)
	verify := verifyAfter("backup.a")
	verify.Reason = plan.ReasonVerifyAfter
	start := now
	t.Cleanup(func() { now = start })
	levels := func() (l []string) {
		for _, p := range w.catalog().Points["backup.a"] {
			l = append(l, p.Copies[0].Proofs[0].Level)
		}
		return l
	}
	for i, day := range []int{0, 1, 6, 8, 9} {
		now = start.AddDate(0, 0, day)
		action := backupOf("backup.a")
		action.Slot = now
		if out, err := w.run(t.Context(), fmt.Sprint("r", i), action, verify); err != nil || out.Run.Status != state.RunOK {
			t.Fatalf("run %+v, %v", out.Run, err)
		}
	}
	if diff := cmp.Diff([]string{"stored", "added", "added", "stored", "added"}, levels()); diff != "" {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
	var told []string
	for _, l := range w.log {
		if strings.HasPrefix(l, "verify") {
			told = append(told, l)
		}
	}
	want := []string{"verify, 0 proven before", "verify, 1 proven before", "verify, 2 proven before", "verify, 0 proven before", "verify, 1 proven before"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
}

func TestInterruptionIsBookedAndNothingCounts(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.source.backup = func(ctx context.Context) (executors.Result, error) {
		cancel()
		return executors.Result{}, ctx.Err()
	}
	out, err := w.run(ctx, "r1", backupOf("backup.a"), backupOf("backup.b"))
	if err != nil || out.Run.Status != state.RunInterrupted {
		t.Fatalf("run %+v, %v", out.Run, err)
	}
	for _, ra := range w.catalog().Runs[0].Actions {
		if ra.Status != state.RunInterrupted {
			t.Errorf("%s is %s", ra.Address, ra.Status)
		}
	}
}

// A slot that an earlier complete point serves is still backed up when the plan says so: here because the newest is incomplete.
func TestOnlyAdoptedPointsMakeABackupNeedless(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"r1", "r2"} {
		action := backupOf("backup.a")
		action.Reason = plan.ReasonIncomplete
		if out, err := w.run(t.Context(), id, action); err != nil || out.Run.Actions[0].Status != state.RunOK {
			t.Fatalf("run %+v, %v", out.Run, err)
		}
	}
	if diff := cmp.Diff([]string{"point-r1", "point-r2"}, w.points("backup.a")); diff != "" {
		t.Errorf("points (-want +got):\n%s", diff)
	}
}

// Somebody else's commit between two of ours is kept.
func TestCommitsOfOthersSurvive(t *testing.T) {
	w := newWorld(t)
	w.source.backup = func(context.Context) (executors.Result, error) {
		return executors.Result{}, w.backend.Update(t.Context(), func(c *state.Catalog) error {
			c.Runs = append(c.Runs, state.Run{ID: "other", Operation: "verify", Started: now, Status: state.RunOK})
			return nil
		})
	}
	if out, err := w.run(t.Context(), "r1", backupOf("backup.a")); err != nil || out.Run.Status != state.RunOK {
		t.Fatalf("run %+v, %v", out.Run, err)
	}
	if c := w.catalog(); len(c.Runs) != 2 || len(c.Points["backup.a"]) != 1 {
		t.Errorf("runs %d, points %d", len(c.Runs), len(c.Points["backup.a"]))
	}
}
