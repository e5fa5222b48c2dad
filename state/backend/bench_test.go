package backend_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/internal/clock/clocktest"
	"github.com/holdfast-io/holdfast/state"
)

// large makes a catalog of backups with the given number of points each, all of different hashes as real ones have.
func large(backups, each int) *state.Catalog {
	cat := &state.Catalog{Objects: map[string]state.Object{}, Points: map[string][]state.RestorePoint{}}
	for n := range backups {
		address := fmt.Sprintf("backup.service_%05d", n)
		points := make([]state.RestorePoint, each)
		for i := range points {
			p := point(i)
			sum := sha256.Sum256(fmt.Appendf(nil, "%d %d", n, i))
			random := hex.EncodeToString(sum[:])
			p.ID = p.Time.Format("20060102T150405Z") + "-" + random[:6]
			p.Run = p.Time.Format("20060102T150405Z") + "-run"
			p.Source = fmt.Sprintf("source.postgres.service_%05d", n)
			p.Version, p.Position = "15.18", fmt.Sprintf("%X/%X", n, i<<24)
			p.Copies[0].Repository = "0198f0c2d7a67d0e"
			p.Copies[0].Manifest, p.Copies[0].Summary = random, random[32:]+random[:32]
			points[i] = p
		}
		cat.Points[address] = points
		cat.Objects[address] = state.Object{
			Attributes: fmt.Appendf(nil, `{"source":"source.postgres.service_%05d","schedule":{"cron":"0 2 * * *"}}`, n), Hash: strings.Repeat("a", 64),
		}
	}
	return cat
}

func BenchmarkLoad1M(b *testing.B) {
	bucket := newBucket(clocktest.New(start))
	be := open(bucket, clocktest.New(start), "ann@one")
	if err := be.Update(b.Context(), func(cat *state.Catalog) error {
		full := large(10_000, 100)
		cat.Points, cat.Objects = full.Points, full.Objects
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	stored := 0
	for _, o := range bucket.objects {
		stored += len(o.data)
	}
	runtime.GC()
	for b.Loop() {
		cat, err := be.Load(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		runtime.KeepAlive(cat)
	}
	b.ReportMetric(float64(stored)/1e6, "MB-stored")
}

// BenchmarkCommitOneOf10k adds one point to a catalog of 10,000 backups and 1,000,000 points and commits it.
func BenchmarkCommitOneOf10k(b *testing.B) {
	bucket := newBucket(clocktest.New(start))
	be := open(bucket, clocktest.New(start), "ann@one")
	l, err := be.Lease(b.Context(), state.LeaseInfo{Operation: "apply"}, 0)
	if err != nil {
		b.Fatal(err)
	}
	cat := large(10_000, 100)
	if err := l.Commit(b.Context(), cat); err != nil {
		b.Fatal(err)
	}
	before := len(bucket.names("segments/"))
	i := 100
	for b.Loop() {
		add(cat, "backup.service_00042", point(i))
		i++
		if err := l.Commit(b.Context(), cat); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(bucket.names("segments/"))-before)/float64(b.N), "segments/op")
}
