package hints_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/hints"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

var (
	keyer = hints.NewKeyer(chunk.NewKeys([32]byte{1}))
	refs  = []manifest.Ref{{ID: chunk.ID{1}, Size: 1}, {ID: chunk.ID{2}, Size: 300000}}
)

func part() []byte {
	out := hints.Append(hints.Begin(), keyer.Path("a"), keyer.Fingerprint([]byte("1")), refs)
	return hints.Append(out, keyer.Path("b"), keyer.Fingerprint([]byte("1")), nil)
}

func TestLookup(t *testing.T) {
	table := hints.NewTable()
	if err := table.AddPart(part()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, print string
		want        []manifest.Ref
		ok          bool
	}{{"a", "1", refs, true}, {"b", "1", nil, true}, {"a", "2", nil, false}, {"c", "1", nil, false}} {
		got, ok := table.Lookup(keyer.Path(c.path), keyer.Fingerprint([]byte(c.print)))
		if diff := cmp.Diff(c.want, got); ok != c.ok || diff != "" {
			t.Errorf("%s %s: %v (-want +got):\n%s", c.path, c.print, ok, diff)
		}
	}
	if keyer.Path("x") == keyer.Fingerprint([]byte("x")) {
		t.Error("a path and a fingerprint have one key")
	}
}

func TestCutOffPart(t *testing.T) {
	data := part()
	for n := len(hints.Begin()) + 1; n < len(data); n++ {
		table := hints.NewTable()
		err := table.AddPart(data[:n])
		if _, ok := table.Lookup(keyer.Path("b"), keyer.Fingerprint([]byte("1"))); ok {
			t.Errorf("cut off at %d: the last record is found (%v)", n, err)
		}
	}
}

func FuzzAddPart(f *testing.F) {
	f.Add(part())
	f.Add(hints.Begin())
	f.Fuzz(func(t *testing.T, data []byte) {
		table := hints.NewTable()
		if err := table.AddPart(data); err != nil || len(data) < 40 {
			return
		}
		table.Lookup(hints.Key(data[8:24]), hints.Key(data[24:40]))
	})
}
