package qdrant

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/qdrant/archive"
)

// tape is an archive in the making, and where it should be cut.
type tape struct {
	bytes.Buffer
	w    *tar.Writer
	cuts []int
}

func newTape() *tape {
	a := &tape{}
	a.w = tar.NewWriter(&a.Buffer)
	return a
}

func (a *tape) mark(begin, size int) {
	if size >= archive.MinPart {
		a.cuts = append(a.cuts, begin, begin+size)
	}
}

// file puts a member; parts within it are those of an archive that its content is.
func (a *tape) file(name string, content []byte, parts ...int) {
	if err := a.w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), Format: tar.FormatGNU}); err != nil {
		panic(err)
	}
	a.mark(a.Len(), len(content))
	for _, p := range parts {
		a.cuts = append(a.cuts, a.Len()+p)
	}
	_, _ = a.w.Write(content)
	_ = a.w.Flush() // pads it
}

// sparse puts a member as old GNU tar does, with its map in the header and in as many blocks behind it.
func (a *tape) sparse(name string, content []byte, extensions int) {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00", 0o600, 0, 0, len(content), 0))
	copy(h[148:], "        S")
	copy(h[257:], "ustar  \x00")
	h[482] = byte(min(extensions, 1))
	copy(h[483:], fmt.Sprintf("%011o\x00", 64<<20))
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	a.Write(h)
	for i := range extensions {
		more := make([]byte, 512)
		more[504] = byte(min(extensions-1-i, 1))
		a.Write(more)
	}
	a.mark(a.Len(), len(content))
	a.Write(content)
	a.Write(make([]byte, -len(content)&511))
}

// drawTape makes the archive of a shard with members of all kinds and sizes.
func drawTape(rt *rapid.T) *tape {
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 3)) // #nosec G404: the same each time
	bytesOf := func() []byte {
		size := rapid.SampledFrom([]int{0, 1, 511, 512, 513, 6000, archive.MinPart - 1, archive.MinPart, archive.MinPart + 1, 2*archive.MinPart + 700}).Draw(rt, "size")
		out := make([]byte, size)
		for i := range out {
			out[i] = byte(random.Uint32())
		}
		return out
	}
	a := newTape()
	for i := range rapid.IntRange(1, 5).Draw(rt, "members") {
		switch rapid.SampledFrom([]string{"plain", "long", "sparse", "nested"}).Draw(rt, "kind") {
		case "plain":
			a.file(fmt.Sprintf("segments/a/files/%d.mmap", i), bytesOf())
		case "long":
			a.file(fmt.Sprintf("segments/a/files/%s%d.mmap", strings.Repeat("long/", 40), i), bytesOf())
		case "sparse":
			a.sparse(fmt.Sprintf("wal/open-%d", i), bytesOf(), rapid.IntRange(0, 3).Draw(rt, "map"))
		case "nested":
			in := newTape()
			in.file("snapshot/files/segment.json", []byte("{}"))
			for j := range rapid.IntRange(0, 2).Draw(rt, "inside") {
				in.file(fmt.Sprintf("snapshot/files/%d.dat", j), bytesOf())
			}
			in.sparse("snapshot/files/page_0.dat", bytesOf(), 1)
			in.file("snapshot/files/version.info", []byte("0.6.0"))
			a.file(fmt.Sprintf("segments/n%d.tar", i), in.Bytes(), in.cuts...)
		}
	}
	a.file("segments/a/files/segment.json", []byte("{}"))
	a.file("segments/a/files/version.info", []byte("0.6.0"))
	a.file("replica_state.json", []byte("{}"))
	a.file("shard_config.json", []byte("{}"))
	a.Write(make([]byte, 1024))
	slices.Sort(a.cuts)
	a.cuts = slices.Compact(a.cuts)
	return a
}

// uneven gives at most so many bytes at once, another number each time.
type uneven struct {
	r      io.Reader
	random *rand.Rand
	most   int
}

func (u uneven) Read(p []byte) (int, error) {
	return u.r.Read(p[:min(len(p), 1+u.random.IntN(u.most))])
}

// readCuts reads to the end, and tells where it was cut.
func readCuts(t rapid.TB, r io.Reader, next func() int) (got []byte, cuts []int, err error) {
	buf := make([]byte, 1<<20)
	for {
		n, err := r.Read(buf[:next()])
		got = append(got, buf[:n]...)
		switch {
		case errors.Is(err, executors.ErrCut):
			if n == 0 {
				t.Fatalf("a cut at %d comes without bytes", len(got))
			}
			cuts = append(cuts, len(got))
		case err != nil:
			return got, cuts, err
		}
	}
}

