package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// seal ends a manifest as PostgreSQL does.
func seal(body string) string {
	return fmt.Sprintf("%s\"Manifest-Checksum\": \"%x\"}\n", body, sha256.Sum256([]byte(body)))
}

const head2 = `{ "PostgreSQL-Backup-Manifest-Version": 2,
"System-Identifier": 18446744073709551615,
"Files": [
`

const ranges = `
],
"WAL-Ranges": [
{ "Timeline": 11, "Start-LSN": "1A/2000028", "End-LSN": "1A/2000138" }
],
`

func entry(fields string) string { return `{ ` + fields + ` }` }

const good = `"Path": "base/1/1259", "Size": 3, "Last-Modified": "2026-11-25 18:00:01 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "b73f4b36"`

var sample2 = seal(head2 + entry(good) + ",\n" +
	entry(`"Encoded-Path": "6162e4", "Size": 0, "Last-Modified": "2026-11-25 18:00:02 GMT"`) + ranges)

func TestRead(t *testing.T) {
	var files []File
	m, err := Read(strings.NewReader(sample2), func(f File) error { files = append(files, f); return nil })
	if err != nil {
		t.Fatal(err)
	}
	want := Manifest{Version: 2, SystemID: 1<<64 - 1, Files: 2, Ranges: []WALRange{{11, 0x1A02000028, 0x1A02000138}}}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	sum, _ := hex.DecodeString("b73f4b36")
	wantFiles := []File{
		{Path: "base/1/1259", Size: 3, Modified: time.Date(2026, 11, 25, 18, 0, 1, 0, time.UTC), Algorithm: CRC32C, Checksum: sum},
		{Path: "ab\xe4", Modified: time.Date(2026, 11, 25, 18, 0, 2, 0, time.UTC), Algorithm: None},
	}
	if diff := cmp.Diff(wantFiles, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if err := files[0].Verify(strings.NewReader("abc")); err != nil {
		t.Error(err)
	}
	if err := files[0].Verify(strings.NewReader("abd")); err == nil {
		t.Error("another content passes")
	}
}

func TestReadErrors(t *testing.T) {
	file := func(fields string) string { return seal(head2 + entry(fields) + ranges) }
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":           {"", "EOF"},
		"no object":         {"[]", "belongs"},
		"version 3":         {strings.Replace(sample2, `Version": 2`, `Version": 3`, 1), "version 3"},
		"no version":        {seal(`{ "Files": [],` + "\n"), "begin with its version"},
		"unknown key":       {seal(head2 + "],\n" + `"Colour": 1,` + "\n"), "Colour"},
		"a key twice":       {seal(head2 + `], "Files": [` + ranges), "twice"},
		"no system":         {strings.Replace(sample2, `"System-Identifier": 18446744073709551615,`, ``, 1), "System-Identifier is missing"},
		"no files":          {seal(`{ "PostgreSQL-Backup-Manifest-Version": 1,` + "\n\"WAL-Ranges\": [],\n"), "Files is missing"},
		"other checksum":    {strings.Replace(sample2, "1259", "1260", 1), ErrChecksum.Error()},
		"more follows":      {sample2 + "{}", "follow"},
		"another last line": {sample2 + "\n", ErrChecksum.Error()},
		"no path":           {file(`"Size": 1, "Last-Modified": "2026-11-25 18:00:01 GMT"`), "path"},
		"leads out":         {file(strings.Replace(good, "base/1", "../..", 1)), "inside a data directory"},
		"absolute":          {file(strings.Replace(good, "base/1", "/etc", 1)), "inside a data directory"},
		"negative size":     {file(strings.Replace(good, `"Size": 3`, `"Size": -3`, 1)), "no size"},
		"no time":           {file(strings.Replace(good, "2026-11-25", "soon", 1)), "soon"},
		"unknown algorithm": {file(strings.Replace(good, "CRC32C", "MD5", 1)), "MD5"},
		"short checksum":    {file(strings.Replace(good, "b73f", "", 1)), "CRC32C checksum"},
		"WAL backwards":     {strings.Replace(sample2, "1A/2000028", "1B/2000028", 1), "no range"},
		"odd encoded path":  {strings.Replace(sample2, "6162e4", "6162e", 1), "encoded path"},
	} {
		if _, err := Read(strings.NewReader(tc.text), discard); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// endless repeats a piece of text for ever.
type endless struct{ piece string }

func (e endless) Read(p []byte) (int, error) {
	return copy(p, strings.Repeat(e.piece, len(p)/len(e.piece)+1)), nil
}

// TestHostileInputIsBounded reads what never ends: it is given up, soon and without holding it.
func TestHostileInputIsBounded(t *testing.T) {
	for name, in := range map[string]io.Reader{
		"a long path":      io.MultiReader(strings.NewReader(head2+`{ "Path": "`), endless{"a"}),
		"blanks":           io.MultiReader(strings.NewReader(head2), endless{" "}),
		"deep arrays":      io.MultiReader(strings.NewReader(head2), endless{"["}),
		"blanks at first":  endless{" "},
		"a long key":       io.MultiReader(strings.NewReader(`{ "`), endless{"k"}),
		"lines at the end": io.MultiReader(strings.NewReader(sample2), endless{"\n"}),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Read(in, discard)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: was read", name)
		}
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 32<<20 {
			t.Errorf("%s: allocated %d bytes", name, spent)
		}
	}
	broken := errors.New("store is gone")
	for _, cut := range []int{0, 200, len(sample2)} {
		if _, err := Read(io.MultiReader(strings.NewReader(sample2[:cut]), failing{broken}), discard); !errors.Is(err, broken) {
			t.Errorf("the reader's error at byte %d is lost: %v", cut, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzRead(f *testing.F) {
	f.Add([]byte(sample2))
	f.Add([]byte(seal(`{ "PostgreSQL-Backup-Manifest-Version": 1,` + "\n" + `"Files": [` + "\n" + `],` + "\n" + `"WAL-Ranges": [` + "\n" + `],` + "\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		m, err := Read(bytes.NewReader(data), func(f File) error {
			n++
			return f.Verify(strings.NewReader("abc"))
		})
		if err == nil && m.Files != n {
			t.Errorf("%d files of %d", n, m.Files)
		}
	})
}
