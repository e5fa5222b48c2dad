package qdrant

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// spool takes a stream in as fast as it comes, whatever its reader does: first into memory, then into a file without a
// name. The server holds a shard's optimizers up while it streams, and from some versions on gives up readers that wait.
//
// Bytes come out in the order they came. When the disk is full, it waits for its reader instead. One goroutine fills it, one
// reads; either may close.
type spool struct {
	limit int   // bytes in memory
	hole  int64 // bytes that were read are given back to the disk in pieces of this size
	dir   string

	mu     sync.Mutex
	moved  sync.Cond // something was put in or taken out, or an end came
	blocks [][]byte
	held   int // bytes in blocks
	file   *os.File
	from   int64 // of the file: bytes before are read
	to     int64 // of the file: bytes before are written
	holes  int64 // of the file: bytes before are given back to the disk
	full   bool  // the disk took no more
	peak   int64 // most bytes that were in the file
	err    error // io.EOF after the last byte, or why there are no more
	closed bool
}

const (
	spoolBlock = 256 << 10
	spoolSpare = 256 << 20 // bytes of the disk that a spool leaves to others
)

// errSpoolFull makes the filling goroutine wait for the reader.
var errSpoolFull = errors.New("the disk has no room to spare")

// errSpoolClosed ends the filling goroutine.
var errSpoolClosed = errors.New("nobody reads any more")

func newSpool(dir string, limit int) *spool {
	s := &spool{limit: limit, hole: 64 << 20, dir: dir}
	s.moved.L = &s.mu
	return s
}

// fill copies r into the spool until it ends. The caller runs it on a goroutine of its own.
func (s *spool) fill(r io.Reader) {
	var block []byte
	for {
		if len(block) < spoolBlock/4 {
			block = make([]byte, spoolBlock)
		}
		n, err := r.Read(block)
		if n > 0 {
			if perr := s.put(block[:n:n]); perr != nil {
				err = perr
			}
			block = block[n:]
		}
		if err != nil {
			s.finish(err)
			return
		}
	}
}

func (s *spool) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.moved.Broadcast()
}

// put keeps a block, which must not change afterwards.
func (s *spool) put(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return errSpoolClosed
		case s.to == s.from && s.held+len(b) <= s.limit, len(s.blocks) == 0 && s.to == s.from:
			s.blocks = append(s.blocks, b)
			s.held += len(b)
			s.full = false // the reader has caught up, and the disk may have room again
			s.moved.Broadcast()
			return nil
		case !s.full:
			if err := s.write(b); err == nil {
				s.moved.Broadcast()
				return nil
			}
			s.full = true
		}
		s.moved.Wait()
	}
}

// write appends to the file, which has no name: nothing is left of it when the process dies.
func (s *spool) write(b []byte) error {
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, "holdfast-spool-")
		if err != nil {
			return err
		}
		if err := os.Remove(f.Name()); err != nil {
			_ = f.Close()
			return err
		}
		s.file = f
	}
	if !roomIn(s.dir, spoolSpare) {
		return errSpoolFull
	}
	if _, err := s.file.WriteAt(b, s.to); err != nil {
		return err
	}
	s.to += int64(len(b))
	s.peak = max(s.peak, s.to-s.from)
	return nil
}

// Read gives what came, and waits for more.
func (s *spool) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, errSpoolClosed
		case len(s.blocks) > 0:
			n := copy(p, s.blocks[0])
			if s.blocks[0] = s.blocks[0][n:]; len(s.blocks[0]) == 0 {
				s.blocks[0] = nil
				s.blocks = s.blocks[1:]
			}
			s.held -= n
			s.moved.Broadcast()
			return n, nil
		case s.from < s.to:
			return s.readFile(p)
		case s.err != nil:
			return 0, s.err
		}
		s.moved.Wait()
	}
}

func (s *spool) readFile(p []byte) (int, error) {
	n, err := s.file.ReadAt(p[:min(int64(len(p)), s.to-s.from)], s.from)
	s.from += int64(n)
	if s.from-s.holes >= s.hole {
		punch(s.file, s.holes, s.from)
		s.holes, s.full = s.from, false
	}
	if s.from == s.to {
		s.from, s.to, s.holes, s.full = 0, 0, 0, false
		err = errors.Join(ignoreEOF(err), s.file.Truncate(0))
	}
	s.moved.Broadcast()
	if err = ignoreEOF(err); err != nil {
		return n, fmt.Errorf("read what was spooled: %w", err)
	}
	return n, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Close gives everything back. It may be called twice.
func (s *spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.blocks = true, nil
	s.moved.Broadcast()
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file, s.from, s.to, s.holes = nil, 0, 0, 0
	return err
}
