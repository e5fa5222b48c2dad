package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// verify reads a copy back and keeps the evidence, good or bad.
func (w *walker) verify(ctx context.Context, a plan.Action) (result, error) {
	point, ok := w.point(a.Address, a.Point)
	if !ok {
		return result{skipped: "restore point " + a.Point + " is not in the catalog"}, nil
	}
	repository, err := w.Repositories.Open(ctx, a.Store)
	if err != nil {
		return result{}, err
	}
	level, proven := policy.VerifyLevel(a.Level), []PointCopy(nil)
	if a.Reason == plan.ReasonVerifyAfter && level == policy.VerifyStored {
		w.book.read(func(c *state.Catalog) { proven = recentlyProven(c.Points[a.Address], a, w.Now()) })
		if len(proven) > 0 {
			level = policy.VerifyAdded
		}
	}
	v := Verifier{Executors: w.Executors, Log: w.Log}
	b := w.Policy.Backups[a.Address]
	src := w.Policy.Sources[point.Source]
	proof, checked, err := v.Verify(ctx, repository, VerifyTarget{
		Address: a.Address, Point: point, Store: a.Store, Backup: b, Source: src, Kind: src.Kind, Level: level, Proven: proven,
		Progress: func(n int64) { w.Events.ActionProgress(a, n, 0, a.Bytes) },
		Note:     func(note string) { w.Events.ActionNote(a, note) },
	})
	if proof.Level != "" {
		proof.At, proof.Run = w.Now().UTC(), w.RunID
		err = errors.Join(err, w.book.update(ctx, func(c *state.Catalog) error {
			AddProof(c, a.Address, a.Point, a.Store, proof)
			return nil
		}))
	}
	return result{bytes: checked.Bytes}, err
}

// recentlyProven returns earlier points of a backup that vouch for what they stored: one whose every byte was read back
// within policy.Reread, and those after it that were proven on top of it. Without such a one it returns nothing: then
// everything is read again, so that no byte's evidence gets older than that.
func recentlyProven(points []state.RestorePoint, a plan.Action, now time.Time) []PointCopy {
	var proven []PointCopy
	for _, p := range slices.Backward(points) {
		copied, ok := copyIn(p, a.Store)
		if p.ID == a.Point || !ok || !copied.Verified() {
			continue
		}
		proven = append(proven, PointCopy{p.Stored(a.Address), p.ID, copied.Manifest, copied.Summary})
		for _, proof := range copied.Proofs {
			if proof.OK && policy.VerifyLevel(proof.Level).Rank() >= policy.VerifyStored.Rank() && now.Sub(proof.At) < policy.Reread {
				return proven
			}
		}
	}
	return nil
}

// Verifier reads copies back. It commits nothing.
type Verifier struct {
	Executors map[policy.SourceKind]executors.Executor
	Log       *slog.Logger
}

// VerifyTarget is one copy to be proven.
type VerifyTarget struct {
	Address  string
	Point    state.RestorePoint
	Store    string
	Backup   policy.Backup // zero when the policy does not declare it any more
	Source   policy.Source // that the point was made of; the same
	Kind     policy.SourceKind
	Level    policy.VerifyLevel
	Proven   []PointCopy // level added: points of the same store that were read back not long ago
	Progress func(bytes int64)
	Note     func(string) // level restore: how long it took, and what the checks said
}

// ErrCannotRead says that a level needs a key which this host does not have.
var ErrCannotRead = errors.New("reading needs the secret key of a recipient, and this host has none")

// Verify proves one copy at the wanted level. The proof has no Level when nothing was learnt (the store was down, the key
// is not here); it is not OK when the copy is damaged, and err names the damage then.
func (v Verifier) Verify(ctx context.Context, repository Repository, t VerifyTarget) (state.Proof, Checked, error) {
	copied, ok := copyIn(t.Point, t.Store)
	if !ok {
		return state.Proof{}, Checked{}, fmt.Errorf("verify %s of %s: it has no copy in %s", t.Point.ID, t.Address, t.Store)
	}
	if id := repository.ID(); copied.Repository != id {
		return state.Proof{}, Checked{}, fmt.Errorf("verify %s of %s: %s holds repository %s, the copy was made in %s: the store was swapped for another",
			t.Point.ID, t.Address, t.Store, id, copied.Repository)
	}
	if t.Progress == nil {
		t.Progress = func(int64) {}
	}
	if t.Note == nil {
		t.Note = func(string) {}
	}
	var checked Checked
	var err error
	switch t.Level {
	case policy.VerifyStored, policy.VerifyAdded:
		checked, err = repository.VerifyStored(ctx, []PointCopy{{t.Point.Stored(t.Address), t.Point.ID, copied.Manifest, copied.Summary}}, t.Proven, t.Progress)
	case policy.VerifyRead:
		checked, err = v.read(ctx, repository, t)
	case policy.VerifyRestore:
		t.Level, checked, err = v.rehearse(ctx, repository, t)
	default:
		return state.Proof{}, checked, fmt.Errorf("verify at level %q: there is no such level", t.Level)
	}
	if err == nil {
		err = DamageError(checked.Damage)
	}
	proof := state.Proof{Level: string(t.Level), OK: err == nil}
	var damaged *DamagedError
	switch {
	case errors.As(err, &damaged):
		proof.Error = damaged.Error()
	case err != nil:
		return state.Proof{}, checked, fmt.Errorf("verify %s of %s: %w", t.Point.ID, t.Address, err)
	}
	if err != nil {
		err = fmt.Errorf("verify %s of %s: %w", t.Point.ID, t.Address, err)
	}
	return proof, checked, err
}

