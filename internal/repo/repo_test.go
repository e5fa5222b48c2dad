package repo_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// memory is a bucket in memory that records writes and can fail at the n-th of them.
type memory struct {
	mu      sync.Mutex
	objects map[string][]byte
	times   map[string]time.Time
	log     []string
	puts    int
	failAt  int // the put that fails, counting from 1; 0 never
	gets    map[string]int
}

func newMemory() *memory {
	return &memory{objects: map[string][]byte{}, times: map[string]time.Time{}, gets: map[string]int{}}
}

var errPower = fmt.Errorf("power cut")

func (m *memory) write(name string, data []byte, create bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failAt > 0 && m.puts+1 >= m.failAt {
		return errPower // and everything after it
	}
	m.puts++
	if _, ok := m.objects[name]; ok && create {
		return fmt.Errorf("create %s: %w", name, blob.ErrExists)
	}
	m.objects[name] = bytes.Clone(data)
	m.times[name] = time.Now()
	m.log = append(m.log, "put "+name)
	return nil
}

func (m *memory) Put(_ context.Context, name string, data []byte) error {
	return m.write(name, data, false)
}

func (m *memory) Create(_ context.Context, name string, data []byte) error {
	return m.write(name, data, true)
}

func (m *memory) Get(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gets[name]++
	data, ok := m.objects[name]
	if !ok {
		return nil, fmt.Errorf("get %s: %w", name, blob.ErrNotFound)
	}
	return bytes.Clone(data), nil
}

func (m *memory) GetRange(_ context.Context, name string, offset, length int64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.objects[name]
	if !ok {
		return nil, fmt.Errorf("get %s: %w", name, blob.ErrNotFound)
	}
	if offset < 0 || length < 0 || offset+length > int64(len(data)) {
		return nil, fmt.Errorf("get %s: range %d+%d past the end", name, offset, length)
	}
	return bytes.Clone(data[offset : offset+length]), nil
}

func (m *memory) Stat(_ context.Context, name string) (blob.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.objects[name]
	if !ok {
		return blob.Info{}, fmt.Errorf("stat %s: %w", name, blob.ErrNotFound)
	}
	return blob.Info{Name: name, Size: int64(len(data)), ModTime: m.times[name]}, nil
}

