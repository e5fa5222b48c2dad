package repo_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

var errStorm = errors.New("storm")

// failures are what may become of any one request: it is refused, it is done and the answer is lost, and the power goes out.
var failures = map[string]func(f *blobtest.Faulty, n int){
	"refused":   func(f *blobtest.Faulty, n int) { f.Add(blobtest.Fault{Skip: n, Err: errStorm}) },
	"unheard":   func(f *blobtest.Faulty, n int) { f.Add(blobtest.Fault{Skip: n, After: errStorm}) },
	"power cut": func(f *blobtest.Faulty, n int) { f.CutPower(n) },
}

// everyFailure runs do, on a copy of a store, once for each request that it makes and each way in which that fails, until it
// makes no further one. It tells how often that was.
func everyFailure(t *testing.T, sound *memory, do func(what string, b *memory, f *blobtest.Faulty) error) (runs int) {
	t.Helper()
	for what, arm := range failures {
		for n := 0; ; n++ {
			b := sound.clone()
			f := blobtest.NewFaulty(b)
			arm(f, n)
			err := do(fmt.Sprintf("%s %d", what, n), b, f)
			if err == nil {
				break
			}
			if !errors.Is(err, errStorm) && !errors.Is(err, blobtest.ErrPowerCut) && !strings.Contains(err.Error(), errStorm.Error()) {
				t.Fatalf("%s %d: %v", what, n, err)
			}
			if runs++; n > 200 {
				t.Fatal("it makes requests without end")
			}
		}
	}
	return runs
}

// TestWALPushFails: whatever request of a push fails, nothing that can be read is wrong, and the same push again puts it right.
func TestWALPushFails(t *testing.T) {
	k, host := classic(t), classic(t)
	sound := newMemory()
	initRepo(t, sound, repo.InitOptions{Recipients: []string{k.public}, Writers: []string{host.public}})
	push(t, open(t, sound, host.id), seg1, logOf(1))
	data, f := logOf(2), walFile(t, seg2)
	runs := everyFailure(t, sound, func(what string, b *memory, faulty *blobtest.Faulty) error {
		// The keys are read before the weather turns.
		keyed := open(t, b, host.id)
		r := keyed.Over(faulty)
		_, failed := tryPush(t.Context(), r, f, data)
		got, _, err := tryFetch(t.Context(), open(t, b, k.id), f)
		switch {
		case err == nil && bytes.Equal(got, data):
		case errors.Is(err, repo.ErrNoWAL) && failed != nil:
		default:
			t.Errorf("%s: the push said %v, and a fetch says %v with %d bytes", what, failed, err, len(got))
		}
		push(t, open(t, b, host.id), seg2, data)
		wantFetched(t, open(t, b, k.id), seg2, data)
		wantFetched(t, open(t, b, k.id), seg1, logOf(1))
		if receipt := push(t, open(t, b, host.id), seg2, data); !receipt.Existed {
			t.Errorf("%s: the third push stored it again", what)
		}
		return failed
	})
	if runs < 8 {
		t.Errorf("only %d failures were tried", runs)
	}
}

// TestWALFetchFails: a request that fails never reads as "there is none".
func TestWALFetchFails(t *testing.T) {
	k := classic(t)
	sound := newMemory()
	initRepo(t, sound, repo.InitOptions{Recipients: []string{k.public}})
	r := open(t, sound, k.id)
	push(t, r, seg1, logOf(1))
	push(t, r, seg2+".00000000-00000064", logOf(2)[:100])
	push(t, r, "00000002.history", []byte("1\t0/3000000\tx\n"))
	for _, name := range []string{seg1, seg2, seg3, "00000002.history", "00000003.history", "000000020000000000000003"} {
		want, _, wantErr := tryFetch(t.Context(), r, walFile(t, name))
		for n := 0; ; n++ {
			faulty := blobtest.NewFaulty(sound)
			faulty.Add(blobtest.Fault{Skip: n, Err: errStorm})
			got, _, err := tryFetch(t.Context(), r.Over(faulty), walFile(t, name))
			if errors.Is(err, errStorm) && !errors.Is(err, repo.ErrNoWAL) {
				continue
			}
			if n < 2 || fmt.Sprint(err) != fmt.Sprint(wantErr) || !bytes.Equal(got, want) {
				t.Errorf("%s, request %d: %v, want %v", name, n, err, wantErr)
			}
			break
		}
	}
}

