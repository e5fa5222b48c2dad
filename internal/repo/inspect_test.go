package repo_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/repo"
)

const (
	one = address + "/p1"
	two = address + "/p2"
)

// surveyed makes a store with two points, of which the second shares the packs of the first.
func surveyed(t *testing.T) (*memory, key, key) {
	t.Helper()
	owner, host := classic(t), classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{owner.public}, Writers: []string{host.public}})
	files := []file{{"a", random(1, 300_000), "1"}}
	backup(t, open(t, b, host.id), "p1", files)
	backup(t, open(t, b, host.id), "p2", append(files, file{"b", random(2, 300_000), "1"}))
	return b, owner, host
}

func survey(t *testing.T, b *memory, ids ...age.Identity) repo.Survey {
	t.Helper()
	s, err := open(t, b, ids...).Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func checkOf(t *testing.T, b *memory, o repo.CheckOptions, ids ...age.Identity) repo.CheckReport {
	t.Helper()
	c, err := open(t, b, ids...).Check(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSurveyOfSoundStore(t *testing.T) {
	b, owner, host := surveyed(t)
	for name, ids := range map[string][]age.Identity{"recipient": {owner.id}, "writer": {host.id}, "no key": nil} {
		before := len(b.log)
		s := survey(t, b, ids...)
		if len(s.Damaged)+len(s.Unknown) > 0 || s.Unneeded != 0 || s.Bytes != b.size() || s.Objects != int64(len(b.objects)) {
			t.Errorf("%s: %+v", name, s)
		}
		want := []repo.PointRef{{Address: address, ID: "p1", Manifest: true, Summary: true}, {Address: address, ID: "p2", Manifest: true, Summary: true}}
		if diff := cmp.Diff(want, s.Points); diff != "" {
			t.Errorf("%s: points (-want +got):\n%s", name, diff)
		}
		for _, deep := range []bool{false, true} {
			c := checkOf(t, b, repo.CheckOptions{Deep: deep}, ids...)
			if len(c.Findings) > 0 || c.Points != 2 || deep != (c.Hashed > 0) || (len(c.NotChecked) == 0) != (deep && name == "recipient") {
				t.Errorf("%s, deep %v: %+v", name, deep, c)
			}
			if opened := name == "recipient"; opened != (c.Opened == 2) {
				t.Errorf("%s: %d manifests were opened", name, c.Opened)
			}
		}
		if len(b.log) != before {
			t.Errorf("%s: looking wrote %v", name, b.log[before:])
		}
	}
}

// TestSurveyFinds: each damage is found by a survey with a writer's key, with the points it concerns.
func TestSurveyFinds(t *testing.T) {
	sound, _, host := surveyed(t)
	point := strings.TrimSuffix(sound.names("points/")[0], "p1.manifest")
	pack := func(shared bool) string {
		for _, name := range sound.names("packs/") {
			only := sound.clone()
			delete(only.objects, name)
			if got := survey(t, only, host.id).Damaged; (len(got[0].Points) == 2) == shared {
				return name
			}
		}
		t.Fatal("no such pack")
		return ""
	}
	sharedPack, ownPack := pack(true), pack(false)
	keyObject := sound.names("keys/")[0]
	for _, c := range []struct {
		name   string
		object string
		change func(*memory)
		points []string
	}{
		{"shared pack missing", sharedPack, func(b *memory) { delete(b.objects, sharedPack) }, []string{one, two}},
		{"own pack cut", ownPack, func(b *memory) { b.objects[ownPack] = b.objects[ownPack][:50] }, []string{two}},
		{"summary missing", point + "p1.summary", func(b *memory) { delete(b.objects, point+"p1.summary") }, []string{one}},
		{"summary of another point", point + "p1.summary", func(b *memory) { b.objects[point+"p1.summary"] = b.objects[point+"p2.summary"] }, []string{one}},
		{"summary changed", point + "p2.summary", func(b *memory) { b.objects[point+"p2.summary"][300] ^= 1 }, []string{two}},
		{"manifest cut", point + "p1.manifest", func(b *memory) { b.objects[point+"p1.manifest"] = b.objects[point+"p1.manifest"][:90] }, []string{one}},
		{"index changed", "index/", func(b *memory) { b.objects[b.names("index/")[0]][10] ^= 1 }, nil},
		{"no index", sharedPack, func(b *memory) {
			for _, name := range b.names("index/") {
				delete(b.objects, name)
			}
		}, []string{one, two}},
		{"key object missing", keyObject, func(b *memory) { delete(b.objects, keyObject) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := sound.clone()
			c.change(b)
			keys := []age.Identity{host.id}
			r, err := repo.Open(t.Context(), b, repo.OpenOptions{Identities: keys})
			if err != nil {
				t.Fatal(err)
			}
			s, err := r.Survey(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			at := slices.IndexFunc(s.Damaged, func(d repo.Damage) bool { return strings.HasPrefix(d.Object, c.object) })
			if at < 0 {
				t.Fatalf("%s is not named: %+v", c.object, s.Damaged)
			}
			if diff := cmp.Diff(c.points, s.Damaged[at].Points); diff != "" && r.CanWrite() {
				t.Errorf("points (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSurveyOfWhatIsLeft(t *testing.T) {
	b, owner, host := surveyed(t)
	if err := open(t, b).DeletePoint(t.Context(), address, "p2"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"readme.txt", "points/x", "packs/ab/cd", "leases/other", "keys/someone.age"} {
		b.objects[name] = []byte("?")
	}
	s := survey(t, b, host.id)
	if want := []string{"keys/someone.age", "leases/other", "packs/ab/cd", "points/x", "readme.txt"}; !slices.Equal(s.Unknown, want) {
		t.Errorf("unknown %v, want %v", s.Unknown, want)
	}
	if len(s.Damaged) > 0 || s.Unneeded < 300_000 || s.Condemned != 0 {
		t.Errorf("%+v", s)
	}
	if blind := survey(t, b); blind.Unneeded != 0 {
		t.Errorf("without a key it claims that %d bytes are not needed", blind.Unneeded)
	}
	if _, err := open(t, b, host.id).Prune(t.Context(), repo.PruneOptions{Grace: 1 << 50}); err != nil {
		t.Fatal(err)
	}
	if marked := survey(t, b, host.id); marked.Condemned != s.Unneeded || marked.Unneeded != s.Unneeded {
		t.Errorf("after condemning: %+v", marked)
	}
	c := checkOf(t, b, repo.CheckOptions{}, owner.id)
	var got []string
	for _, f := range c.Findings {
		got = append(got, fmt.Sprintf("%s %s", f.Severity, f.Object))
		if f.Advice == "" || f.Problem == "" {
			t.Errorf("%+v says too little", f)
		}
	}
	want := []string{"warning keys/someone.age", "warning leases/other", "warning packs/ab/cd", "warning points/x", "warning readme.txt", "info packs/"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// TestCheckLooksChunksUp: a check with a recipient's key looks every chunk up, and others say that they did not.
func TestCheckLooksChunksUp(t *testing.T) {
	b, owner, host := surveyed(t)
	for _, name := range b.names("packs/") {
		delete(b.objects, name)
	}
	for _, name := range b.names("index/") {
		delete(b.objects, name)
	}
	c := checkOf(t, b, repo.CheckOptions{}, owner.id)
	var lost int
	for _, f := range c.Findings {
		if strings.HasSuffix(f.Object, ".manifest") && strings.Contains(f.Problem, "chunks are in no pack") {
			lost++
		}
	}
	if lost != 2 || c.Errors() < 3 {
		t.Errorf("%+v", c.Findings)
	}
	if c := checkOf(t, b, repo.CheckOptions{}, host.id); !strings.Contains(strings.Join(c.NotChecked, "\n"), "manifests were not opened") {
		t.Errorf("%+v", c.NotChecked)
	}
}

// TestSurveyBesideWork: backups, expiries and prunes that run meanwhile are no damage.
func TestSurveyBesideWork(t *testing.T) {
	b, owner, _ := surveyed(t)
	done := make(chan error, 1)
	go func() {
		r, err := repo.Open(t.Context(), b, repo.OpenOptions{Identities: []age.Identity{owner.id}})
		for i := range 25 {
			if err == nil {
				_, _, err = tryBackup(t.Context(), r, options(fmt.Sprint("q", i)), []file{{"a", random(uint64(50+i), 40_000), "1"}})
			}
			if err == nil && i > 3 {
				err = r.DeletePoint(t.Context(), address, fmt.Sprint("q", i-3))
			}
			if err == nil && i%5 == 0 {
				_, err = r.Prune(t.Context(), repo.PruneOptions{})
			}
		}
		done <- err
	}()
	r := open(t, b, owner.id)
	for n := 0; ; n++ {
		c, err := r.Check(t.Context(), repo.CheckOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if c.Errors() > 0 {
			t.Fatalf("check %d: %+v", n, c.Findings)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}

func BenchmarkSurvey(b *testing.B) {
	k := classic(b)
	store := newMemory()
	initRepo(b, store, repo.InitOptions{Recipients: []string{k.public}})
	repo.FillForBench(b, open(b, store, k.id), 1000, 100_000, 2000)
	r := open(b, store, k.id)
	for b.Loop() {
		s, err := r.Survey(b.Context())
		if err != nil || len(s.Damaged) > 0 || len(s.Points) != 1000 {
			b.Fatalf("%v, %d damaged, %d points", err, len(s.Damaged), len(s.Points))
		}
	}
}
