// Package blobtest proves the guarantees of blob.Bucket on an implementation (Run), and lends tests of the layers above two
// wrappers: Faulty, which makes calls go wrong by a script, and Recorder, which logs them.
//
// It is not for production code; test/arch refuses the import. Each guarantee in the comment of blob.Bucket has at least
// one case here.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// Run proves every guarantee of blob.Bucket. The function open returns a new, empty bucket for each case; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) blob.Bucket) {
	cases := []struct {
		name string
		run  func(t *testing.T, b blob.Bucket)
	}{
		{"round trip", testRoundTrip},
		{"put replaces", testPutReplaces},
		{"create refuses", testCreateRefuses},
		{"create is atomic", testCreateAtomic},
		{"put is atomic", testPutAtomic},
		{"ranges", testRanges},
		{"absent objects", testAbsent},
		{"delete", testDelete},
		{"names", testNames},
		{"list order", testListOrder},
		{"list prefix", testListPrefix},
		{"list pages", testListPages},
		{"list stops", testListStops},
		{"concurrency", testConcurrency},
		{"buffers", testBuffers},
		{"context", testContext},
		{"close", testClose},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := open(t)
			t.Cleanup(func() { _ = b.Close() }) // a case may have closed it
			c.run(t, b)
		})
	}
}

// content makes n bytes that are the same for the same arguments and compress badly.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = r.Read(b)
	return b
}

func mustPut(t *testing.T, b blob.Bucket, name string, data []byte) {
	t.Helper()
	if err := b.Put(t.Context(), name, data); err != nil {
		t.Fatalf("put: %v", err)
	}
}

func wantObject(t *testing.T, b blob.Bucket, name string, want []byte) {
	t.Helper()
	got, err := b.Get(t.Context(), name)
	if err != nil {
		t.Errorf("get: %v", err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("get %s: %d bytes that differ from the %d put", name, len(got), len(want))
	}
}

func names(t *testing.T, b blob.Bucket, prefix string) []string {
	t.Helper()
	got := []string{}
	err := b.List(t.Context(), prefix, func(i blob.Info) error {
		got = append(got, i.Name)
		return nil
	})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return got
}

func testRoundTrip(t *testing.T, b blob.Bucket) {
	before := time.Now().Add(-2 * time.Second) // stores tell whole seconds
	for i, size := range []int{0, 1, 511, 4096, 1<<20 + 1, 20 << 20} {
		name := fmt.Sprintf("a/size-%d", size)
		data := content(uint64(i), size)
		write := b.Put
		if i%2 == 1 {
			write = b.Create
		}
		if err := write(t.Context(), name, data); err != nil {
			t.Fatalf("write: %v", err)
		}
		wantObject(t, b, name, data)
		info, err := b.Stat(t.Context(), name)
		if err != nil {
			t.Fatalf("stat: %v", err)
		}
		if info.Name != name || info.Size != int64(size) {
			t.Errorf("stat: got %s of %d bytes, want %s of %d", info.Name, info.Size, name, size)
		}
		if info.ModTime.Before(before) || info.ModTime.Location() != time.UTC {
			t.Errorf("stat: time %v is not the time of writing in UTC", info.ModTime)
		}
		var listed blob.Info
		if err := b.List(t.Context(), name, func(i blob.Info) error { listed = i; return nil }); err != nil {
			t.Fatalf("list: %v", err)
		}
		if listed.Name != name || listed.Size != int64(size) || listed.ModTime.Sub(info.ModTime).Abs() > time.Second {
			t.Errorf("list and stat differ: %+v, %+v", listed, info)
		}
	}
}

func testPutReplaces(t *testing.T, b blob.Bucket) {
	for _, size := range []int{100, 0, 5000, 7} {
		data := content(uint64(size), size)
		mustPut(t, b, "x", data)
		wantObject(t, b, "x", data)
	}
	if diff := cmp.Diff([]string{"x"}, names(t, b, "")); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func testCreateRefuses(t *testing.T, b blob.Bucket) {
	if err := b.Create(t.Context(), "a/b", []byte("first")); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"second", "first", ""} {
		err := b.Create(t.Context(), "a/b", []byte(data))
		if !errors.Is(err, blob.ErrExists) || blob.IsRetryable(err) {
			t.Errorf("create of a taken name: got %v, want a final ErrExists", err)
		}
	}
	wantObject(t, b, "a/b", []byte("first"))
	if err := b.Delete(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), "a/b", []byte("again")); err != nil {
		t.Errorf("create after delete: %v", err)
	}
	mustPut(t, b, "put", nil)
	if err := b.Create(t.Context(), "put", []byte("x")); !errors.Is(err, blob.ErrExists) {
		t.Errorf("create of an empty object's name: got %v, want ErrExists", err)
	}
}

