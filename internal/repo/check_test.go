package repo_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/internal/repo"
)

// TestCheckFindsWhatIsLost takes each object away: the survey and the check name it and the points that need it.
func TestCheckFindsWhatIsLost(t *testing.T) {
	owner := classic(t)
	a := newMemory()
	initRepo(t, a, repo.InitOptions{Recipients: []string{owner.public}})
	backup(t, open(t, a, owner.id), "p1", []file{{"a", random(1, 400_000), "1"}})
	report, err := open(t, a, owner.id).Check(t.Context(), repo.CheckOptions{Deep: true})
	if err != nil || len(report.Findings) > 0 || report.Points != 1 || len(report.NotChecked) > 0 {
		t.Fatalf("a whole repository: %+v, %v", report, err)
	}
	label := address + "/p1"
	for _, name := range slices.Concat(a.names("packs/"), a.names("points/"), a.names("index/")) {
		if strings.HasSuffix(name, ".manifest") {
			continue // then there is no such point
		}
		for fault, strike := range map[string]func(m *memory){
			"missing":   func(m *memory) { delete(m.objects, name) },
			"truncated": func(m *memory) { m.objects[name] = m.objects[name][:len(m.objects[name])-1] },
		} {
			b := a.clone()
			strike(b)
			r := open(t, b, owner.id)
			survey, err := r.Survey(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			found := slices.ContainsFunc(survey.Damaged, func(d repo.Damage) bool { return slices.Contains(d.Points, label) })
			if !found {
				t.Errorf("%s %s: the survey says %+v", fault, name, survey.Damaged)
			}
			report, err := r.Check(t.Context(), repo.CheckOptions{})
			if err != nil || report.Errors() == 0 {
				t.Errorf("%s %s: the check says %+v, %v", fault, name, report.Findings, err)
			}
		}
	}
}

// TestCheckTellsWhatItCouldNotSee: without a key a check never says that all is well.
func TestCheckTellsWhatItCouldNotSee(t *testing.T) {
	owner := classic(t)
	a := newMemory()
	initRepo(t, a, repo.InitOptions{Recipients: []string{owner.public}})
	backup(t, open(t, a, owner.id), "p1", []file{{"a", random(1, 1000), "1"}})
	if err := a.Put(t.Context(), "packs/stranger", []byte("x")); err != nil {
		t.Fatal(err)
	}
	report, err := open(t, a).Check(t.Context(), repo.CheckOptions{})
	if err != nil || len(report.NotChecked) != 3 {
		t.Fatalf("%+v, %v", report, err)
	}
	if len(report.Findings) != 1 || report.Findings[0].Object != "packs/stranger" {
		t.Errorf("findings %+v", report.Findings)
	}
}
