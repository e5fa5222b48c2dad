package manifest

import (
	"bytes"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

func written(t testing.TB, major int, files []File, ranges []WALRange) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, major, 7300000000000000001)
	for _, f := range files {
		if err := w.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(ranges); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestWriter: what was written is read, of both versions.
func TestWriter(t *testing.T) {
	at := time.Date(2026, 11, 25, 1, 2, 3, 0, time.UTC)
	sum := FromCRC(crc32.Checksum([]byte("content"), castagnoli))
	files := []File{
		{Path: "base/5/16384", Size: 7, Modified: at, Algorithm: CRC32C, Checksum: sum},
		{Path: "base/5/16385", Size: 8192, Modified: at, Algorithm: None},
		{Path: "a \"b\" \\ \x01 \xff ü", Size: 0, Modified: at, Algorithm: CRC32C, Checksum: FromCRC(0)},
	}
	ranges := []WALRange{{Timeline: 3, Start: 0x2000028, End: 0x1_0000_0000}}
	for major, want := range map[int]Manifest{
		13: {Version: 1, Files: 3, Ranges: ranges}, 16: {Version: 1, Files: 3, Ranges: ranges},
		17: {Version: 2, SystemID: 7300000000000000001, Files: 3, Ranges: ranges},
	} {
		var got []File
		m, err := Read(bytes.NewReader(written(t, major, files, ranges)), func(f File) error {
			got = append(got, f)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, m); diff != "" {
			t.Errorf("of %d (-want +got):\n%s", major, diff)
		}
		if diff := cmp.Diff(files, got); diff != "" {
			t.Errorf("of %d (-want +got):\n%s", major, diff)
		}
	}
	if err := files[0].Verify(strings.NewReader("content")); err != nil {
		t.Error(err)
	}
	if err := files[0].Verify(strings.NewReader("Content")); err == nil {
		t.Error("other content passes")
	}
}

type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errors.New("full")
	}
	return len(p), nil
}

// TestWriterRefuses: a file that is none, a manifest without files, and a place that takes no more.
func TestWriterRefuses(t *testing.T) {
	if err := NewWriter(&bytes.Buffer{}, 15, 1).Add(File{Path: "x", Size: -1}); err == nil {
		t.Error("a negative size passes")
	}
	if err := NewWriter(&bytes.Buffer{}, 15, 1).Finish(nil); err == nil {
		t.Error("no file passes")
	}
	for room := range 300 {
		w := NewWriter(&full{room}, 15, 1)
		if w.Add(File{Path: "x", Modified: time.Unix(0, 0)}) == nil && w.Finish(nil) == nil && room < 250 {
			t.Errorf("%d bytes were enough", room)
		}
	}
}

// FuzzWriter: whatever the path, what was written is read.
func FuzzWriter(f *testing.F) {
	f.Add("base/5/16384", int64(8192), uint32(7), 15)
	f.Add("\"\\\x00\xff", int64(0), uint32(0), 17)
	f.Fuzz(func(t *testing.T, path string, size int64, sum uint32, major int) {
		var b bytes.Buffer
		w := NewWriter(&b, major, 42)
		want := File{Path: path, Size: size, Modified: time.Unix(1700000000, 0).UTC(), Algorithm: CRC32C, Checksum: FromCRC(sum)}
		if w.Add(want) != nil {
			return
		}
		if err := w.Finish([]WALRange{{Timeline: 1, Start: 1, End: wal.LSN(2)}}); err != nil {
			t.Fatal(err)
		}
		_, err := Read(&b, func(got File) error {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			return nil
		})
		if err != nil && !strings.Contains(err.Error(), "is not one inside a data directory") && len(path) < 1000 {
			t.Error(err)
		}
	})
}
