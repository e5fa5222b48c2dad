package statefile

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/state"
)

var update = flag.Bool("update", false, "write the fixtures of the present format version")

// fill sets every field that v reaches to a value of its own, so that a field without a written form shows.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 11, 22, 2, 0, *n, 0, time.UTC)))
		return
	case json.RawMessage:
		v.Set(reflect.ValueOf(json.RawMessage(fmt.Sprintf(`{"n": %d, "html":"<&>"}`, *n))))
		return
	case Ref:
		v.Set(reflect.ValueOf(NewRef(uint64(*n), []byte{byte(*n)})))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, n)
			fill(value, n)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d \"\\\n<é\u2028>", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint64, reflect.Uint32:
		v.SetUint(uint64(*n))
	default:
		panic("fill does not know " + v.Kind().String())
	}
}

func filled[T any]() (v T) {
	n := 0
	fill(reflect.ValueOf(&v).Elem(), &n)
	return v
}

func decodePoints(plain []byte) (map[string][]state.RestorePoint, error) {
	got := map[string][]state.RestorePoint{}
	err := DecodePoints("segments/x", plain, func(address string, points []state.RestorePoint) { got[address] = points })
	return got, err
}

func decodeObjects(plain []byte) (map[string]state.Object, error) {
	got := map[string]state.Object{}
	err := DecodeObjects("segments/x", plain, func(address string, o state.Object) { got[address] = o })
	return got, err
}

func decodeWAL(plain []byte) (map[string][]state.WAL, error) {
	got := map[string][]state.WAL{}
	err := DecodeWAL("segments/x", plain, func(address string, logs []state.WAL) { got[address] = logs })
	return got, err
}

func TestEveryFieldComesBack(t *testing.T) {
	points := map[string][]state.RestorePoint{"backup.a": filled[[]state.RestorePoint](), "backup.b": {{ID: "only"}}}
	plain, err := AppendPoints(nil, []string{"backup.a", "backup.b"}, points)
	got, decodeErr := decodePoints(plain)
	same(t, points, got, err, decodeErr)

	objects := map[string]state.Object{"backup.a": filled[state.Object](), "store.b": {Hash: "h"}}
	plain, err = AppendObjects(nil, []string{"backup.a", "store.b"}, objects)
	gotObjects, decodeErr := decodeObjects(plain)
	same(t, objects, gotObjects, err, decodeErr)

	logs := map[string][]state.WAL{"backup.a": filled[[]state.WAL](), "backup.b": {{Store: "only"}}}
	plain, err = AppendWAL(nil, []string{"backup.a", "backup.b"}, logs)
	gotLogs, decodeErr := decodeWAL(plain)
	same(t, logs, gotLogs, err, decodeErr)

	runs := filled[[]state.Run]()
	plain, err = AppendRuns(nil, runs)
	gotRuns, decodeErr := DecodeRuns("segments/x", plain)
	same(t, runs, gotRuns, err, decodeErr)

	head := filled[Head]()
	plain, err = EncodeHead(head)
	gotHead, decodeErr := DecodeHead("heads/1", plain)
	same(t, head, gotHead, err, decodeErr)

	lease := filled[Lease]()
	lease.TTL = time.Minute
	plain, err = EncodeLease(lease)
	gotLease, decodeErr := DecodeLease("leases/1", plain)
	same(t, lease, gotLease, err, decodeErr)
}

func same(t *testing.T, want, got any, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%T (-want +got):\n%s", want, diff)
	}
}

// TestFixtures keeps files readable. -update writes those of the present version only when they do not exist yet.
func TestFixtures(t *testing.T) {
	points := map[string][]state.RestorePoint{"backup.a": filled[[]state.RestorePoint]()}
	objects := map[string]state.Object{"backup.a": filled[state.Object]()}
	logs := map[string][]state.WAL{"backup.a": filled[[]state.WAL]()}
	runs, head, lease := filled[[]state.Run](), filled[Head](), filled[Lease]()
	lease.TTL = time.Minute
	fixtures := []struct {
		file   string
		want   any
		encode func() ([]byte, error)
		decode func(data []byte) (any, error)
	}{
		{"points.json", points, func() ([]byte, error) { return AppendPoints(nil, []string{"backup.a"}, points) }, func(d []byte) (any, error) { return decodePoints(d) }},
		{"objects.json", objects, func() ([]byte, error) { return AppendObjects(nil, []string{"backup.a"}, objects) }, func(d []byte) (any, error) { return decodeObjects(d) }},
		{"wal.json", logs, func() ([]byte, error) { return AppendWAL(nil, []string{"backup.a"}, logs) }, func(d []byte) (any, error) { return decodeWAL(d) }},
		{"runs.json", runs, func() ([]byte, error) { return AppendRuns(nil, runs) }, func(d []byte) (any, error) { return DecodeRuns("x", d) }},
		{"head.json", head, func() ([]byte, error) { return EncodeHead(head) }, func(d []byte) (any, error) { return DecodeHead("x", d) }},
		{"lease.json", lease, func() ([]byte, error) { return EncodeLease(lease) }, func(d []byte) (any, error) { return DecodeLease("x", d) }},
	}
	for _, f := range fixtures {
		t.Run(f.file, func(t *testing.T) {
			path := filepath.Join("testdata", "roundtrip", fmt.Sprintf("v%d", FormatVersion), f.file)
			encoded, err := f.encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); *update && os.IsNotExist(err) {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, encoded, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			stored, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.decode(stored)
			same(t, f.want, got, err)
			if diff := cmp.Diff(string(stored), string(encoded)); diff != "" {
				t.Errorf("written form changed (-fixture +written):\n%s", diff)
			}
		})
	}
}

