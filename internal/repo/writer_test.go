package repo_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

var (
	errSkip   = errors.New("skip")
	errReread = errors.New("reread")
)

// script answers a reader's calls one after the other.
type script struct {
	data []byte
	err  error
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, s.err
	}
	n := copy(p, s.data)
	s.data = s.data[n:]
	return n, nil
}

func (s *script) Close() error { return nil }

func testWriter(t *testing.T) (*memory, key, *repo.Writer) {
	t.Helper()
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	o := options("p1")
	o.IsSkip = func(err error) bool { return errors.Is(err, errSkip) }
	o.IsReread = func(err error) bool { return errors.Is(err, errReread) }
	w, err := open(t, b, k.id).NewWriter(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Abort)
	return b, k, w
}

func addFile(t *testing.T, w *repo.Writer, path string, open func() (io.ReadCloser, error)) error {
	t.Helper()
	return w.Add(t.Context(), manifest.Entry{Path: path, Type: manifest.TypeFile}, repo.Content{Open: open})
}

func TestSkipAndReread(t *testing.T) {
	b, k, w := testWriter(t)
	first, second := random(1, 3<<20), random(2, 100)
	var tries atomic.Int32
	for path, fn := range map[string]func() (io.ReadCloser, error){
		"gone":   func() (io.ReadCloser, error) { return nil, fmt.Errorf("vanished: %w", errSkip) },
		"broken": func() (io.ReadCloser, error) { return &script{data: first, err: errSkip}, nil },
		"changed": func() (io.ReadCloser, error) {
			if tries.Add(1) < 3 {
				return &script{data: first, err: errReread}, nil
			}
			return &script{data: second, err: io.EOF}, nil
		},
	} {
		if err := addFile(t, w, path, fn); err != nil {
			t.Fatal(err)
		}
	}
	receipt, err := w.Commit(t.Context(), manifest.Info{})
	if err != nil {
		t.Fatal(err)
	}
	if receipt.Items != 1 || receipt.Size != 100 || w.Stats().Bytes != 100 {
		t.Errorf("receipt %+v, stats %+v; want 1 item of 100 bytes", receipt, w.Stats())
	}
	wantRestored(t, open(t, b, k.id), "p1", []file{{path: "changed", data: second}})
}

// TestProducerDies: every way in which a producer can fail ends the backup, and no point exists afterwards.
func TestProducerDies(t *testing.T) {
	died := errors.New("exit status 1")
	for name, fn := range map[string]func() (io.ReadCloser, error){
		"open":           func() (io.ReadCloser, error) { return nil, died },
		"read":           func() (io.ReadCloser, error) { return &script{data: random(1, 5<<20), err: died}, nil },
		"unexpected EOF": func() (io.ReadCloser, error) { return &script{data: random(1, 10), err: io.ErrUnexpectedEOF}, nil },
		"wrapped EOF":    func() (io.ReadCloser, error) { return &script{err: fmt.Errorf("pipe: %w", io.EOF)}, nil },
		"close":          func() (io.ReadCloser, error) { return closeFails{&script{data: random(1, 10), err: io.EOF}, died}, nil },
		"no progress":    func() (io.ReadCloser, error) { return &script{}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			b, k, w := testWriter(t)
			err := addFile(t, w, "dump", fn)
			if err == nil {
				err = w.Flush(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), "read dump") {
				t.Errorf("flush: %v, want an error naming the entry", err)
			}
			if _, cerr := w.Commit(t.Context(), manifest.Info{}); cerr == nil || cerr.Error() != err.Error() {
				t.Errorf("commit: %v, want %v again", cerr, err)
			}
			if err := addFile(t, w, "more", fn); err == nil {
				t.Error("add after the failure succeeded")
			}
			if _, ok, err := open(t, b, k.id).HasManifest(t.Context(), address, "p1"); ok || err != nil {
				t.Errorf("a point exists (%v)", err)
			}
		})
	}
}

type closeFails struct {
	io.Reader
	err error
}

func (c closeFails) Close() error { return c.err }

