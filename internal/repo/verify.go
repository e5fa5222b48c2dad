package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// VerifyOptions say what VerifyStored looks at: the whole store, or what some points need.
type VerifyOptions struct {
	Points []PointCheck
	All    bool
	// Proven names points that were read back before: packs that they need too are compared by presence and size alone.
	// Without the repository key, or with All, it changes nothing.
	Proven   []PointCheck
	Progress func(VerifyProgress) // one call at a time, from any goroutine; may be nil
}

// PointCheck names a restore point and, where the caller knows them, the SHA-256 of its stored objects.
type PointCheck struct{ Address, ID, ManifestSHA, SummarySHA string }

// VerifyProgress tells how far a verification is. Totals may grow while it goes on.
type VerifyProgress struct{ Objects, Bytes, TotalObjects, TotalBytes int64 }

// VerifyReport tells what was looked at and what is wrong.
type VerifyReport struct {
	Objects, Bytes int64
	Damaged        []Damage // ordered by object
}

// Damage is one object that is not what was stored, or is missing.
type Damage struct {
	Object  string
	Problem string
	Points  []string // "address/id" of the points that need it, as far as the keys at hand tell
	Entries []string // paths that cannot be read whole; known to VerifyRead only
}

// VerifyStored reads objects back and checks their hashes, without opening any content.
//
// What can be proven depends on the keys: packs and indexes are named by their hash, so anybody can check them. Manifests
// are checked against the summaries (with the repository key) or the given hashes, summaries by opening them or against
// the given hashes. Damage is no error; failures to reach the store are.
func (r *Repository) VerifyStored(ctx context.Context, o VerifyOptions) (VerifyReport, error) {
	v := &verification{r: r, progress: o.Progress, points: map[string][]string{}, damaged: map[string]*Damage{}}
	checks := o.Points
	if o.All {
		found, err := r.Points(ctx)
		if err != nil {
			return VerifyReport{}, err
		}
		for _, p := range found {
			known := slices.ContainsFunc(checks, func(c PointCheck) bool { return c.Address == p.Address && c.ID == p.ID })
			if !known && p.Manifest {
				checks = append(checks, PointCheck{Address: p.Address, ID: p.ID})
			}
		}
	}
	for _, c := range checks {
		if err := v.point(ctx, c); err != nil {
			return VerifyReport{}, err
		}
	}
	if err := v.indexes(ctx); err != nil {
		return VerifyReport{}, err
	}
	if !o.All {
		if err := v.trust(ctx, o.Proven); err != nil {
			return VerifyReport{}, err
		}
	}
	if err := v.packs(ctx, o.All); err != nil {
		return VerifyReport{}, err
	}
	if o.All {
		if err := v.rest(ctx); err != nil {
			return VerifyReport{}, err
		}
	}
	return v.report(), nil
}

// verification gathers what is found. Its methods may be called concurrently.
type verification struct {
	r        *Repository
	progress func(VerifyProgress)
	points   map[string][]string // pack object → points that need it
	listed   map[string]int64    // pack object → size that an index gives; nil without the key
	trusted  map[string]bool     // pack objects that were read back before

	mu      sync.Mutex
	count   VerifyProgress
	damaged map[string]*Damage
}

func (v *verification) damage(object, problem string, points ...string) *Damage {
	v.mu.Lock()
	defer v.mu.Unlock()
	d := v.damaged[object]
	if d == nil {
		d = &Damage{Object: object, Problem: problem}
		v.damaged[object] = d
	}
	for _, p := range points {
		if !slices.Contains(d.Points, p) {
			d.Points = append(d.Points, p)
		}
	}
	return d
}

// damageOf takes a DamagedError in; any other error comes back.
func (v *verification) damageOf(err error, points ...string) error {
	var d *DamagedError
	if errors.As(err, &d) {
		v.damage(d.Object, d.Problem, points...)
		return nil
	}
	return err
}

func (v *verification) expect(objects, bytes int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count.TotalObjects += objects
	v.count.TotalBytes += bytes
}

func (v *verification) done(bytes int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count.Objects++
	v.count.Bytes += bytes
	v.count.TotalObjects = max(v.count.TotalObjects, v.count.Objects)
	v.count.TotalBytes = max(v.count.TotalBytes, v.count.Bytes)
	if v.progress != nil {
		v.progress(v.count)
	}
}

// get reads an object whole; nil data means that it is missing, which is noted.
func (v *verification) get(ctx context.Context, name string, points ...string) ([]byte, error) {
	data, err := v.r.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		v.damage(name, "it is missing from the store", points...)
		v.done(0)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	v.done(int64(len(data)))
	if data == nil {
		data = []byte{} // nil says missing
	}
	return data, nil
}

