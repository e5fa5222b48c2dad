// Package powercut runs whole commands in process, in a world of memory whose power fails after the n-th write to any store
// or to the state, for every n. What was written by then must be enough: every restore point that the catalog names
// restores to what was backed up, every repository is sound, the next apply finishes the work, and the one after it has
// nothing to do.
//
// HOLDFAST_LONG=1 cuts at every n; otherwise a random sample is taken. HOLDFAST_SEED=N repeats a sample.
package powercut

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob/connect"
	"github.com/holdfast-io/holdfast/internal/cli"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/backend"
)

const stateURL = "mem://state"

var stores = []string{"store.one", "store.two"}

// site is a policy's folder with a key and a tree of files.
type site struct {
	t     *testing.T
	dir   string
	key   string
	keys  []age.Identity
	tree  map[string]string            // what lies in the folder of data
	trees map[string]map[string]string // restore point → what lay there when it was made
}

func newSite(t *testing.T) *site {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: t.TempDir(), keys: []age.Identity{id}, trees: map[string]map[string]string{}}
	s.write("key", id.String()+"\n")
	s.key = id.Recipient().String()
	return s
}

func (s *site) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// policy writes the policy; rest is what comes after state, stores and source.
func (s *site) policy(rest string) {
	s.write("main.hf.hcl", fmt.Sprintf(`
holdfast {
  state = %q
}
store "one" {
  url = "mem://one"
  encryption {
    recipients = [%q]
  }
}
store "two" {
  url = "mem://two"
  encryption {
    recipients = [%q]
  }
}
source "files" "data" {
  root = "data"
}
retention "last" {
  last = 2
}
`, stateURL, s.key, s.key)+rest)
}

// backup is a block of the policy.
func backup(name, more string) string {
	return fmt.Sprintf(`
backup %q {
  source    = source.files.data
  store     = store.one
  retention = retention.last
  schedule { every = "1h" }
  %s
}
`, name, more)
}

// data makes version n of the tree: one part stays, one changes, one comes, one goes.
func (s *site) data(n int) {
	if err := os.RemoveAll(filepath.Join(s.dir, "data")); err != nil {
		s.t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(uint64(n), 1))
	noise := func(r *rand.Rand, size int) string {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return string(b)
	}
	s.tree = map[string]string{
		"same":                   noise(rand.New(rand.NewPCG(0, 0)), 200_000),
		"changing":               noise(r, 100_000),
		fmt.Sprintf("dir/%d", n): noise(r, 5_000),
		"empty":                  "",
	}
	for name, text := range s.tree {
		s.write(filepath.Join("data", name), text)
	}
}