// TestOldFixtures reads what version 1 wrote, compares it with what encoding/json makes of it, and writes it anew.
func TestOldFixtures(t *testing.T) {
	read := func(t *testing.T, file string, into any) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join("testdata", "roundtrip", "v1", file))
		if err == nil {
			err = json.Unmarshal(data, into)
		}
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	t.Run("points", func(t *testing.T) {
		var f struct {
			Backups []struct {
				Address string
				Points  []state.RestorePoint
			}
		}
		got, err := decodePoints(read(t, "points.json", &f))
		want := map[string][]state.RestorePoint{f.Backups[0].Address: f.Backups[0].Points}
		same(t, want, got, err)
		plain, err := AppendPoints(nil, []string{f.Backups[0].Address}, got)
		again, decodeErr := decodePoints(plain)
		same(t, want, again, err, decodeErr)
	})
	t.Run("objects", func(t *testing.T) {
		var f struct{ Objects []objectFile }
		got, err := decodeObjects(read(t, "objects.json", &f))
		o := got[f.Objects[0].Address]
		same(t, f.Objects[0], objectFile{f.Objects[0].Address, o.Hash, o.Forgotten, o.Repository, o.Identity, o.Retention, o.Usage, o.Attributes}, err)
	})
	t.Run("runs", func(t *testing.T) {
		var f runsFile
		got, err := DecodeRuns("x", read(t, "runs.json", &f))
		same(t, f.Runs, got, err)
	})
	t.Run("head", func(t *testing.T) {
		var f struct{ Head Head }
		got, err := DecodeHead("x", read(t, "head.json", &f))
		same(t, f.Head, got, err)
	})
	t.Run("lease", func(t *testing.T) {
		var f leaseFile
		got, err := DecodeLease("x", read(t, "lease.json", &f))
		same(t, f.LeaseInfo, got.LeaseInfo, err)
	})
}

