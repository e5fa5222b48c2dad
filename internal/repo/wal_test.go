package repo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

const (
	pgSystem = 7301234567890123456
	segment  = 1 << 20 // bytes, the smallest that PostgreSQL allows
)

func walFile(t testing.TB, name string) wal.File {
	t.Helper()
	f, err := wal.Parse(pgSystem, name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// logOf returns the content of a segment: text, then zeros, as a segment that was switched early has them.
func logOf(seed uint64) []byte { return append(text(seed, segment/2), make([]byte, segment/2)...) }

func tryPush(ctx context.Context, r *repo.Repository, f wal.File, data []byte) (repo.WALReceipt, error) {
	return r.PushWAL(ctx, f, bytes.NewReader(data), int64(len(data)))
}

func push(t testing.TB, r *repo.Repository, name string, data []byte) repo.WALReceipt {
	t.Helper()
	receipt, err := tryPush(t.Context(), r, walFile(t, name), data)
	if err != nil {
		t.Fatalf("push %s: %v", name, err)
	}
	return receipt
}

func tryFetch(ctx context.Context, r *repo.Repository, f wal.File) ([]byte, repo.WALFetched, error) {
	var out bytes.Buffer
	got, err := r.FetchWAL(ctx, f, segment, &out)
	return out.Bytes(), got, err
}

func wantFetched(t testing.TB, r *repo.Repository, name string, want []byte) {
	t.Helper()
	got, told, err := tryFetch(t.Context(), r, walFile(t, name))
	if err != nil {
		t.Fatalf("fetch %s: %v", name, err)
	}
	if !bytes.Equal(got, want) || told.Size != int64(len(want)) || told.Real != told.Size {
		t.Fatalf("fetch %s: %d bytes, %+v; want %d bytes (or other content)", name, len(got), told, len(want))
	}
}

const (
	seg1 = "000000010000000000000001"
	seg2 = "000000010000000000000002"
	seg3 = "000000010000000000000003"
)

func TestWALRoundTrip(t *testing.T) {
	reader, writer, pq := classic(t), classic(t), hybrid(t)
	for _, c := range []struct {
		name        string
		init        repo.InitOptions
		push, fetch []age.Identity
	}{
		{"none", repo.InitOptions{None: true}, nil, nil},
		{"classic", repo.InitOptions{Recipients: []string{reader.public}}, []age.Identity{reader.id}, []age.Identity{reader.id}},
		{
			"post-quantum, pushed by a writer",
			repo.InitOptions{Recipients: []string{pq.public}, Writers: []string{writer.public}},
			[]age.Identity{writer.id},
			[]age.Identity{pq.id},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newMemory()
			initRepo(t, b, c.init)
			host := open(t, b, c.push...)
			contents := map[string][]byte{
				seg1: logOf(1), seg2: random(2, segment), seg3: make([]byte, segment), seg3 + ".partial": logOf(3), "00000002.history": []byte("1\t0/3000000\tno recovery target\n"),
				seg2 + ".00000028.backup": text(4, 300), "000000020000000000000003.00000000-00000005": []byte("12345"), "000000010000000000000004": random(5, 16*segment),
			}
			for name, data := range contents {
				if receipt := push(t, host, name, data); receipt.Existed || receipt.Stored <= 0 {
					t.Errorf("push %s: %+v", name, receipt)
				}
			}
			for name, data := range contents {
				if walFile(t, name).Kind == wal.Piece {
					continue
				}
				wantFetched(t, open(t, b, c.fetch...), name, data)
			}
			files, err := host.WALFiles(t.Context(), pgSystem)
			if err != nil || len(files) != len(contents) {
				t.Fatalf("%d files are listed of %d: %v", len(files), len(contents), err)
			}
			var stored int64
			for _, name := range b.names("wal/") {
				if !strings.HasSuffix(name, ".claim") {
					stored += int64(len(b.objects[name]))
				}
			}
			for i, f := range files {
				if i > 0 && wal.Compare(files[i-1], f) >= 0 || f.Time.IsZero() {
					t.Errorf("%s is not in order or has no time", f.Name())
				}
				stored -= f.Bytes
			}
			if stored != 0 {
				t.Errorf("the files' bytes miss those stored by %d", stored)
			}
		})
	}
}

// TestWALSegmentSize: any whole segment tells, pieces and other files do not, and a claim that cannot be read gives way to the next.
func TestWALSegmentSize(t *testing.T) {
	reader, writer := classic(t), classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{reader.public}, Writers: []string{writer.public}})
	r := open(t, b, writer.id)
	size := func(r *repo.Repository) (int64, error) {
		files, err := r.WALFiles(t.Context(), pgSystem)
		if err != nil {
			t.Fatal(err)
		}
		return r.WALSegmentSize(t.Context(), files)
	}
	push(t, r, seg1+".00000000-00000005", []byte("12345"))
	push(t, r, "00000002.history", []byte("1\t0/3000000\tx\n"))
	if got, err := size(r); got != 0 || err != nil {
		t.Errorf("without a whole segment: %d, %v", got, err)
	}
	push(t, r, seg2, logOf(2))
	push(t, r, seg3, logOf(3))
	if got, err := size(r); got != segment || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
	if err := b.Delete(t.Context(), "wal/"+walFile(t, seg2).Path()+".claim"); err != nil {
		t.Fatal(err)
	}
	if got, err := size(r); got != segment || err != nil {
		t.Errorf("after a claim was lost: %d, %v", got, err)
	}
	var none *repo.KeyError
	if got, err := size(open(t, b)); !errors.As(err, &none) {
		t.Errorf("without a key: %d, %v", got, err)
	}
}