// TestWALDeleteFails: a delete that was interrupted anywhere leaves the file whole or gone, and the next one ends it.
func TestWALDeleteFails(t *testing.T) {
	k := classic(t)
	sound := newMemory()
	initRepo(t, sound, repo.InitOptions{Recipients: []string{k.public}})
	r := open(t, sound, k.id)
	push(t, r, seg1, logOf(1))
	push(t, r, seg2, logOf(2))
	push(t, r, seg3, logOf(3))
	runs := everyFailure(t, sound, func(what string, b *memory, faulty *blobtest.Faulty) error {
		keyed := open(t, b, k.id)
		failed := keyed.Over(faulty).DeleteWAL(t.Context(), walFile(t, seg1), walFile(t, seg2))
		for name, data := range map[string][]byte{seg1: logOf(1), seg2: logOf(2)} {
			got, _, err := tryFetch(t.Context(), keyed, walFile(t, name))
			var gap *repo.WALGapError
			if !errors.As(err, &gap) && (err != nil || !bytes.Equal(got, data)) {
				t.Errorf("%s: %s: %v", what, name, err)
			}
			// Only who saw it deleted whole may give its name away.
			other := bytes.Clone(data)
			other[0] ^= 1
			c := b.clone()
			_, err = tryPush(t.Context(), open(t, c, k.id), walFile(t, name), other)
			var conflict *repo.WALConflictError
			if claimed := b.objects["wal/"+walFile(t, name).Path()+".claim"] != nil; claimed != errors.As(err, &conflict) {
				t.Errorf("%s: push of another %s: %v", what, name, err)
			}
		}
		// Retention lists what is there and names only that; what the first delete left among it goes too.
		if err := keyed.DeleteWAL(t.Context(), walFile(t, seg2)); err != nil {
			t.Error(err)
		}
		if err := keyed.DeleteWAL(t.Context(), walFile(t, seg1)); err != nil {
			t.Error(err)
		}
		if left := b.names("wal/"); len(left) != 2 {
			t.Errorf("%s: left %v", what, left)
		}
		return failed
	})
	if runs < 9 {
		t.Errorf("only %d failures were tried", runs)
	}
}

// TestWALRace: of many pushes at once, from several processes, those of one content all succeed and those of the other are all refused.
func TestWALRace(t *testing.T) {
	k, host := classic(t), classic(t)
	contents := [][]byte{logOf(1), logOf(2)}
	wins := [2]int{}
	for round := range 20 {
		b := newMemory()
		initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}, Writers: []string{host.public}})
		const pushers = 8
		var done [pushers]error
		var wg sync.WaitGroup
		for i := range pushers {
			r := open(t, b, host.id)
			wg.Go(func() { _, done[i] = tryPush(t.Context(), r, walFile(t, seg1), contents[i%2]) })
		}
		wg.Wait()
		winner := 0
		if done[0] != nil {
			winner = 1
		}
		wins[winner]++
		for i, err := range done {
			var conflict *repo.WALConflictError
			if i%2 == winner && err != nil || i%2 != winner && !errors.As(err, &conflict) {
				t.Errorf("round %d, push %d: %v (content %d was first)", round, i, err, winner)
			}
		}
		wantFetched(t, open(t, b, k.id), seg1, contents[winner])
		if len(b.names("wal/")) < 2 {
			t.Errorf("round %d: %v", round, b.names("wal/"))
		}
	}
	t.Logf("wins: %v", wins)
}

