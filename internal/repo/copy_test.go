package repo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// family is a store with one backup and an empty store that shares its keys.
type family struct {
	reader, writer key
	primary, copy  *memory
	files          []file
	receipt        repo.Receipt
}

func newFamily(t testing.TB, files []file) family {
	t.Helper()
	f := family{reader: classic(t), writer: classic(t), primary: newMemory(), copy: newMemory(), files: files}
	o := repo.InitOptions{Recipients: []string{f.reader.public}, Writers: []string{f.writer.public}}
	initRepo(t, f.primary, o)
	f.receipt, _ = backup(t, open(t, f.primary, f.writer.id), "p1", files)
	o.Like = open(t, f.primary)
	initRepo(t, f.copy, o)
	return f
}

// manyPacks make several packs and an entry list in chunks.
func manyPacks() []file {
	files := []file{{"big", random(3, 70<<20), "1"}, {"b", text(2, 2<<20), "1"}, {"empty", nil, "1"}}
	for i := range 9000 {
		files = append(files, file{fmt.Sprintf("some/folder/with/a/long/name/to/fill/the/list/%05d", i), fmt.Appendf(nil, "content %d", i), "1"})
	}
	return files
}

func tryCopy(ctx context.Context, to, from *repo.Repository, point string) (repo.Receipt, error) {
	return repo.NewCopier(to, from).Copy(ctx, address, point, repo.CopyOptions{})
}

func copyPoint(t testing.TB, to, from *repo.Repository, point string) repo.Receipt {
	t.Helper()
	receipt, err := tryCopy(t.Context(), to, from, point)
	if err != nil {
		t.Fatalf("copy %s: %v", point, err)
	}
	return receipt
}

// wantSound checks that every stored byte of a store is right, with all keys that the identity opens.
func wantSound(t testing.TB, b *memory, ids ...age.Identity) {
	t.Helper()
	report, err := open(t, b, ids...).VerifyStored(t.Context(), repo.VerifyOptions{All: true})
	if err != nil || len(report.Damaged) > 0 {
		t.Fatalf("verify: %v, %+v", err, report.Damaged)
	}
}

