package manifest

import (
	"bytes"
	"errors"
	"hash"
	"io"
)

// maxEntry bounds what may be read for one entry. PostgreSQL's paths have less than 1024 bytes; the JSON decoder reads ahead.
const maxEntry = 1 << 20

// maxLast bounds the last line, which holds a key and 64 digits.
const maxLast = 1 << 12

// input passes a manifest on to the JSON decoder. On the way it hashes all lines but the last, which holds that hash, and
// ends what would not end by itself.
type input struct {
	src     io.Reader
	sum     hash.Hash
	last    []byte // the line at hand, as far as it is short enough to be the last one
	hashed  bool   // the beginning of the line at hand is in sum: it is too long to be the last one
	ended   bool   // the line at hand has ended: whatever follows begins another
	granted int    // bytes that may still be read for the entry at hand
}

// grant begins another entry.
func (in *input) grant() { in.granted = maxEntry }

func (in *input) Read(p []byte) (int, error) {
	n, err := in.src.Read(p)
	if in.granted -= n; in.granted < 0 {
		return 0, errors.New("an entry has more than a million bytes")
	}
	in.take(p[:n])
	return n, err
}

// take hashes what has turned out not to be of the last line.
func (in *input) take(p []byte) {
	for len(p) > 0 {
		if in.ended {
			in.flush()
			in.ended, in.hashed = false, false
		}
		line := p
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line, in.ended = p[:i+1], true
		}
		in.last = append(in.last, line...)
		if in.hashed || len(in.last) > maxLast {
			in.flush()
			in.hashed = true
		}
		p = p[len(line):]
	}
}

func (in *input) flush() {
	in.sum.Write(in.last)
	in.last = in.last[:0]
}