// TestWALManyAtOnce pushes many files through one repository at once.
func TestWALManyAtOnce(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	r := open(t, b, k.id)
	var wg sync.WaitGroup
	name := func(i int) string { return fmt.Sprintf("0000000100000000%08X", i) }
	for i := range 30 {
		wg.Go(func() {
			if _, err := tryPush(t.Context(), r, walFile(t, name(i)), logOf(uint64(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range 30 {
		wg.Go(func() {
			got, _, err := tryFetch(t.Context(), r, walFile(t, name(i)))
			if err != nil || !bytes.Equal(got, logOf(uint64(i))) {
				t.Errorf("%s: %v", name(i), err)
			}
		})
	}
	wg.Wait()
}

// walKind sorts an object of the log.
func walKind(name string) string {
	if strings.HasSuffix(name, ".claim") {
		return "claim"
	}
	return "content"
}

// TestWALDamage: every object of the log, cut, flipped, missing or in another's place, is named by a deep check, and never
// makes a fetch hand out something else as whole.
func TestWALDamage(t *testing.T) {
	k, host := classic(t), classic(t)
	sound := newMemory()
	initRepo(t, sound, repo.InitOptions{Recipients: []string{k.public}, Writers: []string{host.public}})
	w := open(t, sound, host.id)
	push(t, w, seg1, logOf(1))
	push(t, w, seg2, logOf(2))
	push(t, w, seg3+".00000000-00080000", logOf(3)[:segment/2])
	if c := checkOf(t, sound, repo.CheckOptions{Deep: true}, k.id); len(c.Findings) > 0 {
		t.Fatalf("a sound store has findings: %+v", c.Findings)
	}
	if s := survey(t, sound); len(s.Damaged)+len(s.Unknown) > 0 {
		t.Fatalf("a sound store: %+v", s)
	}
	names := sound.names("wal/")
	for i, name := range names {
		other := names[(i+2)%len(names)]
		for fault, change := range map[string]func(b *memory){
			"flipped": func(b *memory) { b.objects[name][len(b.objects[name])-1] ^= 1 },
			"head":    func(b *memory) { b.objects[name][30] ^= 1 },
			"cut":     func(b *memory) { b.objects[name] = b.objects[name][:len(b.objects[name])/2] },
			"grown":   func(b *memory) { b.objects[name] = append(b.objects[name], 0) },
			"empty":   func(b *memory) { b.objects[name] = nil },
			"missing": func(b *memory) { delete(b.objects, name) },
			"swapped": func(b *memory) { b.objects[name] = bytes.Clone(b.objects[other]) },
		} {
			b := sound.clone()
			change(b)
			f := walFile(t, strings.Split(name[strings.LastIndexByte(name, '/')+1:], ".")[0])
			want, _, _ := tryFetch(t.Context(), open(t, sound, k.id), f)
			got, _, err := tryFetch(t.Context(), open(t, b, k.id), f)
			var d *repo.DamagedError
			var gap *repo.WALGapError
			switch {
			case err == nil && walKind(name) == "claim" && bytes.Equal(got, want):
			case walKind(name) == "content" && errors.As(err, &d) && d.Object == name:
			case fault == "missing" && walKind(name) == "content" && errors.As(err, &gap):
			case fault == "missing" && walKind(name) == "content" && f.Seg == 3 && errors.Is(err, repo.ErrNoWAL): // the last one: nothing tells it from a push that did not end
			default:
				t.Errorf("%s %s: fetch: %d bytes, %v", fault, name, len(got), err)
			}
			var named []string
			for _, finding := range checkOf(t, b, repo.CheckOptions{Deep: true}, host.id).Findings {
				named = append(named, finding.Object)
			}
			wantNamed := []string{name}
			if fault == "missing" {
				file := strings.Split(name[strings.LastIndexByte(name, '/')+1:], ".")
				wantNamed[0] = name[:len(name)-len(file[len(file)-1])] + "claim"
			}
			if diff := cmp.Diff(wantNamed, named); diff != "" {
				t.Errorf("%s %s: findings (-want +got):\n%s", fault, name, diff)
			}
			if walKind(name) == "content" && fault != "missing" {
				if n := checkOf(t, b, repo.CheckOptions{Deep: true}).Errors(); n != 1 {
					t.Errorf("%s %s: %d errors are found without a key", fault, name, n)
				}
			}
		}
	}
}

// TestWALSwappedWhole: a content that was moved to another file's place under a name that fits its hash is not taken for it.
func TestWALSwappedWhole(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	r := open(t, b, k.id)
	push(t, r, seg1, logOf(1))
	push(t, r, seg2, logOf(2))
	for _, name := range b.names("wal/") {
		if walKind(name) != "content" {
			continue
		}
		if strings.Contains(name, "/"+seg1) {
			b.objects[strings.ReplaceAll(name, "/"+seg1, "/"+seg2)] = b.objects[name]
		} else {
			delete(b.objects, name)
		}
	}
	var d *repo.DamagedError
	if _, _, err := tryFetch(t.Context(), r, walFile(t, seg2)); !errors.As(err, &d) || !strings.Contains(d.Object, seg2) {
		t.Errorf("fetch: %v", err)
	}
}

// TestWALRepeatedAfterDamage: pushing again what the store has lost or cut puts it right.
func TestWALRepeatedAfterDamage(t *testing.T) {
	k, host := classic(t), classic(t)
	sound := newMemory()
	initRepo(t, sound, repo.InitOptions{Recipients: []string{k.public}, Writers: []string{host.public}})
	push(t, open(t, sound, k.id), seg1, logOf(1))
	for _, name := range sound.names("wal/") {
		b := sound.clone()
		if walKind(name) == "content" {
			b.objects[name] = b.objects[name][:100]
		} else {
			delete(b.objects, name)
		}
		push(t, open(t, b, k.id), seg1, logOf(1))
		wantFetched(t, open(t, b, k.id), seg1, logOf(1))
		wantCopied(t, b, k, host)
		b = sound.clone()
		delete(b.objects, name)
		push(t, open(t, b, k.id), seg1, logOf(1))
		wantFetched(t, open(t, b, k.id), seg1, logOf(1))
		wantCopied(t, b, k, host)
	}
}

// wantCopied copies the segment as stored, with a writer's key, to a store where it can be read.
func wantCopied(t *testing.T, b *memory, k, host key) {
	t.Helper()
	c := newMemory()
	initRepo(t, c, repo.InitOptions{Recipients: []string{k.public}, Writers: []string{host.public}, Like: open(t, b, host.id)})
	if _, err := tryCopyWAL(t, open(t, c, host.id), open(t, b, host.id), []wal.File{walFile(t, seg1)}); err != nil {
		t.Fatal(err)
	}
	wantFetched(t, open(t, c, k.id), seg1, logOf(1))
}

// TestWALSurveyBesideWork: a survey beside pushes and deletes reports no damage.
func TestWALSurveyBesideWork(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	r := open(t, b, k.id)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 2 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				f := wal.File{System: pgSystem, Timeline: uint32(worker + 1), Kind: wal.Piece, Log: uint32(n), To: 1000}
				if _, err := tryPush(t.Context(), r, f, random(uint64(n), 1000)); err != nil {
					t.Error(err)
				}
				if err := r.DeleteWAL(t.Context(), f); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 100 {
		for _, f := range checkOf(t, b, repo.CheckOptions{Deep: true}, k.id).Findings {
			if f.Severity != repo.SeverityInfo {
				t.Errorf("%+v", f)
			}
		}
	}
	close(stop)
	wg.Wait()
}
