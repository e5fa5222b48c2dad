package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// walk follows an archive that comes in blocks of the sizes that next gives, and returns where it was cut.
func walk(t testing.TB, data []byte, next func() int) (Report, []int64) {
	t.Helper()
	w := NewWalker()
	var cuts []int64
	var at int64
	for len(data) > 0 {
		b := data[:min(len(data), max(1, next()))]
		data = data[len(b):]
		for len(b) > 0 {
			n, cut := w.Next(b)
			if n <= 0 || n > len(b) {
				t.Fatalf("Next took %d of %d bytes at %d", n, len(b), at)
			}
			b = b[n:]
			if at += int64(n); cut {
				cuts = append(cuts, at)
			}
		}
	}
	r := w.Report()
	if r.Bytes != at {
		t.Fatalf("the report counts %d bytes of %d", r.Bytes, at)
	}
	return r, cuts
}

func inOne() int { return 1 << 30 }

func TestWhole(t *testing.T) {
	deep := "segments/" + strings.Repeat("0123456789abcdef", 7) + "/files/" // names that no header holds
	big := strings.Repeat("v", MinPart)
	list := func(text string) []byte { return whole().add(listName, text).closed() }
	cutAt := func(data []byte, n int) []byte { return data[:n] }
	nestedOf := func(content []byte) []byte { return whole().add("segments/c.tar", string(content)).closed() }
	inner := nestedWith("segment.json", "version.info").Bytes()
	base256 := func(name, content string, field ...byte) []byte {
		m := whole()
		return m.raw(head(name, '0', 0, func(h []byte) {
			copy(h[124:136], make([]byte, 12))
			h[124] = 0x80
			copy(h[136-len(field):136], field)
		}), []byte(content)).closed()
	}
	for _, c := range []struct {
		name string
		data []byte
		want string // empty: whole
	}{
		{"whole", whole().closed(), ""},
		{"zeros after the end marker", append(whole().closed(), make([]byte, 9000)...), ""},
		{"names begin with ./", (&maker{}).add("./segments/a/files/segment.json", "{}").add("./segments/a/files/version.info", "1").add("./replica_state.json", "{}").add("./shard_config.json", "{}").end(), ""},
		{"folders, old types, sparse members", whole().raw(head("wal/", '5', 0, nil), nil).raw(head("wal/first-index", 0, 2, nil), []byte("{}")).sparse("wal/closed-1", "1234", 0).sparse("wal/open-1", "1234", 3).closed(), ""},
		{"a folder that claims a size", whole().raw(head("wal/", '5', 4096, nil), nil).closed(), ""},
		{"GNU long names", whole().long('L', deep+"segment.json", "{}").long('L', deep+"version.info", "1").closed(), ""},
		{"PAX long names", whole().long('x', deep+"segment.json", "{}").long('x', deep+"version.info", "1").closed(), ""},
		{"PAX header of all members", whole().raw(head("pax", 'g', 11, nil), []byte("11 comment=")).closed(), ""},
		{"a size in binary", base256("wal/open-1", "12345", 5), ""},
		{"the end marker of a segment is there", nestedOf((&maker{}).raw(nil, inner).end()), ""},
		{"the end marker of a segment is half there", nestedOf(append(bytes.Clone(inner), make([]byte, block)...)), ""},
		{"the list names every segment", list(`{"a": {}, "b": {}}`), ""},
		{"the list names more than there are", list(`{"a": {}, "b": {}, "gone": {}}`), ""},

		{"empty", nil, "the archive is empty"},
		{"no end marker", cutAt(whole().closed(), len(whole().closed())-1024), "its end marker is missing after"},
		{"half an end marker", cutAt(whole().closed(), len(whole().closed())-512), "its end marker is missing after"},
		{"nearly an end marker", cutAt(whole().closed(), len(whole().closed())-1), "its end marker is missing after"},
		{"cut in a header", cutAt(whole().closed(), 700), "its end marker is missing after"},
		{"cut in content", cutAt(whole().add("wal/open-1", big).closed(), whole().Len()+900), "its end marker is missing after"},
		{"cut in padding", cutAt(whole().closed(), whole().Len()+block+20), "its end marker is missing after"},
		{"cut in the map of a sparse member", cutAt(whole().sparse("wal/open-1", big, 4).closed(), whole().Len()+3*block+7), "its end marker is missing after"},
		{"cut in a segment", cutAt(whole().closed(), 3*block), "its end marker is missing after"},
		{"not its last member", whole().add("replica_state.json", "{}").end(), "shard_config.json is missing after"},
		{"not its last but one", whole().add("shard_config.json", "{}").end(), "replica_state.json is missing after"},
		{"the last members belong to a segment", whole().add("segments/b/files/replica_state.json", "{}").add("segments/b/files/shard_config.json", "{}").end(), "replica_state.json is missing"},
		{"no segment", (&maker{}).closed(), "it holds no segment"},
		{"a segment without its state", whole().add("segments/c/files/version.info", "1").closed(), "segment c lacks segment.json"},
		{"a segment without its version", whole().add("segments/c.tar", nestedWith("segment.json").String()).closed(), "segment c lacks version.info"},
		{"a segment that is an empty file", nestedOf(nil), "segment c lacks segment.json"},
		{"a segment ends in a header", nestedOf(inner[:block+40]), "segments/c.tar, near byte"},
		{"a segment ends in content", nestedOf(nestedWith("segment.json", "version.info", "x").raw(head("y", '0', 900, nil), make([]byte, 100)).Bytes()[:6*block+50]), "it ends in the middle of a member"},
		{"a segment's bytes follow its end", nestedOf(append((&maker{}).raw(nil, inner).end(), "more"...)), "segments/c.tar, near byte"},
		{"a segment is no archive", nestedOf(bytes.Repeat([]byte("no archive "), 100)), "a header's sum is wrong"},
		{"bytes after the end marker", append(whole().closed(), 1), "bytes follow the end marker"},
		{"a member after a zero block", (&maker{}).raw(make([]byte, block), nil).add("replica_state.json", "{}").end(), "a member follows a zero block"},
		{"a wrong sum", whole().raw(bytes.Replace(head("x", '0', 0, nil), []byte("x"), []byte("y"), 1), nil).closed(), "a header's sum is wrong"},
		{"no archive at all", []byte(strings.Repeat("<html>502 Bad Gateway</html>", 40)), "the archive, near byte 0 of it: a header's sum is wrong"},
		{"an impossible size", base256("wal/open-1", "", 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "member \"wal/open-1\" claims an impossible size"},
		{"a negative size", whole().raw(head("wal/open-1", '0', 0, func(h []byte) { copy(h[124:136], bytes.Repeat([]byte{0xff}, 12)) }), nil).closed(), "claims an impossible size"},
		{"a size that is no number", whole().raw(head("wal/open-1", '0', 0, func(h []byte) { copy(h[124:136], "12 monkeys\x00") }), nil).closed(), "claims an impossible size"},
		{"a symbolic link", whole().raw(head("wal", '2', 0, nil), nil).closed(), "member \"wal\" has the type '2', which no snapshot holds"},
		{"a name too long to be one", whole().raw(head("././@LongLink", 'L', maxNote+1, nil), nil).closed(), "a header's extension claims 1048577 bytes"},
		{"the list lacks a segment", list(`{"a": {}}`), "segment b is not in its segments_manifest.json"},
		{"the list is empty", list(`null`), "segment a is not in its segments_manifest.json"},
		{"the list is no JSON", list(`{"a": {}`), "segments_manifest.json cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := walk(t, c.data, inOne)
			got := ""
			if err := r.Whole(); err != nil {
				got = err.Error()
			}
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			// However the bytes come, the result is the same.
			for _, step := range []int{1, 511, 513, 4096} {
				again, _ := walk(t, c.data, func() int { return step })
				if d := cmp.Diff(saidBy(r), saidBy(again)); d != "" {
					t.Errorf("in blocks of %d (-in one +in blocks):\n%s", step, d)
				}
			}
		})
	}
}

