package repo_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
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

// shared is a store with two points that share a pack, a store of its family and one with keys of its own, both with good
// copies.
type shared struct {
	owner, host         key
	primary, like, anew *memory
	one, two            []file
	checks              map[string]repo.PointCheck
}

func newShared(t testing.TB) shared {
	t.Helper()
	s := shared{owner: classic(t), host: classic(t), primary: newMemory(), like: newMemory(), anew: newMemory(), checks: map[string]repo.PointCheck{}}
	o := repo.InitOptions{Recipients: []string{s.owner.public}, Writers: []string{s.host.public}}
	initRepo(t, s.primary, o)
	initRepo(t, s.anew, o)
	s.one = []file{{"a", random(1, 500_000), "1"}, {"b", text(2, 300_000), "1"}, {"c", random(3, 400_000), "1"}}
	s.two = []file{s.one[2], {"d", random(4, 200_000), "1"}}
	for i, files := range [][]file{s.one, s.two} {
		id := fmt.Sprint("p", i+1)
		made, _ := backup(t, open(t, s.primary, s.host.id), id, files)
		s.checks[id] = repo.PointCheck{Address: address, ID: id, ManifestSHA: made.Manifest, SummarySHA: made.Summary}
	}
	o.Like = open(t, s.primary)
	initRepo(t, s.like, o)
	for _, id := range []string{"p1", "p2"} {
		copyPoint(t, open(t, s.like, s.host.id), open(t, s.primary, s.host.id), id)
		copyPoint(t, open(t, s.anew, s.owner.id), open(t, s.primary, s.owner.id), id)
	}
	return s
}

// faults are what happens to objects.
var faults = map[string]func(m *memory, name string){
	"flipped":   func(m *memory, name string) { m.objects[name][len(m.objects[name])/2] ^= 1 },
	"truncated": func(m *memory, name string) { m.objects[name] = m.objects[name][:len(m.objects[name])/2] },
	"emptied":   func(m *memory, name string) { m.objects[name] = nil },
	"missing":   func(m *memory, name string) { delete(m.objects, name) },
	"swapped": func(m *memory, name string) {
		for _, other := range m.names(name[:strings.IndexByte(name, '/')+1]) {
			if other != name && other[len(other)-3:] == name[len(name)-3:] || other != name && !strings.Contains(name, "points/") {
				m.objects[name] = bytes.Clone(m.objects[other])
				return
			}
		}
		m.objects[name] = []byte("of somebody else")
	},
}

// readable tells which points restore whole.
func (s shared) readable(t testing.TB, b *memory) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for id, files := range map[string][]file{"p1": s.one, "p2": s.two} {
		got, err := tryRestore(t.Context(), open(t, b, s.owner.id), id)
		out[id] = err == nil && len(got) == len(files)
		for i := range got {
			out[id] = out[id] && bytes.Equal(got[i].data, files[i].data)
		}
	}
	return out
}

func repair(t testing.TB, to, from *repo.Repository, c repo.PointCheck) repo.RepairReport {
	t.Helper()
	report, err := to.RepairPoint(t.Context(), from, c, repo.RepairOptions{})
	if err != nil {
		t.Fatalf("repair %s: %v", c.ID, err)
	}
	return report
}

// after is what to expect of the point from now on.
func after(c repo.PointCheck, report repo.RepairReport) repo.PointCheck {
	if report.Receipt.Manifest != "" {
		c.ManifestSHA, c.SummarySHA = report.Receipt.Manifest, report.Receipt.Summary
	}
	return c
}

func wantWholePoint(t testing.TB, r *repo.Repository, c repo.PointCheck) {
	t.Helper()
	report, err := r.VerifyStored(t.Context(), repo.VerifyOptions{Points: []repo.PointCheck{c}})
	if err != nil || len(report.Damaged) > 0 {
		t.Fatalf("%s is not whole: %v, %+v", c.ID, err, report.Damaged)
	}
}