// run is one holdfast.
func (s *site) run(w *world, args ...string) (code int, output string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var out bytes.Buffer
	code = cli.Run(ctx, cli.Process{
		Args: append([]string{"-chdir=" + s.dir}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Now: w.clock.Now, Version: "0.1.0",
		Open: w.open, Clock: w.clock,
		Env: func(name string) (string, bool) {
			v, ok := map[string]string{"HOLDFAST_IDENTITY_FILE": filepath.Join(s.dir, "key"), "NO_COLOR": "1"}[name]
			return v, ok
		},
	})
	return code, out.String()
}

func (s *site) apply(w *world, options ...string) {
	s.t.Helper()
	if code, out := s.run(w, append([]string{"apply", "-auto-approve"}, options...)...); code != 0 {
		s.t.Fatalf("apply exited %d:\n%s", code, out)
	}
	s.learn(w)
}

// learn remembers what new restore points hold: the tree of now.
func (s *site) learn(w *world) {
	s.t.Helper()
	for _, points := range s.catalog(w).Points {
		for _, p := range points {
			if s.trees[p.ID] == nil {
				s.trees[p.ID] = s.tree
			}
		}
	}
}

func (s *site) catalog(w *world) *state.Catalog {
	s.t.Helper()
	b, err := w.open(s.t.Context(), stateURL, connect.Options{Create: true})
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := backend.New(b, backend.Options{Clock: w.clock, Holder: "test"}).Load(s.t.Context())
	if err != nil {
		s.t.Fatalf("load state: %v", err)
	}
	return c
}

// repository opens a store, nil when it holds none.
func (s *site) repository(w *world, store string) *repo.Repository {
	s.t.Helper()
	b, err := w.open(s.t.Context(), "mem://"+strings.TrimPrefix(store, "store."), connect.Options{ReadOnly: true})
	if err != nil {
		return nil
	}
	r, err := repo.Open(s.t.Context(), b, repo.OpenOptions{Identities: s.keys, Clock: w.clock})
	if err != nil {
		if _, cerr := b.Stat(s.t.Context(), "config"); cerr == nil {
			s.t.Fatalf("open the repository in %s: %v", store, err)
		}
		return nil
	}
	return r
}

// read brings the files of one copy back.
func (s *site) read(w *world, address string, p state.RestorePoint, c state.Copy) (map[string]string, error) {
	r := s.repository(w, c.Store)
	if r == nil {
		return nil, fmt.Errorf("%s holds no repository", c.Store)
	}
	reader, err := r.OpenPoint(s.t.Context(), p.Stored(address), p.ID)
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	return got, reader.Read(s.t.Context(), func(e manifest.Entry) bool { return e.Type == "file" }, func(e manifest.Entry, in io.Reader) error {
		data, err := io.ReadAll(in)
		got[e.Path] = string(data)
		return err
	})
}

// sound checks everything that must hold at any instant. damaged allows that a copy is bad, as long as another is good.
func (s *site) sound(w *world, damaged bool) {
	s.t.Helper()
	for address, points := range s.catalog(w).Points {
		for _, p := range points {
			good := 0
			for _, c := range p.Copies {
				got, err := s.read(w, address, p, c)
				if err == nil && maps.Equal(got, s.trees[p.ID]) {
					good++
				} else if !damaged {
					s.t.Errorf("%s of %s in %s: %v; files %v, want %v", p.ID, address, c.Store, err, names(got), names(s.trees[p.ID]))
				}
			}
			if good == 0 {
				s.t.Errorf("%s of %s restores from no store", p.ID, address)
			}
		}
	}
	for _, store := range stores {
		r := s.repository(w, store)
		if r == nil || damaged {
			continue
		}
		report, err := r.Check(s.t.Context(), repo.CheckOptions{Deep: true})
		if err != nil {
			s.t.Errorf("check %s: %v", store, err)
		}
		for _, f := range report.Findings {
			if f.Severity == repo.SeverityError {
				s.t.Errorf("check %s: %+v", store, f)
			}
		}
	}
}

// tidy demands that no store holds a point that the catalog does not name there.
func (s *site) tidy(w *world) {
	s.t.Helper()
	var want, got []string
	for address, points := range s.catalog(w).Points {
		for _, p := range points {
			for _, c := range p.Copies {
				want = append(want, fmt.Sprint(c.Store, " ", p.Stored(address), " ", p.ID, " true true"))
			}
		}
	}
	for _, store := range stores {
		if r := s.repository(w, store); r != nil {
			points, err := r.Points(s.t.Context())
			if err != nil {
				s.t.Fatal(err)
			}
			for _, p := range points {
				got = append(got, fmt.Sprint(store, " ", p.Address, " ", p.ID, " ", p.Manifest, " ", p.Summary))
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		s.t.Errorf("points with manifest and summary (-in the catalog +in the stores):\n%s", d)
	}
}

func names(tree map[string]string) []string { return slices.Sorted(maps.Keys(tree)) }

// copies lists what the catalog holds, without what differs from run to run.
func (s *site) copies(w *world) []string {
	var out []string
	for address, points := range s.catalog(w).Points {
		for _, p := range points {
			for _, c := range p.Copies {
				out = append(out, fmt.Sprintf("%s %s in %s: %s", address, p.Time.Truncate(time.Hour).Format(time.RFC3339), c.Store, strings.Join(names(s.trees[p.ID]), " ")))
			}
		}
	}
	slices.Sort(out)
	return out
}

// job is one apply and what came before it.
type job struct {
	name    string
	before  func(s *site, w *world) // leaves the policy, the data and the time of the apply
	options []string                // of the apply
	damaged bool                    // a copy is damaged on purpose
}

var jobs = []job{
	{name: "first", before: func(s *site, w *world) {
		s.policy(backup("app", ""))
		s.data(1)
	}},
	{name: "backup", before: func(s *site, w *world) { s.history(w, "", 1) }},
	{name: "expire", before: func(s *site, w *world) { s.history(w, "", 2) }},
	{name: "prune", before: func(s *site, w *world) {
		s.history(w, "", 3)
		w.clock.Advance(26 * time.Hour)
	}},
	{name: "several at once", options: []string{"-parallelism=4"}, before: func(s *site, w *world) {
		s.history(w, "copies = [store.two]", 1)
		s.policy(backup("app", "copies = [store.two]") + backup("other", "") + backup("third", "copies = [store.two]"))
	}},
	{name: "new copies", before: func(s *site, w *world) {
		s.history(w, "", 2)
		s.policy(backup("app", "copies = [store.two]"))
	}},
	{name: "backup with copies", before: func(s *site, w *world) { s.history(w, "copies = [store.two]", 2) }},
	{name: "prune with copies", before: func(s *site, w *world) {
		s.history(w, "copies = [store.two]", 3)
		w.clock.Advance(26 * time.Hour)
	}},
	{name: "repair", damaged: true, before: func(s *site, w *world) {
		s.history(w, "copies = [store.two]", 1)
		w.clock.Advance(-time.Hour) // nothing is due but the repair
		w.damage("mem://one", "packs/")
		if code, out := s.run(w, "verify", "backup.app", "-store=store.one"); code == 0 {
			s.t.Fatalf("verify finds no damage:\n%s", out)
		}
	}},
	{name: "rename", before: func(s *site, w *world) {
		s.history(w, "copies = [store.two]", 2)
		s.policy(backup("renamed", "copies = [store.two]") + "moved {\n  from = backup.app\n  to = backup.renamed\n}\n")
	}},
	{name: "destroy", before: func(s *site, w *world) {
		s.history(w, "copies = [store.two]", 2)
		s.policy(backup("other", "") + "removed {\n  from = backup.app\n  destroy = true\n}\n")
	}},
}

// history backs up n versions of the data, an hour apart, and prepares the next.
func (s *site) history(w *world, more string, n int) {
	s.t.Helper()
	s.policy(backup("app", more))
	for i := 1; i <= n; i++ {
		s.data(i)
		s.apply(w)
		w.clock.Advance(time.Hour)
	}
	s.data(n + 1)
}

// damage flips a bit in the middle of the largest object under a prefix.
func (w *world) damage(url, prefix string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	largest := ""
	for name, o := range w.buckets[url] {
		if strings.HasPrefix(name, prefix) && (largest == "" || len(o.data) > len(w.buckets[url][largest].data)) {
			largest = name
		}
	}
	o := w.buckets[url][largest]
	o.data = bytes.Clone(o.data)
	o.data[len(o.data)/2] ^= 1
	w.buckets[url][largest] = o
}

var start = time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)

// seed is random, or what HOLDFAST_SEED says.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if text := os.Getenv("HOLDFAST_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("HOLDFAST_SEED: %v", err)
		}
	}
	t.Logf("HOLDFAST_SEED=%d", n)
	return n
}

