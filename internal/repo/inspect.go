package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

// inspection gathers what a store holds and what is wrong with it.
type inspection struct {
	r     *Repository
	early map[[2]string]bool // points that were there before anything else was listed: all they need was stored by then

	objects, bytes int64
	keys           map[string]bool
	packs          map[index.PackID]int64
	marked         map[index.PackID]time.Time
	indexes        []string
	points         map[[2]string]*storedPoint
	hints          map[[2]string]string // one of the hints of each point
	refs           []PointRef
	unknown        []string
	quarantine     []string
	wal            map[wal.File]*walEntry

	listed  map[index.PackID]int64 // by readable indexes; nil without the repository key
	number  map[index.PackID]uint32
	numbers []index.PackID
	uses    map[[2]string][]uint32 // numbers of the packs that each point needs

	unneeded, condemned tally
	since               time.Time
	newest              time.Time // the latest time the store gave: its clock is at least there

	mu    sync.Mutex
	found map[string]*Finding
}

type tally struct{ packs, bytes int64 }

// storedPoint is what the listing shows of a point; sizes are -1 for what is not there.
type storedPoint struct{ manifest, summary int64 }

func newInspection(r *Repository) *inspection {
	return &inspection{
		r: r, early: map[[2]string]bool{}, keys: map[string]bool{}, packs: map[index.PackID]int64{}, marked: map[index.PackID]time.Time{},
		points: map[[2]string]*storedPoint{}, hints: map[[2]string]string{}, number: map[index.PackID]uint32{}, uses: map[[2]string][]uint32{},
		found: map[string]*Finding{}, wal: map[wal.File]*walEntry{},
	}
}

func (in *inspection) run(ctx context.Context) error {
	if err := in.list(ctx); err != nil {
		return fmt.Errorf("list the store: %w", err)
	}
	if in.r.CanWrite() {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(pruneWorkers)
		in.listed = map[index.PackID]int64{}
		for _, name := range in.indexes {
			g.Go(func() error { return in.readIndex(gctx, name) })
		}
		for p, stored := range in.points {
			if in.judged(p) && stored.summary >= 0 {
				g.Go(func() error { return in.readSummary(gctx, p, *stored) })
			}
		}
		if err := g.Wait(); err != nil {
			return err
		}
		in.judgePacks()
	}
	in.judgePoints()
	in.judgeKeys()
	in.judgeRest()
	return in.judgeWAL(ctx)
}

