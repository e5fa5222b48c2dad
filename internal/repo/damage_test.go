package repo_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// damageFiles make two packs of data and an inline list.
func damageFiles() []file {
	return []file{{"a", random(1, 3<<20), "1"}, {"b", text(2, 2<<20), "1"}, {"c", []byte("small"), "1"}}
}

func damagedStore(t *testing.T) (*memory, key) {
	t.Helper()
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	backup(t, open(t, b, k.id), "p1", damageFiles())
	return b, k
}

func objectsOf(damaged []repo.Damage) (names []string) {
	for _, d := range damaged {
		names = append(names, d.Object)
	}
	return names
}

func TestVerifyOfSoundStore(t *testing.T) {
	b, k := damagedStore(t)
	for _, r := range []*repo.Repository{open(t, b, k.id), open(t, b)} {
		for _, o := range []repo.VerifyOptions{{All: true}, {Points: []repo.PointCheck{{Address: address, ID: "p1"}}}} {
			report, err := r.VerifyStored(t.Context(), o)
			if err != nil || len(report.Damaged) > 0 {
				t.Errorf("verify stored, writer %v, %+v: %v, %+v", r.CanWrite(), o, err, report.Damaged)
			}
		}
	}
	report, err := open(t, b, k.id).VerifyRead(t.Context(), address, "p1", nil)
	if err != nil || len(report.Damaged) > 0 {
		t.Errorf("verify read: %v, %+v", err, report.Damaged)
	}
	if want := int64(5<<20 + 5); report.Bytes != want {
		t.Errorf("verify read looked at %d plain bytes, want %d", report.Bytes, want)
	}
}

// What a proven point shares is not read again; what a point added is, and nothing may be missing or cut short.
func TestVerifyOnTopOfProvenPoints(t *testing.T) {
	b, k := damagedStore(t)
	before := b.names("packs/")
	files := append(damageFiles(), file{"d", random(9, 1<<20), "1"})
	backup(t, open(t, b, k.id), "p2", files)
	o := repo.VerifyOptions{
		Points: []repo.PointCheck{{Address: address, ID: "p2"}}, Proven: []repo.PointCheck{{Address: address, ID: "p1"}, {Address: address, ID: "gone"}},
	}
	var shared, added int64
	for _, name := range b.names("packs/") {
		if size := int64(len(b.objects[name])); slices.Contains(before, name) {
			shared += size
		} else {
			added += size
		}
	}
	report, err := open(t, b, k.id).VerifyStored(t.Context(), o)
	if err != nil || len(report.Damaged) > 0 || report.Bytes < added || report.Bytes > added+shared/2 {
		t.Errorf("%v, %+v; %d bytes are shared, %d added", err, report, shared, added)
	}
	for name, damage := range map[string]func(*memory, string){
		"missing": func(b *memory, name string) { delete(b.objects, name) },
		"cut":     func(b *memory, name string) { b.objects[name] = b.objects[name][:100] },
	} {
		broken := b.clone()
		damage(broken, before[0])
		report, err := open(t, broken, k.id).VerifyStored(t.Context(), o)
		if err != nil || !slices.Contains(objectsOf(report.Damaged), before[0]) {
			t.Errorf("%s: %v, %+v; want it to name %s", name, err, report.Damaged, before[0])
		}
	}
	// A proven point whose summary is damaged vouches for nothing.
	broken := b.clone()
	broken.objects[before[0]][50] ^= 1
	for _, name := range broken.names("points/") {
		if strings.HasSuffix(name, "p1.summary") {
			broken.objects[name][50] ^= 1
		}
	}
	report, err = open(t, broken, k.id).VerifyStored(t.Context(), o)
	if err != nil || !slices.Contains(objectsOf(report.Damaged), before[0]) {
		t.Errorf("behind a damaged summary: %v, %+v; want it to name %s", err, report.Damaged, before[0])
	}
}

// TestFlippedByte flips a byte at the beginning, in the middle and at the end of every object a point needs: verification
// names the object, and reading never hands out wrong content.
func TestFlippedByte(t *testing.T) {
	sound, k := damagedStore(t)
	for _, name := range sound.names("") {
		if strings.HasPrefix(name, "hints/") || strings.HasPrefix(name, "keys/") || name == "repo.json" {
			continue
		}
		size := len(sound.objects[name])
		for _, at := range []int{0, 30, size / 3, size / 2, size - 40, size - 1} {
			t.Run(fmt.Sprintf("%.20s/%d", name, at), func(t *testing.T) {
				b := sound.clone()
				b.objects[name][at] ^= 0x10
				wantNamed(t, b, k, name)
			})
		}
	}
}