// A host that can only write copies as stored: what arrives is the same, byte for byte, and still nothing it can read.
func TestCopyAsStored(t *testing.T) {
	f := newFamily(t, manyPacks())
	var bytes, stored int64
	to, from := open(t, f.copy, f.writer.id), open(t, f.primary, f.writer.id)
	f.copy.log = nil
	receipt, err := repo.NewCopier(to, from).Copy(t.Context(), address, "p1", repo.CopyOptions{
		Manifest: f.receipt.Manifest, Summary: f.receipt.Summary, Progress: func(b, s int64) { bytes, stored = b, s },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := repo.Receipt{Manifest: f.receipt.Manifest, Summary: f.receipt.Summary, Size: f.receipt.Size, Items: f.receipt.Items, Stored: receipt.Stored}
	if diff := cmp.Diff(want, receipt); diff != "" {
		t.Errorf("receipt (-want +got):\n%s", diff)
	}
	for _, prefix := range []string{"packs/", "points/", "keys/"} {
		if diff := cmp.Diff(f.primary.names(prefix), f.copy.names(prefix)); diff != "" {
			t.Errorf("%s (-primary +copy):\n%s", prefix, diff)
		}
		for _, name := range f.primary.names(prefix) {
			if string(f.primary.objects[name]) != string(f.copy.objects[name]) {
				t.Errorf("%s differs", name)
			}
		}
	}
	if len(f.copy.names("packs/")) < 3 || bytes < 70<<20 || stored < bytes {
		t.Errorf("%d packs; progress ended at %d bytes, %d stored", len(f.copy.names("packs/")), bytes, stored)
	}
	order := []string{"put leases", "put packs", "put index", "put summary", "put leases", "put manifest", "delete leases"}
	if diff := cmp.Diff(order, kinds(f.copy.log)); diff != "" {
		t.Errorf("order of writes (-want +got):\n%s", diff)
	}
	if to.CanRead() {
		t.Error("the writer can read")
	}
	if _, err := to.OpenPoint(t.Context(), address, "p1"); !isKeyError(err) {
		t.Errorf("open with the writer's key: %v", err)
	}
	if to.ID() == from.ID() || to.Family() != from.ID() || from.Family() != from.ID() {
		t.Errorf("ids %s and %s, families %s and %s", from.ID(), to.ID(), from.Family(), to.Family())
	}
	wantSound(t, f.copy, f.reader.id)
	wantRestored(t, open(t, f.copy, f.reader.id), "p1", f.files)
	// The copy is a store like any other: it deduplicates against what was brought, and can be copied back.
	second := append(slices.Clone(f.files), file{"new", random(8, 100000), "1"})
	r2, stats := backup(t, open(t, f.copy, f.writer.id), "p2", second)
	if r2.Stored > 2<<20 || stats.Reused < 70<<20 {
		t.Errorf("a backup into the copy stored %d bytes and reused %d", r2.Stored, stats.Reused)
	}
	back := copyPoint(t, open(t, f.primary, f.writer.id), open(t, f.copy, f.writer.id), "p2")
	if back.Stored > 2<<20 {
		t.Errorf("copying back stored %d bytes", back.Stored)
	}
	wantRestored(t, open(t, f.primary, f.reader.id), "p2", second)
}

func isKeyError(err error) bool {
	var k *repo.KeyError
	return errors.As(err, &k)
}

func TestCopyOfWholePointSendsNothing(t *testing.T) {
	f := newFamily(t, damageFiles())
	other := newMemory()
	initRepo(t, other, repo.InitOptions{Recipients: []string{f.reader.public}})
	for name, b := range map[string]*memory{"as stored": f.copy, "sealed anew": other} {
		to, from := open(t, b, f.reader.id), open(t, f.primary, f.reader.id)
		first := copyPoint(t, to, from, "p1")
		b.log = nil
		again := copyPoint(t, to, from, "p1")
		if len(b.log) > 0 || again.Stored != 0 {
			t.Errorf("%s: copied again: %v, %d bytes", name, b.log, again.Stored)
		}
		first.Stored = 0
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("%s: receipt (-first +again):\n%s", name, diff)
		}
	}
}

// Between families content is read and sealed anew; entries and bytes stay the same.
func TestCopySealedAnew(t *testing.T) {
	reader, other, writer := classic(t), hybrid(t), classic(t)
	primary := newMemory()
	initRepo(t, primary, repo.InitOptions{Recipients: []string{reader.public}, Writers: []string{writer.public}})
	files := append(boundaryFiles(), manyPacks()[1:]...)
	backup(t, open(t, primary, reader.id), "p1", files)
	for name, o := range map[string]repo.InitOptions{
		"other recipients":                 {Recipients: []string{other.public}, Writers: []string{writer.public}},
		"none":                             {None: true},
		"same recipients, made on its own": {Recipients: []string{reader.public}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newMemory()
			initRepo(t, b, o)
			ids := []age.Identity{reader.id, other.id, writer.id}
			receipt := copyPoint(t, open(t, b, ids...), open(t, primary, ids...), "p1")
			r := open(t, b, ids...)
			wantRestored(t, r, "p1", files)
			wantSound(t, b, ids...)
			wantSameEntries(t, open(t, primary, ids...), r, "p1")
			if receipt.Items != int64(len(files)) || receipt.Stored == 0 {
				t.Errorf("receipt: %+v", receipt)
			}
			if _, err := tryCopy(t.Context(), open(t, b, ids...), open(t, primary, writer.id), "p2"); !isKeyError(err) {
				t.Errorf("copy without a reading key: %v", err)
			}
		})
	}
}

func wantSameEntries(t testing.TB, a, b *repo.Repository, point string) {
	t.Helper()
	read := func(r *repo.Repository) (out []manifest.Entry, header manifest.Header) {
		rd, err := r.OpenPoint(t.Context(), address, point)
		if err != nil {
			t.Fatal(err)
		}
		if err := rd.Entries(t.Context(), func(e manifest.Entry) error { out = append(out, e); return nil }); err != nil {
			t.Fatal(err)
		}
		header = rd.Header()
		header.Repository = ""
		return out, header
	}
	entriesA, headerA := read(a)
	entriesB, headerB := read(b)
	if diff := cmp.Diff(entriesA, entriesB); diff != "" {
		t.Errorf("entries (-source +copy):\n%s", diff)
	}
	if diff := cmp.Diff(headerA, headerB); diff != "" {
		t.Errorf("header (-source +copy):\n%s", diff)
	}
}

