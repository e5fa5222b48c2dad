package qdrant

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// pieces is a source that gives a piece at each Read, and err after the last.
type pieces struct {
	list [][]byte
	next func() // before each
	err  error
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.next != nil {
		p.next()
	}
	if len(p.list) == 0 {
		return 0, p.err
	}
	n := copy(b, p.list[0])
	if p.list[0] = p.list[0][n:]; len(p.list[0]) == 0 {
		p.list = p.list[1:]
	}
	return n, nil
}

// split makes random content in pieces of random sizes.
func split(rt *rapid.T) (whole []byte, list [][]byte) {
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1)) // #nosec G404: the same each time
	for _, n := range rapid.SliceOfN(rapid.SampledFrom([]int{1, 7, 512, 4000, 65536, spoolBlock, spoolBlock + 1}), 0, 24).Draw(rt, "pieces") {
		piece := make([]byte, n)
		for i := range piece {
			piece[i] = byte(random.Uint32())
		}
		whole, list = append(whole, piece...), append(list, piece)
	}
	return whole, list
}

// empty tells whether everything that came was read.
func (s *spool) empty() bool { return s.held == 0 && s.from == s.to }

// Whoever is slow, what comes out is what came in, in order, and then the error; memory stays within its limit, and no file
// has a name.
func TestSpool(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		whole, list := split(rt)
		limit := rapid.SampledFrom([]int{1, 5000, 100 << 10, 64 << 20}).Draw(rt, "limit")
		source := &pieces{list: list, err: rapid.SampledFrom([]error{io.EOF, errBroken}).Draw(rt, "end")}
		s := newSpool(dir, limit)
		s.hole = rapid.SampledFrom([]int64{1, 100 << 10, 64 << 20}).Draw(rt, "hole")
		filled, ready := make(chan struct{}), make(chan struct{}, len(list)+1)
		drained := func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			for !s.empty() {
				s.moved.Wait()
			}
		}
		pace := rapid.SampledFrom([]string{"slow source", "slow reader", "drained again and again", "as it comes"}).Draw(rt, "pace")
		n := 0
		source.next = map[string]func(){
			"slow source": drained, "as it comes": runtime.Gosched, "drained again and again": func() {
				if n++; n%4 == 0 {
					ready <- struct{}{}
					drained()
				}
			},
		}[pace]
		go func() { s.fill(source); close(filled) }()
		if pace == "slow reader" && len(whole) > 0 {
			<-filled
		}
		var got []byte
		block := make([]byte, rapid.SampledFrom([]int{1 << 10, 100 << 10, 1 << 20}).Draw(rt, "read"))
		for {
			s.mu.Lock()
			if s.held > max(limit, spoolBlock) {
				rt.Errorf("%d bytes are in memory, the limit is %d", s.held, limit)
			}
			wait := s.empty()
			s.mu.Unlock()
			if wait && pace == "drained again and again" {
				select {
				case <-ready:
				case <-filled:
				}
			}
			k, err := s.Read(block)
			got = append(got, block[:k]...)
			if err != nil {
				if !errors.Is(err, source.err) {
					rt.Errorf("it ended with %v, want %v", err, source.err)
				}
				break
			}
		}
		<-filled
		if !bytes.Equal(got, whole) {
			rt.Errorf("%d bytes came out and %d went in, or they differ", len(got), len(whole))
		}
		switch {
		case pace == "slow source" && s.peak > 0:
			rt.Errorf("%d bytes were on disk although nothing waited", s.peak)
		case pace == "slow reader" && len(whole) > limit+spoolBlock && s.peak == 0:
			rt.Error("nothing was on disk")
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			rt.Errorf("a file is left: %v", left)
		}
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			rt.Error(err)
		}
	})
}

var errBroken = errors.New("the connection broke")

// A disk that takes nothing makes the source wait for its reader, and loses nothing.
func TestSpoolWithoutDisk(t *testing.T) {
	for name, prepare := range map[string]func(*spool){
		"no folder": func(s *spool) { s.dir = filepath.Join(t.TempDir(), "absent") },
		"full disk": func(s *spool) {
			var err error
			if s.file, err = os.OpenFile("/dev/full", os.O_RDWR, 0); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			whole := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
			s := newSpool(t.TempDir(), 300<<10)
			prepare(s)
			done := make(chan struct{})
			go func() { s.fill(bytes.NewReader(whole)); close(done) }()
			for full := false; !full; runtime.Gosched() {
				s.mu.Lock()
				full = s.full
				s.mu.Unlock()
			}
			got, err := io.ReadAll(s)
			if err != nil || !bytes.Equal(got, whole) {
				t.Errorf("%d of %d bytes, %v", len(got), len(whole), err)
			}
			<-done
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Closing ends whoever is at work on the other side.
func TestSpoolClose(t *testing.T) {
	t.Run("while it is filled", func(t *testing.T) {
		s := newSpool(filepath.Join(t.TempDir(), "absent"), 1000)
		done := make(chan struct{})
		go func() { s.fill(neverending{}); close(done) }()
		if _, err := s.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		<-done
		if _, err := s.Read(make([]byte, 100)); !errors.Is(err, errSpoolClosed) {
			t.Errorf("reading goes on: %v", err)
		}
	})
	t.Run("while it is read", func(t *testing.T) {
		s := newSpool(t.TempDir(), 1000)
		var reading sync.WaitGroup
		reading.Go(func() {
			if _, err := s.Read(make([]byte, 100)); !errors.Is(err, errSpoolClosed) {
				t.Errorf("reading ended with %v", err)
			}
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		reading.Wait()
	})
	t.Run("while it is on disk", func(t *testing.T) {
		dir := t.TempDir()
		s := newSpool(dir, 1)
		s.fill(bytes.NewReader(make([]byte, 3*spoolBlock)))
		if s.peak == 0 {
			t.Fatal("nothing is on disk")
		}
		if err := s.Close(); err != nil || s.file != nil {
			t.Errorf("the file is open: %v", err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("a file is left: %v", left)
		}
	})
}

// neverending is a source without an end.
type neverending struct{}

func (neverending) Read(p []byte) (int, error) { return len(p), nil }