func (m *memory) names(prefix string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.objects {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

func (m *memory) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	for _, name := range m.names(prefix) {
		info, err := m.Stat(ctx, name)
		if err != nil {
			continue
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Delete(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
	m.log = append(m.log, "delete "+name)
	return nil
}

func (m *memory) Close() error { return nil }

func (m *memory) size() (n int64) {
	for _, name := range m.names("") {
		n += int64(len(m.objects[name]))
	}
	return n
}

func (m *memory) clone() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMemory()
	for name, data := range m.objects {
		c.objects[name], c.times[name] = bytes.Clone(data), m.times[name]
	}
	return c
}

var _ blob.Bucket = (*memory)(nil)

// key is an identity and its recipient.
type key struct {
	id     age.Identity
	public string
}

func classic(t testing.TB) key {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return key{id, id.Recipient().String()}
}

func hybrid(t testing.TB) key {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return key{id, id.Recipient().String()}
}

// file is a path with content, as tests use it.
type file struct {
	path  string
	data  []byte
	print string // fingerprint; empty: always read
}

func initRepo(t testing.TB, b blob.Bucket, o repo.InitOptions) string {
	t.Helper()
	id, err := repo.Init(t.Context(), b, o)
	if err != nil {
		t.Fatalf("init: %v", err)
	}
	return id
}

func open(t testing.TB, b blob.Bucket, ids ...age.Identity) *repo.Repository {
	t.Helper()
	r, err := repo.Open(t.Context(), b, repo.OpenOptions{Identities: ids, Concurrency: 2})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return r
}

const address = `backup.app["eu/1"]`

func options(point string) repo.WriterOptions {
	return repo.WriterOptions{Address: address, Point: point}
}

func tryBackup(ctx context.Context, r *repo.Repository, o repo.WriterOptions, files []file) (repo.Receipt, repo.WriterStats, error) {
	w, err := r.NewWriter(ctx, o)
	if err != nil {
		return repo.Receipt{}, repo.WriterStats{}, err
	}
	defer w.Abort()
	for _, f := range files {
		c := repo.Content{
			Open:     func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(f.data)), nil },
			SizeHint: int64(len(f.data)), Fingerprint: []byte(f.print),
		}
		if err := w.Add(ctx, manifest.Entry{Path: f.path, Type: manifest.TypeFile, Mode: 0o600}, c); err != nil {
			return repo.Receipt{}, w.Stats(), err
		}
	}
	receipt, err := w.Commit(ctx, manifest.Info{Time: time.Date(2026, 11, 22, 2, 15, 0, 0, time.UTC), PolicyText: []byte("policy")})
	return receipt, w.Stats(), err
}

func backup(t testing.TB, r *repo.Repository, point string, files []file) (repo.Receipt, repo.WriterStats) {
	t.Helper()
	receipt, stats, err := tryBackup(t.Context(), r, options(point), files)
	if err != nil {
		t.Fatalf("backup %s: %v", point, err)
	}
	return receipt, stats
}

func tryRestore(ctx context.Context, r *repo.Repository, point string) ([]file, error) {
	rd, err := r.OpenPoint(ctx, address, point)
	if err != nil {
		return nil, err
	}
	var out []file
	err = rd.Read(ctx, nil, func(e manifest.Entry, content io.Reader) error {
		data, err := io.ReadAll(content)
		if err == nil && int64(len(data)) != e.Size {
			err = fmt.Errorf("%s: size %d, read %d", e.Path, e.Size, len(data))
		}
		out = append(out, file{path: e.Path, data: data})
		return err
	})
	return out, err
}

func wantRestored(t testing.TB, r *repo.Repository, point string, want []file) {
	t.Helper()
	got, err := tryRestore(t.Context(), r, point)
	if err != nil {
		t.Fatalf("restore %s: %v", point, err)
	}
	if len(got) != len(want) {
		t.Fatalf("restore %s: %d entries, want %d", point, len(got), len(want))
	}
	for i := range want {
		if got[i].path != want[i].path || !bytes.Equal(got[i].data, want[i].data) {
			t.Fatalf("restore %s: entry %d is %s with %d bytes, want %s with %d bytes (or other content)",
				point, i, got[i].path, len(got[i].data), want[i].path, len(want[i].data))
		}
	}
}

// random returns n bytes that do not compress, the same for the same seed.
func random(seed uint64, n int) []byte {
	out := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 7))
	for i := 0; i+8 <= n; i += 8 {
		v := rng.Uint64()
		for k := range 8 {
			out[i+k] = byte(v >> (8 * k))
		}
	}
	for i := n &^ 7; i < n; i++ {
		out[i] = byte(rng.Uint32())
	}
	return out
}

// text returns n bytes that compress, the same for the same seed.
func text(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 9))
	words := strings.Fields("restore point pack index manifest chunk seal summary hint recipient writer identity folder bucket object")
	var out bytes.Buffer
	for out.Len() < n {
		fmt.Fprintf(&out, "%s %d ", words[rng.IntN(len(words))], rng.IntN(100000))
	}
	return out.Bytes()[:n]
}

// boundarySizes are sizes around what the engine treats differently.
var boundarySizes = []int{0, 1, 2, 3, 63, 64, 65, 4095, 4096, 65535, 65536, 65537, 131071, 131072, 131073, 262143, 262144, 262145, 1<<20 - 1, 1 << 20, 1<<20 + 1, 2<<20 - 1, 2 << 20, 2<<20 + 1, 5<<20 + 3}

func boundaryFiles() []file {
	var files []file
	for i, n := range boundarySizes {
		files = append(files,
			file{path: fmt.Sprintf("random/%d", n), data: random(uint64(i), n), print: fmt.Sprint("r", n)},
			file{path: fmt.Sprintf("text/%d", n), data: text(uint64(i), n), print: fmt.Sprint("t", n)},
			file{path: fmt.Sprintf("zero/%d", n), data: make([]byte, n), print: fmt.Sprint("z", n)})
	}
	return files
}