// list takes everything in. The points are listed twice, see early.
func (in *inspection) list(ctx context.Context) error {
	err := in.r.bucket.List(ctx, pointsPrefix, func(i blob.Info) error {
		if address, id, suffix, ok := parsePointName(i.Name); ok && suffix == manifestSuffix {
			in.early[[2]string{address, id}] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	return in.r.bucket.List(ctx, "", func(i blob.Info) error {
		in.objects++
		in.bytes += i.Size
		if i.ModTime.After(in.newest) {
			in.newest = i.ModTime
		}
		in.take(i)
		return nil
	})
}

func (in *inspection) take(i blob.Info) {
	switch kindOf(i.Name) {
	case kindKey:
		in.keys[i.Name] = true
	case kindPack:
		id, _ := parsePackName(i.Name)
		in.packs[id] = i.Size
	case kindIndex:
		in.indexes = append(in.indexes, i.Name)
	case kindCondemned:
		id, _ := parsePackID(strings.TrimPrefix(i.Name, condemnedPrefix))
		in.marked[id] = i.ModTime
	case kindSummary, kindManifest:
		in.takePoint(i)
	case kindHint:
		address, id, _ := parseHintName(i.Name)
		in.hints[[2]string{address, id}] = i.Name
	case kindQuarantine:
		in.quarantine = append(in.quarantine, i.Name)
	case kindWAL, kindWALClaim:
		in.takeWAL(i)
	case kindUnknown:
		in.unknown = append(in.unknown, i.Name)
	case kindConfig, kindLease, kindReseal:
	}
}

func (in *inspection) takePoint(i blob.Info) {
	address, id, suffix, _ := parsePointName(i.Name)
	p := [2]string{address, id}
	stored := in.points[p]
	if stored == nil {
		stored = &storedPoint{manifest: -1, summary: -1}
		in.points[p] = stored
		in.refs = append(in.refs, PointRef{Address: address, ID: id})
	}
	ref := &in.refs[len(in.refs)-1] // both objects of a point stand together in the order of names
	if ref.Address != address || ref.ID != id {
		at := slices.IndexFunc(in.refs, func(r PointRef) bool { return r.Address == address && r.ID == id })
		ref = &in.refs[at]
	}
	if suffix == manifestSuffix {
		stored.manifest, ref.Manifest = i.Size, true
	} else {
		stored.summary, ref.Summary = i.Size, true
	}
}

// judged tells whether everything that the point needs was stored before the listing began.
func (in *inspection) judged(p [2]string) bool { return in.early[p] && in.points[p].manifest >= 0 }

func (in *inspection) readIndex(ctx context.Context, name string) error {
	plain, err := in.r.readIndex(ctx, name)
	if err == nil && plain == nil {
		return errMoved
	}
	if err == nil {
		var infos []index.PackInfo
		err = wrapDamaged(name, index.Heads(plain, func(info index.PackInfo) { infos = append(infos, info) }))
		in.mu.Lock()
		defer in.mu.Unlock()
		for _, info := range infos {
			in.listed[info.ID] = info.Size
		}
	}
	var d *DamagedError
	if errors.As(err, &d) {
		in.noteLocked(SeverityError, d.Object, d.Problem, adviseIndex)
		return nil
	}
	return err
}

func (in *inspection) readSummary(ctx context.Context, p [2]string, stored storedPoint) error {
	s, err := in.r.Summary(ctx, p[0], p[1])
	if errors.Is(err, ErrNoPoint) {
		return nil // expired since it was listed
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	var d *DamagedError
	if errors.As(err, &d) {
		in.noteLocked(SeverityError, d.Object, d.Problem, adviseCopy, label(p))
		return nil
	}
	if err != nil {
		return err
	}
	if s.ManifestSize != stored.manifest && s.ManifestBefore == "" {
		in.noteLocked(SeverityError, manifestName(p[0], p[1]),
			fmt.Sprintf("it has %d bytes, and the summary says %d", stored.manifest, s.ManifestSize), adviseCopy, label(p))
	}
	in.useLocked(p, s)
	return nil
}

func (in *inspection) useLocked(p [2]string, s manifest.Summary) {
	uses := make([]uint32, 0, len(s.Packs))
	for _, name := range s.Packs {
		id, ok := parsePackID(name)
		if !ok {
			in.noteLocked(SeverityError, summaryName(p[0], p[1]), fmt.Sprintf("it names a pack %.80q, which cannot be", name), adviseCopy, label(p))
			continue
		}
		n, ok := in.number[id]
		if !ok {
			n = uint32(len(in.numbers))
			in.number[id], in.numbers = n, append(in.numbers, id)
		}
		uses = append(uses, n)
	}
	in.uses[p] = uses
}

// judgePacks compares what points need, what indexes list and what is stored.
func (in *inspection) judgePacks() {
	bad := map[uint32]*Finding{}
	for n, id := range in.numbers {
		size, stored := in.packs[id]
		want, listed := in.listed[id]
		name := packName(id.String())
		switch {
		case !stored:
			bad[uint32(n)] = in.note(SeverityError, name, "it is missing from the store", adviseCopy)
		case !listed:
			bad[uint32(n)] = in.note(SeverityError, name, "no readable index lists it", adviseIndex)
		case want != size:
			bad[uint32(n)] = in.note(SeverityError, name, fmt.Sprintf("it has %d bytes instead of %d", size, want), adviseCopy)
		}
	}
	if len(bad) > 0 {
		for p, uses := range in.uses {
			for _, n := range uses {
				if f := bad[n]; f != nil {
					f.Points = append(f.Points, label(p))
				}
			}
		}
	}
	for id := range in.listed {
		_, stored := in.packs[id]
		if _, needed := in.number[id]; !needed && !stored {
			in.note(SeverityWarning, packName(id.String()), "an index lists it, and it is missing from the store; no restore point needs it", "nothing; a prune takes it out of the index in time")
		}
	}
	if in.allSummaries() {
		for id, size := range in.packs {
			if _, needed := in.number[id]; !needed {
				in.unneeded.packs++
				in.unneeded.bytes += size
			}
		}
	}
}

// allSummaries tells whether every point could say what it needs. Points that came meanwhile could not.
func (in *inspection) allSummaries() bool {
	for p, stored := range in.points {
		if _, told := in.uses[p]; stored.manifest >= 0 && !told && in.early[p] {
			return false
		}
	}
	return true
}

func (in *inspection) judgePoints() {
	for p, stored := range in.points {
		switch {
		case stored.manifest >= 0 && stored.summary < 0 && in.early[p]:
			in.note(SeverityError, summaryName(p[0], p[1]), "it is missing from the store; nobody can tell which packs the point needs without a recipient's key, and nothing is pruned", adviseCopy, label(p))
		case stored.manifest < 0:
			in.note(SeverityInfo, summaryName(p[0], p[1]), "it has no manifest, so the restore point does not exist", adviseRest)
		}
	}
	for p, name := range in.hints {
		if stored := in.points[p]; stored == nil {
			in.note(SeverityInfo, name, "there is no restore point that these hints belong to", adviseRest)
		}
	}
}

func (in *inspection) judgeKeys() {
	config := in.r.config
	wanted := map[string]bool{}
	for _, holder := range config.holders() {
		name := config.keyName(holder)
		wanted[name] = true
		switch {
		case in.keys[name]:
		case holder == "":
			in.note(SeverityError, name, "the key object is missing from the store: nothing can be read or written", adviseKey)
		default:
			in.note(SeverityError, name, fmt.Sprintf("the key object of %s is missing from the store: that key opens nothing here", holder), adviseKey)
		}
	}
	for name := range in.keys {
		if !wanted[name] {
			in.note(SeverityWarning, name, "it is the key object of nobody who reads or writes here", "it is left from an interrupted init or rotation, or of a key that was removed; rotate again to remove it")
		}
	}
}

func (in *inspection) judgeRest() {
	for id, at := range in.marked {
		size, stored := in.packs[id]
		if !stored {
			in.note(SeverityInfo, condemnedName(id), "it marks a pack that is gone", adviseRest)
			continue
		}
		in.condemned.packs++
		in.condemned.bytes += size
		if in.since.IsZero() || at.Before(in.since) {
			in.since = at
		}
	}
	for _, name := range in.unknown {
		in.note(SeverityWarning, name, "it belongs to nothing that holdfast knows", "find out who put it there; holdfast never touches it")
	}
	for _, name := range in.quarantine {
		in.note(SeverityWarning, name, "it is what was left of a damaged pack when that was set aside", "delete it when nobody wants to look at it any more")
	}
	if in.unneeded.packs > 0 {
		in.note(SeverityInfo, packsPrefix, fmt.Sprintf("%d packs (%d bytes) are needed by no restore point; %d of them are condemned", in.unneeded.packs, in.unneeded.bytes, in.condemned.packs), "nothing; a prune frees them")
	}
}

// What to do about findings.
const (
	adviseCopy  = "run holdfast apply: where another store has a good copy the plan repairs it, and where none has, the next backup stores what is there still anew"
	adviseIndex = "run holdfast apply with a recipient's key: it lists the packs again from their own directories; until then restores read those, which is slower"
	adviseKey   = "rotate the keys with another key that opens the repository: that writes every key object anew"
	adviseRest  = "nothing; it is left of an interrupted run, or of one that is at work now, and a prune removes it"
)

func label(p [2]string) string { return p[0] + "/" + p[1] }

func (in *inspection) note(s Severity, object, problem, advice string, points ...string) *Finding {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.noteLocked(s, object, problem, advice, points...)
}

// noteLocked keeps the first problem of an object that counts most, and the points of all.
func (in *inspection) noteLocked(s Severity, object, problem, advice string, points ...string) *Finding {
	f := in.found[object]
	if f == nil {
		f = &Finding{Severity: s, Object: object, Problem: problem, Advice: advice}
		in.found[object] = f
	} else if rank(s) < rank(f.Severity) {
		f.Severity, f.Problem, f.Advice = s, problem, advice
	}
	f.Points = append(f.Points, points...)
	return f
}

func (in *inspection) sorted() []Finding {
	out := make([]Finding, 0, len(in.found))
	for _, f := range in.found {
		slices.Sort(f.Points)
		f.Points = slices.Compact(f.Points)
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank(a.Severity), rank(b.Severity)), strings.Compare(a.Object, b.Object))
	})
	return out
}
