package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// build writes a head the way pg_dump of an archive version does.
func build(minor byte, entries ...Entry) []byte {
	var b bytes.Buffer
	num := func(n int) {
		if n < 0 {
			b.WriteByte(1)
			n = -n
		} else {
			b.WriteByte(0)
		}
		_ = binary.Write(&b, binary.LittleEndian, uint32(n))
	}
	str := func(s string) { num(len(s)); b.WriteString(s) }
	b.WriteString("PGDMP")
	b.Write([]byte{1, minor, 0, 4, 8, formatCustom})
	if minor >= 15 {
		b.WriteByte(0)
	} else {
		num(0)
	}
	for range 7 {
		num(1)
	}
	str("app")
	str("15.18 (Debian)")
	str("16.1")
	num(len(entries))
	for _, e := range entries {
		num(e.ID)
		num(map[bool]int{true: 1}[e.HasData])
		str("1259")
		str("16400")
		str(e.Tag)
		str(e.Desc)
		num(2)
		str(e.Defn)
		str("DROP")
		num(-1)
		str(e.Namespace)
		str(e.Tablespace)
		if minor >= 14 {
			str("heap")
		}
		if minor >= 16 {
			num('r')
		}
		str(e.Owner)
		str("false")
		for _, d := range e.Deps {
			str(strconv.Itoa(d))
		}
		num(-1)
		b.Write(make([]byte, 9))
	}
	return b.Bytes()
}

var sample = []Entry{
	{ID: 5, Desc: "SCHEMA", Tag: "s", Owner: "o"},
	{ID: 217, Desc: "TABLE", Tag: `Tab "x" 文書`, Namespace: "s", Owner: "o", Tablespace: "fast", Defn: "CREATE TABLE …;\n", Deps: []int{5, 885}},
	{ID: 3000, Desc: "TABLE DATA", Tag: `Tab "x" 文書`, Namespace: "s", Owner: "o", Deps: []int{217}, HasData: true},
}

func TestReadHead(t *testing.T) {
	for minor := byte(12); minor <= 16; minor++ {
		got, err := ReadHead(io.MultiReader(bytes.NewReader(build(minor, sample...)), strings.NewReader("data follows")))
		want := Head{Database: "app", ServerVersion: "15.18 (Debian)", DumpVersion: "16.1", Entries: sample}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("version 1.%d: %v (-want +got):\n%s", minor, err, diff)
		}
	}
}

func TestReadHeadErrors(t *testing.T) {
	good := build(14, sample...)
	for n := range good {
		if _, err := ReadHead(bytes.NewReader(good[:n])); err == nil {
			t.Fatalf("a head cut to %d of %d bytes was read", n, len(good))
		}
	}
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":         {nil, ErrNotArchive.Error()},
		"text":            {[]byte("-- PostgreSQL database dump"), ErrNotArchive.Error()},
		"too new":         {change(6, 99), "archive version 1.99"},
		"folder format":   {change(10, 5), ErrNotArchive.Error()},
		"integers of 200": {change(8, 200), "out of range"},
	} {
		if _, err := ReadHead(bytes.NewReader(tc.data)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	broken := errors.New("damaged object")
	_, err := ReadHead(io.MultiReader(bytes.NewReader(good[:50]), failing{broken}))
	if !errors.Is(err, broken) {
		t.Errorf("the reader's error is lost: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzReadHead(f *testing.F) {
	for minor := byte(12); minor <= 16; minor++ {
		f.Add(build(minor, sample...))
	}
	f.Add([]byte("PGDMP\x01\x0e\x00\x08\x08\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		head, err := ReadHead(bytes.NewReader(data))
		if err != nil && len(head.Entries) > 0 {
			t.Error("an error with entries")
		}
	})
}
