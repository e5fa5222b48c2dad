package qdrant

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/qdrant/archive"
)

// follower reads an archive from r and follows it: it asks for cuts where its parts begin and end, hashes every byte, and
// gives io.EOF only for an archive that is whole.
type follower struct {
	r      io.Reader
	walker *archive.Walker
	sum    hash.Hash
	summed chan struct{} // closed when every block so far is in sum
	rest   []byte        // read and not yet handed out
	ring   [3]hashedBlock
	turn   int
	err    error
	end    func(followed) error // judges the whole archive; its error is returned in place of io.EOF
	judged bool
}

// hashedBlock is a buffer that is hashed on another goroutine while it is handed out.
type hashedBlock struct {
	buf  []byte
	done chan struct{} // closed when its content is in the sum; nil before its first use
}

// followed is what is known of an archive that was read to its end.
type followed struct {
	report archive.Report
	sha256 string
}

const followBlock = 512 << 10

func follow(r io.Reader, end func(followed) error) *follower {
	f := &follower{r: r, walker: archive.NewWalker(), sum: sha256.New(), summed: make(chan struct{}), end: end}
	close(f.summed)
	return f
}

func (f *follower) result() followed {
	<-f.summed
	return followed{report: f.walker.Report(), sha256: hex.EncodeToString(f.sum.Sum(nil))}
}

// Read gives bytes up to the next cut, and executors.ErrCut beside them.
func (f *follower) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(f.rest) == 0 {
		if f.err == nil {
			f.fill()
		}
		if len(f.rest) == 0 && f.err != nil {
			return 0, f.last()
		}
	}
	n, cut := f.advance(p)
	if cut {
		return n, executors.ErrCut
	}
	return n, nil
}

// fill reads the next block, and lets it be hashed after those before it.
func (f *follower) fill() {
	b := &f.ring[f.turn]
	f.turn = (f.turn + 1) % len(f.ring)
	if b.done != nil {
		<-b.done
	} else {
		b.buf = make([]byte, followBlock)
	}
	var n int
	n, f.err = f.r.Read(b.buf)
	f.rest = b.buf[:n]
	if n == 0 {
		return
	}
	before, block := f.summed, f.rest
	b.done = make(chan struct{})
	f.summed = b.done
	go func(done chan struct{}) {
		<-before
		f.sum.Write(block)
		close(done)
	}(b.done)
}

// advance copies bytes out of the block up to a cut, or until p is full.
func (f *follower) advance(p []byte) (n int, cut bool) {
	for n < len(p) && len(f.rest) > 0 && !cut {
		var step int
		step, cut = f.walker.Next(f.rest[:min(len(f.rest), len(p)-n)])
		copy(p[n:], f.rest[:step])
		f.rest = f.rest[step:]
		n += step
	}
	return n, cut
}

// last judges the archive once its end was reached.
func (f *follower) last() error {
	if errors.Is(f.err, io.EOF) && !f.judged {
		f.judged = true
		if f.end != nil {
			if err := f.end(f.result()); err != nil {
				f.err = err
			}
		}
	}
	return f.err
}