func testCreateAtomic(t *testing.T, b blob.Bucket) {
	CreateRace(t, slices.Repeat([]blob.Bucket{b}, 16))
}

// CreateRace lets all buckets, which must be the same place, create the same names at once, and checks that for each name
// exactly one succeeds, the others hear ErrExists, and the object is the winner's.
func CreateRace(t *testing.T, buckets []blob.Bucket) {
	t.Helper()
	for round := range 8 {
		name := fmt.Sprintf("race/%d", round)
		errs := make([]error, len(buckets))
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i, b := range buckets {
			wg.Go(func() {
				<-start
				errs[i] = b.Create(t.Context(), name, racer(i))
			})
		}
		close(start)
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Errorf("%s: both %d and %d created it", name, winner, i)
			case err == nil:
				winner = i
			case !errors.Is(err, blob.ErrExists):
				t.Errorf("%s: racer %d: %v", name, i, err)
			}
		}
		if winner < 0 {
			t.Fatalf("%s: nobody created it: %v", name, errs)
		}
		wantObject(t, buckets[0], name, racer(winner))
	}
}

// racer differs in length too, so that a mixture of two cannot look right.
func racer(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 10_000+100*i) }

func testPutAtomic(t *testing.T, b blob.Bucket) {
	mustPut(t, b, "x", racer(0))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := b.Put(t.Context(), "x", racer((i+w)%8)); err != nil {
					t.Errorf("put: %v", err)
					return
				}
			}
		})
	}
	for range 100 {
		got, err := b.Get(t.Context(), "x")
		if err != nil {
			t.Errorf("get during puts: %v", err)
			break
		}
		if len(got) == 0 || !bytes.Equal(got, racer(int(got[0]-'a'))) {
			t.Errorf("get during puts: a torn object of %d bytes", len(got))
			break
		}
	}
	close(stop)
	wg.Wait()
}

func testRanges(t *testing.T, b blob.Bucket) {
	const size = 100_000
	data := content(1, size)
	mustPut(t, b, "x", data)
	mustPut(t, b, "empty", nil)
	for _, r := range [][2]int64{{0, size}, {0, 1}, {size - 1, 1}, {17, 4096}, {0, 0}, {50, 0}, {size, 0}} {
		got, err := b.GetRange(t.Context(), "x", r[0], r[1])
		if err != nil || got == nil || !bytes.Equal(got, data[r[0]:r[0]+r[1]]) {
			t.Errorf("range of %d bytes from %d: %d bytes, %v", r[1], r[0], len(got), err)
		}
	}
	for _, r := range [][2]int64{{0, size + 1}, {size, 1}, {size - 1, 2}, {size + 1, 0}, {size + 5, 1}, {-1, 1}, {0, -1}, {1, 1<<63 - 1}} {
		got, err := b.GetRange(t.Context(), "x", r[0], r[1])
		if err == nil || errors.Is(err, blob.ErrNotFound) || blob.IsRetryable(err) || !strings.Contains(err.Error(), "x") {
			t.Errorf("range of %d bytes from %d: %d bytes, %v; want a final error that names the object", r[1], r[0], len(got), err)
		}
	}
	if _, err := b.GetRange(t.Context(), "empty", 0, 0); err != nil {
		t.Errorf("empty range of an empty object: %v", err)
	}
}

func testAbsent(t *testing.T, b blob.Bucket) {
	mustPut(t, b, "folder/object", []byte("x"))
	mustPut(t, b, "object", []byte("x"))
	for _, name := range []string{"absent", "absent/too", "folder", "folder/absent", "object/below", "objec"} {
		_, gerr := b.Get(t.Context(), name)
		_, rerr := b.GetRange(t.Context(), name, 0, 1)
		_, zerr := b.GetRange(t.Context(), name, 0, 0)
		_, serr := b.Stat(t.Context(), name)
		for op, err := range map[string]error{"get": gerr, "range": rerr, "empty range": zerr, "stat": serr} {
			if !errors.Is(err, blob.ErrNotFound) || blob.IsRetryable(err) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s of %s: got %v, want a final ErrNotFound that names it", op, name, err)
			}
		}
	}
	if got := names(t, b, "absent/"); len(got) != 0 {
		t.Errorf("list of an absent prefix: %q", got)
	}
}