func (v *verification) point(ctx context.Context, c PointCheck) error {
	label := c.Address + "/" + c.ID
	sname, mname := summaryName(c.Address, c.ID), manifestName(c.Address, c.ID)
	want, replaced := c.ManifestSHA, ""
	raw, err := v.get(ctx, sname, label)
	if err != nil {
		return err
	}
	switch {
	case raw == nil:
	case c.SummarySHA != "" && hashOf(raw) != c.SummarySHA && !v.r.replaces(sname, c, raw):
		v.damage(sname, fmt.Sprintf("its bytes hash to %s instead of %s", hashOf(raw), c.SummarySHA), label)
	case v.r.CanWrite():
		s, err := v.r.decodeSummary(sname, c.Address, c.ID, raw)
		if err != nil {
			if err := v.damageOf(err, label); err != nil {
				return err
			}
			break
		}
		if want == "" {
			want = s.ManifestSHA256
			replaced = s.ManifestBefore
		}
		for _, p := range s.Packs {
			if id, ok := parsePackID(p); ok {
				v.points[packName(id.String())] = append(v.points[packName(id.String())], label)
			}
		}
	}
	raw, err = v.get(ctx, mname, label)
	if err != nil || raw == nil {
		return err
	}
	switch {
	case want != "" && hashOf(raw) != want && hashOf(raw) != replaced:
		v.damage(mname, fmt.Sprintf("its bytes hash to %s instead of %s", hashOf(raw), want), label)
	case want == "" && v.r.CanRead():
		rd := &Reader{name: mname}
		return v.damageOf(rd.decode(v.r, c.Address, c.ID, raw), label)
	}
	return nil
}

