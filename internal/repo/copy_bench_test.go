package repo_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-io/holdfast/internal/blob/dir"
	"github.com/holdfast-io/holdfast/internal/repo"
)

// BenchmarkCopyStored brings a point from one folder to another as it is stored, and copies the same packs file by file, each
// flushed to disk as the folder's driver does.
func BenchmarkCopyStored(b *testing.B) {
	paths := benchSource(b)
	k := classic(b)
	o := repo.InitOptions{Recipients: []string{k.public}}
	folder := b.TempDir()
	source, err := dir.Open(folder, dir.Options{})
	if err != nil {
		b.Fatal(err)
	}
	initRepo(b, source, o)
	stored := ingest(b, open(b, source, k.id), "p1", "default", paths).Stored
	o.Like = open(b, source, k.id)
	b.Run("copy", func(b *testing.B) {
		b.SetBytes(stored)
		for b.Loop() {
			b.StopTimer()
			to := benchBucket(b)
			initRepo(b, to, o)
			b.StartTimer()
			copyPoint(b, open(b, to, k.id), open(b, source, k.id), "p1")
		}
	})
	b.Run("files", func(b *testing.B) {
		b.SetBytes(stored)
		for b.Loop() {
			copyFiles(b, folder, b.TempDir())
		}
	})
}

func copyFiles(b *testing.B, from, to string) {
	b.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.Create(filepath.Join(to, d.Name()))
		if err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
		if err := out.Sync(); err != nil {
			return err
		}
		return out.Close()
	})
	if err != nil {
		b.Fatal(err)
	}
}
