package files

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
)

// counting is a sink that stores nothing.
type counting struct {
	items int
	open  bool // read the content too
	buf   []byte
	each  func(n int)
}

func (c *counting) Add(_ context.Context, _ executors.Entry, content executors.Content) error {
	c.items++
	if c.each != nil {
		c.each(c.items)
	}
	if !c.open || content.Open == nil {
		return nil
	}
	r, err := content.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, c.buf)
	return err
}

// Err implements executors.Sink.
func (c *counting) Err() error { return nil }

func (c *counting) Flush(context.Context) error { return nil }

// manyFiles makes n small files, 500 to a directory.
func manyFiles(b testing.TB, n int) string {
	root := filepath.Join(b.TempDir(), "many")
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("d%04d/x/y", i/500))
		if i%500 == 0 {
			must(b, os.MkdirAll(dir, 0o755))
		}
		must(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%d", i)), []byte("small"), 0o644))
	}
	return root
}

func BenchmarkWalk(b *testing.B) {
	root := manyFiles(b, 100_000)
	for b.Loop() {
		c := &counting{}
		if _, err := New().Backup(b.Context(), executors.BackupRequest{Source: sourceOf(root)}, c); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(c.items), "items/op")
	}
}

func BenchmarkRead(b *testing.B) {
	root := manyFiles(b, 100_000)
	for b.Loop() {
		c := &counting{open: true, buf: make([]byte, 64<<10)}
		if _, err := New().Backup(b.Context(), executors.BackupRequest{Source: sourceOf(root)}, c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRestore writes from memory, so it measures the executor and the disk alone.
func BenchmarkRestore(b *testing.B) {
	small := make([]*executortest.Item, 0, 20_001)
	small = append(small, &executortest.Item{Entry: executors.Entry{Path: ".", Type: executors.TypeDir, Mode: 0o755}})
	for i := range 20_000 {
		small = append(small, fileItem(fmt.Sprintf("d%03d/x/file-%d", i/500, i), []byte("small")))
	}
	noise := make([]byte, 256<<20)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(noise)
	large := []*executortest.Item{fileItem("a", noise), fileItem("b", noise), fileItem("c", noise), fileItem("d", noise)}
	for _, c := range []struct {
		name  string
		items []*executortest.Item
	}{{"20000 small", small}, {"1 GiB large", large}} {
		b.Run(c.name, func(b *testing.B) {
			var size int64
			for _, it := range c.items {
				size += int64(len(it.Data))
			}
			b.SetBytes(size)
			for b.Loop() {
				req := executors.RestoreRequest{Target: executors.Target{Root: filepath.Join(b.TempDir(), "out")}}
				if _, err := New().Restore(b.Context(), req, executortest.NewSupply(c.items...)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func fileItem(path string, data []byte) *executortest.Item {
	return &executortest.Item{
		Entry: executors.Entry{Path: path, Type: executors.TypeFile, Mode: 0o644, Size: int64(len(data)), UID: os.Getuid(), GID: os.Getgid()},
		Data:  data,
	}
}