func testDelete(t *testing.T, b blob.Bucket) {
	mustPut(t, b, "a/b", []byte("x"))
	mustPut(t, b, "a/c", []byte("y"))
	for _, name := range []string{"a/b", "a/b", "never", "never/there", "a", "a/c/below"} {
		if err := b.Delete(t.Context(), name); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if diff := cmp.Diff([]string{"a/c"}, names(t, b, "")); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if _, err := b.Get(t.Context(), "a/b"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("get after delete: %v", err)
	}
	wantObject(t, b, "a/c", []byte("y"))
}

func testNames(t *testing.T, b blob.Bucket) {
	long := strings.Repeat("n", blob.MaxSegment)
	good := []string{
		"a", "a.b", ".hidden", "..a/..b", "a..b", "__x__0__", "-", "_", "=", "@", "+", "A/B/C/d/e/f/g", "x=1/y@2/z+3",
		long, strings.TrimSuffix(strings.Repeat(long[:99]+"/", blob.MaxName/100), "/"),
	}
	for _, name := range good {
		mustPut(t, b, name, []byte(name))
	}
	for _, name := range good {
		wantObject(t, b, name, []byte(name))
	}
	want := slices.Clone(good)
	slices.Sort(want)
	if diff := cmp.Diff(want, names(t, b, "")); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for _, name := range BadNames() {
		_, gerr := b.Get(t.Context(), name)
		_, rerr := b.GetRange(t.Context(), name, 0, 0)
		_, serr := b.Stat(t.Context(), name)
		errs := []error{
			gerr, rerr, serr, b.Put(t.Context(), name, nil), b.Create(t.Context(), name, nil), b.Delete(t.Context(), name),
		}
		for i, err := range errs {
			if err == nil || errors.Is(err, blob.ErrNotFound) {
				t.Errorf("operation %d on the bad name %.60q: %v", i, name, err)
			}
		}
		_ = names(t, b, name) // whatever the prefix, a listing must not fail or leave the bucket
	}
	if diff := cmp.Diff(want, names(t, b, "")); diff != "" {
		t.Errorf("names after bad names (-want +got):\n%s", diff)
	}
}

// BadNames returns names that no bucket accepts, hostile ones among them.
func BadNames() []string {
	return []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "...", "a../b", "a.", "a__0x2f__b", "../a", "a/..", "a/../b", "a/./b", "./a", "../../../../tmp/x", "/etc/passwd",
		"a b", "a\\b", "a:b", "a~b", "~", ".tmp~", ".tmp~/x", "a\x00b", "a\nb", "a%2fb", "a*", "a?b", "é", "a\xff", "a|b", "$(x)",
		strings.Repeat("n", blob.MaxSegment+1), strings.Repeat("n/", blob.MaxName/2) + "nn",
	}
}