// Whatever object of a point is damaged in whatever way: a copy of the family gives back the bytes that were stored, to a host
// that cannot read; a copy with other keys gives back the content. Nothing that could be restored before cannot afterwards.
func TestRepairEveryObject(t *testing.T) {
	s := newShared(t)
	for _, prefix := range []string{"packs/", "index/", "points/", "keys/"} {
		for _, name := range s.primary.names(prefix) {
			for fault, strike := range faults {
				if prefix == "keys/" && fault != "missing" {
					continue // what is in a key object only its holder can tell
				}
				for source, from := range map[string]*memory{"family": s.like, "other keys": s.anew} {
					who := s.host
					if from == s.anew {
						who = s.owner
					}
					if prefix == "keys/" {
						who = s.owner
						if !open(t, withoutObject(s.primary, name), who.id).CanWrite() {
							who = s.host
						}
					}
					t.Run(fmt.Sprintf("%s/%s/%.30s", source, fault, name), func(t *testing.T) {
						b := s.primary.clone()
						strike(b, name)
						before := s.readable(t, b)
						for _, id := range []string{"p1", "p2"} {
							report := repair(t, open(t, b, who.id), open(t, from, who.id), s.checks[id])
							if len(report.Left) > 0 {
								t.Errorf("%s: left %+v (replaced %v, aside %v)", id, report.Left, report.Replaced, report.SetAside)
							}
							wantWholePoint(t, open(t, b, s.host.id), after(s.checks[id], report))
							now := s.readable(t, b)
							if !now[id] || before["p1"] && !now["p1"] || before["p2"] && !now["p2"] {
								t.Fatalf("after the repair of %s: readable %v, before %v", id, now, before)
							}
							again := repair(t, open(t, b, who.id), open(t, from, who.id), after(s.checks[id], report))
							if len(again.Replaced)+len(again.SetAside)+len(again.Left) > 0 || again.Receipt.Manifest != "" {
								t.Errorf("repaired again: %+v", again)
							}
						}
						if from == s.like && prefix != "index/" && prefix != "keys/" && !bytes.Equal(b.objects[name], s.primary.objects[name]) {
							t.Error("it holds other bytes than were stored")
						}
						wantSound(t, b, s.owner.id)
						if left := b.names("leases/"); len(left) > 0 {
							t.Errorf("leases left: %v", left)
						}
					})
				}
			}
		}
	}
}

func withoutObject(b *memory, name string) *memory {
	b = b.clone()
	delete(b.objects, name)
	return b
}

// Without a good copy: metadata is made anew from what it describes, packs are set aside, and the next backup heals the older
// points. A lost manifest is told.
func TestRepairWithoutACopy(t *testing.T) {
	s := newShared(t)
	for _, prefix := range []string{"packs/", "index/", "points/"} {
		for _, name := range s.primary.names(prefix) {
			for fault, strike := range faults {
				t.Run(fmt.Sprintf("%s/%.30s", fault, name), func(t *testing.T) {
					b := s.primary.clone()
					strike(b, name)
					before := s.readable(t, b)
					checks := map[string]repo.PointCheck{}
					for id, c := range s.checks {
						report := repair(t, open(t, b, s.owner.id), nil, c)
						checks[id] = after(c, report)
						lost := prefix == "packs/" && !before[id] || strings.HasSuffix(name, id+".manifest")
						if lost != (len(report.Left) > 0) {
							t.Errorf("%s: readable before %v, left %+v", id, before[id], report.Left)
						}
					}
					if now := s.readable(t, b); before["p1"] && !now["p1"] || before["p2"] && !now["p2"] {
						t.Fatalf("readable before %v, now %v", before, now)
					}
					for i, files := range [][]file{s.one, s.two} {
						backup(t, open(t, b, s.owner.id), fmt.Sprint("p", 3+i), files)
					}
					for id, c := range checks {
						if strings.HasSuffix(name, id+".manifest") {
							continue
						}
						report := repair(t, open(t, b, s.owner.id), nil, c)
						wantWholePoint(t, open(t, b, s.owner.id), after(c, report))
						if !s.readable(t, b)[id] {
							t.Errorf("%s cannot be restored after the next backup", id)
						}
					}
				})
			}
		}
	}
}