func TestFlushStores(t *testing.T) {
	b, k, w := testWriter(t)
	data := random(1, 100)
	if err := addFile(t, w, "a", func() (io.ReadCloser, error) { return &script{data: data, err: io.EOF}, nil }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.Stats(); got.Items != 1 || got.Bytes != 100 {
		t.Errorf("stats after flush: %+v", got)
	}
	if err := addFile(t, w, "b", func() (io.ReadCloser, error) { return &script{data: random(2, 50), err: io.EOF}, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context(), manifest.Info{}); err != nil {
		t.Fatal(err)
	}
	wantRestored(t, open(t, b, k.id), "p1", []file{{path: "a", data: data}, {path: "b", data: random(2, 50)}})
}

func TestAbortLeavesNoPoint(t *testing.T) {
	b, k, w := testWriter(t)
	if err := addFile(t, w, "a", func() (io.ReadCloser, error) { return &script{data: random(1, 50<<20), err: io.EOF}, nil }); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	w.Abort()
	if _, err := w.Commit(t.Context(), manifest.Info{}); err == nil {
		t.Error("commit after abort succeeded")
	}
	if points, err := open(t, b, k.id).Points(t.Context()); err != nil || len(points) > 0 {
		t.Errorf("points %v, %v", points, err)
	}
}

// TestManyEntries makes the entry list too long for the manifest itself; a second point shares it nearly whole.
func TestManyEntries(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	var files []file
	for i := range 20000 {
		files = append(files, file{fmt.Sprintf("folder %d/file %d", i/100, i), fmt.Appendf(nil, "content %d", i%5000), fmt.Sprint(i)})
	}
	first, _ := backup(t, open(t, b, k.id), "p1", files)
	files[10000] = file{files[10000].path, []byte("changed"), "other"}
	second, _ := backup(t, open(t, b, k.id), "p2", files)
	wantRestored(t, open(t, b, k.id), "p2", files)
	rd, err := open(t, b, k.id).OpenPoint(t.Context(), address, "p2")
	if err != nil {
		t.Fatal(err)
	}
	if rd.Header().Entries != manifest.EntriesChunks {
		t.Errorf("entries are %s, want them in chunks", rd.Header().Entries)
	}
	var paths, want []string
	if err := rd.Entries(t.Context(), func(e manifest.Entry) error { paths = append(paths, e.Path); return nil }); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		want = append(want, f.path)
	}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("order of entries (-want +got):\n%s", diff)
	}
	var some []string
	stop := errors.New("enough")
	err = rd.Read(t.Context(), func(e manifest.Entry) bool { return strings.HasSuffix(e.Path, "77") }, func(e manifest.Entry, r io.Reader) error {
		some = append(some, e.Path)
		if len(some) == 2 {
			return stop
		}
		return nil
	})
	if diff := cmp.Diff([]string{"folder 0/file 77", "folder 1/file 177"}, some); !errors.Is(err, stop) || diff != "" {
		t.Errorf("read of some: %v (-want +got):\n%s", err, diff)
	}
	hints := int64(len(files)) * 80
	if second.Stored > first.Stored/3+hints {
		t.Errorf("one changed file stored %d bytes; the first backup %d", second.Stored, first.Stored)
	}
}

func TestAllKindsOfEntries(t *testing.T) {
	b, k, w := testWriter(t)
	entries := []manifest.Entry{
		{Path: "dir", Type: manifest.TypeDir, Mode: 0o1755, UID: 1, GID: 2, User: "u", Group: "g", ModTime: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)},
		{Path: "dir/link", Type: manifest.TypeSymlink, Target: "../\"odd\" <target>&"},
		{Path: "dir/hard", Type: manifest.TypeHardlink, Target: "dir/file"},
		{Path: "pipe", Type: manifest.TypeFIFO, Xattrs: map[string][]byte{"user.x": {0, 255}}, Attrs: map[string]string{"a": "b"}, Sparse: true},
	}
	for _, e := range entries {
		if err := w.Add(t.Context(), e, repo.Content{}); err != nil {
			t.Fatal(err)
		}
	}
	info := manifest.Info{Time: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Source: "source.files.etc", Method: "files", Meta: map[string]string{"k": "v"}, PolicyText: []byte("p"), Incomplete: true}
	receipt, err := w.Commit(t.Context(), info)
	if err != nil {
		t.Fatal(err)
	}
	rd, err := open(t, b, k.id).OpenPoint(t.Context(), address, "p1")
	if err != nil {
		t.Fatal(err)
	}
	var got []manifest.Entry
	if err := rd.Entries(t.Context(), func(e manifest.Entry) error { got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(info, rd.Summary().Info); diff != "" {
		t.Errorf("info in the summary (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(info, rd.Header().Info); diff != "" {
		t.Errorf("info in the header (-want +got):\n%s", diff)
	}
	sum, ok, err := open(t, b).HasManifest(t.Context(), address, "p1")
	if err != nil || !ok || sum != receipt.Manifest || rd.Summary().ManifestSHA256 != sum {
		t.Errorf("manifest %s %v %v, receipt %s, summary %s", sum, ok, err, receipt.Manifest, rd.Summary().ManifestSHA256)
	}
}

// stripes gives blocks of text with a new byte here and there, the same however it is read.
type stripes struct {
	left  int
	block []byte
	rest  []byte
	seed  uint64
}

func (s *stripes) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, io.EOF
	}
	if len(s.rest) == 0 {
		for i := 0; i < len(s.block); i += 64 {
			s.seed = s.seed*6364136223846793005 + 1442695040888963407
			s.block[i] = byte(s.seed >> 56)
		}
		s.rest = s.block
	}
	n := copy(p, s.rest[:min(len(s.rest), s.left)])
	s.rest = s.rest[n:]
	s.left -= n
	return n, nil
}

