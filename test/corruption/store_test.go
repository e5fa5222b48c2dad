// Package corruption damages every kind of object in every way that storage and people find, and looks whether the level
// that claims to find it does, each time (docs/verify.md has the table of claims).
//
// HOLDFAST_CORRUPTION_SEED repeats a run; HOLDFAST_LONG tries many more places.
package corruption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

const address = "backup.docs"

// store is a repository with every kind of object, and what it held earlier.
type store struct {
	now     *memory
	before  map[string][]byte // objects as they were before the rotation and the sealing anew
	foreign map[string][]byte // objects of another repository with the same points, by the same kind of name
	reader  age.Identity
	writer  age.Identity
	id      string
	points  []repo.PointCheck
	content map[string][][2]string // point → path and content
}

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("HOLDFAST_CORRUPTION_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("HOLDFAST_CORRUPTION_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

func noise(rng *rand.Rand, n int) string {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(rng.Uint32())
	}
	return string(out)
}

func identity(t *testing.T) (age.Identity, string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id, id.Recipient().String()
}

func (s *store) open(t *testing.T, b *memory, ids ...age.Identity) *repo.Repository {
	t.Helper()
	r, err := repo.Open(t.Context(), b, repo.OpenOptions{Identities: ids, Expect: s.id})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func backUp(ctx context.Context, r *repo.Repository, point string, files [][2]string) error {
	w, err := r.NewWriter(ctx, repo.WriterOptions{Address: address, Point: point})
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, f := range files {
		c := repo.Content{Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(f[1])), nil }, Fingerprint: []byte("1")}
		if err := w.Add(ctx, manifest.Entry{Path: f[0], Type: manifest.TypeFile, Mode: 0o600}, c); err != nil {
			return err
		}
	}
	_, err = w.Commit(ctx, manifest.Info{Time: time.Unix(1_800_000_000, 0).UTC()})
	return err
}

func restore(ctx context.Context, r *repo.Repository, point string) (out [][2]string, err error) {
	rd, err := r.OpenPoint(ctx, address, point)
	if err != nil {
		return nil, err
	}
	err = rd.Read(ctx, nil, func(e manifest.Entry, content io.Reader) error {
		data, err := io.ReadAll(content)
		out = append(out, [2]string{e.Path, string(data)})
		return err
	})
	return out, err
}