// saidBy is everything that a report says.
func saidBy(r Report) string {
	return fmt.Sprint(r.Bytes, r.Members, r.End, r.Problem, r.Segments(), r.Whole())
}

// What archive/tar writes is read as it reads it.
func TestSegmentsAndMembers(t *testing.T) {
	long := strings.Repeat("long/", 40)
	for _, format := range []tar.Format{tar.FormatGNU, tar.FormatPAX, tar.FormatUSTAR} {
		t.Run(format.String(), func(t *testing.T) {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			names := []string{"segments/a/files/segment.json", "segments/a/files/version.info", "segments/z.tar", "segments/a/files/Größe", "replica_state.json", "shard_config.json"}
			if format == tar.FormatUSTAR {
				names = slices.Delete(names, 3, 4)
			} else {
				names = append(names, "segments/a/files/"+long+"x")
			}
			for _, name := range names {
				content := "some content"
				if strings.HasSuffix(name, ".tar") {
					content = nestedWith("segment.json", "version.info").String()
				}
				if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), Format: format}); err != nil {
					t.Fatal(err)
				}
				_, _ = w.Write([]byte(content))
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			r, _ := walk(t, b.Bytes(), inOne)
			if err := r.Whole(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]string{"a", "z"}, r.Segments()); d != "" {
				t.Errorf("segments (-want +got):\n%s", d)
			}
			if want := len(names) + 2; r.Members != want {
				t.Errorf("%d members, want %d", r.Members, want)
			}
		})
	}
}

// Next never panics, always takes something, and says the same however the bytes come.
func FuzzWalker(f *testing.F) {
	f.Add(whole().closed(), uint64(1))
	f.Add(whole().sparse("wal/open-1", "1234", 3).long('L', strings.Repeat("n", 300), "x").closed(), uint64(2))
	f.Add(whole().long('x', strings.Repeat("n", 300), "x").add(listName, `{"a":1,"b":2}`).closed(), uint64(3))
	f.Add(whole().raw(head("segments/b/files/vectors/chunk_0.mmap", '0', MinPart, nil), []byte("cut short: the fuzzer is slow with large inputs")).Bytes(), uint64(4))
	f.Add([]byte{}, uint64(5))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		want, cuts := walk(t, data, inOne)
		random := rand.New(rand.NewPCG(seed, 1)) // #nosec G404: the same each time
		got, again := walk(t, data, func() int { return random.IntN(1500) })
		if saidBy(want) != saidBy(got) || !slices.Equal(cuts, again) {
			t.Errorf("in one: %s %v\nin blocks: %s %v", saidBy(want), cuts, saidBy(got), again)
		}
	})
}

func BenchmarkWalker(b *testing.B) {
	m := whole()
	for i := range 8 {
		m.add(fmt.Sprintf("segments/b/files/vectors/chunk_%d.mmap", i), strings.Repeat("v", 8<<20))
		for j := range 100 {
			m.add(fmt.Sprintf("segments/b/files/payload/%d.%d", i, j), strings.Repeat("p", 3000))
		}
	}
	data := m.closed()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		w := NewWalker()
		for rest := data; len(rest) > 0; {
			n, _ := w.Next(rest[:min(len(rest), 1<<20)])
			rest = rest[n:]
		}
		if err := w.Report().Whole(); err != nil {
			b.Fatal(err)
		}
	}
}
