package qdrant

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

// Any byte of an archive or of exported points that is another one is found, and so is a cut at any place.
func TestVerifyFindsEveryByte(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "bytes")
	s.Fill(t, name, map[string]any{"vectors": map[string]any{"size": 8, "distance": "Cosine"}, "shard_number": 2}, 300, 0)
	for _, method := range methodNames {
		r := newRun(t, sourceOf(s, name), methods[method])
		sink, _, err := r.try("p1")
		if err != nil {
			t.Fatal(err)
		}
		verify := func(change func(data []byte) []byte) error {
			_, err := r.x.Verify(t.Context(), executors.VerifyRequest{Backup: r.backup}, altered(sink, func(items []*executortest.Item) []*executortest.Item {
				items[0].Data = change(items[0].Data)
				return items
			}))
			return err
		}
		size := len(sink.Items()[0].Data)
		for i := range 20 {
			at := (size - 1) * i / 19
			if err := verify(func(data []byte) []byte { return data[:at] }); err == nil || !strings.Contains(err.Error(), "verify collections/") {
				t.Errorf("%s: cut after %d of %d bytes: %v", method, at, size, err)
			}
			if method == "export" {
				continue // the repository's chunks are checked; points have no sum of their own
			}
			if err := verify(func(data []byte) []byte { data[at] ^= 4; return data }); err == nil || !strings.Contains(err.Error(), "verify collections/") {
				t.Errorf("%s: another byte at %d of %d: %v", method, at, size, err)
			}
		}
		for what, change := range map[string]func([]byte) []byte{
			"without the end marker": func(d []byte) []byte { return bytes.TrimRight(d, "\x00") },
			"longer by a byte":       func(d []byte) []byte { return append(d, 1) },
			"twice":                  func(d []byte) []byte { return append(d, d...) },
			"nothing":                func([]byte) []byte { return nil },
		} {
			if err := verify(change); err == nil && (method != "export" || what != "without the end marker") {
				t.Errorf("%s: %s: nothing is found", method, what)
			}
		}
	}
}

// Documents that do not fit each other, or that nobody can read, name themselves.
func TestVerifyDocuments(t *testing.T) {
	s := qdranttest.Shared(t)
	p := s.Name(t, "documents")
	for _, name := range []string{p + "a", p + "b"} {
		s.Fill(t, name, nil, 20, 4)
	}
	in := func(path, old, new string) func([]*executortest.Item) []*executortest.Item {
		return func(items []*executortest.Item) []*executortest.Item {
			for _, it := range items {
				if strings.HasSuffix(it.Entry.Path, path) {
					if !bytes.Contains(it.Data, []byte(old)) {
						panic(fmt.Sprintf("%s does not hold %s", it.Entry.Path, old))
					}
					it.Data = bytes.Replace(it.Data, []byte(old), []byte(new), 1)
				}
			}
			return items
		}
	}
	without := func(path string) func([]*executortest.Item) []*executortest.Item {
		return func(items []*executortest.Item) []*executortest.Item {
			return slices.DeleteFunc(items, func(it *executortest.Item) bool { return strings.HasSuffix(it.Entry.Path, path) })
		}
	}
	for _, method := range methodNames {
		r := newRun(t, sourceOf(s, p+"?"), methods[method])
		sink, _, err := r.try("p1")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name   string
			change func([]*executortest.Item) []*executortest.Item
			want   string
		}{
			{"not JSON", in("a/collection.json", `{`, `[`), "read " + dirOf(p+"a") + "/collection.json: "},
			{"a later format", in("b/collection.json", `"format_version":1`, `"format_version":2`), `b/collection.json: its format is "holdfast-qdrant", version 2; this version of holdfast reads holdfast-qdrant, version 1`},
			{"another format", in("point.json", `"format":"holdfast-qdrant"`, `"format":"other"`), `read point.json: its format is "other", version 1`},
			{"no version of the server", in("point.json", `"qdrant_version":"`, `"qdrant_version":"v`), "read point.json: the server's version"},
			{"another collection's document", in("a/collection.json", p+"a", p+"c"), "a/collection.json: it tells of collection \"" + p + "c\""},
			{"a document is missing", without("b/collection.json"), "tells of 2 collections and holds 1"},
			{"point.json is missing", without("point.json"), "holds no point.json: it was not made of a Qdrant server"},
			{"an archive is missing", without(pick(method, "export", ".points", ".snapshot")), "is not whole in the restore point: "},
			{"documents alone of nothing", func([]*executortest.Item) []*executortest.Item { return nil }, "holds no point.json"},
		} {
			from := altered(sink, c.change)
			if _, err := r.x.Verify(t.Context(), executors.VerifyRequest{Backup: r.backup}, from); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: verify says %v, want %q", method, c.name, err, c.want)
			}
			// A restore refuses the same before it makes anything.
			if _, err := r.back(from, "*-new", false); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: restore says %v, want %q", method, c.name, err, c.want)
			}
		}
	}
	if got := collectionsAt(t, s, p); len(got) != 2 {
		t.Errorf("made were %v", got)
	}
	noLeftovers(t, s, p+"a", p+"b")
}