// newStore makes two points, rotates the keys, seals anew, makes a third point, and expires the second, so that a prune
// condemns what only that needed. A writer is at work, so that there is a lease.
func newStore(t *testing.T, rng *rand.Rand) *store {
	t.Helper()
	s := &store{now: newMemory(), before: map[string][]byte{}, foreign: map[string][]byte{}, content: map[string][][2]string{}}
	var reader, writer, goes string
	s.reader, reader = identity(t)
	s.writer, writer = identity(t)
	_, goes = identity(t)
	shared := [2]string{"shared", noise(rng, 90_000)}
	for i := range 3 {
		point := fmt.Sprint("p", i+1)
		s.content[point] = [][2]string{shared, {point, noise(rng, 40_000)}}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	s.id, err = repo.Init(t.Context(), s.now, repo.InitOptions{Recipients: []string{reader, goes}, Writers: []string{writer}})
	must(err)
	must(backUp(t.Context(), s.open(t, s.now, s.writer), "p1", s.content["p1"]))
	must(backUp(t.Context(), s.open(t, s.now, s.writer), "p2", s.content["p2"]))
	for _, name := range s.now.names("") {
		s.before[name] = s.now.objects[name]
	}
	must(s.open(t, s.now, s.reader).Rotate(t.Context(), repo.RotateOptions{Recipients: []string{reader}, Writers: []string{writer}}))
	_, err = s.open(t, s.now, s.reader).Reseal(t.Context(), repo.ResealOptions{})
	must(err)
	must(backUp(t.Context(), s.open(t, s.now, s.writer), "p3", s.content["p3"]))
	must(s.open(t, s.now).DeletePoint(t.Context(), address, "p2"))
	delete(s.content, "p2")
	_, err = s.open(t, s.now, s.writer).Prune(t.Context(), repo.PruneOptions{Grace: time.Hour})
	must(err)
	for point := range s.content {
		m, _, err := s.open(t, s.now).HasManifest(t.Context(), address, point)
		must(err)
		sum, _, err := s.open(t, s.now).HasSummary(t.Context(), address, point)
		must(err)
		s.points = append(s.points, repo.PointCheck{Address: address, ID: point, ManifestSHA: m, SummarySHA: sum})
	}
	other := newMemory()
	_, err = repo.Init(t.Context(), other, repo.InitOptions{Recipients: []string{reader}, Writers: []string{writer}})
	must(err)
	foreign, err := repo.Open(t.Context(), other, repo.OpenOptions{Identities: []age.Identity{s.writer}})
	must(err)
	for point, files := range s.content {
		must(backUp(t.Context(), foreign, point, files))
	}
	s.foreign = other.objects
	atWork, err := s.open(t, s.now, s.writer).NewWriter(t.Context(), repo.WriterOptions{Address: address, Point: "p9"})
	must(err)
	snapshot := s.now.copy()
	atWork.Abort()
	s.now = snapshot
	return s
}

// kindOf sorts names the way the table of claims does.
func kindOf(name string) string {
	switch folder, rest, _ := strings.Cut(name, "/"); {
	case folder == "points":
		return rest[strings.LastIndexByte(rest, '.')+1:]
	default:
		return folder
	}
}

// The faults. A replayed object is an earlier version of the same, or the same of another repository.
var faults = []string{"flipped", "truncated", "swapped", "replayed", "missing"}

// claim says who finds a fault: open (opening the repository), list (names and sizes, with a writer's key), stored (every
// stored byte and what the catalog knows, with a writer's key), or nobody, because it does no harm.
var claims = map[string]map[string]string{
	"repo.json": {"flipped": "open", "truncated": "open", "swapped": "open", "replayed": "open", "missing": "open"},
	"keys":      {"flipped": "stored", "truncated": "stored", "swapped": "stored", "replayed": "stored", "missing": "list"},
	"packs":     {"flipped": "stored", "truncated": "list", "swapped": "stored", "replayed": "stored", "missing": "list"},
	"index":     {"flipped": "list", "truncated": "list", "swapped": "list", "replayed": "list", "missing": "list"},
	"summary":   {"flipped": "list", "truncated": "list", "swapped": "list", "replayed": "stored", "missing": "list"},
	"manifest":  {"flipped": "stored", "truncated": "list", "swapped": "stored", "replayed": "stored", "missing": "stored"},
	"hints":     {"flipped": "stored", "truncated": "stored", "swapped": "harmless", "replayed": "stored", "missing": "harmless"},
	"condemned": {"flipped": "stored", "truncated": "stored", "swapped": "harmless", "replayed": "harmless", "missing": "harmless"},
	"leases":    {"flipped": "stored", "truncated": "stored", "swapped": "harmless", "replayed": "harmless", "missing": "harmless"},
}

// strike damages one object; ok is false where the fault cannot be had, such as swapping with another that is not there.
func (s *store) strike(rng *rand.Rand, b *memory, name, fault string) (what string, ok bool) {
	old := b.objects[name]
	switch fault {
	case "flipped":
		at, bit := rng.IntN(len(old)), rng.IntN(8)
		data := bytes.Clone(old)
		data[at] ^= 1 << bit
		b.objects[name] = data
		return fmt.Sprintf("byte %d bit %d", at, bit), true
	case "truncated":
		n := rng.IntN(len(old))
		b.objects[name] = old[:n]
		return fmt.Sprintf("to %d of %d bytes", n, len(old)), true
	case "missing":
		delete(b.objects, name)
		return "", true
	case "swapped":
		if what, ok = s.exchange(rng, b, name, b.objects); ok {
			return what, true
		}
		return s.exchange(rng, b, name, s.foreign) // there is one of the kind only
	default:
		if earlier, was := s.before[name]; was && !bytes.Equal(earlier, old) {
			b.objects[name] = earlier
			return "with its earlier version", true
		}
		return s.exchange(rng, b, name, s.foreign)
	}
}

// exchange puts another object of the kind in the place of one.
func (s *store) exchange(rng *rand.Rand, b *memory, name string, from map[string][]byte) (string, bool) {
	var others []string
	for other, data := range from {
		if kindOf(other) == kindOf(name) && !bytes.Equal(data, b.objects[name]) {
			others = append(others, other)
		}
	}
	if len(others) == 0 {
		return "", false
	}
	slices.Sort(others)
	other := others[rng.IntN(len(others))]
	b.objects[name] = from[other]
	return "with " + other, true
}

// level looks with one level and tells what it found.
func (s *store) level(ctx context.Context, b *memory, level string) (found []string, err error) {
	r, err := repo.Open(ctx, b, repo.OpenOptions{Identities: []age.Identity{s.writer}, Expect: s.id})
	var damaged *repo.DamagedError
	var wrong *repo.WrongRepositoryError
	switch {
	case errors.As(err, &damaged):
		return []string{damaged.Object}, nil
	case errors.As(err, &wrong), errors.Is(err, repo.ErrNoRepository):
		return []string{"repo.json"}, nil
	case err != nil:
		return nil, err
	}
	if level == "open" {
		return nil, nil
	}
	survey, err := r.Survey(ctx)
	if err != nil {
		return nil, err
	}
	list := survey.Damaged
	if level == "stored" {
		report, err := r.VerifyStored(ctx, repo.VerifyOptions{All: true, Points: s.points})
		if err != nil {
			return nil, err
		}
		list = append(list, report.Damaged...)
	}
	for _, d := range list {
		found = append(found, d.Object)
	}
	return found, nil
}

func TestSoundStoreIsSound(t *testing.T) {
	s := newStore(t, seeded(t))
	found, err := s.level(t.Context(), s.now, "stored")
	if err != nil || len(found) > 0 {
		t.Fatalf("%v, %v", found, err)
	}
	kinds := map[string]bool{}
	for _, name := range s.now.names("") {
		kinds[kindOf(name)] = true
	}
	for kind := range claims {
		if !kinds[kind] {
			t.Errorf("the store has nothing of the kind %s", kind)
		}
	}
	for kind := range kinds {
		if claims[kind] == nil {
			t.Errorf("nobody claims anything for %s", kind)
		}
	}
}

// TestEveryFaultIsFound: each fault of each object is found by the level that claims it, or is seen to do no harm.
func TestEveryFaultIsFound(t *testing.T) {
	rng := seeded(t)
	s := newStore(t, rng)
	rounds := 3
	if os.Getenv("HOLDFAST_LONG") != "" {
		rounds = 400
	}
	struck := map[string]int{}
	for _, name := range s.now.names("") {
		for _, fault := range faults {
			for range rounds {
				b := s.now.copy()
				what, ok := s.strike(rng, b, name, fault)
				if !ok {
					continue
				}
				claim := claims[kindOf(name)][fault]
				struck[kindOf(name)+" "+fault]++
				s.judge(t, b, claim, name, fmt.Sprintf("%s %s %s", name, fault, what))
				if fault == "missing" {
					break // there is one way only
				}
			}
		}
	}
	for kind, list := range claims {
		for fault, claim := range list {
			if struck[kind+" "+fault] == 0 && claim != "harmless" {
				t.Errorf("%s of the kind %s was never tried", fault, kind)
			}
		}
	}
	t.Logf("%d faults", len(struck))
}

func (s *store) judge(t *testing.T, b *memory, claim, name, what string) {
	t.Helper()
	if claim == "harmless" {
		s.harmless(t, b, what)
		return
	}
	found, err := s.level(t.Context(), b, claim)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	missingIndex := kindOf(name) == "index" && slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, "packs/") })
	if !slices.Contains(found, name) && !missingIndex && !s.needless(name) {
		t.Errorf("%s: the level %q finds %v", what, claim, found)
	}
	s.neverWrong(t, b, what)
}