func long() bool { return os.Getenv("HOLDFAST_LONG") != "" }

// TestPowerCutInApply cuts the power once in each job.
func TestPowerCutInApply(t *testing.T) {
	each(t, 8, func(s *site, w *world, j job, n int, _ *rand.Rand, want []string) {
		code, first := s.cut(w, j, n)
		if !w.restorePower() {
			s.t.Fatalf("apply exited %d before the power was cut", code)
		}
		s.told("cut apply", first)
		s.learn(w)
		s.sound(w, j.damaged)
		w.clock.Advance(10 * time.Minute) // until the dead one's leases have ended
		s.converges(w, j, want)
	})
}

// TestPowerCutAgain cuts the power in the apply that would have recovered, too, twice, after waits of any length.
func TestPowerCutAgain(t *testing.T) {
	each(t, 3, func(s *site, w *world, j job, n int, r *rand.Rand, want []string) {
		for range 3 {
			_, text := s.cut(w, j, n)
			s.told(fmt.Sprintf("apply, cut after %d writes", n), text)
			w.restorePower() // a short one may have come to its end
			s.learn(w)
			s.sound(w, j.damaged)
			w.clock.Advance([]time.Duration{time.Second, 2 * time.Minute, 4 * time.Minute}[r.IntN(3)])
			n = r.IntN(60)
		}
		w.clock.Advance(10 * time.Minute)
		s.converges(w, j, want)
	})
}

