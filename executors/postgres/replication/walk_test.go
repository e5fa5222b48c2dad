package replication

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pack writes members as PostgreSQL does: one ustar header each. Content is the name, repeated up to the size.
func pack(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		if h.Typeflag != tar.TypeXGlobalHeader { // which takes nothing else
			h.Mode = 0o600
			h.Format = max(h.Format, tar.FormatUSTAR)
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(strings.Repeat("x", int(h.Size)))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func file(name string, size int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: size}
}

// walked lists what a walk sees.
func walked(in []byte, tablespace uint32, terminated bool) ([]string, error) {
	var seen []string
	err := walkArchive(bytes.NewReader(in), tablespace, terminated, func(m Member, r io.Reader) error {
		n, err := io.Copy(io.Discard, r)
		seen = append(seen, fmt.Sprintf("%c %s %d", m.Header.Typeflag, m.Path, n))
		return err
	})
	return seen, err
}

func TestWalkArchive(t *testing.T) {
	in := pack(t, file("backup_label", 3), tar.Header{Name: "base/", Typeflag: tar.TypeDir}, file("base/1/2", 1024), file("empty", 0),
		tar.Header{Name: "pg_tblspc/16385", Typeflag: tar.TypeSymlink, Linkname: "/space"})
	want := []string{"0 backup_label 3", "5 base 0", "0 base/1/2 1024", "0 empty 0", "2 pg_tblspc/16385 0"}
	for name, test := range map[string]struct {
		in         []byte
		terminated bool
	}{
		"since 15":                  {in, true},
		"before 15":                 {in[:len(in)-1024], false},
		"before 15, with zeros too": {in, false},
	} {
		got, err := walked(test.in, 0, test.terminated)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	got, err := walked(pack(t, file("PG_15_202209061/5/16386", 1)), 16385, true)
	if diff := cmp.Diff([]string{"0 pg_tblspc/16385/PG_15_202209061/5/16386 1"}, got); diff != "" || err != nil {
		t.Errorf("tablespace: %v (-want +got):\n%s", err, diff)
	}
}

func TestWalkArchiveRefuses(t *testing.T) {
	one := pack(t, file("a", 600))
	for _, test := range []struct {
		name string
		in   []byte
		err  string
	}{
		{"no end", one[:len(one)-1024], "without its two zero blocks"},
		{"half an end", one[:len(one)-512], "without its two zero blocks"},
		{"bytes after the end", append(bytes.Clone(one), 0), "1 bytes follow"},
		{"cut in a file", one[:700], "unexpected EOF"},
		{"cut in the padding", one[:512+700], "unexpected EOF"},
		{"cut in a header", one[:100], "unexpected EOF"},
		{"nothing", nil, "without its two zero blocks"},
		{"up and away", pack(t, file("../etc/passwd", 0)), "does not stay inside"},
		{"up in the middle", pack(t, file("a/../../b", 0)), "does not stay inside"},
		{"absolute", pack(t, file("/etc/passwd", 0)), "does not stay inside"},
		{"a folder of its own", pack(t, file("././a", 0)), "does not stay inside"},
		{"not clean", pack(t, file("a//b", 0)), "does not stay inside"},
		{"the folder itself", pack(t, tar.Header{Name: "./", Typeflag: tar.TypeDir}), "does not stay inside"},
		{"hard link", pack(t, tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "b"}), "of the type '1'"},
		{"device", pack(t, tar.Header{Name: "a", Typeflag: tar.TypeBlock}), "of the type '4'"},
		{"link elsewhere", pack(t, tar.Header{Name: "base/1", Typeflag: tar.TypeSymlink, Linkname: "/etc"}), "not one of a tablespace"},
		{"relative link", pack(t, tar.Header{Name: "pg_tblspc/1", Typeflag: tar.TypeSymlink, Linkname: "../base"}), "not one of a tablespace"},
		{"long name", pack(t, tar.Header{Name: strings.Repeat("n", 200), Typeflag: tar.TypeReg, Format: tar.FormatGNU}), "extended header"},
		{"extended", pack(t, tar.Header{Name: "a", Typeflag: tar.TypeReg, Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": "c"}}), "extended header"},
		{"global", pack(t, tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "c"}}), "extended header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if seen, err := walked(test.in, 0, true); err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("walk saw %q and gave %v, want an error with %q", seen, err, test.err)
			}
		})
	}
}

// A file above 8 GiB has a size that octal digits cannot hold. The zeros are made on the fly.
func TestWalkArchiveLargeFile(t *testing.T) {
	var head bytes.Buffer
	const size = 9 << 30
	h := tar.Header{Name: "base/1/2", Typeflag: tar.TypeReg, Mode: 0o600, Size: size, Format: tar.FormatGNU}
	if err := tar.NewWriter(&head).WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	copy(head.Bytes()[257:], "ustar\x0000") // as PostgreSQL marks its headers
	checksum(head.Bytes())
	stop := errors.New("far enough")
	err := walkArchive(&head, 0, true, func(m Member, _ io.Reader) error {
		if m.Header.Size != size {
			t.Errorf("size = %d, want %d", m.Header.Size, int64(size))
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Errorf("walk gave %v, want the visitor's own error", err)
	}
}

func checksum(block []byte) {
	copy(block[148:], "        ")
	sum := 0
	for _, b := range block[:512] {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
}

func FuzzWalkArchive(f *testing.F) {
	f.Add(pack(f, file("a", 3), file("b/c", 600)), true)
	f.Add(pack(f, tar.Header{Name: "d/", Typeflag: tar.TypeDir})[:512], false)
	f.Add(pack(f, tar.Header{Name: strings.Repeat("n", 200), Typeflag: tar.TypeReg, Format: tar.FormatGNU}), true)
	f.Add(pack(f, tar.Header{Name: "a", Typeflag: tar.TypeReg, Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": "c"}}), true)
	f.Fuzz(func(t *testing.T, in []byte, terminated bool) {
		total := int64(0)
		err := walkArchive(bytes.NewReader(in), 0, terminated, func(m Member, r io.Reader) error {
			if strings.HasPrefix(m.Path, "/") || strings.Contains("/"+m.Path+"/", "/../") {
				t.Errorf("the path %q leaves the folder", m.Path)
			}
			n, err := io.Copy(io.Discard, r)
			if err == nil && m.Header.Typeflag == tar.TypeReg && n != m.Header.Size {
				t.Errorf("%s gave %d bytes of %d", m.Path, n, m.Header.Size)
			}
			total += n
			return err
		})
		if err == nil && total > int64(len(in)) {
			t.Errorf("%d bytes came out of %d", total, len(in))
		}
	})
}

// zeros is an endless archive's file.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// BenchmarkWalk is what the tar layer costs on top of the bytes: relation files of 1 MiB, read in pieces of 32 KiB.
func BenchmarkWalk(b *testing.B) {
	const size = 1 << 20
	head := pack(b, file("base/1/2", 0))[:512]
	copy(head[124:], fmt.Sprintf("%011o\x00", size))
	checksum(head)
	b.SetBytes(size)
	readers := make([]io.Reader, 0, 2*b.N+1)
	for range b.N {
		readers = append(readers, bytes.NewReader(head), io.LimitReader(zeros{}, size))
	}
	readers = append(readers, bytes.NewReader(make([]byte, 1024)))
	b.ResetTimer()
	buf := make([]byte, 32<<10)
	err := walkArchive(io.MultiReader(readers...), 0, true, func(_ Member, r io.Reader) error {
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}