// needless tells whether an object is one that nothing that is left needs, so that its loss cannot be told: an index that
// lists condemned packs only.
func (s *store) needless(name string) bool {
	if kindOf(name) != "index" && kindOf(name) != "packs" {
		return false
	}
	b := s.now.copy()
	delete(b.objects, name)
	r, err := repo.Open(context.Background(), b, repo.OpenOptions{Identities: []age.Identity{s.writer}})
	if err != nil {
		return false
	}
	survey, err := r.Survey(context.Background())
	return err == nil && len(survey.Damaged) == 0
}

// neverWrong restores every point: with whatever damage, what comes back is right, or there is an error.
func (s *store) neverWrong(t *testing.T, b *memory, what string) {
	t.Helper()
	r, err := repo.Open(t.Context(), b, repo.OpenOptions{Identities: []age.Identity{s.reader}, Expect: s.id})
	if err != nil {
		return
	}
	for point, want := range s.content {
		got, err := restore(t.Context(), r, point)
		if err == nil && !slices.Equal(got, want) {
			t.Errorf("%s: %s came back as something else, without an error", what, point)
		}
	}
}

// harmless: every point restores, and the next backup is right.
func (s *store) harmless(t *testing.T, b *memory, what string) {
	t.Helper()
	r := s.open(t, b, s.reader)
	next := append(slices.Clone(s.content["p3"]), [2]string{"new", "n"})
	if err := backUp(t.Context(), r, "p4", next); err != nil {
		t.Errorf("%s: the next backup: %v", what, err)
	}
	for point, want := range map[string][][2]string{"p1": s.content["p1"], "p3": s.content["p3"], "p4": next} {
		if got, err := restore(t.Context(), r, point); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %s came back wrong: %v", what, point, err)
		}
	}
}

// TestRestoreAndVerifyCanFail: a restore of damaged content fails aloud, and reading it finds it: the tests above could
// fail.
func TestRestoreAndVerifyCanFail(t *testing.T) {
	rng := seeded(t)
	s := newStore(t, rng)
	failed := 0
	for _, name := range s.now.names("packs/") {
		if s.needless(name) {
			continue
		}
		b := s.now.copy()
		data := bytes.Clone(b.objects[name])
		for at := 300; at < len(data); at += 4096 {
			data[at] ^= 1
		}
		b.objects[name] = data
		r := s.open(t, b, s.reader)
		for point := range s.content {
			_, err := restore(t.Context(), r, point)
			report, verr := r.VerifyRead(t.Context(), address, point, nil)
			if verr != nil {
				t.Fatal(verr)
			}
			var d *repo.DamagedError
			if errors.As(err, &d) != (len(report.Damaged) > 0) || err != nil && d == nil {
				t.Errorf("%s: restoring %s ends with %v, and reading it finds %+v", name, point, err, report.Damaged)
			}
			if err != nil {
				failed++
			}
		}
	}
	if failed == 0 {
		t.Error("no restore of damaged content failed")
	}
}