func TestTruncatedAndMissing(t *testing.T) {
	sound, k := damagedStore(t)
	for _, name := range sound.names("") {
		if strings.HasPrefix(name, "hints/") || strings.HasPrefix(name, "keys/") || name == "repo.json" {
			continue
		}
		t.Run(fmt.Sprintf("truncated/%.20s", name), func(t *testing.T) {
			b := sound.clone()
			b.objects[name] = b.objects[name][:len(b.objects[name])*2/3]
			wantNamed(t, b, k, name)
		})
		if strings.HasPrefix(name, "index/") || strings.HasSuffix(name, ".manifest") {
			continue // an absent index is recovered from, an absent manifest is an absent point
		}
		t.Run(fmt.Sprintf("missing/%.20s", name), func(t *testing.T) {
			b := sound.clone()
			delete(b.objects, name)
			wantNamed(t, b, k, name)
		})
	}
}

// wantNamed checks that every way of verifying and reading names the object.
func wantNamed(t *testing.T, b *memory, k key, name string) {
	t.Helper()
	r := open(t, b, k.id)
	report, err := r.VerifyStored(t.Context(), repo.VerifyOptions{All: true})
	if err != nil || !slices.Contains(objectsOf(report.Damaged), name) {
		t.Errorf("verify stored of all: %v, %+v; want it to name %s", err, report.Damaged, name)
	}
	report, err = r.VerifyStored(t.Context(), repo.VerifyOptions{Points: []repo.PointCheck{{Address: address, ID: "p1"}}})
	if err != nil || !slices.Contains(objectsOf(report.Damaged), name) {
		t.Errorf("verify stored of the point: %v, %+v; want it to name %s", err, report.Damaged, name)
	}
	report, err = r.VerifyRead(t.Context(), address, "p1", nil)
	var inUnreadPart bool // a pack's own directory is not read while the index is there
	if strings.HasPrefix(name, "packs/") && err == nil && len(report.Damaged) == 0 {
		_, rerr := tryRestore(t.Context(), r, "p1")
		inUnreadPart = rerr == nil
	}
	if err != nil || (!slices.Contains(objectsOf(report.Damaged), name) && !inUnreadPart) {
		t.Errorf("verify read: %v, %+v; want it to name %s", err, report.Damaged, name)
	}
	got, err := tryRestore(t.Context(), r, "p1")
	var d *repo.DamagedError
	if err != nil && !errors.As(err, &d) {
		t.Errorf("restore fails with %v, want a DamagedError", err)
	}
	if err != nil && d.Object != name {
		t.Errorf("restore blames %s, want %s", d.Object, name)
	}
	if err == nil {
		for i, f := range damageFiles() {
			if string(got[i].data) != string(f.data) {
				t.Errorf("restore returned other content for %s without an error", f.path)
			}
		}
	}
}