// read decodes every chunk, then lets the executor decode the content.
func (v Verifier) read(ctx context.Context, repository Repository, t VerifyTarget) (Checked, error) {
	if !repository.CanRead() {
		return Checked{}, fmt.Errorf("%w: run `holdfast verify %s -level=read` where the key is, or set `verify { after = \"stored\" }`", ErrCannotRead, t.Address)
	}
	executor, ok := v.Executors[t.Kind]
	if !ok {
		return repository.VerifyRead(ctx, t.Point.Stored(t.Address), t.Point.ID, t.Progress)
	}
	supply, err := repository.Supply(ctx, t.Point.Stored(t.Address), t.Point.ID)
	if err == nil {
		counted := &countingSupply{Supply: supply, progress: t.Progress}
		_, err = executor.Verify(ctx, executors.VerifyRequest{Backup: t.Backup, Log: v.Log}, counted)
		if err == nil {
			return Checked{Objects: 1, Bytes: counted.bytes}, nil
		}
	}
	if ctx.Err() != nil {
		return Checked{}, err
	}
	// The executor stops at the first damage; the repository names all of it.
	checked, readErr := repository.VerifyRead(ctx, t.Point.Stored(t.Address), t.Point.ID, func(int64) {})
	if readErr != nil || len(checked.Damage) > 0 {
		return checked, readErr
	}
	return checked, &DamagedError{Damage: []Damage{{Object: t.Point.ID, Problem: "every stored byte is intact, but the content does not decode: " + err.Error()}}}
}

func copyIn(p state.RestorePoint, store string) (state.Copy, bool) {
	i := slices.IndexFunc(p.Copies, func(c state.Copy) bool { return c.Store == store })
	if i < 0 {
		return state.Copy{}, false
	}
	return p.Copies[i], true
}

// DamagedError names every damaged object.
type DamagedError struct {
	Damage    []Damage
	Rehearsed bool // nothing stored is damaged: what was restored from it is not as it should be
}

// DamageError is nil when there is no damage.
func DamageError(damage []Damage) error {
	if len(damage) == 0 {
		return nil
	}
	return &DamagedError{Damage: damage}
}

// Error names the first few objects.
func (e *DamagedError) Error() string {
	const told = 5
	var parts []string
	for i, d := range e.Damage {
		if i == told {
			parts = append(parts, fmt.Sprintf("and %d more", len(e.Damage)-told))
			break
		}
		parts = append(parts, d.String())
	}
	if e.Rehearsed {
		return "the rehearsed restore failed: " + strings.Join(parts, "; ")
	}
	return "damaged: " + strings.Join(parts, "; ")
}

// AddProof keeps the newest proof of each level with the copy.
func AddProof(c *state.Catalog, address, point, store string, proof state.Proof) {
	points := slices.Clone(c.Points[address])
	for i := range points {
		if points[i].ID != point {
			continue
		}
		copies := slices.Clone(points[i].Copies)
		for j := range copies {
			if copies[j].Store == store {
				kept := slices.DeleteFunc(slices.Clone(copies[j].Proofs), func(p state.Proof) bool { return p.Level == proof.Level })
				copies[j].Proofs = append(kept, proof)
			}
		}
		points[i].Copies = copies
	}
	c.Points[address] = points
}

// countingSupply reports how much was read.
type countingSupply struct {
	executors.Supply
	bytes    int64
	progress func(int64)
}

func (s *countingSupply) Read(ctx context.Context, want func(executors.Entry) bool, each func(executors.Entry, io.Reader) error) error {
	return s.Supply.Read(ctx, want, func(e executors.Entry, r io.Reader) error {
		return each(e, readerFunc(func(p []byte) (int, error) {
			n, err := r.Read(p)
			s.bytes += int64(n)
			s.progress(s.bytes)
			return n, err
		}))
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