// TestOldVersionsHaveNoNewFields: a reader of version 1 would have refused them.
func TestOldVersionsHaveNoNewFields(t *testing.T) {
	plain, err := AppendPoints(nil, []string{"a"}, map[string][]state.RestorePoint{"a": {{ID: "1", Base: &state.Base{System: "7"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodePoints(plain); err != nil {
		t.Fatal(err)
	}
	old := strings.Replace(string(plain), `"format_version":2`, `"format_version":1`, 1)
	if _, err := decodePoints([]byte(old)); !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("a base in a file of version 1: %v", err)
	}
}

func TestRangesOutOfOrderAreDamage(t *testing.T) {
	for name, timelines := range map[string][]state.Timeline{
		"empty range":      {{ID: 1, Ranges: []state.Range{{From: 5, To: 5}}}},
		"backwards":        {{ID: 1, Ranges: []state.Range{{From: 5, To: 4}}}},
		"touching":         {{ID: 1, Ranges: []state.Range{{From: 1, To: 4}, {From: 4, To: 9}}}},
		"overlapping":      {{ID: 1, Ranges: []state.Range{{From: 1, To: 4}, {From: 3, To: 9}}}},
		"timelines":        {{ID: 2}, {ID: 1}},
		"the same, twice":  {{ID: 2}, {ID: 2}},
		"second timeline":  {{ID: 1}, {ID: 2, Ranges: []state.Range{{From: 9, To: 1}}}},
		"order of ranges":  {{ID: 1, Ranges: []state.Range{{From: 7, To: 9}, {From: 1, To: 4}}}},
		"nothing is there": {{ID: 1, Ranges: []state.Range{{}}}},
	} {
		plain, err := AppendWAL(nil, []string{"a"}, map[string][]state.WAL{"a": {{Timelines: timelines}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeWAL(plain); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

func TestNewerFormatIsToldApartFromDamage(t *testing.T) {
	decoders := map[string]func(data []byte) error{
		"points":  func(d []byte) error { _, err := decodePoints(d); return err },
		"objects": func(d []byte) error { _, err := decodeObjects(d); return err },
		"wal":     func(d []byte) error { _, err := decodeWAL(d); return err },
		"runs":    func(d []byte) error { _, err := DecodeRuns("segments/x", d); return err },
		"head":    func(d []byte) error { _, err := DecodeHead("heads/7", d); return err },
		"lease":   func(d []byte) error { _, err := DecodeLease("leases/7", d); return err },
	}
	for name, decode := range decoders {
		t.Run(name, func(t *testing.T) {
			err := decode([]byte(`{"format_version":3,"kind":"` + name + `","future":true}`))
			if !errors.Is(err, state.ErrNewer) || errors.Is(err, state.ErrCorrupt) {
				t.Errorf("format 3: %v", err)
			}
			for _, damaged := range []string{
				"", "{", "null", "7", `{"format_version":0}`, `{"format_version":-1}`, `{"format_version":1,"kind":"other"}`,
				`{"format_version":1,"kind":"` + name + `","unknown":true}`, `{"format_version":1}{}`,
			} {
				err := decode([]byte(damaged))
				if !errors.Is(err, state.ErrCorrupt) {
					t.Errorf("%q: %v, want ErrCorrupt", damaged, err)
				}
				if err != nil && !strings.Contains(err.Error(), "s/") {
					t.Errorf("%q: %v does not name the object", damaged, err)
				}
			}
		})
	}
}

// TestEveryChangedByteIsNoticed flips each byte of a head; the checksum or the JSON around it must tell.
func TestEveryChangedByteIsNoticed(t *testing.T) {
	data, err := EncodeHead(filled[Head]())
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for _, flip := range []byte{1, 0x20, 0x80} {
			damaged := append([]byte(nil), data...)
			damaged[i] ^= flip
			if _, err := DecodeHead("heads/1", damaged); err == nil {
				t.Errorf("byte %d (%q) changed to %q unnoticed", i, data[i], damaged[i])
			}
		}
	}
}

func TestUnpackRefusesWhatItsNameDoesNotPromise(t *testing.T) {
	plain := []byte(strings.Repeat("a segment ", 1000))
	ref := NewRef(3, plain)
	stored, err := Pack(plain)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := Unpack("segments/x", ref, stored, func(p []byte) error { got = string(p); return nil }); err != nil || got != string(plain) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	never := func([]byte) error { t.Error("damaged content was used"); return nil }
	for i := range stored {
		damaged := append([]byte(nil), stored...)
		damaged[i] ^= 1
		err := Unpack("segments/x", ref, damaged, func(p []byte) error {
			if string(p) != string(plain) {
				t.Errorf("byte %d: damaged content was used", i)
			}
			return nil
		})
		if err != nil && !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	if err := Unpack("segments/x", NewRef(3, nil), stored, never); !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("other hash: %v", err)
	}
	if err := Unpack("segments/x", ref, stored[:len(stored)-1], never); !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("cut short: %v", err)
	}
	if err := unpack("segments/x", ref, stored, int64(len(plain))-1, never); !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("more plain bytes than allowed: %v", err)
	}
}

func TestClaimedSizesAllocateNothing(t *testing.T) {
	// A frame header that claims a single segment of 2^40 bytes.
	claim := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0}
	ref := NewRef(1, nil)
	if err := Unpack("segments/x", ref, claim, func([]byte) error { return nil }); !errors.Is(err, state.ErrCorrupt) {
		t.Fatalf("claimed terabyte: %v", err)
	}
	bytes := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			_ = Unpack("segments/x", ref, claim, func([]byte) error { return nil })
		}
	}).AllocedBytesPerOp()
	if bytes > 1<<20 {
		t.Errorf("a claimed terabyte made the decoder allocate %d bytes", bytes)
	}
}

func TestRefText(t *testing.T) {
	ref := NewRef(41, []byte("x"))
	var got Ref
	if err := got.UnmarshalText([]byte(ref.String())); err != nil || got != ref {
		t.Errorf("got %v, %v", got, err)
	}
	sum := strings.Repeat("ab", 32)
	for _, bad := range []string{"", "41-" + sum, sum, "00000000000000000041-" + sum + "0", "00000000000000000041-" + strings.ToUpper(sum), "0000000000000000004x-" + sum, "00000000000000000041-" + sum[:62] + "zz"} {
		if err := got.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestAppendRefusesWhatCannotBeReadBack(t *testing.T) {
	if _, err := AppendObjects(nil, []string{"a"}, map[string]state.Object{"a": {Attributes: json.RawMessage(`{`)}}); err == nil {
		t.Error("attributes that are not JSON were written")
	}
	far := map[string][]state.RestorePoint{"a": {{Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}}
	if _, err := AppendPoints(nil, []string{"a"}, far); err == nil {
		t.Error("the year 10000 was written")
	}
}

func TestAppendingToOneListLeavesItsNeighbourAlone(t *testing.T) {
	points := map[string][]state.RestorePoint{"a": {{ID: "1", Copies: []state.Copy{{Store: "s"}}}, {ID: "2", Copies: []state.Copy{{Store: "t"}}}}}
	plain, err := AppendPoints(nil, []string{"a"}, points)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodePoints(plain)
	if err != nil {
		t.Fatal(err)
	}
	got["a"][0].Copies = append(got["a"][0].Copies, state.Copy{Store: "new"})
	if store := got["a"][1].Copies[0].Store; store != "t" {
		t.Errorf("the neighbour's store became %q", store)
	}
}