// A host that cannot read sets a damaged pack aside as it is. What is sound in it comes back when somebody with a reading
// key repairs.
func TestSetAsideWithoutAReadingKey(t *testing.T) {
	s := newShared(t)
	b := s.primary.clone()
	pack := s.spoil(t, b)
	report := repair(t, open(t, b, s.host.id), nil, s.checks["p1"])
	if diff := cmp.Diff([]string{pack}, report.SetAside); diff != "" || len(report.Left) == 0 {
		t.Errorf("set aside (-want +got):\n%s\nleft: %+v", diff, report.Left)
	}
	aside := b.names("quarantine/")
	if len(aside) != 1 || slices.Contains(b.names("packs/"), pack) {
		t.Fatalf("quarantine: %v, packs: %v", aside, b.names("packs/"))
	}
	report = repair(t, open(t, b, s.owner.id), nil, s.checks["p2"])
	if len(report.Left) > 0 || !s.readable(t, b)["p2"] {
		t.Errorf("p2 after the repair by its owner: %+v", report)
	}
	wantWholePoint(t, open(t, b, s.owner.id), after(s.checks["p2"], report))
	// And p1 from a copy with other keys.
	report = repair(t, open(t, b, s.owner.id), open(t, s.anew, s.owner.id), s.checks["p1"])
	wantWholePoint(t, open(t, b, s.owner.id), after(s.checks["p1"], report))
	wantRestored(t, open(t, b, s.owner.id), "p1", s.one)
	wantRestored(t, open(t, b, s.owner.id), "p2", s.two)
}

// hostsKey names the key object of the host that cannot read.
func (s shared) hostsKey(t testing.TB) string {
	t.Helper()
	for _, name := range s.primary.names("keys/") {
		if !open(t, withoutObject(s.primary, name), s.host.id).CanWrite() {
			return name
		}
	}
	t.Fatal("the host has no key object")
	return ""
}

// spoil flips a byte that p1 needs and p2 does not, in a pack that both need.
func (s shared) spoil(t testing.TB, b *memory) string {
	t.Helper()
	for _, name := range b.names("packs/") {
		if now := s.readable(t, withoutObject(b, name)); now["p1"] || now["p2"] {
			continue
		}
		for at := 2000; at < len(b.objects[name]); at += 50_000 {
			b.objects[name][at] ^= 1
			if now := s.readable(t, b); !now["p1"] && now["p2"] {
				return name
			}
			b.objects[name][at] ^= 1
		}
	}
	t.Fatal("no pack that both points need can be damaged for one of them alone")
	return ""
}

// Where the same point is stored in other packs on both sides, the good copy's documents are taken over with its packs.
func TestRepairAdoptsTheCopysPacks(t *testing.T) {
	s := newShared(t)
	like := s.like.clone()
	for _, name := range like.names("packs/") { // every pack of the copy is set aside, and its content stored again
		like.objects[name][2000] ^= 1
	}
	for id, c := range s.checks {
		repair(t, open(t, like, s.host.id), nil, c)
		backup(t, open(t, like, s.host.id), id+"x", map[string][]file{"p1": s.one, "p2": s.two}[id])
	}
	for _, c := range s.checks {
		repair(t, open(t, like, s.owner.id), nil, c)
	}
	b := s.primary.clone()
	for _, name := range b.names("packs/") {
		b.objects[name][2000] ^= 1
	}
	for id, c := range s.checks {
		report := repair(t, open(t, b, s.host.id), open(t, like, s.host.id), c)
		if len(report.Left) > 0 || report.Receipt.Manifest != c.ManifestSHA || report.Receipt.Summary == c.SummarySHA {
			t.Errorf("%s: %+v", id, report)
		}
		wantWholePoint(t, open(t, b, s.host.id), after(c, report))
	}
	wantRestored(t, open(t, b, s.owner.id), "p1", s.one)
	wantRestored(t, open(t, b, s.owner.id), "p2", s.two)
}