// Whatever a point holds, its copy holds the same entries and bytes, as stored and sealed anew.
func TestCopyHoldsTheSame(t *testing.T) {
	k := classic(t)
	rapid.Check(t, func(rt *rapid.T) {
		primary, like, anew := newMemory(), newMemory(), newMemory()
		o := repo.InitOptions{Recipients: []string{k.public}}
		initRepo(t, primary, o)
		var files []file
		for i := range rapid.IntRange(0, 12).Draw(rt, "files") {
			n := rapid.IntRange(0, 90_000).Draw(rt, "size")
			files = append(files, file{path: fmt.Sprint("f", i), data: random(rapid.Uint64Range(0, 3).Draw(rt, "seed"), n)})
		}
		backup(t, open(t, primary, k.id), "p1", files)
		backup(t, open(t, primary, k.id), "p2", files[len(files)/2:])
		initRepo(t, anew, o)
		o.Like = open(t, primary)
		initRepo(t, like, o)
		for _, b := range []*memory{like, anew} {
			points := []string{"p1", "p2"}
			rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "order"), 1)).Shuffle(2, func(i, j int) { points[i], points[j] = points[j], points[i] })
			for _, p := range points {
				copyPoint(t, open(t, b, k.id), open(t, primary, k.id), p)
			}
			wantRestored(t, open(t, b, k.id), "p1", files)
			wantRestored(t, open(t, b, k.id), "p2", files[len(files)/2:])
			wantSameEntries(t, open(t, primary, k.id), open(t, b, k.id), "p1")
			wantSound(t, b, k.id)
		}
	})
}

// A source that is damaged anywhere is named, and nothing of the point is published.
func TestCopyOfDamagedSource(t *testing.T) {
	f := newFamily(t, damageFiles())
	anew := newMemory()
	initRepo(t, anew, repo.InitOptions{Recipients: []string{f.reader.public}})
	for _, name := range slices.Concat(f.primary.names("packs/"), f.primary.names("points/")) {
		for how, damage := range map[string]func(b *memory){
			"flipped": func(b *memory) { b.objects[name][len(b.objects[name])/2] ^= 1 },
			"cut":     func(b *memory) { b.objects[name] = b.objects[name][:len(b.objects[name])-1] },
			"missing": func(b *memory) { delete(b.objects, name) },
		} {
			for kind, to := range map[string]*memory{"as stored": f.copy.clone(), "sealed anew": anew.clone()} {
				src := f.primary.clone()
				damage(src)
				_, err := repo.NewCopier(open(t, to, f.reader.id), open(t, src, f.reader.id)).Copy(t.Context(), address, "p1",
					repo.CopyOptions{Manifest: f.receipt.Manifest, Summary: f.receipt.Summary})
				var d *repo.DamagedError
				noPoint := errors.Is(err, repo.ErrNoPoint) && how == "missing" && strings.HasSuffix(name, ".manifest")
				if kind == "sealed anew" && strings.HasSuffix(name, ".summary") {
					if err != nil { // the summary is not needed to read
						t.Errorf("%s %s, %s: %v", name, how, kind, err)
					}
					continue
				}
				if !noPoint && (!errors.As(err, &d) || d.Object != name) {
					t.Errorf("%s %s, %s: %v", name, how, kind, err)
				}
				if got := to.names("points/"); len(got) > 0 && !(len(got) == 1 && strings.HasSuffix(got[0], ".summary")) {
					t.Errorf("%s %s, %s: published %v", name, how, kind, got)
				}
			}
		}
	}
}