func TestRoundTrip(t *testing.T) {
	reader, writer, pq := classic(t), classic(t), hybrid(t)
	files := boundaryFiles()
	for _, c := range []struct {
		name string
		init repo.InitOptions
		with age.Identity
	}{
		{"none", repo.InitOptions{None: true}, nil},
		{"classic", repo.InitOptions{Recipients: []string{reader.public}}, reader.id},
		{"post-quantum", repo.InitOptions{Recipients: []string{pq.public}}, pq.id},
		{"post-quantum with a classic writer", repo.InitOptions{Recipients: []string{pq.public}, Writers: []string{writer.public}}, pq.id},
	} {
		for _, level := range []string{"none", "fast", "default", "better"} {
			t.Run(c.name+"/"+level, func(t *testing.T) {
				b := newMemory()
				initRepo(t, b, c.init)
				var ids []age.Identity
				if c.with != nil {
					ids = append(ids, c.with)
				}
				r := open(t, b, ids...)
				o := options("p1")
				o.Compression = level
				receipt, _, err := tryBackup(t.Context(), r, o, files)
				if err != nil {
					t.Fatal(err)
				}
				if want := int64(len(files)); receipt.Items != want {
					t.Errorf("items %d, want %d", receipt.Items, want)
				}
				wantRestored(t, open(t, b, ids...), "p1", files)
			})
		}
	}
}

func TestSecondBackupStoresOnlyMetadata(t *testing.T) {
	k := classic(t)
	for _, fingerprints := range []bool{true, false} {
		t.Run(fmt.Sprint("fingerprints ", fingerprints), func(t *testing.T) {
			b := newMemory()
			initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
			files := boundaryFiles()
			if !fingerprints {
				for i := range files {
					files[i].print = ""
				}
			}
			first, _ := backup(t, open(t, b, k.id), "p1", files)
			packs := b.names("packs/")
			second, stats := backup(t, open(t, b, k.id), "p2", files)
			if diff := cmp.Diff(packs, b.names("packs/")); diff != "" {
				t.Errorf("packs after the second backup (-want +got):\n%s", diff)
			}
			if second.Stored > 64<<10 {
				t.Errorf("second backup stored %d bytes (the first %d)", second.Stored, first.Stored)
			}
			if stats.Reused != stats.Bytes || second.Size != first.Size {
				t.Errorf("reused %d of %d bytes, size %d, want all of %d", stats.Reused, stats.Bytes, second.Size, first.Size)
			}
			wantRestored(t, open(t, b, k.id), "p1", files)
			wantRestored(t, open(t, b, k.id), "p2", files)
		})
	}
}

func TestFingerprintSavesReading(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	files := []file{{"a", random(1, 300000), "1"}, {"b", random(2, 10), "1"}}
	backup(t, open(t, b, k.id), "p1", files)
	var opened []string
	w, err := open(t, b, k.id).NewWriter(t.Context(), options("p2"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for _, f := range []file{{"a", files[0].data, "1"}, {"b", []byte("other"), "2"}, {"c", nil, "1"}} {
		err := w.Add(t.Context(), manifest.Entry{Path: f.path, Type: manifest.TypeFile}, repo.Content{
			Fingerprint: []byte(f.print),
			Open: func() (io.ReadCloser, error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				opened = append(opened, f.path)
				return io.NopCloser(bytes.NewReader(f.data)), nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Commit(t.Context(), manifest.Info{}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(opened)
	if diff := cmp.Diff([]string{"b", "c"}, opened); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}
	wantRestored(t, open(t, b, k.id), "p2", []file{{path: "a", data: files[0].data}, {path: "b", data: []byte("other")}, {path: "c", data: []byte{}}})
	if got := b.names("hints/"); len(got) != 1 || !strings.Contains(got[0], "p2") {
		t.Errorf("hints left: %v", got)
	}
}
