package basebackup

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

const boundary = wal.LSN(0x5000000) // where the backup began

// page is a whole page that was changed before the backup began.
func page(block uint32, lsn wal.LSN) []byte {
	var p pgdata.Page
	binary.LittleEndian.PutUint32(p[4:], uint32(lsn))
	binary.LittleEndian.PutUint16(p[14:], 8000)
	p[8191] = byte(block)
	binary.LittleEndian.PutUint16(p[8:], pgdata.Checksum(&p, block))
	return p[:]
}

// tearing gives the first reads of a block half-written.
type tearing struct {
	whole []byte
	torn  map[int64]int // by offset of the page: how many reads are torn
	cut   int64         // the file has this many bytes from the second read on; 0: as before
	reads int
}

func (s *tearing) ReadAt(p []byte, at int64) (int, error) {
	s.reads++
	whole := s.whole
	if s.cut > 0 && s.reads > 1 {
		whole = whole[:s.cut]
	}
	if at >= int64(len(whole)) {
		return 0, io.EOF
	}
	n := copy(p, whole[at:])
	for off, left := range s.torn {
		if off >= at && off+8192 <= at+int64(n) && left > 0 {
			p[off-at+5000] ^= 1
			s.torn[off]--
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func reading(from io.ReaderAt, size int64, print []byte) *localReader {
	f := &localFile{l: &local{ctx: context.Background(), start: boundary}, name: "base/5/16384", print: print}
	return &localReader{f: f, from: from, limit: size, pages: true}
}

// TestPagesWhileRead: a page that was read while it was written is read again; one that stays wrong is damaged.
func TestPagesWhileRead(t *testing.T) {
	var whole []byte
	for block := range uint32(40) { // more than one block of the reader
		whole = append(whole, page(block, boundary-100)...)
	}
	for _, c := range []struct {
		what string
		from tearing
		want []uint32
		more int
	}{
		{"whole", tearing{}, nil, 0},
		{"torn once", tearing{torn: map[int64]int{0: 1, 35 * 8192: 1}}, nil, 0},
		{"torn for some time", tearing{torn: map[int64]int{3 * 8192: tornTries}}, nil, 0},
		{"damaged", tearing{torn: map[int64]int{3 * 8192: 100, 33 * 8192: 100}}, []uint32{3, 33}, 0},
		{"cut off before it is read again", tearing{torn: map[int64]int{31 * 8192: 1}, cut: 31 * 8192}, nil, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			c.from.whole = whole
			r := reading(&c.from, int64(len(whole)), nil)
			got, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == nil && c.from.cut == 0 && !bytes.Equal(got, whole) {
				t.Error("what was read is not the whole pages")
			}
			if diff := cmp.Diff(c.want, r.f.bad); diff != "" || r.f.more != c.more {
				t.Errorf("%d more, (-want +got):\n%s", r.f.more, diff)
			}
			if r.f.state != fileRead || r.f.size != int64(len(got)) {
				t.Errorf("state %d, size %d of %d", r.f.state, r.f.size, len(got))
			}
		})
	}
}

// TestNewerPages: a page that recovery will write anew is not judged, and a piece of one at the end is none.
func TestNewerPages(t *testing.T) {
	whole := append(page(0, boundary+8), page(1, boundary-8)[:5000]...)
	whole[4000] ^= 1
	r := reading(bytes.NewReader(whole), int64(len(whole)), nil)
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, whole) || len(r.f.bad) > 0 {
		t.Errorf("%v, %d bytes, damaged %v", err, len(got), r.f.bad)
	}
}

// TestDamagedIsNotRecognised: a later backup must find the damage itself, so that no hint of it may stay.
func TestDamagedIsNotRecognised(t *testing.T) {
	whole := page(0, boundary-8)
	whole[4000] ^= 1
	r := reading(bytes.NewReader(whole), int64(len(whole)), []byte("print"))
	if _, err := io.ReadAll(r); !errors.Is(err, executors.ErrSkip) || r.f.state != fileAgain {
		t.Errorf("%v, state %d", err, r.f.state)
	}
}

// TestGrows: what is added while a file is read is not of it.
func TestGrows(t *testing.T) {
	whole := append(page(0, boundary-8), page(1, boundary-8)...)
	got, err := io.ReadAll(reading(bytes.NewReader(whole), 8192, nil))
	if err != nil || !bytes.Equal(got, whole[:8192]) {
		t.Errorf("%v, %d bytes", err, len(got))
	}
}

// TestTrust: which stamps prove something.
func TestTrust(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "base", "5", "16384")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if !keepsTime(dir) {
		t.Skip("the folder for temporary files is on a file system whose stamps prove nothing")
	}
	written := info.ModTime()
	of := func(change func(*LocalRequest), began time.Time, name string) string {
		req := LocalRequest{Dir: Directory{Path: dir, Control: pgdata.Control{SystemID: 7}}, Run: time.Unix(1000, 0), Quiet: 2 * time.Second}
		if change != nil {
			change(&req)
		}
		tr := newTrust(req, began)
		return string(tr.fingerprint(name, info))
	}
	const relation = "base/5/16384"
	late := written.Add(3 * time.Second)
	good := of(nil, late, relation)
	if good == "" || good != of(nil, late.Add(time.Hour), relation) {
		t.Error("a file that is left alone is not recognised")
	}
	for what, got := range map[string]string{
		"written lately":         of(nil, written.Add(time.Second), relation),
		"written in the future":  of(nil, written.Add(-time.Hour), relation),
		"no relation":            of(nil, late, "pg_xact/0000"),
		"the default is longer":  of(func(r *LocalRequest) { r.Quiet = 0 }, late, relation),
		"on another file system": elsewhere(dir, late, relation, info),
	} {
		if got != "" {
			t.Errorf("%s: recognised", what)
		}
	}
	for what, got := range map[string]string{
		"another run of the server": of(func(r *LocalRequest) { r.Run = time.Unix(1001, 0) }, late, relation),
		"another cluster":           of(func(r *LocalRequest) { r.Dir.Control.SystemID = 8 }, late, relation),
	} {
		if got == "" || got == good {
			t.Errorf("%s: the same fingerprint", what)
		}
	}
	// An old mtime that somebody set does not hide a write.
	time.Sleep(50 * time.Millisecond) // more than the resolution of stamps
	if err := os.WriteFile(file, []byte("Content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, written, written); err != nil {
		t.Fatal(err)
	}
	if info, err = os.Stat(file); err != nil || !info.ModTime().Equal(written) {
		t.Fatal(err, info.ModTime())
	}
	if got := of(nil, time.Now().Add(time.Hour), relation); got == good {
		t.Error("a write with the old mtime has the same fingerprint")
	}
}

func elsewhere(dir string, late time.Time, name string, info os.FileInfo) string {
	tr := trust{before: late, whose: []byte("x"), places: map[string]uint64{dir: 0}, dir: dir}
	return string(tr.fingerprint(name, info))
}

// TestControlIsReadAgain: a control file that is just being written is waited for; one that stays damaged is an error.
func TestControlIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, controlFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	whole := control()
	torn := bytes.Clone(whole)
	torn[100] ^= 1
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readControl(t.Context(), dir); err == nil {
		t.Error("a damaged one passes")
	}
	done := make(chan error, 1)
	time.AfterFunc(3*controlPause, func() { done <- os.WriteFile(path, whole, 0o600) })
	c, content, err := readControl(t.Context(), dir)
	if err != nil || c.SystemID != 7 || !bytes.Equal(content, whole) {
		t.Errorf("%v, %+v", err, c)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// control is a control file of PostgreSQL 15 (src/include/catalog/pg_control.h).
func control() []byte {
	b := make([]byte, 8192)
	put := func(at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }
	put(0, 7)
	put(8, 1300)
	put(12, 202209061)
	put(228, uint32(wal.DefaultSegmentSize))
	put(288, crc32.Checksum(b[:288], castagnoli))
	return b
}
