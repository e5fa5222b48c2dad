package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	testBlock = 8192
	testSize  = MinSegmentSize
	testStart = LSN(5) << 20
)

// writer makes WAL as PostgreSQL lays it out. Magic and flags are the test's to change.
type writer struct {
	b     []byte // from testStart on
	magic uint16
	tli   Timeline
	prev  LSN
	flags uint16 // of the next page that begins
}

func newWriter() *writer { return &writer{magic: 0xD110, tli: 1} }

func (w *writer) at() LSN { return testStart + LSN(len(w.b)) }

// page begins a page, which goes on with rest bytes of a record.
func (w *writer) page(rest int) {
	h := make([]byte, shortHeader)
	flags := w.flags
	w.flags = 0
	if uint64(w.at())%uint64(testSize) == 0 {
		h, flags = make([]byte, longHeader), flags|hasLongHeader
		binary.LittleEndian.PutUint64(h[24:], 77)
		binary.LittleEndian.PutUint32(h[32:], uint32(testSize))
		binary.LittleEndian.PutUint32(h[36:], testBlock)
	}
	if rest > 0 {
		flags |= firstIsContinued
	}
	binary.LittleEndian.PutUint16(h, w.magic)
	binary.LittleEndian.PutUint16(h[2:], flags)
	binary.LittleEndian.PutUint32(h[4:], uint32(w.tli))
	binary.LittleEndian.PutUint64(h[8:], uint64(w.at()))
	binary.LittleEndian.PutUint32(h[16:], uint32(rest))
	w.b = append(w.b, h...)
}

// record appends a record without blocks and returns its LSN.
func (w *writer) record(rmgr Rmgr, info uint8, xid uint32, data []byte) LSN {
	body := append([]byte{partLong, 0, 0, 0, 0}, data...)
	binary.LittleEndian.PutUint32(body[1:], uint32(len(data)))
	return w.raw(rmgr, info, xid, body)
}

func (w *writer) raw(rmgr Rmgr, info uint8, xid uint32, body []byte) LSN {
	if len(w.b)%testBlock == 0 {
		w.page(0)
	}
	lsn := w.at()
	rec := make([]byte, recordHeader, recordHeader+len(body))
	binary.LittleEndian.PutUint32(rec, uint32(recordHeader+len(body)))
	binary.LittleEndian.PutUint32(rec[4:], xid)
	binary.LittleEndian.PutUint64(rec[8:], uint64(w.prev))
	rec[16], rec[17] = info, uint8(rmgr)
	sum := crc32.Update(crc32.Checksum(body, castagnoli), castagnoli, rec[:20])
	binary.LittleEndian.PutUint32(rec[20:], sum)
	rec = append(rec, body...)
	for len(rec) > 0 {
		if len(w.b)%testBlock == 0 {
			w.page(len(rec))
		}
		n := min(len(rec), testBlock-len(w.b)%testBlock)
		w.b, rec = append(w.b, rec[:n]...), rec[n:]
	}
	for len(w.b)%8 != 0 {
		w.b = append(w.b, 0)
	}
	w.prev = lsn
	return lsn
}

// fill appends zeros up to a place inside the stream.
func (w *writer) fill(to int) { w.b = append(w.b, make([]byte, to-len(w.b))...) }

const heap Rmgr = 10

func (w *writer) commit(xid uint32, second int) LSN {
	return w.record(RmgrTransaction, xactCommit, xid, micros(second))
}

func micros(second int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(second)*1e6) }

func at(second int) time.Time { return time.Date(2000, 1, 1, 0, 0, second, 0, time.UTC) }

func scan(t *testing.T, stream []byte) ([]Record, End) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	var list []Record
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list, r.End()
		}
		if err != nil {
			t.Fatal(err)
		}
		rec.body = nil
		list = append(list, rec)
	}
}

func TestEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		make    func(w *writer)
		records int
		want    End // without its sentence
	}{
		"the stream ends": {func(*writer) {}, 2, End{Kind: EndOfStream}},
		"zeros":           {func(w *writer) { w.fill(int(testSize)) }, 2, End{Kind: EndZeros}},
		"a page that was never written": {func(w *writer) {
			w.record(heap, 0, 7, make([]byte, testBlock-len(w.b)-recordHeader-5))
			w.fill(int(testSize))
		}, 3, End{Kind: EndZeros}},
		"torn by the end": {func(w *writer) {
			w.record(heap, 0, 7, make([]byte, 20000))
			w.b = w.b[:len(w.b)-8]
		}, 2, End{Kind: EndOfStream, Torn: true}},
		"torn by zeros": {func(w *writer) {
			w.record(heap, 0, 7, make([]byte, 20000))
			w.b = w.b[:2*testBlock]
			w.fill(int(testSize))
		}, 2, End{Kind: EndZeros, Torn: true}},
		"bad checksum": {func(w *writer) {
			w.record(heap, 0, 7, make([]byte, 50))
			w.b[len(w.b)-10] ^= 1
		}, 2, End{Kind: EndDamaged}},
		"a length beyond all": {func(w *writer) { w.b = append(w.b, bytes.Repeat([]byte{0xFF}, 8)...) }, 2, End{Kind: EndDamaged}},
		"an older use of the file": {func(w *writer) {
			w.prev -= 64
			w.record(heap, 0, 7, make([]byte, 50))
		}, 2, End{Kind: EndStale}},
		"an older page": {func(w *writer) {
			w.record(heap, 0, 7, make([]byte, testBlock-len(w.b)-recordHeader-5))
			w.page(0)
			binary.LittleEndian.PutUint64(w.b[testBlock+8:], uint64(testStart-8192))
			w.fill(2 * testBlock)
		}, 3, End{Kind: EndStale}},
		"an older timeline": {func(w *writer) {
			w.tli = 0
			w.record(heap, 0, 7, make([]byte, 10000))
		}, 2, End{Kind: EndStale, Torn: true}},
		"a page that does not go on": {func(w *writer) {
			w.record(heap, 0, 7, make([]byte, 10000))
			w.b[testBlock+16]++
		}, 2, End{Kind: EndDamaged, Torn: true}},
		"another cluster": {func(w *writer) {
			w.record(heap, 0, 7, make([]byte, int(testSize)))
			w.b[testSize+24]++
		}, 2, End{Kind: EndDamaged, Torn: true}},
	} {
		w := newWriter()
		w.commit(3, 1)
		w.commit(4, 2)
		tc.make(w)
		list, got := scan(t, w.b)
		if got.Why == "" {
			t.Errorf("%s: no reason is given", name)
		}
		got.Why = ""
		tc.want.LSN = list[len(list)-1].End
		if diff := cmp.Diff(tc.want, got); diff != "" || len(list) != tc.records {
			t.Errorf("%s: %d records, want %d (-want +got):\n%s", name, len(list), tc.records, diff)
		}
	}
}

