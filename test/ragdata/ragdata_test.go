package ragdata

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// digest hashes names and contents of a tree.
func digest(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		fmt.Fprintf(h, "%s %x\n", path, sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// TestSameBytes pins the data: figures measured on it can be compared only while it stays what it was.
func TestSameBytes(t *testing.T) {
	tree := Tree{Seed: 1, Size: 48 << 20} // more than one piece
	a, b := t.TempDir(), t.TempDir()
	var got [2][]string
	for i, dir := range []string{a, b} {
		if err := tree.Write(dir); err != nil {
			t.Fatal(err)
		}
		got[i] = append(got[i], digest(t, dir))
		if _, err := tree.ChangeRandom(dir, 1); err != nil {
			t.Fatal(err)
		}
		got[i] = append(got[i], digest(t, dir))
		if _, err := tree.ChangeOnePlace(dir, 2); err != nil {
			t.Fatal(err)
		}
		got[i] = append(got[i], digest(t, dir))
	}
	if diff := cmp.Diff(got[0], got[1]); diff != "" {
		t.Errorf("two trees of one seed differ (-first +second):\n%s", diff)
	}
	want := []string{"be351eecca0a5f10", "361365f4ccccc74b", "84844df4d5da73e5"}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("the data changed: measure everything in docs/benchmarks.md again (-want +got):\n%s", diff)
	}
}

func TestSizeAndCompressibility(t *testing.T) {
	dir := t.TempDir()
	tree := Tree{Seed: 3, Size: 40 << 20}
	if err := tree.Write(dir); err != nil {
		t.Fatal(err)
	}
	plain, stored := int64(0), int64(0)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		plain += int64(len(b))
		stored += int64(len(enc.EncodeAll(b, nil)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if plain < tree.Size*97/100 || plain > tree.Size*103/100 {
		t.Errorf("%d bytes, want about %d", plain, tree.Size)
	}
	if ratio := float64(plain) / float64(stored); ratio < 2.4 || ratio > 3.1 {
		t.Errorf("compresses %.2f to 1; real data of this kind 2.4 to 3.1", ratio)
	}
}

func TestChangeTouchesOnePercent(t *testing.T) {
	dir := t.TempDir()
	tree := Tree{Seed: 1, Size: 16 << 20}
	if err := tree.Write(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "data/base/16384/16389") // embeddings, five rows a page
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.ChangeRandom(dir, 1); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed, pages := 0, len(before)/pageSize
	for i := range pages {
		if !bytes.Equal(before[i*pageSize:][:pageSize], after[i*pageSize:][:pageSize]) {
			changed++
		}
	}
	if share := float64(changed) / float64(pages); len(before) != len(after) || share < 0.02 || share > 0.09 {
		t.Errorf("%d of %d pages changed, want about one in twenty", changed, pages)
	}
}

// TestCopyText checks that the stream is the rows, whatever the size of the reader's buffer.
func TestCopyText(t *testing.T) {
	d := Database{Seed: 1, Chunks: 64}
	for _, table := range Tables {
		var want []byte
		for row := range d.rows(table) {
			want = d.appendRow(want, table, row, 0)
		}
		got, err := io.ReadAll(&oneByte{&reader{Database: d, table: table, end: d.rows(table)}})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s: the stream of %d bytes is not the rows' %d bytes", table, len(got), len(want))
		}
		if lines := int64(bytes.Count(got, []byte("\n"))); lines != d.rows(table) {
			t.Errorf("%s: %d lines, want %d", table, lines, d.rows(table))
		}
	}
}

type oneByte struct{ r io.Reader }

func (o *oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{"4GiB": 4 << 30, "300MiB": 300 << 20, "1KiB": 1 << 10} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "4", "GiB", "-1GiB", "0MiB", "4GB", "1.5GiB"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", in, got)
		}
	}
}
