package statefile

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/holdfast-io/holdfast/state"
)

// What decodes must encode, and decode again to the same.

func FuzzPoints(f *testing.F) {
	plain, err := AppendPoints(nil, []string{"a", "b"}, map[string][]state.RestorePoint{"a": filled[[]state.RestorePoint](), "b": {{}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := decodePoints(data)
		if err != nil {
			return
		}
		again, err := AppendPoints(nil, slices.Sorted(maps.Keys(first)), first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := decodePoints(again)
		same(t, first, second, err)
	})
}

func FuzzObjects(f *testing.F) {
	plain, err := AppendObjects(nil, []string{"a"}, map[string]state.Object{"a": filled[state.Object]()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := decodeObjects(data)
		if err != nil {
			return
		}
		again, err := AppendObjects(nil, slices.Sorted(maps.Keys(first)), first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := decodeObjects(again)
		same(t, first, second, err)
	})
}

func FuzzWAL(f *testing.F) {
	plain, err := AppendWAL(nil, []string{"a"}, map[string][]state.WAL{"a": filled[[]state.WAL]()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := decodeWAL(data)
		if err != nil {
			return
		}
		again, err := AppendWAL(nil, slices.Sorted(maps.Keys(first)), first)
		if err != nil {
			t.Skip("times near the ends of the calendar leave it in UTC:", err)
		}
		second, err := decodeWAL(again)
		if err != nil {
			t.Fatal(err)
		}
		for _, logs := range second { // whatever is accepted can be asked
			for i := range logs {
				logs[i].Gaps()
				logs[i].Frontier()
			}
		}
		if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("WAL (-first +second):\n%s", diff)
		}
	})
}

func FuzzRuns(f *testing.F) {
	plain, err := AppendRuns(nil, filled[[]state.Run]())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := DecodeRuns("x", data)
		if err != nil {
			return
		}
		again, err := AppendRuns(nil, first)
		if err != nil {
			t.Skip("times near the ends of the calendar leave it in UTC:", err)
		}
		second, err := DecodeRuns("x", again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("runs (-first +second):\n%s", diff)
		}
	})
}

func FuzzHead(f *testing.F) {
	data, err := EncodeHead(filled[Head]())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = DecodeHead("x", data) // must not panic; the checksum keeps mutations from getting far
	})
}

func FuzzLease(f *testing.F) {
	data, err := EncodeLease(Lease{LeaseInfo: filled[state.LeaseInfo](), TTL: time.Minute})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if lease, err := DecodeLease("x", data); err == nil && (lease.TTL <= 0 || lease.TTL > 24*time.Hour || lease.Fence == 0) {
			t.Errorf("accepted %+v", lease)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	plain := []byte("a segment, a segment, a segment")
	stored, err := Pack(plain)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stored)
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = unpack("x", NewRef(1, plain), data, 1<<20, func(got []byte) error {
			if string(got) != string(plain) {
				t.Errorf("used %q", got)
			}
			return nil
		})
	})
}

func genTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		nanos := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 999_999_999)).Draw(t, "nanos")
		return time.Unix(rapid.Int64Range(-62135596799, 253402300799).Draw(t, "seconds"), nanos).UTC()
	})
}

// TestPointsAreOrdinaryJSON compares with encoding/json, an independent reader of the same document.
func TestPointsAreOrdinaryJSON(t *testing.T) {
	text := rapid.OneOf(rapid.StringMatching(`[a-z0-9.]{0,20}`), rapid.String())
	proof := rapid.Custom(func(t *rapid.T) state.Proof {
		return state.Proof{Level: text.Draw(t, "level"), At: genTime().Draw(t, "at"), OK: rapid.Bool().Draw(t, "ok"), Run: text.Draw(t, "run"), Error: text.Draw(t, "error")}
	})
	stored := rapid.Custom(func(t *rapid.T) state.Copy {
		return state.Copy{
			Store: text.Draw(t, "store"), Repository: text.Draw(t, "repository"), Manifest: text.Draw(t, "manifest"),
			Summary: text.Draw(t, "summary"), Stored: rapid.Int64().Draw(t, "stored"), Proofs: rapid.SliceOfN(proof, 0, 3).Draw(t, "proofs"),
		}
	})
	base := rapid.Ptr(rapid.Custom(func(t *rapid.T) state.Base {
		return state.Base{
			System: text.Draw(t, "system"), Timeline: rapid.Uint32().Draw(t, "timeline"), Start: state.LSN(rapid.Uint64().Draw(t, "start")),
			End: state.LSN(rapid.Uint64().Draw(t, "end")), Carries: rapid.Bool().Draw(t, "carries"),
		}
	}), true)
	point := rapid.Custom(func(t *rapid.T) state.RestorePoint {
		return state.RestorePoint{
			ID: text.Draw(t, "id"), Time: genTime().Draw(t, "time"), Slot: genTime().Draw(t, "slot"), Finished: genTime().Draw(t, "finished"),
			Run: text.Draw(t, "run"), Source: text.Draw(t, "source"), Method: text.Draw(t, "method"), Incomplete: rapid.Bool().Draw(t, "incomplete"),
			Size: rapid.Int64Range(-1<<63+1, 1<<63-1).Draw(t, "size"), Items: rapid.Int64Range(0, 1<<63-1).Draw(t, "items"),
			Version: text.Draw(t, "version"), Position: text.Draw(t, "position"), Base: base.Draw(t, "base"), Copies: rapid.SliceOfN(stored, 0, 3).Draw(t, "copies"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		points := rapid.MapOfN(text, rapid.SliceOfN(point, 0, 5), 0, 4).Draw(t, "points")
		plain, err := AppendPoints(nil, slices.Sorted(maps.Keys(points)), points)
		if err != nil {
			t.Fatal(err)
		}
		var document struct {
			Backups []struct {
				Address string
				Points  []state.RestorePoint
			}
		}
		if err := json.Unmarshal(plain, &document); err != nil {
			t.Fatalf("%v in %s", err, plain)
		}
		want := map[string][]state.RestorePoint{}
		for _, b := range document.Backups {
			want[b.Address] = b.Points
		}
		got, err := decodePoints(plain)
		if err != nil {
			t.Fatalf("%v in %s", err, plain)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("encoding/json and DecodePoints differ (-json +ours):\n%s", diff)
		}
		if diff := cmp.Diff(points, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("round trip (-want +got):\n%s", diff)
		}
	})
}
