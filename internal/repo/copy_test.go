package repo_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/internal/repo"
)

// pair makes a repository, and another one that shares its keys.
func pair(t *testing.T, o repo.InitOptions, ids ...key) (a, b *memory) {
	t.Helper()
	a, b = newMemory(), newMemory()
	initRepo(t, a, o)
	o.Like = open(t, a, ids[0].id)
	initRepo(t, b, o)
	return a, b
}

// TestCopyAsStored: a host that cannot read brings points over byte for byte, and they restore there.
func TestCopyAsStored(t *testing.T) {
	owner, host := classic(t), classic(t)
	a, b := pair(t, repo.InitOptions{Recipients: []string{owner.public}, Writers: []string{host.public}}, host)
	writer := open(t, a, host.id)
	one := []file{{"a", random(1, 400_000), "1"}, {"b", random(2, 300_000), "2"}}
	two := append(one[:1:1], file{"c", random(3, 200_000), "3"})
	first, _ := backup(t, writer, "p1", one)
	second, _ := backup(t, writer, "p2", two)
	c := repo.NewCopier(open(t, b, host.id), writer)
	for id, made := range map[string]repo.Receipt{"p1": first, "p2": second} {
		got, err := c.Copy(t.Context(), address, id, repo.CopyOptions{Manifest: made.Manifest, Summary: made.Summary})
		if err != nil {
			t.Fatal(err)
		}
		if got.Manifest != made.Manifest || got.Summary != made.Summary || got.Size != made.Size {
			t.Errorf("%s: %+v, made was %+v", id, got, made)
		}
	}
	before := len(b.log)
	if again, err := c.Copy(t.Context(), address, "p1", repo.CopyOptions{}); err != nil || again.Stored != 0 || len(b.log) != before {
		t.Errorf("again: %+v, %v, %d writes", again, err, len(b.log)-before)
	}
	for _, name := range append(a.names("packs/"), a.names("points/")...) {
		if !bytes.Equal(a.objects[name], b.objects[name]) {
			t.Errorf("%s is another at the destination", name)
		}
	}
	if open(t, a).ID() == open(t, b).ID() {
		t.Error("the two cannot be told apart")
	}
	wantRestored(t, open(t, b, owner.id), "p1", one)
	wantRestored(t, open(t, b, owner.id), "p2", two)
	report, err := open(t, b, host.id).VerifyStored(t.Context(), repo.VerifyOptions{All: true})
	if err != nil || len(report.Damaged) > 0 {
		t.Fatalf("%+v, %v", report.Damaged, err)
	}
	if left := b.names("leases/"); len(left) > 0 {
		t.Errorf("leases are left: %v", left)
	}
}