// TestVerifyReadGoesOn damages the pack in the middle: the entries it spoils are named, the others are not. One sealed block
// of 64 KiB may hold the end of one entry and the beginning of the next.
func TestVerifyReadGoesOn(t *testing.T) {
	b, k := damagedStore(t)
	name := b.names("packs/")[0]
	b.objects[name][len(b.objects[name])/2] ^= 1
	report, err := open(t, b, k.id).VerifyRead(t.Context(), address, "p1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Damaged) != 1 || report.Damaged[0].Object != name || len(report.Damaged[0].Entries) == 0 || len(report.Damaged[0].Entries) == len(damageFiles()) {
		t.Fatalf("damaged %+v, want some entries of %s", report.Damaged, name)
	}
	if diff := cmp.Diff([]string{address + "/p1"}, report.Damaged[0].Points); diff != "" {
		t.Errorf("points (-want +got):\n%s", diff)
	}
	bad := report.Damaged[0].Entries
	rd, err := open(t, b, k.id).OpenPoint(t.Context(), address, "p1")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range damageFiles() {
		err := rd.Read(t.Context(), func(e manifest.Entry) bool { return e.Path == f.path }, func(_ manifest.Entry, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if (err != nil) != slices.Contains(bad, f.path) {
			t.Errorf("read of %s: %v; damaged is %s", f.path, err, bad)
		}
	}
}

// TestSwallowedDamage: whoever ignores the reader's error does not make a success of it.
func TestSwallowedDamage(t *testing.T) {
	b, k := damagedStore(t)
	name := b.names("packs/")[0]
	b.objects[name][len(b.objects[name])/2] ^= 1
	rd, err := open(t, b, k.id).OpenPoint(t.Context(), address, "p1")
	if err != nil {
		t.Fatal(err)
	}
	err = rd.Read(t.Context(), nil, func(_ manifest.Entry, r io.Reader) error {
		_, _ = io.Copy(io.Discard, r)
		return nil
	})
	var d *repo.DamagedError
	if !errors.As(err, &d) || d.Object != name {
		t.Errorf("got %v, want damage of %s", err, name)
	}
}

func TestSwappedObjects(t *testing.T) {
	b, k := damagedStore(t)
	backup(t, open(t, b, k.id), "p2", []file{{"other", random(9, 100), ""}})
	for _, suffix := range []string{".summary", ".manifest"} {
		t.Run(suffix, func(t *testing.T) {
			b := b.clone()
			var names []string
			for _, name := range b.names("points/") {
				if strings.HasSuffix(name, suffix) {
					names = append(names, name)
				}
			}
			b.objects[names[0]], b.objects[names[1]] = b.objects[names[1]], b.objects[names[0]]
			wantNamed(t, b, k, names[0])
		})
	}
}

func TestLostIndexIsRebuilt(t *testing.T) {
	b, k := damagedStore(t)
	for _, name := range b.names("index/") {
		delete(b.objects, name)
	}
	wantRestored(t, open(t, b, k.id), "p1", damageFiles())
	report, err := open(t, b, k.id).RebuildIndex(t.Context())
	if err != nil || report.Packs != int64(len(b.names("packs/"))) || len(report.Damaged) > 0 {
		t.Fatalf("rebuild: %v, %+v", err, report)
	}
	packs := len(b.names("packs/"))
	backup(t, open(t, b, k.id), "p2", damageFiles())
	if got := len(b.names("packs/")); got != packs {
		t.Errorf("%d packs after a backup of the same content, want %d", got, packs)
	}
	again, err := open(t, b, k.id).RebuildIndex(t.Context())
	if diff := cmp.Diff(repo.RebuildReport{}, again); err != nil || diff != "" {
		t.Errorf("rebuild again: %v (-want +got):\n%s", err, diff)
	}
}

func TestDamagedIndexIsReplaced(t *testing.T) {
	b, k := damagedStore(t)
	name := b.names("index/")[0]
	b.objects[name][50] ^= 1
	receipt, _ := backup(t, open(t, b, k.id), "p2", damageFiles())
	if len(receipt.Warnings) == 0 || !strings.Contains(receipt.Warnings[0], name) {
		t.Errorf("warnings %q do not name %s", receipt.Warnings, name)
	}
	report, err := open(t, b, k.id).RebuildIndex(t.Context())
	if err != nil || !slices.Equal(report.Replaced, []string{name}) {
		t.Fatalf("rebuild: %v, %+v", err, report)
	}
	for _, point := range []string{"p1", "p2"} {
		wantRestored(t, open(t, b, k.id), point, damageFiles())
	}
	sound, err := open(t, b, k.id).VerifyStored(t.Context(), repo.VerifyOptions{All: true})
	if err != nil || len(sound.Damaged) > 0 {
		t.Errorf("verify after the rebuild: %v, %+v", err, sound.Damaged)
	}
}

// TestDamagedHints: hints are a cache; damage is told and costs reading only.
func TestDamagedHints(t *testing.T) {
	b, k := damagedStore(t)
	for _, name := range b.names("hints/") {
		b.objects[name][len(b.objects[name])-1] ^= 1
	}
	receipt, _ := backup(t, open(t, b, k.id), "p2", damageFiles())
	if len(receipt.Warnings) != 1 || !strings.Contains(receipt.Warnings[0], "hints/") {
		t.Errorf("warnings %q", receipt.Warnings)
	}
	wantRestored(t, open(t, b, k.id), "p2", damageFiles())
}

// TestMissingPackIsStoredAgain: deduplication trusts only packs that are there.
func TestMissingPackIsStoredAgain(t *testing.T) {
	b, k := damagedStore(t)
	for _, name := range b.names("packs/") {
		delete(b.objects, name)
	}
	backup(t, open(t, b, k.id), "p2", damageFiles())
	wantRestored(t, open(t, b, k.id), "p2", damageFiles())
	wantRestored(t, open(t, b, k.id), "p1", damageFiles())
}
