package repo

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/cloud"
	"github.com/holdfast-io/holdfast/internal/blob/dir"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
	"github.com/holdfast-io/holdfast/internal/repo/pack"
)

// pruneSize is a store of many small stand-ins for packs: what a prune reads is as large as it would be.
type pruneSize struct{ points, packs, chunks, named int }

// BenchmarkPrune measures both phases on a host with a writer's key, a twentieth of the packs being dead. HOLDFAST_LONG=1
// takes 1,000 points of 2,000 packs each and 100,000 packs of 128 chunks.
func BenchmarkPrune(b *testing.B) {
	size := pruneSize{points: 50, packs: 2000, chunks: 128, named: 500}
	if os.Getenv("HOLDFAST_LONG") != "" {
		size = pruneSize{points: 1000, packs: 100_000, chunks: 128, named: 2000}
	}
	b.Run("memory", func(b *testing.B) {
		benchPrune(b, size, func() (blob.Bucket, func(string, []byte) error) {
			m, err := cloud.Open(b.Context(), &url.URL{Scheme: "mem"})
			if err != nil {
				b.Fatal(err)
			}
			return m, func(name string, data []byte) error { return m.Put(b.Context(), name, data) }
		})
	})
	b.Run("dir", func(b *testing.B) {
		benchPrune(b, size, func() (blob.Bucket, func(string, []byte) error) {
			root := b.TempDir()
			d, err := dir.Open(root, dir.Options{})
			if err != nil {
				b.Fatal(err)
			}
			return d, func(name string, data []byte) error { // without flushing: 100,000 of them take minutes
				path := filepath.Join(root, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					return err
				}
				return os.WriteFile(path, data, 0o600)
			}
		})
	})
}

func benchPrune(b *testing.B, size pruneSize, open func() (blob.Bucket, func(string, []byte) error)) {
	for b.Loop() {
		b.StopTimer()
		bucket, put := open()
		r, dead := pruneStore(b, bucket, put, size)
		b.StartTimer()
		for phase, want := range []PruneReport{{Condemned: dead}, {Deleted: dead}} {
			begin := r.clock.Mono()
			got, err := r.Prune(b.Context(), PruneOptions{})
			if err != nil || got.Condemned != want.Condemned || got.Deleted != want.Deleted {
				b.Fatalf("%+v, %v", got, err)
			}
			b.ReportMetric((r.clock.Mono() - begin).Seconds(), []string{"s-condemn", "s-delete"}[phase])
		}
	}
}

// pruneStore fills a store and returns how many of its packs nothing needs.
func pruneStore(b *testing.B, bucket blob.Bucket, put func(string, []byte) error, size pruneSize) (*Repository, int64) {
	recipient, writer := benchKey(b), benchKey(b)
	_, err := Init(b.Context(), bucket, InitOptions{Recipients: []string{recipient.Recipient().String()}, Writers: []string{writer.Recipient().String()}})
	if err != nil {
		b.Fatal(err)
	}
	r, err := Open(context.Background(), bucket, OpenOptions{Identities: []age.Identity{writer}})
	if err != nil {
		b.Fatal(err)
	}
	store := func(name string, data []byte) {
		if err := put(name, data); err != nil {
			b.Fatal(err)
		}
	}
	var names []string
	var group []index.Pack
	for n := range size.packs {
		data := binary.LittleEndian.AppendUint64(make([]byte, 0, 64), uint64(n))
		id, _ := parsePackID(hashOf(data))
		store(packName(id.String()), data)
		if n%20 != 0 {
			names = append(names, id.String())
		}
		x := index.Pack{ID: id, Size: int64(len(data))}
		for c := range size.chunks {
			rec := pack.Record{Stored: 100, Plain: 200}
			copy(rec.ID[:], fmt.Sprintf("%016x%016x", uint64(n*size.chunks+c)*0x9e3779b97f4a7c15, n))
			x.Records = append(x.Records, rec)
		}
		if group = append(group, x); len(group) == packsPerIndex || n == size.packs-1 {
			sealed, err := r.sealMetadata(index.Encode(group))
			if err != nil {
				b.Fatal(err)
			}
			store(indexName(hashOf(sealed)), sealed)
			group = nil
		}
	}
	for n := range size.points {
		id := fmt.Sprintf("p%05d", n)
		from := n * (len(names) - size.named) / max(1, size.points-1)
		s := manifest.Summary{Address: "backup.app", Point: id, ManifestSHA256: hashOf([]byte(id)), Packs: names[from : from+size.named]}
		plain, err := s.Encode()
		if err != nil {
			b.Fatal(err)
		}
		sealed, err := r.sealMetadata(plain)
		if err != nil {
			b.Fatal(err)
		}
		store(summaryName("backup.app", id), sealed)
		store(manifestName("backup.app", id), []byte(id))
	}
	return r, int64(size.packs - len(names))
}

func benchKey(b *testing.B) *age.X25519Identity {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		b.Fatal(err)
	}
	return id
}
