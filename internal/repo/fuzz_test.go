package repo

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

// FuzzLease: what is taken for a lease comes back the same when it is written again.
func FuzzLease(f *testing.F) {
	f.Add(leaseDocument{Kind: "writer", ID: "1", Who: "a@b", TTL: 120, Started: time.Unix(1_800_000_000, 0).UTC()}.encode())
	f.Add(leaseDocument{Kind: "pruner", TTL: 1, Beat: 1 << 60}.encode())
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := decodeLease(data)
		if err != nil {
			if d, err = decodeLease(withSum(bytes.ReplaceAll(data, []byte("\n"), nil))); err != nil {
				return
			}
		}
		if d.TTL <= 0 || d.Kind != "writer" && d.Kind != "pruner" {
			t.Fatalf("%+v was accepted", d)
		}
		again, err := decodeLease(d.encode())
		if diff := cmp.Diff(d, again); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}

// FuzzCondemned: the same of the mark of a pack.
func FuzzCondemned(f *testing.F) {
	f.Add(condemnedDocument{At: time.Unix(1_800_000_000, 0).UTC(), Who: "a@b", Size: 5}.encode())
	f.Add([]byte(`{"format":"holdfast-condemned","format_version":1,"size":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := decodeCondemned(data)
		if err != nil {
			if d, err = decodeCondemned(withSum(bytes.ReplaceAll(data, []byte("\n"), nil))); err != nil {
				return
			}
		}
		again, err := decodeCondemned(d.encode())
		if diff := cmp.Diff(d, again); err != nil || diff != "" || d.Size < 0 {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}

// FuzzReseal: a note of what was sealed anew names packs, or is refused.
func FuzzReseal(f *testing.F) {
	f.Add([]byte(`{"format":"holdfast-reseal","format_version":1,"sealed":"x","packs":{}}`))
	f.Add([]byte(`{"format":"holdfast-reseal","format_version":1,"packs":{"` + hashOf(nil) + `":"` + hashOf([]byte{1}) + `"}}`))
	f.Add([]byte(`{"format":"holdfast-reseal","format_version":1,"packs":{"a":"b"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		packs, _, err := decodeReseal(data)
		if err != nil && packs != nil {
			t.Errorf("%v came with an error", packs)
		}
	})
}

// FuzzNames: what an object's name tells fits the name that is made of it again.
func FuzzNames(f *testing.F) {
	for _, name := range []string{
		configName, packName(hashOf(nil)), indexName(hashOf(nil)), summaryName(`backup.a["x"]`, "p"), manifestName("b", "q"), hintsName("a", "b", 3),
		condemnedName(index.PackID{}), walClaimName(wal.File{System: 7, Timeline: 1, Kind: wal.Segment}), walObject(wal.File{System: 7, Timeline: 1, Kind: wal.Piece, To: 9}, hashOf(nil)), "wal/7/00000001/000000010000000000000000", writerPrefix + "0123456789abcdef", prunerPrefix + "0000000000000001", quarantinePrefix + hashOf(nil),
		resealPrefix + hashOf(nil), keyName("r", "h", true), keyName("r", "", false), "packs/ab/" + hashOf(nil), "points//.manifest", "x",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		made := name
		switch kindOf(name) {
		case kindUnknown, kindConfig, kindKey, kindLease, kindQuarantine, kindReseal:
		case kindPack:
			id, _ := parsePackName(name)
			made = packName(id.String())
		case kindIndex:
			made = indexName(name[len(indexPrefix):])
		case kindCondemned:
			id, _ := parsePackID(name[len(condemnedPrefix):])
			made = condemnedName(id)
		case kindSummary:
			address, id, _, _ := parsePointName(name)
			made = summaryName(address, id)
		case kindManifest:
			address, id, _, _ := parsePointName(name)
			made = manifestName(address, id)
		case kindWAL:
			f, sum, _ := parseWALName(name)
			made = walObject(f, sum)
		case kindWALClaim:
			f, _, _ := parseWALName(name)
			made = walClaimName(f)
		case kindHint:
			address, id, _ := parseHintName(name)
			made = hintsFolder(address) + escape(id) + name[len(name)-5:]
		}
		if made != name {
			t.Errorf("%q is told as %q", name, made)
		}
	})
}
