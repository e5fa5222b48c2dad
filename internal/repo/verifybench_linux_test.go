package repo_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/internal/blob/dir"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// BenchmarkVerify compares verification of 2 GiB that do not compress with plain reading of the same files, both from the
// disk (the cache is told to forget them) and from memory, and with the time it took to take them in.
func BenchmarkVerify(b *testing.B) {
	const files, size = 32, 64 << 20
	k := classic(b)
	folder := b.TempDir()
	bucket, err := dir.Open(folder, dir.Options{})
	if err != nil {
		b.Fatal(err)
	}
	initRepo(b, bucket, repo.InitOptions{Recipients: []string{k.public}})
	begin := time.Now()
	w, err := open(b, bucket, k.id).NewWriter(b.Context(), options("p1"))
	if err != nil {
		b.Fatal(err)
	}
	for i := range files {
		c := repo.Content{SizeHint: size, Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), size)), nil
		}}
		if err := w.Add(b.Context(), manifest.Entry{Path: fmt.Sprint("f", i), Type: manifest.TypeFile}, c); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := w.Commit(b.Context(), manifest.Info{}); err != nil {
		b.Fatal(err)
	}
	ingest := time.Since(begin)
	stored := repo.VerifyOptions{Points: []repo.PointCheck{{Address: address, ID: "p1"}}}
	for name, work := range map[string]func() (repo.VerifyReport, error){
		"plain": func() (repo.VerifyReport, error) { return repo.VerifyReport{}, readAll(folder) },
		"stored": func() (repo.VerifyReport, error) {
			return open(b, bucket, k.id).VerifyStored(b.Context(), stored)
		},
		"read": func() (repo.VerifyReport, error) {
			return open(b, bucket, k.id).VerifyRead(b.Context(), address, "p1", nil)
		},
	} {
		for _, from := range []string{"disk", "memory"} {
			b.Run(name+"/"+from, func(b *testing.B) {
				b.SetBytes(files * size)
				for b.Loop() {
					b.StopTimer()
					if from == "disk" {
						forget(b, folder)
					} else if err := readAll(folder); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					report, err := work()
					if err != nil || len(report.Damaged) > 0 {
						b.Fatal(report.Damaged, err)
					}
				}
				b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/ingest.Seconds(), "of-ingest")
			})
		}
	}
}

// readAll reads every pack once, as cat would.
func readAll(folder string) error {
	buf := make([]byte, 1<<20)
	return filepath.Walk(folder, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || !strings.Contains(path, "/packs/") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, buf)
		return err
	})
}

// forget asks the operating system to drop what it keeps of the files.
func forget(b *testing.B, folder string) {
	b.Helper()
	err := filepath.Walk(folder, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
	if err != nil {
		b.Fatal(err)
	}
}
