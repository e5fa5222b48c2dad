package repo

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
	"github.com/holdfast-io/holdfast/internal/repo/pack"
)

// FillForBench stores what a look without content reads: packs that hold nothing, indexes of 128 chunks a pack, and points
// that need each some of the packs.
func FillForBench(b testing.TB, r *Repository, points, packs, each int) {
	b.Helper()
	ids := make([]index.PackID, packs)
	var listed []index.Pack
	for i := range ids {
		ids[i] = sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i)))
		p := index.Pack{ID: ids[i], Size: 1}
		for c := range 128 {
			p.Records = append(p.Records, pack.Record{ID: sha256.Sum256(fmt.Append(nil, i, c)), Stored: 1 << 17, Plain: 1 << 18})
		}
		if err := r.bucket.Put(b.Context(), packName(ids[i].String()), []byte{0}); err != nil {
			b.Fatal(err)
		}
		if listed = append(listed, p); len(listed) == packsPerIndex || i == packs-1 {
			u := &uploader{r: r}
			u.stored = new(atomic.Int64)
			if err := u.writeIndex(b.Context(), listed); err != nil {
				b.Fatal(err)
			}
			listed = nil
		}
	}
	for i := range points {
		id := fmt.Sprintf("p%06d", i)
		s := manifest.Summary{Address: "backup.x", Point: id, ManifestSHA256: strings.Repeat("0", 64), ManifestSize: 1}
		for n := range each {
			s.Packs = append(s.Packs, ids[(i*packs/points+n)%packs].String())
		}
		plain, err := s.Encode()
		if err != nil {
			b.Fatal(err)
		}
		sealed, err := r.sealMetadata(plain)
		if err != nil {
			b.Fatal(err)
		}
		for name, data := range map[string][]byte{summaryName("backup.x", id): sealed, manifestName("backup.x", id): {0}} {
			if err := r.bucket.Put(b.Context(), name, data); err != nil {
				b.Fatal(err)
			}
		}
	}
}