func TestReadingFailsIsNoEnd(t *testing.T) {
	w := newWriter()
	w.commit(3, 1)
	broken := errors.New("store is gone")
	for _, cut := range []int{10, 60, len(w.b)} {
		r, err := NewReader(io.MultiReader(bytes.NewReader(w.b[:cut]), failing{broken}))
		for err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, broken) {
			t.Errorf("reading fails at byte %d: %v", cut, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestRestOfARecord begins where a record of the segments before goes on, for longer than a segment.
func TestRestOfARecord(t *testing.T) {
	w := newWriter()
	w.record(heap, 0, 3, make([]byte, 2*int(testSize)+100))
	want := w.commit(4, 2)
	list, _ := scan(t, w.b[testSize:])
	if len(list) != 1 || list[0].LSN != want || list[0].XID != 4 {
		t.Errorf("records behind the rest: %+v, want one at %s", list, want)
	}
}

// TestOverwritten goes on behind a record that a crash cut off.
func TestOverwritten(t *testing.T) {
	w := newWriter()
	w.commit(3, 1)
	before := w.prev
	w.record(heap, 0, 3, make([]byte, 30000))
	w.b = w.b[:2*testBlock]
	w.prev, w.flags = before, firstIsOverwrite
	w.page(0)
	w.record(RmgrXLOG, 0xD0, 0, make([]byte, 16))
	want := w.commit(4, 2)
	list, end := scan(t, w.b)
	if len(list) != 3 || list[2].LSN != want || end.Torn {
		t.Errorf("%d records, end %+v; want the last one at %s", len(list), end, want)
	}
}

// TestSwitch passes over the rest of a segment that was left early, even when old bytes are in it.
func TestSwitch(t *testing.T) {
	for _, filler := range []byte{0, 0xAA} {
		w := newWriter()
		w.raw(RmgrXLOG, xlogSwitch, 0, nil)
		w.b = append(w.b, bytes.Repeat([]byte{filler}, int(testSize)-len(w.b))...)
		want := w.commit(4, 2)
		list, _ := scan(t, w.b)
		if len(list) != 2 || list[1].LSN != want || list[0].End != testStart+LSN(testSize) {
			t.Errorf("filled with %X: %+v, want a second record at %s", filler, list, want)
		}
	}
}

func TestEvents(t *testing.T) {
	u32 := binary.LittleEndian.AppendUint32
	name := append(micros(3), append([]byte("a name"), make([]byte, 58)...)...)
	prepared := func(item int) []byte {
		b := u32(micros(4), hasDatabase|hasSubxacts|hasRelations|hasInvals|hasTwoPhase|hasDroppedStats)
		b = append(b, make([]byte, 8)...)
		for _, size := range []int{4, 12, item, 16} {
			b = append(u32(b, 2), make([]byte, 2*size)...)
		}
		return append(u32(b, 99), "gid\x00"...)
	}
	check := append(binary.LittleEndian.AppendUint64(nil, 0x123), make([]byte, 80)...)
	check[8], check[12] = 9, 8
	copy(check[64:], binary.LittleEndian.AppendUint64(nil, 946684800+5))
	for label, tc := range map[string]struct {
		magic uint16
		rmgr  Rmgr
		info  uint8
		data  []byte
		want  Event
	}{
		"commit":            {0xD106, RmgrTransaction, xactCommit, micros(2), Event{Kind: EventCommit, Time: at(2), XID: 7}},
		"abort":             {0xD106, RmgrTransaction, xactAbort, micros(2), Event{Kind: EventAbort, Time: at(2), XID: 7}},
		"commit prepared":   {0xD110, RmgrTransaction, xactCommitPrepare | xactHasInfo, prepared(12), Event{Kind: EventCommit, Time: at(4), XID: 99}},
		"abort prepared":    {0xD110, RmgrTransaction, xactAbortPrepare | xactHasInfo, prepared(12), Event{Kind: EventAbort, Time: at(4), XID: 99}},
		"the same of 18":    {0xD118, RmgrTransaction, xactCommitPrepare | xactHasInfo, prepared(16), Event{Kind: EventCommit, Time: at(4), XID: 99}},
		"restore point":     {0xD110, RmgrXLOG, xlogRestorePoint, name, Event{Kind: EventRestorePoint, Time: at(3), Name: "a name"}},
		"checkpoint":        {0xD110, RmgrXLOG, xlogOnline, check, Event{Kind: EventCheckpoint, Time: at(5), Redo: 0x123, Timeline: 9, Parent: 8}},
		"shutdown":          {0xD110, RmgrXLOG, xlogShutdown, check, Event{Kind: EventCheckpoint, Time: at(5), Redo: 0x123, Timeline: 9, Parent: 8, Shutdown: true}},
		"end of recovery":   {0xD110, RmgrXLOG, xlogEndOfRecovery, append(micros(6), 2, 0, 0, 0, 1, 0, 0, 0), Event{Kind: EventEndOfRecovery, Time: at(6), Timeline: 2, Parent: 1}},
		"nothing of note":   {0xD110, RmgrXLOG, 0x30, micros(1), Event{}},
		"of other managers": {0xD110, heap, 0, micros(1), Event{}},
	} {
		w := newWriter()
		w.magic = tc.magic
		w.record(tc.rmgr, tc.info, 7, tc.data)
		r, err := NewReader(bytes.NewReader(w.b))
		if err != nil {
			t.Fatal(err)
		}
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := rec.Event()
		if diff := cmp.Diff(tc.want, got); diff != "" || err != nil || ok != (tc.want.Kind != EventUnknown) {
			t.Errorf("%s: %v, %v (-want +got):\n%s", label, ok, err, diff)
		}
		if !ok {
			continue
		}
		rec.body = append([]byte{partLong, 2, 0, 0, 0}, tc.data[:2]...)
		if _, _, err := rec.Event(); err == nil {
			t.Errorf("%s: two bytes of it are enough", label)
		}
	}
}

func TestMainData(t *testing.T) {
	for name, tc := range map[string]struct{ body, want string }{
		"short":             {"\xff\x02ab", "ab"},
		"long":              {"\xfe\x02\x00\x00\x00ab", "ab"},
		"with an origin":    {"\xfd\x01\x00\xff\x02ab", "ab"},
		"of a subxact":      {"\xfc\x01\x00\x00\x00\xff\x02ab", "ab"},
		"empty":             {"", ""},
		"with a block":      {"\x00\x01\x00\xff\x02ab", ""},
		"too short":         {"\xff\x03ab", ""},
		"too long":          {"\xff\x01ab", ""},
		"cut in the origin": {"\xfd\x01", ""},
		"origin alone":      {"\xfd\x01\x00", ""},
		"huge":              {"\xfe\xff\xff\xff\xffab", ""},
	} {
		got, err := mainData([]byte(tc.body))
		if (err == nil) != (tc.want != "") || err == nil && string(got) != tc.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tc.want)
		}
	}
}

func TestSummarise(t *testing.T) {
	w := newWriter()
	first := w.record(heap, 0, 3, make([]byte, 30000))
	w.commit(3, 5)
	w.record(RmgrTransaction, xactAbort, 4, micros(9))
	w.commit(5, 2)
	point := w.record(RmgrXLOG, xlogRestorePoint, 0, append(micros(20), append([]byte("n"), make([]byte, 63)...)...))
	r, err := NewReader(bytes.NewReader(w.b))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Summarise(r)
	if err != nil {
		t.Fatal(err)
	}
	want := Summary{
		Records: 5, First: first, Last: point, Commits: 2, Oldest: at(2), Newest: at(9), NewestCommit: at(5),
		RestorePoints: []RestorePoint{{"n", at(20), point}}, End: End{LSN: w.at(), Kind: EndOfStream, Why: "the stream ends"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
}

func TestTargetCheck(t *testing.T) {
	for _, target := range []Target{{}, {XID: 1, LSN: 1}, {Name: strings.Repeat("n", 64)}, {Exclusive: true}} {
		if target.Check() == nil {
			t.Errorf("%+v is accepted", target)
		}
	}
}

func TestHeaderCheck(t *testing.T) {
	w := newWriter()
	w.tli = 2
	w.page(0)
	h, err := ReadHeader(w.b)
	if err != nil {
		t.Fatal(err)
	}
	c := Cluster{SystemID: 77, Major: 15, SegmentSize: testSize}
	for _, tl := range []Timeline{2, 3} { // a new timeline's first file begins with its parent's pages
		if err := h.Check(Segment{tl, 5}, c); err != nil {
			t.Error(err)
		}
	}
	for want, tc := range map[string]struct {
		name Segment
		c    Cluster
	}{
		"another database server": {Segment{2, 5}, Cluster{78, 15, testSize}},
		"PostgreSQL 15, not 16":   {Segment{2, 5}, Cluster{77, 16, testSize}},
		"segments of":             {Segment{2, 5}, Cluster{77, 15, DefaultSegmentSize}},
		"as its name says":        {Segment{2, 6}, c},
		"newer than timeline 1":   {Segment{1, 5}, c},
	} {
		if err := h.Check(tc.name, tc.c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for name, change := range map[string]func([]byte){
		"magic":     func(b []byte) { b[0]++ },
		"flags":     func(b []byte) { b[2] = 0 },
		"more":      func(b []byte) { b[3] = 1 },
		"timeline":  func(b []byte) { b[4] = 0 },
		"address":   func(b []byte) { b[9]++ },
		"size":      func(b []byte) { b[32]++ },
		"page size": func(b []byte) { b[36]++ },
	} {
		b := bytes.Clone(w.b)
		change(b)
		if _, err := ReadHeader(b); err == nil {
			t.Errorf("a header with another %s is accepted", name)
		}
		if _, err := NewReader(bytes.NewReader(b)); err == nil {
			t.Errorf("a stream with another %s is accepted", name)
		}
	}
	if _, err := ReadHeader(w.b[:HeaderSize-1]); err == nil {
		t.Error("a short header is accepted")
	}
}

func FuzzReader(f *testing.F) {
	w := newWriter()
	w.commit(3, 1)
	w.record(heap, 0, 3, make([]byte, 20000))
	w.record(RmgrXLOG, xlogRestorePoint, 0, append(micros(20), make([]byte, 64)...))
	f.Add(w.b)
	w.raw(RmgrXLOG, xlogSwitch, 0, nil)
	f.Add(w.b)
	f.Add(w.b[testBlock:])
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		last := r.Header().Address
		for {
			rec, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("an error of reading without one: %v", err)
			}
			_, _, _ = rec.Event()
			if rec.LSN < last || rec.End <= rec.LSN {
				t.Fatalf("record at %s to %s behind %s", rec.LSN, rec.End, last)
			}
			last = rec.End
		}
		if e := r.End(); e.Kind == EndUnknown || e.Why == "" || e.LSN != last {
			t.Fatalf("end %+v behind %s", e, last)
		}
	})
}

// FuzzEvent reads what a record that passed its checksum might hold.
func FuzzEvent(f *testing.F) {
	f.Add(uint8(RmgrTransaction), uint8(xactCommitPrepare|xactHasInfo), append([]byte{partShort, 8}, micros(1)...))
	f.Add(uint8(RmgrXLOG), uint8(xlogRestorePoint), append([]byte{partOrigin, 1, 1, partShort, 72}, make([]byte, 72)...))
	f.Fuzz(func(t *testing.T, rmgr, info uint8, body []byte) {
		e, ok, err := Record{Rmgr: Rmgr(rmgr), Info: info, body: body, major: 18}.Event()
		if ok != (e.Kind != EventUnknown) || err != nil && ok {
			t.Fatalf("%+v, %v, %v", e, ok, err)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	w := newWriter()
	for w.at() < testStart+64<<20 {
		w.record(heap, 0, 3, make([]byte, 100))
	}
	b.SetBytes(int64(len(w.b)))
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(w.b))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Summarise(r); err != nil {
			b.Fatal(err)
		}
	}
}