func (s *stripes) Close() error { return nil }

// TestMemoryIsBounded backs up and reads back a synthetic stream of 1 GiB and watches the heap meanwhile.
func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("1 GiB of data")
	}
	const total = 1 << 30
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	runtime.GC()
	var base runtime.MemStats
	runtime.ReadMemStats(&base)
	var peak uint64
	look := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		held := uint64(b.size()) // of the bucket in memory, not of the engine
		if m.HeapAlloc > base.HeapAlloc+held {
			peak = max(peak, m.HeapAlloc-base.HeapAlloc-held)
		}
	}
	o := options("p1")
	o.Progress = func(repo.WriterStats) { look() }
	w, err := open(t, b, k.id).NewWriter(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	source := func() (io.ReadCloser, error) { return &stripes{left: total, block: text(1, 48<<10)}, nil }
	if err := addFile(t, w, "stream", source); err != nil {
		t.Fatal(err)
	}
	receipt, err := w.Commit(t.Context(), manifest.Info{})
	if err != nil {
		t.Fatal(err)
	}
	look()
	rd, err := open(t, b, k.id).OpenPoint(t.Context(), address, "p1")
	if err != nil {
		t.Fatal(err)
	}
	want, _ := source()
	err = rd.Read(t.Context(), nil, func(_ manifest.Entry, r io.Reader) error {
		got, expected := make([]byte, 1<<20), make([]byte, 1<<20)
		for at := 0; at < total; at += len(got) {
			if _, err := io.ReadFull(r, got); err != nil {
				return err
			}
			if _, err := io.ReadFull(want, expected); err != nil {
				return err
			}
			if !bytes.Equal(got, expected) {
				return fmt.Errorf("content differs in the MiB at %d", at)
			}
			if at%(64<<20) == 0 {
				look()
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("stored %d bytes, peak heap %d MiB", receipt.Stored, peak>>20)
	if peak > 380<<20 {
		t.Errorf("the heap grew to %d MiB", peak>>20)
	}
}

// parts gives its parts one after the other, with a request for a cut behind each but the last.
type parts struct{ list [][]byte }

var errCut = errors.New("cut")

func (p *parts) Read(b []byte) (int, error) {
	if len(p.list) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.list[0])
	if p.list[0] = p.list[0][n:]; len(p.list[0]) > 0 {
		return n, nil
	}
	if p.list = p.list[1:]; len(p.list) == 0 {
		return n, nil
	}
	return n, errCut
}

func (p *parts) Close() error { return nil }

// TestCutsMakePartsMovable: what stands between two cuts is recognised wherever it stands the next time, to the last byte,
// and is put together again as it was.
func TestCutsMakePartsMovable(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	heads := [][]byte{random(1, 700), random(2, 512), random(3, 1), random(4, 4097)}
	big := [][]byte{random(5, 3<<20), random(6, 300_001), random(7, 70<<10)}
	orders := [][][]byte{
		{heads[0], big[0], heads[1], big[1], heads[2], big[2]},
		{heads[3], big[2], heads[0], big[1], heads[3], big[0], heads[1]},
	}
	for i, order := range orders {
		o := options(fmt.Sprint("p", i))
		o.IsCut = func(err error) bool { return errors.Is(err, errCut) }
		w, err := open(t, b, k.id).NewWriter(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Abort)
		if err := addFile(t, w, "archive", func() (io.ReadCloser, error) { return &parts{list: slices.Clone(order)}, nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(t.Context(), manifest.Info{}); err != nil {
			t.Fatal(err)
		}
		var reused int
		if i > 0 {
			for _, part := range append(slices.Clone(big), heads[0], heads[1]) {
				reused += len(part)
			}
		}
		if got := w.Stats().Reused; got < int64(reused) {
			t.Errorf("point %d recognised %d bytes, want at least %d", i, got, reused)
		}
		wantRestored(t, open(t, b, k.id), o.Point, []file{{path: "archive", data: bytes.Join(order, nil)}})
	}
}

// TestOnlyCuts: a reader that gives nothing but cuts is stuck.
func TestOnlyCuts(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	o := options("p1")
	o.IsCut = func(err error) bool { return errors.Is(err, errCut) }
	w, err := open(t, b, k.id).NewWriter(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Abort)
	if err := addFile(t, w, "stuck", func() (io.ReadCloser, error) { return &script{err: errCut}, nil }); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(t.Context()); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("flush: %v, want that there is no progress", err)
	}
}
