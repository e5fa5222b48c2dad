package repo_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

// logged makes a store with some log, and tells what it holds.
func logged(t *testing.T) (b *memory, reader, host key, contents map[string][]byte, files []wal.File) {
	t.Helper()
	reader, host = classic(t), classic(t)
	b = newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{reader.public}, Writers: []string{host.public}})
	contents = map[string][]byte{seg1: logOf(1), seg2: random(2, 2*segment), "00000002.history": []byte("1\t0/3000000\tx\n"), "000000020000000000000003.partial": logOf(3)}
	for name, data := range contents {
		push(t, open(t, b, host.id), name, data)
		files = append(files, walFile(t, name))
	}
	return b, reader, host, contents, files
}

func tryCopyWAL(t *testing.T, to, from *repo.Repository, files []wal.File) (repo.WALCopy, error) {
	return repo.NewCopier(to, from).CopyWAL(t.Context(), files, nil)
}

// TestWALCopyAsStored: with shared keys log goes over byte for byte, with a writer's key, and once.
func TestWALCopyAsStored(t *testing.T) {
	b, reader, host, contents, files := logged(t)
	from := open(t, b, host.id)
	c := newMemory()
	initRepo(t, c, repo.InitOptions{Recipients: []string{reader.public}, Writers: []string{host.public}, Like: from})
	var told repo.WALCopy
	got, err := repo.NewCopier(open(t, c, host.id), from).CopyWAL(t.Context(), files, func(w repo.WALCopy) { told = w })
	if err != nil || got.Copied != int64(len(files)) || got.Existed != 0 || told != got {
		t.Fatalf("%+v, told %+v, %v", got, told, err)
	}
	if diff := cmp.Diff(b.names("wal/"), c.names("wal/")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, data := range b.objects {
		if strings.HasPrefix(name, "wal/") && walKind(name) == "content" && !bytes.Equal(c.objects[name], data) {
			t.Errorf("%s is not as it was stored", name)
		}
	}
	again, err := tryCopyWAL(t, open(t, c, host.id), from, files)
	if err != nil || again != (repo.WALCopy{Existed: int64(len(files))}) {
		t.Errorf("again: %+v, %v", again, err)
	}
	for name, data := range contents {
		wantFetched(t, open(t, c, reader.id), name, data)
	}
	if _, err := tryCopyWAL(t, open(t, c, host.id), from, []wal.File{walFile(t, seg3)}); !errors.Is(err, repo.ErrNoWAL) {
		t.Errorf("copy of what is not there: %v", err)
	}
}

// TestWALCopySealedAnew: another store's recipients get the same content; it takes a key that reads.
func TestWALCopySealedAnew(t *testing.T) {
	b, reader, host, contents, files := logged(t)
	other := hybrid(t)
	c := newMemory()
	initRepo(t, c, repo.InitOptions{Recipients: []string{other.public}})
	var keyErr *repo.KeyError
	if _, err := tryCopyWAL(t, open(t, c, other.id), open(t, b, host.id), files); !errors.As(err, &keyErr) {
		t.Errorf("with a writer's key: %v", err)
	}
	for range 2 {
		got, err := tryCopyWAL(t, open(t, c, other.id), open(t, b, reader.id), files)
		if err != nil || got.Copied+got.Existed != int64(len(files)) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	for name, data := range contents {
		wantFetched(t, open(t, c, other.id), name, data)
	}
	// The destination has another content already: nothing is replaced.
	d := newMemory()
	initRepo(t, d, repo.InitOptions{Recipients: []string{other.public}})
	push(t, open(t, d, other.id), seg1, logOf(9))
	var conflict *repo.WALConflictError
	if _, err := tryCopyWAL(t, open(t, d, other.id), open(t, b, reader.id), []wal.File{walFile(t, seg1)}); !errors.As(err, &conflict) {
		t.Errorf("copy over another content: %v", err)
	}
}

// TestWALCopyOfDamage: of a damaged source nothing arrives, and the object is named.
func TestWALCopyOfDamage(t *testing.T) {
	b, reader, host, _, _ := logged(t)
	other := classic(t)
	for _, name := range b.names("wal/") {
		if walKind(name) == "content" && strings.Contains(name, "/"+seg1+".") {
			b.objects[name][len(b.objects[name])-1] ^= 1
		}
	}
	same, anew := newMemory(), newMemory()
	initRepo(t, same, repo.InitOptions{Recipients: []string{reader.public}, Writers: []string{host.public}, Like: open(t, b, host.id)})
	initRepo(t, anew, repo.InitOptions{Recipients: []string{other.public}})
	for what, c := range map[string]struct {
		to       *memory
		ours, at key
	}{"as stored": {same, host, host}, "sealed anew": {anew, other, reader}} {
		var d *repo.DamagedError
		_, err := tryCopyWAL(t, open(t, c.to, c.ours.id), open(t, b, c.at.id), []wal.File{walFile(t, seg1)})
		if !errors.As(err, &d) || !strings.Contains(d.Object, seg1) || !strings.Contains(err.Error(), "copy "+seg1) {
			t.Errorf("%s: %v", what, err)
		}
		for _, name := range c.to.names("wal/") {
			if walKind(name) == "content" {
				t.Errorf("%s: %s arrived", what, name)
			}
		}
	}
}

// TestWALReseal: after a rotation and sealing anew who came reads everything, who went nothing, and a push of the same is
// still recognised; cut off at any write, every file can be read by who stays, and the next reseal ends it.
func TestWALReseal(t *testing.T) {
	b, stays, host, contents, _ := logged(t)
	comes := classic(t)
	goes := stays
	stays = classic(t)
	rotate(t, b, host, repo.RotateOptions{Recipients: []string{goes.public, stays.public}, Writers: []string{host.public}})
	if _, err := open(t, b, goes.id).Reseal(t.Context(), repo.ResealOptions{}); err != nil {
		t.Fatal(err)
	}
	rotate(t, b, host, repo.RotateOptions{Recipients: []string{stays.public, comes.public}, Writers: []string{host.public}})
	var other *repo.OtherKeyError
	if _, _, err := tryFetch(t.Context(), open(t, b, comes.id), walFile(t, seg1)); !errors.As(err, &other) {
		t.Errorf("who came reads before it was sealed anew: %v", err)
	}
	for n := 0; ; n++ {
		c := b.clone()
		f := blobtest.NewFaulty(c)
		keyed := open(t, c, stays.id)
		f.CutPower(n)
		report, err := keyed.Over(f).Reseal(t.Context(), repo.ResealOptions{})
		for name, data := range contents {
			wantFetched(t, open(t, c, stays.id), name, data)
		}
		if err != nil {
			if _, err := open(t, c, stays.id).Reseal(t.Context(), repo.ResealOptions{}); err != nil {
				t.Fatalf("after a cut at %d: %v", n, err)
			}
		} else if report.WAL != int64(len(contents)) || report.WALBytes <= 0 || len(report.Damaged) > 0 {
			t.Errorf("%+v", report)
		}
		for name, data := range contents {
			wantFetched(t, open(t, c, comes.id), name, data)
			if receipt := push(t, open(t, c, host.id), name, data); !receipt.Existed {
				t.Errorf("after a cut at %d: %s is not recognised", n, name)
			}
		}
		if opened := opensWith(t, c, goes, "wal/", ""); len(opened) > 0 {
			t.Errorf("after a cut at %d who went opens %v", n, opened)
		}
		if got := c.names("wal/"); len(got) != 2*len(contents) {
			t.Errorf("after a cut at %d: %v", n, got)
		}
		if c := checkOf(t, c, repo.CheckOptions{Deep: true}, stays.id); c.Errors() > 0 {
			t.Errorf("after a cut at %d: %+v", n, c.Findings)
		}
		if err == nil {
			if n < 3*len(contents) {
				t.Errorf("only %d writes", n)
			}
			break
		}
	}
}

// TestWALSurvivesPrune: a prune leaves the log alone.
func TestWALSurvivesPrune(t *testing.T) {
	b, reader, host, contents, _ := logged(t)
	before := b.names("wal/")
	report, err := open(t, b, host.id).Prune(t.Context(), repo.PruneOptions{})
	if err != nil || report.Deleted > 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	if diff := cmp.Diff(before, b.names("wal/")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if report.Bytes != b.size() {
		t.Errorf("%d bytes are told of %d", report.Bytes, b.size())
	}
	for name, data := range contents {
		wantFetched(t, open(t, b, reader.id), name, data)
	}
}

// TestWALOpenByHand opens a segment with the age and zstd commands alone, as docs/format/wal.md tells.
func TestWALOpenByHand(t *testing.T) {
	for _, tool := range []string{"age", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v; install it: apt-get install age zstd", err)
		}
	}
	b, reader, _, contents, _ := logged(t)
	keyFile, object := filepath.Join(t.TempDir(), "key.txt"), filepath.Join(t.TempDir(), "object")
	if err := os.WriteFile(keyFile, fmt.Append(nil, reader.id), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range b.names("wal/") {
		if walKind(name) == "claim" {
			continue
		}
		base := name[strings.LastIndexByte(name, '/')+1:]
		want := contents[base[:strings.LastIndexByte(base, '.')]]
		if err := os.WriteFile(object, b.objects[name], 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := exec.CommandContext(t.Context(), "sh", "-c", `age -d -i "$1" "$2" | zstd -d -c`, "sh", keyFile, object).Output()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d: %v", name, len(got), len(want), err)
		}
	}
}

// endless is log that compresses well, made on the way.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.left)
	for i := range n {
		p[i] = byte((e.left - i) >> 12)
	}
	e.left -= n
	return n, nil
}

// watchHeap looks at the heap until peak is asked for, in bytes.
func watchHeap() (peak func() int64) {
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		var highest uint64
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			highest = max(highest, m.HeapAlloc)
			select {
			case <-stop:
				most <- int64(highest)
				return
			case <-tick.C:
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-most
	}
}

// TestWALMemory: a segment of 1 GiB passes through without being held.
func TestWALMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("1 GiB takes a few seconds")
	}
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	r := open(t, b, k.id)
	var base runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&base)
	peak := watchHeap()
	if _, err := r.PushWAL(t.Context(), walFile(t, seg1), &endless{1 << 30}, 1<<30); err != nil {
		t.Fatal(err)
	}
	got, err := r.FetchWAL(t.Context(), walFile(t, seg1), 1<<30, io.Discard)
	if err != nil || got.Size != 1<<30 {
		t.Fatalf("%+v, %v", got, err)
	}
	if mib := (peak() - int64(base.HeapAlloc)) >> 20; mib > 64 {
		t.Errorf("%d MiB were held", mib)
	}
}