func TestWALLists(t *testing.T) {
	b := newMemory()
	initRepo(t, b, repo.InitOptions{None: true})
	r := open(t, b)
	push(t, r, seg2, logOf(2))
	push(t, r, seg1, logOf(1))
	push(t, r, seg3+".00000000-00000005", []byte("12345"))
	push(t, r, "00000002.history", []byte("1\t0/3000000\tx\n"))
	push(t, r, "000000020000000000000003", logOf(4))
	other := walFile(t, seg1)
	other.System = 9
	if _, err := tryPush(t.Context(), r, other, logOf(7)); err != nil {
		t.Fatal(err)
	}
	names := func(timelines ...uint32) (out []string) {
		files, err := r.WALFiles(t.Context(), pgSystem, timelines...)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			out = append(out, f.Name())
		}
		return out
	}
	all := []string{seg1, seg2, seg3 + ".00000000-00000005", "00000002.history", "000000020000000000000003"}
	if diff := cmp.Diff(all, names()); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all[3:], names(2)); diff != "" {
		t.Errorf("timeline 2 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all, names(2, 1, 2, 5)); diff != "" {
		t.Errorf("timelines 2, 1, 2, 5 (-want +got):\n%s", diff)
	}
	systems, err := r.WALSystems(t.Context())
	if diff := cmp.Diff([]uint64{9, pgSystem}, systems); err != nil || diff != "" {
		t.Errorf("systems: %v (-want +got):\n%s", err, diff)
	}
}

// TestWALPushTwice: the same again is fine, another content is refused, and a writer's key is enough to tell them apart.
func TestWALPushTwice(t *testing.T) {
	reader, writer := classic(t), classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{reader.public}, Writers: []string{writer.public}})
	for _, name := range []string{seg1, seg2 + ".00000000-00100000", "00000002.history"} {
		data := logOf(1)
		if strings.HasSuffix(name, "history") {
			data = []byte("1\t0/3000000\tx\n")
		}
		push(t, open(t, b, writer.id), name, data)
		before := b.names("")
		if receipt := push(t, open(t, b, writer.id), name, data); !receipt.Existed || receipt.Stored != 0 {
			t.Errorf("push %s again: %+v", name, receipt)
		}
		other := bytes.Clone(data)
		other[len(other)-1] ^= 1
		_, err := tryPush(t.Context(), open(t, b, writer.id), walFile(t, name), other)
		var conflict *repo.WALConflictError
		if !errors.As(err, &conflict) || conflict.File != walFile(t, name) || conflict.Have.Sum == conflict.Pushed.Sum || conflict.Since.IsZero() {
			t.Errorf("push %s with another content: %v", name, err)
		} else if !strings.Contains(err.Error(), "Two servers write log") || !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not say what it means: %v", err)
		}
		if diff := cmp.Diff(before, b.names("")); diff != "" {
			t.Errorf("%s: what is stored changed (-want +got):\n%s", name, diff)
		}
	}
	wantFetched(t, open(t, b, reader.id), seg1, logOf(1))
	// Who has the writer's key alone reads nothing.
	host := open(t, b, writer.id)
	var keyErr *repo.KeyError
	if _, _, err := tryFetch(t.Context(), host, walFile(t, seg1)); !errors.As(err, &keyErr) || keyErr.Need != "read" {
		t.Errorf("fetch with a writer's key: %v", err)
	}
	for _, name := range b.names("wal/") {
		if tryOpen(b.objects[name], writer.id) != nil {
			t.Errorf("%s opens to the writer", name)
		}
	}
	if _, err := tryPush(t.Context(), open(t, b), walFile(t, seg3), logOf(3)); !errors.As(err, &keyErr) || keyErr.Need != "write" {
		t.Errorf("push without a key: %v", err)
	}
}