// indexes checks every index object and learns the sizes of packs. A prune replaces indexes: where one is gone since it was
// listed, its successor is looked for, which was stored before.
func (v *verification) indexes(ctx context.Context) error {
	if v.r.CanWrite() {
		v.listed = map[string]int64{}
	}
	seen := map[string]bool{}
	for range verifyRounds {
		var names []string
		err := v.r.bucket.List(ctx, indexPrefix, func(i blob.Info) error {
			if !seen[i.Name] {
				seen[i.Name] = true
				names = append(names, i.Name)
				v.expect(1, i.Size)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("list indexes: %w", err)
		}
		vanished := false
		for _, name := range names {
			there, err := v.index(ctx, name)
			if err != nil {
				return err
			}
			vanished = vanished || !there
		}
		if !vanished {
			return nil
		}
	}
	return errMoved
}

// verifyRounds is how often indexes are listed at most. One prune replaces each index once or twice.
const verifyRounds = 10

// index checks one index object; there is false when it was deleted since it was listed.
func (v *verification) index(ctx context.Context, name string) (there bool, err error) {
	raw, err := v.r.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil // what only a lost one listed shows at the packs
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	v.done(int64(len(raw)))
	if got := hashOf(raw); indexName(got) != name {
		v.damage(name, "its bytes hash to "+got)
		return true, nil
	}
	if v.listed == nil {
		return true, nil
	}
	plain, err := v.r.openMetadata(name, raw)
	if err == nil {
		err = wrapDamaged(name, index.Decode(plain, func(p index.Pack) error {
			v.listed[packName(p.ID.String())] = p.Size
			return nil
		}))
	}
	return true, v.damageOf(err)
}

// trust learns which packs need not be read again. A summary that cannot be opened vouches for nothing.
func (v *verification) trust(ctx context.Context, proven []PointCheck) error {
	v.trusted = map[string]bool{}
	if v.listed == nil {
		return nil
	}
	for _, c := range proven {
		s, err := v.r.Summary(ctx, c.Address, c.ID)
		var damaged *DamagedError
		if errors.As(err, &damaged) || errors.Is(err, ErrNoPoint) {
			continue
		}
		if err != nil {
			return err
		}
		for _, p := range s.Packs {
			if id, ok := parsePackID(p); ok {
				v.trusted[packName(id.String())] = true
			}
		}
	}
	return nil
}

// verifyReaders is how many packs are read and hashed at once, each in memory whole. More than there are processors: while
// some are hashed, the store is asked for the next.
const verifyReaders = 6

// packs checks all packs, or those that the points need.
func (v *verification) packs(ctx context.Context, all bool) error {
	stored := map[string]int64{}
	err := v.r.bucket.List(ctx, packsPrefix, func(i blob.Info) error {
		stored[i.Name] = i.Size
		return nil
	})
	if err != nil {
		return fmt.Errorf("list packs: %w", err)
	}
	names := map[string]bool{}
	for name := range v.points {
		names[name] = true
	}
	if all || v.listed == nil { // without a key nobody can tell which packs the points need
		for name := range stored {
			names[name] = true
		}
	}
	for name := range names {
		if size, ok := v.listed[name]; ok && v.trusted[name] && stored[name] == size {
			delete(names, name)
			continue
		}
		v.expect(1, stored[name])
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(verifyReaders)
	var mu sync.Mutex
	var gone []string // that no point needs: a prune may have deleted them since they were listed
	for name := range names {
		g.Go(func() error {
			there, err := v.pack(gctx, name)
			mu.Lock()
			defer mu.Unlock()
			if !there && err == nil {
				gone = append(gone, name)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for name, points := range v.points {
		if _, ok := v.listed[name]; v.listed != nil && !ok {
			v.damage(name, "no readable index lists it; it can be restored with a recipient's key, which also lists it again (a repair does)", points...)
		}
	}
	if !all {
		return nil
	}
	for name := range v.listed {
		if _, ok := stored[name]; !ok {
			gone = append(gone, name)
		}
	}
	return v.stillListed(ctx, gone)
}

// stillListed names those of the packs that are missing and not because of a prune, which takes a pack off the indexes before
// it deletes it.
func (v *verification) stillListed(ctx context.Context, gone []string) error {
	if len(gone) == 0 || v.listed == nil {
		return nil
	}
	now := &verification{r: v.r, damaged: map[string]*Damage{}}
	if err := now.indexes(ctx); err != nil {
		return err
	}
	for _, name := range gone {
		if _, ok := now.listed[name]; ok || len(v.points[name]) > 0 {
			v.damage(name, "an index lists it, and it is missing from the store", v.points[name]...)
		}
	}
	return nil
}

// pack checks one pack; there is false when it is missing and no point needs it.
func (v *verification) pack(ctx context.Context, name string) (there bool, err error) {
	points := v.points[name]
	raw, err := v.r.bucket.Get(ctx, name)
	missing := errors.Is(err, blob.ErrNotFound)
	if err != nil && !missing {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	v.done(int64(len(raw)))
	if missing && len(points) > 0 {
		v.damage(name, "it is missing from the store", points...)
	}
	if missing {
		return len(points) > 0, nil
	}
	if _, ok := parsePackName(name); !ok {
		v.damage(name, "its name is not that of a pack")
	} else if got := hashOf(raw); packName(got) != name {
		v.damage(name, "its bytes hash to "+got, points...)
	}
	return true, nil
}

func (v *verification) report() VerifyReport {
	out := VerifyReport{Objects: v.count.Objects, Bytes: v.count.Bytes}
	for _, d := range v.damaged {
		slices.Sort(d.Points)
		out.Damaged = append(out.Damaged, *d)
	}
	slices.SortFunc(out.Damaged, func(a, b Damage) int { return strings.Compare(a.Object, b.Object) })
	return out
}

// maxNamedEntries bounds how many paths one damaged object lists.
const maxNamedEntries = 1000

// VerifyRead decrypts, decompresses and checks everything a point consists of, as restoring it would. It goes on after
// damage and names every damaged object and the entries it spoils.
//
// Errors: KeyError, ErrNoPoint, those of the bucket. A manifest that cannot be opened is damage like any other.
func (r *Repository) VerifyRead(ctx context.Context, address, id string, progress func(VerifyProgress)) (VerifyReport, error) {
	label := address + "/" + id
	v := &verification{r: r, progress: progress, damaged: map[string]*Damage{}}
	rd, err := r.OpenPoint(ctx, address, id)
	if err != nil {
		if errors.Is(err, ErrNoPoint) {
			return VerifyReport{}, err
		}
		return v.end(err, label)
	}
	for _, note := range rd.notes {
		if err := v.damageOf(note, label); err != nil {
			v.damage(summaryName(address, id), err.Error(), label)
		}
	}
	v.expect(rd.header.Items, rd.header.Size)
	lines, done := rd.lines(ctx)
	defer done()
	st := rd.src.stream(ctx, rd.feed(lines, nil))
	defer st.close()
	var entry *manifest.Entry
	for {
		ev, err := st.next(ctx)
		if err != nil {
			return v.end(err, label) // io.EOF, or damage of the entry list, behind which nothing is known
		}
		if ev.entry != nil {
			entry = ev.entry
			v.done(0)
			continue
		}
		if ev.err == nil {
			v.read(int64(len(ev.data)))
			giveBuffer(ev.data)
			continue
		}
		var d *DamagedError
		if !errors.As(ev.err, &d) {
			return VerifyReport{}, ev.err
		}
		known := v.damage(d.Object, d.Problem, label)
		if n := len(known.Entries); n < maxNamedEntries && (n == 0 || known.Entries[n-1] != entry.Path) {
			known.Entries = append(known.Entries, entry.Path)
		}
	}
}

// read counts plain bytes that were checked.
func (v *verification) read(bytes int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count.Bytes += bytes
	if v.progress != nil {
		v.progress(v.count)
	}
}

// end makes the report, taking in how the reading ended.
func (v *verification) end(err error, label string) (VerifyReport, error) {
	if isEnd := errors.Is(err, io.EOF); !isEnd {
		if err := v.damageOf(err, label); err != nil {
			return VerifyReport{}, err
		}
	}
	return v.report(), nil
}