func testListOrder(t *testing.T, b blob.Bucket) {
	// "-" and "." sort before "/", letters after it: the order of folders is not the order of names.
	want := []string{
		"A", "Z/a", "a+b", "a-b", "a-b-/c", "a.b/c", "a/b", "a/b-c/d", "a/b0", "a0", "a=b", "a@/b", "aa/b", "a_", "ab", "b",
	}
	slices.Sort(want)
	shuffled := slices.Clone(want)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, name := range shuffled {
		mustPut(t, b, name, []byte("x"))
	}
	if diff := cmp.Diff(want, names(t, b, "")); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func testListPrefix(t *testing.T, b blob.Bucket) {
	all := []string{"index/1", "packs-old/x", "packs/00/a", "packs/00/b", "packs/01/a", "packs/0a/b/c", "packs0", "points/p"}
	for _, name := range all {
		mustPut(t, b, name, []byte("x"))
	}
	for _, prefix := range []string{"", "p", "packs", "packs/", "packs/0", "packs/00", "packs/00/", "packs/00/a", "packs/0a/b/c", "packs/00/a/", "z", "packs/zz/y", "packs/0a/b", "//", "../"} {
		want := []string{}
		for _, name := range all {
			if strings.HasPrefix(name, prefix) {
				want = append(want, name)
			}
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, names(t, b, prefix)); diff != "" {
			t.Errorf("prefix %q (-want +got):\n%s", prefix, diff)
		}
	}
}

func testListPages(t *testing.T, b blob.Bucket) {
	const n = 2105 // services answer at most 1,000 at a time
	want := make([]string, n)
	var wg sync.WaitGroup
	work := make(chan string)
	for range 8 {
		wg.Go(func() {
			for name := range work {
				if err := b.Create(t.Context(), name, []byte(name)); err != nil {
					t.Errorf("create: %v", err)
				}
			}
		})
	}
	for i := range want {
		want[i] = fmt.Sprintf("packs/%02x/%06d", i%7, i)
		work <- want[i]
	}
	close(work)
	wg.Wait()
	slices.Sort(want)
	if diff := cmp.Diff(want, names(t, b, "")); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func testListStops(t *testing.T, b blob.Bucket) {
	for _, name := range []string{"a", "b", "c"} {
		mustPut(t, b, name, nil)
	}
	stop := blob.Retryable(errors.New("enough"))
	var got []string
	err := b.List(t.Context(), "", func(i blob.Info) error {
		if got = append(got, i.Name); len(got) == 2 {
			return stop
		}
		return nil
	})
	if err != stop {
		t.Errorf("list: got %v, want the function's own error", err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, got); diff != "" {
		t.Errorf("visited (-want +got):\n%s", diff)
	}
}

func testConcurrency(t *testing.T, b blob.Bucket) {
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				name := fmt.Sprintf("w/%d/%d", i, w) // all goroutines meet in new folders
				data := content(uint64(w*100+i), 1000*i)
				if err := b.Create(t.Context(), name, data); err != nil {
					t.Errorf("create: %v", err)
				}
				wantObject(t, b, name, data)
				if _, err := b.Stat(t.Context(), name); err != nil {
					t.Errorf("stat: %v", err)
				}
				if err := b.List(t.Context(), "w/", func(blob.Info) error { return nil }); err != nil {
					t.Errorf("list: %v", err)
				}
				if i%2 == 0 {
					if err := b.Delete(t.Context(), name); err != nil {
						t.Errorf("delete: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := len(names(t, b, "")); got != 40 {
		t.Errorf("%d objects are left, want 40", got)
	}
}

func testBuffers(t *testing.T, b blob.Bucket) {
	data := []byte("original")
	mustPut(t, b, "x", data)
	copy(data, "CHANGED!")
	got, err := b.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	copy(got, "CHANGED!")
	part, err := b.GetRange(t.Context(), "x", 0, 4)
	if err != nil {
		t.Fatal(err)
	}
	copy(part, "BAD!")
	wantObject(t, b, "x", []byte("original"))
}

func testContext(t *testing.T, b blob.Bucket) {
	mustPut(t, b, "x", []byte("x"))
	why := errors.New("the lease is lost")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	_, gerr := b.Get(ctx, "x")
	_, rerr := b.GetRange(ctx, "x", 0, 1)
	_, serr := b.Stat(ctx, "x")
	errs := map[string]error{
		"get": gerr, "range": rerr, "stat": serr,
		"put": b.Put(ctx, "y", nil), "create": b.Create(ctx, "z", nil), "delete": b.Delete(ctx, "x"),
		"list": b.List(ctx, "", func(blob.Info) error { return nil }),
	}
	for op, err := range errs {
		if !errors.Is(err, why) || blob.IsRetryable(err) {
			t.Errorf("%s with an ended context: got %v, want a final error with its cause", op, err)
		}
	}
	if diff := cmp.Diff([]string{"x"}, names(t, b, "")); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func testClose(t *testing.T, b blob.Bucket) {
	mustPut(t, b, "x", nil)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), "x"); err == nil || errors.Is(err, blob.ErrNotFound) {
		t.Errorf("get from a closed bucket: %v", err)
	}
	if err := b.Put(t.Context(), "y", nil); err == nil {
		t.Error("put into a closed bucket succeeded")
	}
	if err := b.List(t.Context(), "", func(blob.Info) error { return nil }); err == nil {
		t.Error("list of a closed bucket succeeded")
	}
}