// TestCopySealedAnew: another repository with other recipients gets the content, under its own keys.
func TestCopySealedAnew(t *testing.T) {
	owner, other := classic(t), classic(t)
	a, b := newMemory(), newMemory()
	initRepo(t, a, repo.InitOptions{Recipients: []string{owner.public}})
	initRepo(t, b, repo.InitOptions{Recipients: []string{other.public}})
	files := []file{{"a", random(1, 3_000_000), "1"}, {"b", nil, "2"}, {"c", text(3, 5000), "3"}}
	backup(t, open(t, a, owner.id), "p1", files)
	c := repo.NewCopier(open(t, b, other.id), open(t, a, owner.id))
	if _, err := c.Copy(t.Context(), address, "p1", repo.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	wantRestored(t, open(t, b, other.id), "p1", files)
	if _, err := c.Copy(t.Context(), address, "p1", repo.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	var noKey *repo.KeyError
	if _, err := repo.NewCopier(open(t, b, other.id), open(t, a, other.id)).Copy(t.Context(), address, "p1", repo.CopyOptions{}); !errors.As(err, &noKey) {
		t.Errorf("without a key of the source: %v", err)
	}
}

// TestCopyOfDamagePublishesNothing: what is damaged at the source is named, and does not spread.
func TestCopyOfDamagePublishesNothing(t *testing.T) {
	owner := classic(t)
	a, b := pair(t, repo.InitOptions{Recipients: []string{owner.public}}, owner)
	backup(t, open(t, a, owner.id), "p1", []file{{"a", random(1, 400_000), "1"}})
	pack := a.names("packs/")[0]
	a.objects[pack][100] ^= 1
	var damaged *repo.DamagedError
	_, err := repo.NewCopier(open(t, b, owner.id), open(t, a, owner.id)).Copy(t.Context(), address, "p1", repo.CopyOptions{})
	if !errors.As(err, &damaged) || damaged.Object != pack {
		t.Fatalf("got %v", err)
	}
	if names := b.names("points/"); len(names) > 0 {
		t.Errorf("published: %v", names)
	}
}

// TestCrashAtEveryWriteOfACopy: whatever is cut, the destination has the point whole or not at all, and the next try ends well.
func TestCrashAtEveryWriteOfACopy(t *testing.T) {
	owner := classic(t)
	a, b := pair(t, repo.InitOptions{Recipients: []string{owner.public}}, owner)
	files := []file{{"a", random(1, 400_000), "1"}}
	source := open(t, a, owner.id)
	backup(t, source, "p1", files)
	for n := 1; ; n++ {
		store := b.clone()
		store.failAt = n
		to := open(t, store, owner.id)
		_, err := repo.NewCopier(to, source).Copy(t.Context(), address, "p1", repo.CopyOptions{})
		done := err == nil
		store.failAt = 0
		if _, ok, err := to.HasManifest(t.Context(), address, "p1"); err != nil {
			t.Fatal(err)
		} else if ok {
			wantRestored(t, open(t, store, owner.id), "p1", files)
		}
		if _, err := repo.NewCopier(open(t, store, owner.id), source).Copy(t.Context(), address, "p1", repo.CopyOptions{}); err != nil {
			t.Fatalf("cut at write %d, then: %v", n, err)
		}
		wantRestored(t, open(t, store, owner.id), "p1", files)
		if done {
			return
		}
	}
}

// TestRepairFromCopy damages each kind of object that a point needs: it is replaced, and the point is whole again.
func TestRepairFromCopy(t *testing.T) {
	owner, host := classic(t), classic(t)
	a, b := pair(t, repo.InitOptions{Recipients: []string{owner.public}, Writers: []string{host.public}}, host)
	files := []file{{"a", random(1, 400_000), "1"}, {"b", text(2, 50_000), "2"}}
	made, _ := backup(t, open(t, a, host.id), "p1", files)
	if _, err := repo.NewCopier(open(t, b, host.id), open(t, a, host.id)).Copy(t.Context(), address, "p1", repo.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	check := repo.PointCheck{Address: address, ID: "p1", ManifestSHA: made.Manifest, SummarySHA: made.Summary}
	faults := map[string]func(m *memory, name string){
		"flipped":   func(m *memory, name string) { m.objects[name][len(m.objects[name])/2] ^= 1 },
		"truncated": func(m *memory, name string) { m.objects[name] = m.objects[name][:len(m.objects[name])/2] },
		"missing":   func(m *memory, name string) { delete(m.objects, name) },
	}
	for _, prefix := range []string{"packs/", "points/", "index/"} {
		for _, name := range a.names(prefix) {
			for fault, strike := range faults {
				t.Run(fault+" "+strings.SplitN(name, "/", 2)[0], func(t *testing.T) {
					store := a.clone()
					strike(store, name)
					report, err := open(t, store, host.id).RepairPoint(t.Context(), open(t, b, host.id), check, repo.RepairOptions{})
					if err != nil {
						t.Fatal(err)
					}
					if len(report.Left) > 0 {
						t.Errorf("%s: left %+v (replaced %v)", name, report.Left, report.Replaced)
					}
					after, err := open(t, store, host.id).VerifyStored(t.Context(), repo.VerifyOptions{All: true})
					if err != nil || len(after.Damaged) > 0 {
						t.Errorf("%s: %+v, %v", name, after.Damaged, err)
					}
					wantRestored(t, open(t, store, owner.id), "p1", files)
				})
			}
		}
	}
}

// TestSetAsideHeals: without a good copy a damaged pack is set aside; the next backup stores its content again, and that
// heals the older point.
func TestSetAsideHeals(t *testing.T) {
	owner := classic(t)
	a := newMemory()
	initRepo(t, a, repo.InitOptions{Recipients: []string{owner.public}})
	files := []file{{"a", random(1, 400_000), "1"}}
	made, _ := backup(t, open(t, a, owner.id), "p1", files)
	pack := a.names("packs/")[0]
	a.objects[pack][1000] ^= 1
	check := repo.PointCheck{Address: address, ID: "p1", ManifestSHA: made.Manifest, SummarySHA: made.Summary}
	report, err := open(t, a, owner.id).RepairPoint(t.Context(), nil, check, repo.RepairOptions{})
	if err != nil || len(report.SetAside) != 1 || len(report.Left) == 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	if len(a.names("packs/")) != 0 || len(a.names("quarantine/")) != 1 {
		t.Fatalf("packs %v, quarantine %v", a.names("packs/"), a.names("quarantine/"))
	}
	backup(t, open(t, a, owner.id), "p2", files)
	wantRestored(t, open(t, a, owner.id), "p2", files)
	wantRestored(t, open(t, a, owner.id), "p1", files)
	report, err = open(t, a, owner.id).RepairPoint(t.Context(), nil, check, repo.RepairOptions{})
	if err != nil || len(report.Left) > 0 || report.Receipt.Summary == "" {
		t.Fatalf("after the next backup: %+v, %v", report, err)
	}
	check.SummarySHA = report.Receipt.Summary
	after, err := open(t, a, owner.id).VerifyStored(t.Context(), repo.VerifyOptions{Points: []repo.PointCheck{check}})
	if err != nil || len(after.Damaged) > 0 {
		t.Errorf("%+v, %v", after.Damaged, err)
	}
}