// The power goes out after every write of a copy: the point is absent or whole, and the next copy completes it.
func TestCrashOfCopy(t *testing.T) {
	k := classic(t)
	primary := newMemory()
	o := repo.InitOptions{Recipients: []string{k.public}}
	initRepo(t, primary, o)
	files := []file{{"a", random(5, 34<<20), "2"}, {"n", text(6, 1<<20), "1"}}
	backup(t, open(t, primary, k.id), "p0", damageFiles())
	backup(t, open(t, primary, k.id), "p1", files)
	like, anew := newMemory(), newMemory()
	initRepo(t, anew, o)
	o.Like = open(t, primary)
	initRepo(t, like, o)
	for name, start := range map[string]*memory{"as stored": like, "sealed anew": anew} {
		copyPoint(t, open(t, start, k.id), open(t, primary, k.id), "p0")
		t.Run(name, func(t *testing.T) {
			for n := 0; ; n++ {
				b := start.clone()
				faulty := blobtest.NewFaulty(b)
				r, err := repo.Open(t.Context(), faulty, repo.OpenOptions{Identities: []age.Identity{k.id}, Concurrency: 2})
				if err != nil {
					t.Fatal(err)
				}
				faulty.CutPower(n)
				_, err = tryCopy(t.Context(), r, open(t, primary, k.id), "p1")
				if err == nil {
					if n < 6 {
						t.Fatalf("the copy needed %d writes only", n)
					}
					return
				}
				if !errors.Is(err, blobtest.ErrPowerCut) {
					t.Fatalf("after %d writes: %v", n, err)
				}
				wantSound(t, b, k.id)
				wantRestored(t, open(t, b, k.id), "p0", damageFiles())
				if _, there, _ := open(t, b, k.id).HasManifest(t.Context(), address, "p1"); there {
					wantRestored(t, open(t, b, k.id), "p1", files)
				}
				before := len(b.names("packs/"))
				b.log = nil
				copyPoint(t, open(t, b, k.id), open(t, primary, k.id), "p1")
				if sent := len(b.names("packs/")) - before; name == "as stored" && sent != len(primary.names("packs/"))-before {
					t.Errorf("after %d writes: %d packs were there, %d were sent", n, before, sent)
				}
				wantRestored(t, open(t, b, k.id), "p1", files)
				wantSound(t, b, k.id)
			}
		})
	}
}

func TestInitLike(t *testing.T) {
	reader, writer, other := classic(t), classic(t), classic(t)
	primary := newMemory()
	o := repo.InitOptions{Recipients: []string{reader.public, other.public}, Writers: []string{writer.public}}
	initRepo(t, primary, o)
	backup(t, open(t, primary, writer.id), "p1", damageFiles())
	for _, c := range []struct {
		name  string
		init  repo.InitOptions
		with  []age.Identity
		fails func(error) bool // nil: it works
	}{
		{"no key", repo.InitOptions{Recipients: o.Recipients, Writers: o.Writers}, nil, nil},
		{"other order", repo.InitOptions{Recipients: []string{other.public, reader.public}, Writers: o.Writers}, nil, nil},
		{"no writers, a key at hand", repo.InitOptions{Recipients: o.Recipients}, []age.Identity{writer.id}, nil},
		{"no writers, no key", repo.InitOptions{Recipients: o.Recipients}, nil, isKeyError},
		{"fewer recipients", repo.InitOptions{Recipients: []string{reader.public}, Writers: o.Writers}, []age.Identity{reader.id}, isOtherKeys},
		{"no encryption", repo.InitOptions{None: true}, []age.Identity{reader.id}, isOtherKeys},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n := 0; ; n++ { // the power goes out after every write
				b := newMemory()
				faulty := blobtest.NewFaulty(b)
				faulty.CutPower(n)
				c.init.Like = open(t, primary, c.with...)
				_, err := repo.Init(t.Context(), faulty, c.init)
				if c.fails != nil {
					if !c.fails(err) || len(b.names("")) > 0 {
						t.Fatalf("%v, left %v", err, b.names(""))
					}
					return
				}
				done := err == nil
				if !done {
					initRepo(t, b, c.init)
				}
				copyPoint(t, open(t, b, reader.id), open(t, primary, reader.id), "p1")
				wantRestored(t, open(t, b, other.id), "p1", damageFiles())
				if got := open(t, b, writer.id).CanWrite(); got != (len(c.init.Writers) > 0) {
					t.Errorf("the writer of the first store can write here: %v", got)
				}
				if done {
					return
				}
			}
		})
	}
	lost := primary.clone()
	for _, name := range lost.names("keys/") {
		delete(lost.objects, name)
	}
	o.Like = open(t, lost)
	if _, err := repo.Init(t.Context(), newMemory(), o); err == nil || !strings.Contains(err.Error(), "keys/") {
		t.Errorf("like a store without keys: %v", err)
	}
}

