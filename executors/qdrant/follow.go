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
	block  []byte // read and not yet handed out
	buf    []byte
	err    error
	end    func(followed) error // judges the whole archive; its error is returned in place of io.EOF
	judged bool
}

// followed is what is known of an archive that was read to its end.
type followed struct {
	report archive.Report
	sha256 string
}

func follow(r io.Reader, end func(followed) error) *follower {
	return &follower{r: r, walker: archive.NewWalker(), sum: sha256.New(), buf: make([]byte, 1<<20), end: end}
}

func (f *follower) result() followed {
	return followed{report: f.walker.Report(), sha256: hex.EncodeToString(f.sum.Sum(nil))}
}

// Read gives bytes up to the next cut, and executors.ErrCut beside them.
func (f *follower) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(f.block) == 0 {
		if f.err == nil {
			var n int
			n, f.err = f.r.Read(f.buf)
			f.block = f.buf[:n]
			f.sum.Write(f.block)
		}
		if len(f.block) == 0 && f.err != nil {
			return 0, f.last()
		}
	}
	n, cut := f.advance(p)
	if cut {
		return n, executors.ErrCut
	}
	return n, nil
}

// advance copies bytes out of the block up to a cut, or until p is full.
func (f *follower) advance(p []byte) (n int, cut bool) {
	for n < len(p) && len(f.block) > 0 && !cut {
		var step int
		step, cut = f.walker.Next(f.block[:min(len(f.block), len(p)-n)])
		copy(p[n:], f.block[:step])
		f.block = f.block[step:]
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
