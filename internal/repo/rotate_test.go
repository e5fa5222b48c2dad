package repo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/internal/repo"
)

func rotate(t *testing.T, b *memory, with key, o repo.RotateOptions) {
	t.Helper()
	if err := open(t, b, with.id).Rotate(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// opensWith tells which of the objects under a prefix a key opens.
func opensWith(t *testing.T, b *memory, k key, prefix, suffix string) (names []string) {
	t.Helper()
	for _, name := range b.names(prefix) {
		r, err := age.Decrypt(bytes.NewReader(b.objects[name]), k.id)
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if err == nil && strings.HasSuffix(name, suffix) {
			names = append(names, name)
		}
	}
	return names
}

// TestRotate: who stays reads everything, who comes reads what comes, who goes opens nothing new and finds no key.
func TestRotate(t *testing.T) {
	stays, goes, comes, host := classic(t), classic(t), classic(t), classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{stays.public, goes.public}, Writers: []string{host.public}})
	old := []file{{"a", random(1, 300_000), "1"}}
	fresh := append(old, file{"b", random(2, 300_000), "1"})
	backup(t, open(t, b, host.id), "p1", old)
	before := map[string]bool{}
	for _, name := range b.names("") {
		before[name] = true
	}
	rotate(t, b, host, repo.RotateOptions{Recipients: []string{stays.public, comes.public}, Writers: []string{host.public}})
	backup(t, open(t, b, host.id), "p2", fresh)

	wantRestored(t, open(t, b, stays.id), "p1", old)
	wantRestored(t, open(t, b, stays.id), "p2", fresh)
	if gone := open(t, b, goes.id); gone.CanRead() || gone.CanWrite() {
		t.Error("who was removed can still open the repository")
	}
	newcomer := open(t, b, comes.id)
	if !newcomer.CanRead() || !newcomer.CanWrite() {
		t.Error("who was added cannot")
	}
	if _, err := tryRestore(t.Context(), newcomer, "p1"); err == nil {
		t.Error("who was added reads what was sealed before, without resealing")
	}
	for _, name := range opensWith(t, b, goes, "", "") {
		if !before[name] {
			t.Errorf("who was removed opens %s, which came afterwards", name)
		}
	}
	for _, k := range []key{stays, comes, host} {
		wantSound(t, b, k.id)
	}
	if c := checkOf(t, b, repo.CheckOptions{Deep: true}, stays.id); len(c.Findings) > 0 {
		t.Errorf("%+v", c.Findings)
	}
	rotate(t, b, stays, repo.RotateOptions{Recipients: []string{stays.public}}) // and once more: past identities add up
	wantRestored(t, open(t, b, stays.id), "p1", old)
	wantRestored(t, open(t, b, stays.id), "p2", fresh)
	if open(t, b, host.id).CanWrite() {
		t.Error("a writer that was removed can still write")
	}
}