func isOtherKeys(err error) bool {
	return err != nil && strings.Contains(err.Error(), "same recipients")
}

// Writers of the two stores may differ: who can write to the source only has the keys of the family.
func TestCopyWithTheSourcesKey(t *testing.T) {
	f := newFamily(t, damageFiles())
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{f.reader.public}, Like: open(t, f.primary, f.writer.id)})
	to := open(t, b, f.writer.id)
	if to.CanWrite() {
		t.Fatal("the writer of the first store can write to the second")
	}
	copyPoint(t, to, open(t, f.primary, f.writer.id), "p1")
	wantRestored(t, open(t, b, f.reader.id), "p1", f.files)
	wantSound(t, b, f.reader.id)
	if _, err := tryCopy(t.Context(), open(t, b), open(t, f.primary), "p1"); !isKeyError(err) {
		t.Errorf("without any key: %v", err)
	}
}

// A store of a family keeps to it: what its repo.json says is checked against the keys.
func TestFamilyIsBoundToKeys(t *testing.T) {
	f := newFamily(t, damageFiles())
	copyPoint(t, open(t, f.copy, f.writer.id), open(t, f.primary, f.writer.id), "p1")
	raw := string(f.copy.objects["repo.json"])
	family := open(t, f.primary).ID()
	if !strings.Contains(raw, `"family": "`+family+`"`) {
		t.Fatalf("repo.json: %s", raw)
	}
	forged, err := repo.DecodeConfig([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	forged.Family = strings.Repeat("0", 32)
	if f.copy.objects["repo.json"], err = forged.Encode(); err != nil {
		t.Fatal(err)
	}
	if open(t, f.copy, f.reader.id).CanWrite() {
		t.Error("keys of another family were taken")
	}
	f.copy.objects["repo.json"] = bytes.Replace([]byte(raw), []byte(family), []byte("short"), 1)
	var d *repo.DamagedError
	if _, err := repo.Open(t.Context(), f.copy, repo.OpenOptions{}); !errors.As(err, &d) {
		t.Errorf("a family that is no id: %v", err)
	}
}

// Packs that are condemned at the destination are acquitted, and the copy stands back while a pruner is at work.
func TestCopyToCondemnedPacks(t *testing.T) {
	f := newFamily(t, damageFiles())
	for _, name := range f.primary.names("packs/") {
		f.copy.objects[name] = slices.Clone(f.primary.objects[name])
		f.copy.objects["condemned/"+name[strings.LastIndexByte(name, '/')+1:]] = []byte("{}")
	}
	pruning := f.copy.clone()
	copyPoint(t, open(t, f.copy, f.writer.id), open(t, f.primary, f.writer.id), "p1")
	if left := f.copy.names("condemned/"); len(left) > 0 {
		t.Errorf("still condemned: %v", left)
	}
	wantRestored(t, open(t, f.copy, f.reader.id), "p1", f.files)
	if err := pruning.Create(t.Context(), "leases/pruner-0000000000000007", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	var held *repo.LeaseHeldError
	if _, err := tryCopy(t.Context(), open(t, pruning, f.writer.id), open(t, f.primary, f.writer.id), "p1"); !errors.As(err, &held) {
		t.Errorf("beside a pruner: %v", err)
	}
	if got := pruning.names("points/"); len(got) > 0 {
		t.Errorf("beside a pruner it published %v", got)
	}
}

// The index of the source is lost: a reading key tells what the packs hold, a writer's key does not suffice.
func TestCopyWithoutTheSourcesIndex(t *testing.T) {
	f := newFamily(t, damageFiles())
	for _, name := range f.primary.names("index/") {
		delete(f.primary.objects, name)
	}
	if _, err := tryCopy(t.Context(), open(t, f.copy, f.writer.id), open(t, f.primary, f.writer.id), "p1"); !isKeyError(err) {
		t.Errorf("with a writer's key: %v", err)
	}
	copyPoint(t, open(t, f.copy, f.reader.id), open(t, f.primary, f.reader.id), "p1")
	wantRestored(t, open(t, f.copy, f.reader.id), "p1", f.files)
	wantSound(t, f.copy, f.reader.id)
}

// A writer that fails while content is lent to it neither hangs nor publishes.
func TestCopySealedAnewToAFullStore(t *testing.T) {
	k := classic(t)
	primary, b := newMemory(), newMemory()
	initRepo(t, primary, repo.InitOptions{Recipients: []string{k.public}})
	initRepo(t, b, repo.InitOptions{None: true})
	backup(t, open(t, primary, k.id), "p1", []file{{"a", random(1, 70<<20), "1"}})
	faulty := blobtest.NewFaulty(b)
	full := errors.New("no space left")
	faulty.Add(blobtest.Fault{Op: blobtest.Create, Prefix: "packs/", Err: full, Times: -1})
	_, err := tryCopy(t.Context(), openBucket(t, faulty), open(t, primary, k.id), "p1")
	if !errors.Is(err, full) || len(b.names("points/")) > 0 {
		t.Errorf("%v, published %v", err, b.names("points/"))
	}
	faulty.CheckUsed(t)
}

func openBucket(t testing.TB, b *blobtest.Faulty, ids ...age.Identity) *repo.Repository {
	t.Helper()
	r, err := repo.Open(t.Context(), b, repo.OpenOptions{Identities: ids, Concurrency: 2})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Copies go on while the destination is pruned again and again, with points that expire there: whatever was published is whole.
func TestCopyBesidePrune(t *testing.T) {
	k, host := classic(t), classic(t)
	primary, b := newMemory(), newMemory()
	o := repo.InitOptions{Recipients: []string{k.public}, Writers: []string{host.public}}
	initRepo(t, primary, o)
	want := map[string][]file{}
	for i := range 12 {
		id := fmt.Sprint("p", i)
		want[id] = []file{{"common", random(uint64(i%3), 300_000), fmt.Sprint(i % 3)}, {"own", random(uint64(100+i), 100_000), id}}
		backup(t, open(t, primary, k.id), id, want[id])
	}
	o.Like = open(t, primary)
	initRepo(t, b, o)
	stop, pruned := make(chan struct{}), make(chan error, 1)
	var prunes int
	go func() {
		r := open(t, b, host.id) // it moves no chunks to other packs, which readers without a grace could stumble over
		for {
			select {
			case <-stop:
				pruned <- nil
				return
			default:
			}
			if _, err := r.Prune(context.Background(), repo.PruneOptions{}); errors.Is(err, repo.ErrLeaseLost) {
				continue // a copy acquitted what it was about to delete, and it stopped
			} else if err != nil {
				pruned <- err
				return
			}
			prunes++
		}
	}()
	stoodBack, copied := 0, 0
	copier := repo.NewCopier(open(t, b, k.id), open(t, primary, k.id))
	for round := range 4 {
		for i := range 12 {
			id := fmt.Sprint("p", i)
			var held *repo.LeaseHeldError
			_, err := copier.Copy(t.Context(), address, id, repo.CopyOptions{})
			switch {
			case errors.As(err, &held):
				stoodBack++
				continue
			case err != nil:
				t.Fatalf("round %d, %s: %v", round, id, err)
			}
			copied++
			wantRestored(t, open(t, b, k.id), id, want[id])
			if (i+round)%3 == 0 {
				if err := open(t, b).DeletePoint(t.Context(), address, id); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	close(stop)
	if err := <-pruned; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d copies, %d stood back, %d prunes", copied, stoodBack, prunes)
	if copied < 12 || prunes < 2 {
		t.Errorf("%d copies, %d prunes prove nothing", copied, prunes)
	}
	refs, err := open(t, b).Points(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range refs {
		if ref.Manifest {
			wantRestored(t, open(t, b, k.id), ref.ID, want[ref.ID])
		}
	}
	wantSound(t, b, k.id)
}