// Whatever the sizes of blocks are, the bytes are those that came, and cuts stand at the ends of large members and nowhere
// else.
func TestFollow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := drawTape(rt)
		seed := rapid.Uint64().Draw(rt, "blocks")
		random := rand.New(rand.NewPCG(seed, 4)) // #nosec G404: the same each time
		most := rapid.SampledFrom([]int{600, 40 << 10, 1 << 20}).Draw(rt, "read")
		var judged followed
		var src io.Reader = uneven{bytes.NewReader(a.Bytes()), rand.New(rand.NewPCG(seed, 5)), rapid.SampledFrom([]int{700, 50 << 10, 2 << 20}).Draw(rt, "block")} // #nosec G404
		if rapid.Bool().Draw(rt, "end beside bytes") {
			src = iotest.DataErrReader(src)
		}
		f := follow(src, func(f followed) error {
			judged = f
			return f.report.Whole()
		})
		got, cuts, err := readCuts(rt, f, func() int { return 1 + random.IntN(most) })
		if err != io.EOF { //nolint:errorlint // nothing else is the end
			rt.Fatalf("it ended with %v", err)
		}
		if n, err := f.Read(make([]byte, 10)); n != 0 || err != io.EOF { //nolint:errorlint // see above
			rt.Errorf("behind the end there are %d bytes, %v", n, err)
		}
		if !bytes.Equal(got, a.Bytes()) {
			rt.Error("the bytes differ")
		}
		if !slices.Equal(cuts, a.cuts) {
			rt.Errorf("cuts are at %v, want %v", cuts, a.cuts)
		}
		sum := sha256.Sum256(a.Bytes())
		if judged.sha256 != hex.EncodeToString(sum[:]) || judged.report.Bytes != int64(a.Len()) {
			rt.Errorf("judged were %d bytes with the sum %s", judged.report.Bytes, judged.sha256)
		}
	})
}

// An archive that ends too early never ends with io.EOF, and an error of the source stays what it is.
func TestFollowNeverEndsEarly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := drawTape(rt)
		cut := rapid.IntRange(0, a.Len()-1).Draw(rt, "cut")
		broken := rapid.Bool().Draw(rt, "broken")
		var src io.Reader = bytes.NewReader(a.Bytes()[:cut])
		if broken {
			src = io.MultiReader(src, iotest.ErrReader(errBroken))
		}
		f := follow(src, func(f followed) error { return f.report.Whole() })
		got, _, err := readCuts(rt, f, func() int { return 100 << 10 })
		if err == io.EOF || err == nil || broken != errors.Is(err, errBroken) { //nolint:errorlint // nothing else is the end
			rt.Errorf("cut at %d of %d it ended with %v", cut, a.Len(), err)
		}
		if !bytes.Equal(got, a.Bytes()[:cut]) {
			rt.Error("the bytes differ")
		}
		if _, again := f.Read(make([]byte, 10)); again == nil || again.Error() != err.Error() {
			rt.Errorf("the second time it ended with %v, at first with %v", again, err)
		}
	})
}

// What is no archive passes unchanged and uncut.
func TestFollowAnythingElse(t *testing.T) {
	data := bytes.Repeat([]byte("no archive at all "), 40000)
	f := follow(bytes.NewReader(data), nil)
	got, cuts, err := readCuts(t, f, func() int { return 5000 })
	if err != io.EOF || len(cuts) > 0 || !bytes.Equal(got, data) { //nolint:errorlint // nothing else is the end
		t.Errorf("%d of %d bytes, cuts %v, %v", len(got), len(data), cuts, err)
	}
	if f.result().report.Whole() == nil {
		t.Error("it counts as whole")
	}
}

func BenchmarkFollow(b *testing.B) {
	a := newTape()
	for i := range 8 {
		a.file(fmt.Sprintf("segments/a/files/chunk_%d.mmap", i), make([]byte, 8<<20))
	}
	a.Write(make([]byte, 1024))
	b.SetBytes(int64(a.Len()))
	for b.Loop() {
		readCuts(b, follow(bytes.NewReader(a.Bytes()), nil), func() int { return 256 << 10 }) //nolint:errcheck // TestFollow looks at it
	}
}
