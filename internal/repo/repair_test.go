package repo_test

import (
	"slices"
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
	if slices.Contains(a.names("packs/"), pack) || len(a.names("quarantine/")) != 1 {
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