// TestSpaceComesBack: what a power cut left in the stores is freed by the daily applies that follow.
func TestSpaceComesBack(t *testing.T) {
	each(t, 2, func(s *site, w *world, j job, n int, _ *rand.Rand, want []string) {
		s.cut(w, j, n)
		w.restorePower()
		for range 5 {
			w.clock.Advance(26 * time.Hour)
			s.learn(w)
			code, text := s.run(w, append([]string{"apply", "-auto-approve"}, j.options...)...)
			s.told("apply", text)
			if code != 0 {
				s.t.Fatalf("apply exited %d", code)
			}
		}
		s.learn(w)
		s.sound(w, false)
		s.tidy(w)
		for _, store := range stores {
			r := s.repository(w, store)
			if r == nil {
				continue
			}
			survey, err := r.Survey(s.t.Context())
			if err != nil {
				s.t.Fatal(err)
			}
			// What the last two applies expired is still condemned, or not even that.
			if waste := survey.Unneeded - survey.Condemned; waste > 0 {
				s.t.Errorf("%s: %d bytes of packs are needed by nobody and not condemned: %+v", store, waste, survey)
			}
			if len(survey.Unknown) > 0 {
				s.t.Errorf("%s holds objects that belong to nothing: %v", store, survey.Unknown)
			}
		}
	})
}

// each runs fn in a world of its own for each job and each moment n to cut the power.
func each(t *testing.T, sample int, fn func(s *site, w *world, j job, n int, r *rand.Rand, want []string)) {
	seed := seed(t)
	for i, j := range jobs {
		t.Run(j.name, func(t *testing.T) {
			s, base := newSite(t), newWorld(start)
			j.before(s, base)
			before := s.trees
			s.trees = maps.Clone(before)
			whole := base.clone()
			s.apply(whole, j.options...)
			want := s.copies(whole)
			s.sound(whole, false)
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			moments := r.Perm(whole.writes)
			if !long() {
				moments = moments[:min(len(moments), sample)]
			}
			t.Logf("%d writes", whole.writes)
			for _, n := range moments {
				own := rand.New(rand.NewPCG(seed, uint64(n)))
				t.Run(strconv.Itoa(n), func(t *testing.T) {
					s := *s
					s.t, s.trees = t, maps.Clone(before)
					fn(&s, base.clone(), j, n, own, want)
				})
			}
		})
	}
}

// cut runs apply with power for n writes.
func (s *site) cut(w *world, j job, n int) (code int, output string) {
	w.cut(n)
	return s.run(w, append([]string{"apply", "-auto-approve"}, j.options...)...)
}

// converges demands that one apply finishes the work and leaves nothing to do.
func (s *site) converges(w *world, j job, want []string) {
	s.t.Helper()
	code, text := s.run(w, append([]string{"apply", "-auto-approve"}, j.options...)...)
	if code != 0 {
		s.t.Errorf("the next apply exited %d", code)
	}
	s.learn(w)
	s.sound(w, false)
	if d := cmp.Diff(want, s.copies(w)); d != "" {
		s.t.Errorf("what the catalog holds (-without a power cut +after one):\n%s", d)
	}
	s.tidy(w)
	code, plan := s.run(w, "plan", "-detailed-exitcode", "-exitcode-on=changes,due,drift")
	if code != 0 {
		s.t.Errorf("a plan after that exited %d; nothing should be left to do", code)
	}
	s.told("next apply", text)
	s.told("plan", plan)
}

// told shows a command's output when the test has failed by its end.
func (s *site) told(what, text string) {
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", what, text)
		}
	})
}
