package repo_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/repo"
)

// kinds reduces a log of writes to the kinds of objects, repeats removed.
func kinds(log []string) []string {
	var out []string
	for _, l := range log {
		kind := strings.Fields(l)[1]
		switch {
		case strings.HasPrefix(kind, "points/"):
			kind = kind[strings.LastIndexByte(kind, '.')+1:]
		default:
			kind, _, _ = strings.Cut(kind, "/")
		}
		out = append(out, strings.Fields(l)[0]+" "+kind)
	}
	return slices.Compact(out)
}

func TestOrderOfWrites(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	if diff := cmp.Diff([]string{"put keys", "put repo.json"}, kinds(b.log)); diff != "" {
		t.Errorf("init (-want +got):\n%s", diff)
	}
	b.log = nil
	backup(t, open(t, b, k.id), "p1", []file{{"a", random(1, 1000), "1"}})
	if diff := cmp.Diff([]string{"put leases", "put hints", "put packs", "put index", "put summary", "put leases", "put manifest", "delete leases"}, kinds(b.log)); diff != "" {
		t.Errorf("first backup (-want +got):\n%s", diff)
	}
	b.log = nil
	backup(t, open(t, b, k.id), "p2", []file{{"a", random(2, 1000), "2"}})
	want := []string{"put leases", "put hints", "put packs", "put index", "put summary", "put leases", "put manifest", "delete hints", "delete leases"}
	if diff := cmp.Diff(want, kinds(b.log)); diff != "" {
		t.Errorf("second backup (-want +got):\n%s", diff)
	}
	b.log = nil
	r := open(t, b)
	for range 2 {
		if err := r.DeletePoint(t.Context(), address, "p2"); err != nil {
			t.Fatal(err)
		}
	}
	want = []string{"delete manifest", "delete summary", "delete hints", "delete manifest", "delete summary"}
	if diff := cmp.Diff(want, kinds(b.log)); diff != "" {
		t.Errorf("delete twice (-want +got):\n%s", diff)
	}
	wantRestored(t, open(t, b, k.id), "p1", []file{{path: "a", data: random(1, 1000)}})
}

// TestCrashAtEveryWrite cuts the power at every write of a backup: the earlier point stays whole, the interrupted one does
// not exist, and the same backup done again succeeds.
func TestCrashAtEveryWrite(t *testing.T) {
	k := classic(t)
	sound := newMemory()
	initRepo(t, sound, repo.InitOptions{Recipients: []string{k.public}})
	before, after := damageFiles(), []file{{"a", random(5, 2<<20), "2"}, {"n", random(6, 33<<20), "1"}}
	backup(t, open(t, sound, k.id), "p1", before)
	for at := 1; ; at++ {
		b := sound.clone()
		b.failAt = at
		_, _, err := tryBackup(t.Context(), open(t, b, k.id), options("p2"), after)
		if err == nil {
			if at < 6 {
				t.Fatalf("the backup needed %d writes only", at-1)
			}
			return
		}
		if !errors.Is(err, errPower) {
			t.Fatalf("write %d: %v", at, err)
		}
		b.failAt = 0
		r := open(t, b, k.id)
		if _, ok, err := r.HasManifest(t.Context(), address, "p2"); ok || err != nil {
			t.Errorf("write %d: the interrupted point exists (%v)", at, err)
		}
		wantRestored(t, r, "p1", before)
		report, err := r.VerifyStored(t.Context(), repo.VerifyOptions{All: true})
		if err != nil || len(report.Damaged) > 0 {
			t.Errorf("write %d: verify: %v, %+v", at, err, report.Damaged)
		}
		backup(t, open(t, b, k.id), "p2", after)
		wantRestored(t, open(t, b, k.id), "p2", after)
	}
}

func TestCrashOfInit(t *testing.T) {
	k, w := classic(t), classic(t)
	for at := 1; at <= 3; at++ {
		b := newMemory()
		b.failAt = at
		o := repo.InitOptions{Recipients: []string{k.public}, Writers: []string{w.public}}
		if _, err := repo.Init(t.Context(), b, o); !errors.Is(err, errPower) {
			t.Fatalf("write %d: %v", at, err)
		}
		b.failAt = 0
		initRepo(t, b, o)
		backup(t, open(t, b, w.id), "p1", damageFiles())
		wantRestored(t, open(t, b, k.id), "p1", damageFiles())
	}
}

func TestTwoWritersAtOnce(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	shared := random(1, 6<<20)
	var group sync.WaitGroup
	var mu sync.Mutex
	want := map[string][]file{}
	for i := range 4 {
		point := fmt.Sprint("p", i)
		files := []file{{"shared", shared, "1"}, {"own", random(uint64(10+i), 3<<20), point}}
		r := open(t, b, k.id)
		group.Go(func() {
			_, _, err := tryBackup(t.Context(), r, options(point), files)
			if err != nil {
				t.Errorf("backup %s: %v", point, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			want[point] = files
		})
	}
	group.Wait()
	for point, files := range want {
		wantRestored(t, open(t, b, k.id), point, files)
	}
	report, err := open(t, b, k.id).VerifyStored(t.Context(), repo.VerifyOptions{All: true})
	if err != nil || len(report.Damaged) > 0 {
		t.Errorf("verify: %v, %+v", err, report.Damaged)
	}
}
