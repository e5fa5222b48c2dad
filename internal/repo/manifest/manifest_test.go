package manifest_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

func refs(n int) (out []manifest.Ref) {
	for i := range n {
		out = append(out, manifest.Ref{ID: chunk.ID{byte(i), byte(i >> 8)}, Size: uint32(i)})
	}
	return out
}

func example(t testing.TB) (manifest.Header, []byte) {
	t.Helper()
	h := manifest.Header{
		Format: manifest.ManifestFormat, FormatVersion: manifest.ManifestVersion, Repository: "r", Address: "backup.a", Point: "p",
		Entries: manifest.EntriesInline, Items: 2, Size: 3, Info: manifest.Info{Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)},
	}
	out, err := manifest.AppendHeader(nil, h)
	if err == nil {
		out, err = manifest.AppendEntry(out, manifest.Entry{Path: "d", Type: manifest.TypeDir}, nil)
	}
	if err == nil {
		out, err = manifest.AppendEntry(out, manifest.Entry{Path: "f", Type: manifest.TypeFile, Size: 3}, refs(9000))
	}
	if err != nil {
		t.Fatal(err)
	}
	return h, out
}

func TestManifest(t *testing.T) {
	want, data := example(t)
	d := manifest.NewDecoder(bytes.NewReader(data))
	got, err := d.Header()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("header: %v (-want +got):\n%s", err, diff)
	}
	var entries []manifest.Entry
	var content []manifest.Ref
	lines := 0
	for {
		l, err := d.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		lines++
		if l.Entry != nil {
			entries = append(entries, *l.Entry)
		}
		content = append(content, l.Refs...)
	}
	wantEntries := []manifest.Entry{{Path: "d", Type: manifest.TypeDir}, {Path: "f", Type: manifest.TypeFile, Size: 3}}
	if diff := cmp.Diff(wantEntries, entries); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(refs(9000), content); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
	if lines != 4 {
		t.Errorf("%d lines, want 4: references of long content are spread", lines)
	}
}

func TestSummary(t *testing.T) {
	want := manifest.Summary{
		Format: manifest.SummaryFormat, FormatVersion: manifest.SummaryVersion, Address: "a", Point: "p", Items: 1, Size: 2, Stored: 3, Reused: 4,
		ManifestSHA256: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", ManifestSize: 5, Packs: []string{"x"},
		Info: manifest.Info{Source: "s", PolicyText: []byte("text"), Meta: map[string]string{"k": "v"}},
	}
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := manifest.DecodeSummary(data)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := manifest.DecodeSummary(bytes.Replace(data, []byte(`"format_version":1`), []byte(`"format_version":2`), 1)); err == nil {
		t.Error("a summary of a newer version was accepted")
	}
}

func FuzzManifest(f *testing.F) {
	_, data := example(f)
	f.Add(data[:2000])
	f.Add([]byte(`{"format":"holdfast-manifest","format_version":1,"entries":"inline"}` + "\n" + `{"chunks":["x"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := manifest.NewDecoder(bytes.NewReader(data))
		if _, err := d.Header(); err != nil {
			return
		}
		for {
			l, err := d.Next()
			if err != nil {
				return
			}
			if l.Entry == nil && len(l.Refs) == 0 {
				t.Fatal("an empty line")
			}
		}
	})
}

func FuzzSummary(f *testing.F) {
	f.Add([]byte(`{"format":"holdfast-summary","format_version":1,"manifest_sha256":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := manifest.DecodeSummary(data)
		if err == nil && len(s.ManifestSHA256) != 64 {
			t.Error("a summary without the manifest's hash was accepted")
		}
	})
}