func TestRotateRefuses(t *testing.T) {
	owner, pq, other := classic(t), hybrid(t), classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{owner.public}})
	good := repo.RotateOptions{Recipients: []string{other.public}}
	var noKey *repo.KeyError
	if err := open(t, b).Rotate(t.Context(), good); !errors.As(err, &noKey) {
		t.Errorf("without a key: %v", err)
	}
	r := open(t, b, owner.id)
	for name, o := range map[string]repo.RotateOptions{
		"nobody": {}, "mixed kinds": {Recipients: []string{owner.public, pq.public}}, "no key": {Recipients: []string{"age1x"}},
	} {
		if err := r.Rotate(t.Context(), o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	stale := open(t, b, owner.id)
	rotate(t, b, owner, repo.RotateOptions{Recipients: []string{owner.public, other.public}})
	if err := stale.Rotate(t.Context(), good); err == nil {
		t.Error("a rotation that knew nothing of another was accepted")
	}
	plain := newMemory()
	initRepo(t, plain, repo.InitOptions{None: true})
	if err := open(t, plain).Rotate(t.Context(), good); err == nil {
		t.Error("a repository without encryption was rotated")
	}
}

// TestPowerCutsOfRotate cuts the power after every n writes: a key that stays opens the repository, every point restores,
// and rotating again ends it.
func TestPowerCutsOfRotate(t *testing.T) {
	stays, goes, comes := classic(t), classic(t), classic(t)
	sound := newMemory()
	initRepo(t, sound, repo.InitOptions{Recipients: []string{stays.public, goes.public}})
	files := []file{{"a", random(1, 100_000), "1"}}
	backup(t, open(t, sound, stays.id), "p1", files)
	o := repo.RotateOptions{Recipients: []string{stays.public, comes.public}}
	for n := 0; ; n++ {
		b := sound.clone()
		faulty := blobtest.NewFaulty(b)
		r, err := repo.Open(t.Context(), faulty, repo.OpenOptions{Identities: []age.Identity{stays.id}})
		if err != nil {
			t.Fatal(err)
		}
		faulty.CutPower(n)
		err = r.Rotate(t.Context(), o)
		wantRestored(t, open(t, b, stays.id), "p1", files)
		if err == nil {
			if n < 5 {
				t.Fatalf("it needed %d writes only", n)
			}
			return
		}
		clearLeases(b)
		again := open(t, b, stays.id)
		if err := again.Rotate(t.Context(), o); err != nil {
			t.Fatalf("again after %d writes: %v", n, err)
		}
		wantRestored(t, open(t, b, stays.id), "p1", files)
		if open(t, b, goes.id).CanWrite() || !open(t, b, comes.id).CanRead() {
			t.Fatalf("after %d writes and again: not the new holders", n)
		}
		if c := checkOf(t, b, repo.CheckOptions{Deep: true}, stays.id); len(c.Findings) > 0 {
			t.Fatalf("after %d writes and again: %+v", n, c.Findings)
		}
	}
}

// clearLeases stands for the time after which a dead host's leases end.
func clearLeases(b *memory) {
	for _, name := range b.names("leases/") {
		delete(b.objects, name)
	}
}

func reseal(t *testing.T, b *memory, k key) repo.ResealReport {
	t.Helper()
	report, err := open(t, b, k.id).Reseal(t.Context(), repo.ResealOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// rotatedStore has points of before and after a rotation.
func rotatedStore(t *testing.T) (b *memory, stays, goes, comes key, want map[string][]file) {
	t.Helper()
	stays, goes, comes = classic(t), classic(t), classic(t)
	b = newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{stays.public, goes.public}})
	want = map[string][]file{"p1": {{"a", random(1, 200_000), "1"}}}
	want["p2"] = append(want["p1"][:1:1], file{"b", random(2, 200_000), "1"})
	want["p3"] = append(want["p1"][:1:1], file{"c", random(3, 200_000), "1"})
	backup(t, open(t, b, stays.id), "p1", want["p1"])
	backup(t, open(t, b, stays.id), "p2", want["p2"])
	rotate(t, b, stays, repo.RotateOptions{Recipients: []string{stays.public, comes.public}})
	backup(t, open(t, b, stays.id), "p3", want["p3"])
	return b, stays, goes, comes, want
}

func wantPoints(t *testing.T, b *memory, k key, want map[string][]file) {
	t.Helper()
	for id, files := range want {
		wantRestored(t, open(t, b, k.id), id, files)
	}
}

func TestReseal(t *testing.T) {
	b, stays, goes, comes, want := rotatedStore(t)
	report := reseal(t, b, stays)
	if len(report.Points) != 3 || report.Packs == 0 || len(report.Damaged) > 0 {
		t.Fatalf("%+v", report)
	}
	r := open(t, b, stays.id)
	verified, err := r.VerifyStored(t.Context(), repo.VerifyOptions{Points: report.Points})
	if err != nil || len(verified.Damaged) > 0 {
		t.Errorf("what was reported is not what is stored: %+v, %v", verified.Damaged, err)
	}
	wantPoints(t, b, stays, want)
	wantPoints(t, b, comes, want)
	if _, err := r.Prune(t.Context(), repo.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, b, stays.id).Prune(t.Context(), repo.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	wantPoints(t, b, comes, want)
	for _, prefix := range []string{"packs/", "points/", "keys/"} {
		if names := opensWith(t, b, goes, prefix, ""); len(names) > 0 {
			t.Errorf("who was removed still opens %v", names)
		}
	}
	if c := checkOf(t, b, repo.CheckOptions{Deep: true}, comes.id); c.Errors() > 0 {
		t.Errorf("%+v", c.Findings)
	}
	before := len(b.log)
	again := reseal(t, b, comes)
	if again.Packs != 0 || len(again.Points) != 3 {
		t.Errorf("again: %+v", again)
	}
	for _, line := range b.log[before:] {
		if !strings.Contains(line, " leases/") {
			t.Errorf("again: %s", line)
		}
	}
	if len(b.names("reseal/")) > 0 {
		t.Error("notes are left")
	}
}

// TestResealOfDamage: what cannot be read stays, with its point, and the others go on.
func TestResealOfDamage(t *testing.T) {
	b, stays, _, comes, want := rotatedStore(t)
	var own string
	for _, name := range b.names("packs/") {
		c := b.clone()
		delete(c.objects, name)
		if s := survey(t, c, stays.id); slices.Equal(s.Damaged[0].Points, []string{two}) {
			own = name
		}
	}
	b.objects[own][5000] ^= 1
	report := reseal(t, b, stays)
	if len(report.Damaged) != 1 || report.Damaged[0].Object != own || !slices.Equal(report.Damaged[0].Points, []string{two}) || len(report.Points) != 3 {
		t.Fatalf("%+v", report)
	}
	delete(want, "p2")
	wantPoints(t, b, comes, want)
}

// TestPowerCutsOfReseal cuts the power after every n writes: every point restores at once, a prune then takes nothing that
// is needed, and resealing again ends it.
func TestPowerCutsOfReseal(t *testing.T) {
	sound, stays, goes, comes, want := rotatedStore(t)
	for n := 0; ; n++ {
		b := sound.clone()
		faulty := blobtest.NewFaulty(b)
		r, err := repo.Open(t.Context(), faulty, repo.OpenOptions{Identities: []age.Identity{stays.id}})
		if err != nil {
			t.Fatal(err)
		}
		faulty.CutPower(n)
		_, err = r.Reseal(context.WithoutCancel(t.Context()), repo.ResealOptions{})
		wantPoints(t, b, stays, want)
		clearLeases(b)
		if c := checkOf(t, b, repo.CheckOptions{Deep: true}, stays.id); c.Errors() > 0 {
			t.Fatalf("after %d writes: %+v", n, c.Findings)
		}
		if err == nil {
			if n < 20 {
				t.Fatalf("it needed %d writes only", n)
			}
			return
		}
		for range 2 * (n % 2) { // every other time somebody prunes before it goes on
			if _, err := open(t, b, stays.id).Prune(t.Context(), repo.PruneOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		wantPoints(t, b, stays, want)
		report := reseal(t, b, stays)
		wantPoints(t, b, comes, want)
		if names := opensWith(t, b, goes, "points/", ""); len(names) > 0 || len(report.Points) != len(want) {
			t.Fatalf("after %d writes and again: %v, %+v", n, names, report)
		}
	}
}

// TestRotateLike: the stores of a family rotate one after the other and still share their keys.
func TestRotateLike(t *testing.T) {
	owner, comes := classic(t), classic(t)
	a, b := pair(t, repo.InitOptions{Recipients: []string{owner.public}}, owner)
	files := []file{{"a", random(1, 100_000), "1"}}
	o := repo.RotateOptions{Recipients: []string{owner.public, comes.public}}
	rotate(t, a, owner, o)
	o.Like = open(t, a, owner.id)
	rotate(t, b, owner, o)
	made, _ := backup(t, open(t, a, owner.id), "p1", files)
	got, err := repo.NewCopier(open(t, b, owner.id), open(t, a, owner.id)).Copy(t.Context(), address, "p1", repo.CopyOptions{})
	if err != nil || got.Manifest != made.Manifest {
		t.Fatalf("%+v, %v", got, err)
	}
	wantRestored(t, open(t, b, comes.id), "p1", files)
}
