package repo_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-io/holdfast/internal/blob/dir"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// ragLike appends about n bytes of rows like those of a RAG database: text of about 1.4 kB, a document of jsonb, 384 floats,
// and rows of pgbench.
func ragLike(dst []byte, seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 3))
	words := make([]string, 4000)
	for i := range words {
		for range 2 + rng.IntN(9) {
			words[i] += string(rune('a' + rng.IntN(26)))
		}
	}
	for row := 0; len(dst) < n; row++ {
		dst = append(dst, byte(row), byte(row>>8), byte(row>>16), 0, 2, 9, 24, 0)
		for end := len(dst) + 1000 + rng.IntN(800); len(dst) < end; {
			w := words[int(math.Abs(rng.NormFloat64())*600)%len(words)]
			dst = append(append(dst, w...), ' ')
		}
		dst = fmt.Appendf(dst, `{"lang":"en","source":"https://example.org/%s/%d","page":%d,"score":%f}`, words[rng.IntN(50)], rng.IntN(1e6), row%300, rng.Float64())
		for range 384 {
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(rng.NormFloat64()*0.05)))
		}
		for range 20 {
			dst = fmt.Appendf(dst, "%08d\t%d\t%d\t%s %s %s %s\n", row*20+rng.IntN(20), rng.IntN(20), rng.IntN(1e4), words[rng.IntN(400)], words[rng.IntN(400)], words[rng.IntN(400)], words[rng.IntN(400)])
		}
	}
	return dst
}

const (
	benchFiles    = 16
	benchFileSize = 64 << 20
)

// benchSource writes files once per run and returns their paths.
func benchSource(b *testing.B) []string {
	b.Helper()
	folder := b.TempDir()
	var paths []string
	for i := range benchFiles {
		path := filepath.Join(folder, fmt.Sprint("segment", i))
		if err := os.WriteFile(path, ragLike(nil, uint64(i), benchFileSize)[:benchFileSize], 0o600); err != nil {
			b.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

func ingest(b *testing.B, r *repo.Repository, point, level string, paths []string) repo.Receipt {
	b.Helper()
	o := options(point)
	o.Compression = level
	o.SizeHint = benchFiles * benchFileSize
	w, err := r.NewWriter(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Abort()
	for _, path := range paths {
		c := repo.Content{Open: func() (io.ReadCloser, error) { return os.Open(path) }, SizeHint: benchFileSize, Fingerprint: []byte("same")}
		if err := w.Add(b.Context(), manifest.Entry{Path: filepath.Base(path), Type: manifest.TypeFile}, c); err != nil {
			b.Fatal(err)
		}
	}
	receipt, err := w.Commit(b.Context(), manifest.Info{})
	if err != nil {
		b.Fatal(err)
	}
	return receipt
}

func BenchmarkPipeline(b *testing.B) {
	paths := benchSource(b)
	k := classic(b)
	for _, level := range []string{"none", "fast", "default", "better"} {
		b.Run("ingest/"+level, func(b *testing.B) {
			b.SetBytes(benchFiles * benchFileSize)
			for b.Loop() {
				b.StopTimer()
				bucket := benchBucket(b)
				initRepo(b, bucket, repo.InitOptions{Recipients: []string{k.public}})
				r := open(b, bucket, k.id)
				b.StartTimer()
				receipt := ingest(b, r, "p1", level, paths)
				b.ReportMetric(float64(receipt.Size)/float64(receipt.Stored), "ratio")
			}
		})
	}
	bucket := benchBucket(b)
	initRepo(b, bucket, repo.InitOptions{Recipients: []string{k.public}})
	ingest(b, open(b, bucket, k.id), "p000", "default", paths)
	b.Run("unchanged", func(b *testing.B) {
		point := 0
		for b.Loop() {
			point++
			ingest(b, open(b, bucket, k.id), fmt.Sprintf("p%03d", point), "default", paths)
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(benchFiles * benchFileSize)
		for b.Loop() {
			rd, err := open(b, bucket, k.id).OpenPoint(b.Context(), address, "p000")
			if err != nil {
				b.Fatal(err)
			}
			folder := b.TempDir()
			err = rd.Read(b.Context(), nil, func(e manifest.Entry, content io.Reader) error {
				f, err := os.Create(filepath.Join(folder, e.Path))
				if err != nil {
					return err
				}
				if _, err := io.Copy(f, content); err != nil {
					return err
				}
				return f.Close()
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func benchBucket(b *testing.B) *dir.Bucket {
	b.Helper()
	bucket, err := dir.Open(b.TempDir(), dir.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return bucket
}