func TestWALPushRefuses(t *testing.T) {
	b := newMemory()
	initRepo(t, b, repo.InitOptions{None: true})
	r := open(t, b)
	for name, c := range map[string]struct {
		file    string
		content int
		size    int64
	}{
		"cut off":             {seg1, segment - 1, segment - 1},
		"shorter than told":   {seg1, segment - 1, segment},
		"longer than told":    {seg1, segment + 1, segment},
		"another piece":       {seg1 + ".00000000-00000005", 6, 6},
		"an empty history":    {"00000002.history", 0, 0},
		"a huge history":      {"00000002.history", segment + 1, segment + 1},
		"a size below 0":      {seg1, 5, -5},
		"a size beyond 1 GiB": {seg1, 5, 1 << 40},
	} {
		if _, err := r.PushWAL(t.Context(), walFile(t, c.file), bytes.NewReader(make([]byte, c.content)), c.size); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := tryPush(t.Context(), r, wal.File{}, nil); err == nil {
		t.Error("no file: accepted")
	}
	if names := b.names("wal/"); len(names) > 0 {
		t.Errorf("what was refused left %v", names)
	}
}

// TestWALPieces: the zero-filled end of a segment in pieces, and what they cannot stand for.
func TestWALPieces(t *testing.T) {
	data := random(1, 2*segment)
	piece := func(from, to int) string { return fmt.Sprintf("%s.%08X-%08X", seg2, from, to) }
	for _, c := range []struct {
		name   string
		pieces [][2]int
		later  string
		real   int
		gap    bool
		lost   bool
		wrong  bool // segment size
	}{
		{name: "one", pieces: [][2]int{{0, 100}}, real: 100},
		{name: "three", pieces: [][2]int{{0, 100}, {100, 5000}, {5000, 5001}}, real: 5001},
		{name: "overlapping", pieces: [][2]int{{0, 100}, {0, 300}, {200, 70000}, {250, 260}}, real: 70000},
		{name: "all of it", pieces: [][2]int{{0, segment / 2}, {segment / 2, segment}}, real: segment, later: seg3},
		{name: "a hole", pieces: [][2]int{{0, 100}, {101, 200}}, real: 100},
		{name: "without the first", pieces: [][2]int{{1, 200}}, lost: true},
		{name: "a later segment", pieces: [][2]int{{0, 100}}, later: seg3, real: 100, gap: true},
		{name: "a later piece", pieces: [][2]int{{0, 100}}, later: seg3 + ".00000000-00100000", real: 100, gap: true},
		{name: "pieces of larger segments", pieces: [][2]int{{0, 100}, {100, 2 * segment}}, wrong: true},
		{name: "nothing, and a later segment", later: seg3, gap: true},
	} {
		b := newMemory()
		initRepo(t, b, repo.InitOptions{None: true})
		r := open(t, b)
		push(t, r, seg1, logOf(1))
		for _, p := range c.pieces {
			push(t, r, piece(p[0], p[1]), data[p[0]:p[1]])
		}
		if c.later != "" {
			push(t, r, c.later, logOf(3))
		}
		got, told, err := tryFetch(t.Context(), r, walFile(t, seg2))
		var gap *repo.WALGapError
		var lost *repo.DamagedError
		switch {
		case c.gap:
			if !errors.As(err, &gap) || gap.Real != int64(c.real) || gap.Next != walFile(t, c.later) || errors.Is(err, repo.ErrNoWAL) {
				t.Errorf("%s: %v", c.name, err)
			}
		case c.wrong:
			if err == nil || !strings.Contains(err.Error(), "ends beyond") || errors.Is(err, repo.ErrNoWAL) {
				t.Errorf("%s: %v", c.name, err)
			}
		case c.lost:
			if !errors.As(err, &lost) || !strings.Contains(lost.Object, piece(0, 1)) {
				t.Errorf("%s: %v", c.name, err)
			}
		default:
			want := append(bytes.Clone(data[:c.real]), make([]byte, segment-c.real)...)
			if err != nil || !bytes.Equal(got, want) || told != (repo.WALFetched{Size: segment, Real: int64(c.real)}) {
				t.Errorf("%s: %d bytes, %+v, %v", c.name, len(got), told, err)
			}
		}
	}
}

// TestWALPiecesGiveWay: pieces go when the whole segment is stored and sound, and only then.
func TestWALPiecesGiveWay(t *testing.T) {
	k, host := classic(t), classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}, Writers: []string{host.public}})
	r := open(t, b, host.id)
	data := logOf(1)
	push(t, r, seg1+".00000000-00000064", data[:100])
	push(t, r, seg1+".00000064-00000065", data[100:101])
	push(t, r, seg1+".partial", data)
	push(t, r, seg2+".00000000-00000064", data[:100])
	if err := r.DropWALPieces(t.Context(), walFile(t, seg1)); !errors.Is(err, repo.ErrNoWAL) {
		t.Errorf("without the whole: %v", err)
	}
	push(t, r, seg1, data)
	broken := b.clone()
	for _, name := range broken.names("wal/") {
		if strings.Contains(name, "/"+seg1+".") && len(broken.objects[name]) > 5000 && !strings.Contains(name, "partial") {
			broken.objects[name][4000] ^= 1
		}
	}
	var d *repo.DamagedError
	if err := open(t, broken, host.id).DropWALPieces(t.Context(), walFile(t, seg1)); !errors.As(err, &d) {
		t.Errorf("with a damaged whole: %v", err)
	}
	if len(broken.names("wal/")) != len(b.names("wal/")) {
		t.Error("pieces went though the whole is damaged")
	}
	for range 2 {
		if err := r.DropWALPieces(t.Context(), walFile(t, seg1)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := r.WALFiles(t.Context(), pgSystem)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, f := range files {
		left = append(left, f.Name())
	}
	if diff := cmp.Diff([]string{seg1, seg1 + ".partial", seg2 + ".00000000-00000064"}, left); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if claims := slices.DeleteFunc(b.names("wal/"), func(n string) bool { return !strings.HasSuffix(n, ".claim") }); len(claims) != 3 {
		t.Errorf("claims left: %v", claims)
	}
	wantFetched(t, open(t, b, k.id), seg1, data)
}

func TestWALDelete(t *testing.T) {
	b := newMemory()
	initRepo(t, b, repo.InitOptions{None: true})
	r := open(t, b)
	for _, name := range []string{seg1, seg2, seg3, "00000002.history", "000000020000000000000003"} {
		data := logOf(1)
		if strings.HasSuffix(name, "history") {
			data = data[:20]
		}
		push(t, r, name, data)
	}
	b.log = nil
	if err := r.DeleteWAL(t.Context(), walFile(t, seg2), walFile(t, seg1), walFile(t, "00000002.history"), walFile(t, "000000010000000000000009")); err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i, l := range b.log {
		f, kind, _ := strings.Cut(l[strings.LastIndexByte(l, '/')+1:], ".")
		if kind == "claim" {
			kind = " claim"
		} else {
			kind = " content"
		}
		at[f+kind] = i
	}
	for _, f := range []string{seg1, seg2} {
		if content, ok := at[f+" content"]; !ok || content > at[f+" claim"] {
			t.Errorf("%s: the claim went first: %v", f, b.log)
		}
	}
	files, err := r.WALFiles(t.Context(), pgSystem)
	if err != nil || len(files) != 2 || files[0].Name() != seg3 || files[1].Name() != "000000020000000000000003" {
		t.Errorf("left: %v, %v", files, err)
	}
	if err := r.DeleteWAL(t.Context(), wal.File{System: 1}); err == nil {
		t.Error("a malformed name is accepted")
	}
	if err := r.DeleteWAL(t.Context()); err != nil {
		t.Error(err)
	}
	_, _, err = tryFetch(t.Context(), r, walFile(t, "00000002.history"))
	if !errors.Is(err, repo.ErrNoWAL) || errors.Is(err, blob.ErrNotFound) {
		t.Errorf("fetch of what was deleted: %v", err)
	}
}
