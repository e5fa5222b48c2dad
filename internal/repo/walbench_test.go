package repo_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob/dir"
	"github.com/holdfast-io/holdfast/internal/repo"
)

const walBenchSize = 16 << 20

// walLike returns a segment like those of a busy server: images of pages that are half empty, and small records.
func walLike(seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 11))
	rows := ragLike(nil, seed, 2<<20)
	out := make([]byte, 0, walBenchSize+16<<10)
	for len(out) < walBenchSize {
		if rng.IntN(3) == 0 {
			at := rng.IntN(len(rows) - 8192)
			out = append(out, rows[at:at+5000]...)
			out = append(out, make([]byte, 3192)...)
		}
		for range 40 {
			out = fmt.Appendf(out, "%c%c%c%c\x00\x00%04d", rng.IntN(256), rng.IntN(256), rng.IntN(256), rng.IntN(256), rng.IntN(9999))
			at := rng.IntN(len(rows) - 100)
			out = append(out, rows[at:at+60]...)
		}
	}
	return out[:walBenchSize]
}

// BenchmarkWAL pushes and fetches 100 segments of 16 MiB, in a folder, by one worker and by two.
func BenchmarkWAL(b *testing.B) {
	const count = 100
	var segments [8][]byte
	for i := range segments {
		segments[i] = walLike(uint64(i))
	}
	name := func(i int) string { return fmt.Sprintf("0000000100000000%08X", i) }
	k := classic(b)
	var last *dir.Bucket
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("push/%d", workers), func(b *testing.B) {
			b.SetBytes(count * walBenchSize)
			for b.Loop() {
				b.StopTimer()
				last = benchBucket(b)
				initRepo(b, last, repo.InitOptions{Recipients: []string{k.public}})
				r := open(b, last, k.id)
				b.StartTimer()
				var g errgroup.Group
				g.SetLimit(workers)
				for i := range count {
					g.Go(func() error {
						_, err := r.PushWAL(b.Context(), walFile(b, name(i)), bytes.NewReader(segments[i%len(segments)]), walBenchSize)
						return err
					})
				}
				if err := g.Wait(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("fetch/%d", workers), func(b *testing.B) {
			bucket := benchBucket(b)
			initRepo(b, bucket, repo.InitOptions{Recipients: []string{k.public}})
			r := open(b, bucket, k.id)
			for i := range count {
				if _, err := r.PushWAL(b.Context(), walFile(b, name(i)), bytes.NewReader(segments[i%len(segments)]), walBenchSize); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(count * walBenchSize)
			for b.Loop() {
				var g errgroup.Group
				g.SetLimit(workers)
				for i := range count {
					g.Go(func() error {
						_, err := r.FetchWAL(b.Context(), walFile(b, name(i)), walBenchSize, io.Discard)
						return err
					})
				}
				if err := g.Wait(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	// A flush of a few kilobytes, as streaming does every few seconds.
	b.Run("piece", func(b *testing.B) {
		bucket := benchBucket(b)
		initRepo(b, bucket, repo.InitOptions{Recipients: []string{k.public}})
		r := open(b, bucket, k.id)
		data := segments[0][:64<<10]
		for i := 0; b.Loop(); i++ {
			f := walFile(b, name(i%256)).PieceOf(0, int64(len(data)))
			f.Log = uint32(i / 256)
			if _, err := r.PushWAL(b.Context(), f, bytes.NewReader(data), int64(len(data))); err != nil {
				b.Fatal(err)
			}
		}
	})
}