// Both copies are damaged, in different places: what one lacks the other gives. In the same place: it is told, and nothing is
// made worse.
func TestRepairFromADamagedCopy(t *testing.T) {
	s := newShared(t)
	packs := s.primary.names("packs/")
	b, like := s.primary.clone(), s.like.clone()
	b.objects[packs[0]][2000] ^= 1
	like.objects[packs[1]][2000] ^= 1
	for id, c := range s.checks {
		if report := repair(t, open(t, b, s.host.id), open(t, like, s.host.id), c); len(report.Left) > 0 {
			t.Errorf("%s: left %+v", id, report.Left)
		}
	}
	wantSound(t, b, s.owner.id)
	like.objects[packs[0]][2000] ^= 1
	b.objects[packs[0]][2000] ^= 1
	before := s.readable(t, b)
	for _, c := range s.checks {
		repair(t, open(t, b, s.owner.id), open(t, like, s.owner.id), c)
	}
	if diff := cmp.Diff(before, s.readable(t, b)); diff != "" {
		t.Errorf("readable (-before +after):\n%s", diff)
	}
}

// The power goes out after every write of a repair: what could be restored still can, and the next repair ends it.
func TestCrashOfRepair(t *testing.T) {
	s := newShared(t)
	summary, document := s.primary.names("points/")[1], s.primary.names("points/")[0]
	for source, from := range map[string]*memory{"family": s.like, "other keys": s.anew, "none": nil} {
		for what, names := range map[string][]string{"packs": s.primary.names("packs/"), "index": s.primary.names("index/"), "summary": {summary}, "manifest": {document}, "key": {s.hostsKey(t)}} {
			t.Run(source+"/"+what, func(t *testing.T) {
				damaged := s.primary.clone()
				for _, name := range names {
					damaged.objects[name][len(damaged.objects[name])/2] ^= 1
				}
				var good *repo.Repository
				if from != nil {
					good = open(t, from, s.owner.id)
				}
				before := s.readable(t, damaged)
				for n := 0; ; n++ {
					b := damaged.clone()
					faulty := blobtest.NewFaulty(b)
					r := openBucket(t, faulty, s.owner.id)
					faulty.CutPower(n)
					report, err := r.RepairPoint(t.Context(), good, s.checks["p1"], repo.RepairOptions{})
					if err != nil && !errors.Is(err, blobtest.ErrPowerCut) {
						t.Fatalf("after %d writes: %v", n, err)
					}
					if now := s.readable(t, b); before["p1"] && !now["p1"] || before["p2"] && !now["p2"] {
						t.Fatalf("after %d writes: readable before %v, now %v", n, before, now)
					}
					c := after(s.checks["p1"], report)
					if err != nil { // the catalog did not hear of it
						for _, lease := range b.names("leases/") { // which the dead process held, and which end by themselves
							delete(b.objects, lease)
						}
						report = repair(t, open(t, b, s.owner.id), good, s.checks["p1"])
						c = after(s.checks["p1"], report)
					}
					if !open(t, b, s.host.id).CanWrite() {
						t.Errorf("after %d writes and a repair the host cannot write", n)
					}
					if from != nil {
						wantWholePoint(t, open(t, b, s.owner.id), c)
						wantRestored(t, open(t, b, s.owner.id), "p1", s.one)
					}
					if err == nil {
						break
					}
				}
			})
		}
	}
}

// TestUnreliableReadingSetsNothingAside: a pack that reads otherwise each time is not taken away.
func TestUnreliableReadingSetsNothingAside(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	made, _ := backup(t, open(t, b, k.id), "p1", []file{{"a", random(1, 200_000), "1"}})
	pack := b.names("packs/")[0]
	for good := range 3 { // how many readings are right before the wrong ones
		faulty := blobtest.NewFaulty(b)
		for i := range 3 {
			faulty.Add(blobtest.Fault{Op: blobtest.Get, Prefix: pack, Skip: good, Mangle: blobtest.FlipBit(1000 + i)})
		}
		r := open(t, faulty, k.id)
		_, _ = r.RepairPoint(t.Context(), nil, repo.PointCheck{Address: address, ID: "p1", ManifestSHA: made.Manifest, SummarySHA: made.Summary}, repo.RepairOptions{})
		if len(b.names("packs/")) != 1 || len(b.names("quarantine/")) != 0 {
			t.Fatalf("after %d good readings: packs %v, quarantine %v", good, b.names("packs/"), b.names("quarantine/"))
		}
	}
}
