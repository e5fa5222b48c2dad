package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/holdfast-io/holdfast/internal/repo/frame"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

// walStep is how much content is handled at once, in bytes.
const walStep = 256 << 10

// walSealer makes the stored form of one file after the other. What it holds is used again: pushes come by the thousand.
type walSealer struct {
	z    *zstd.Encoder
	step []byte
	out  buffer
}

// walSealers are idle ones. A buffer that one huge segment made large goes when the collector wants it.
var walSealers = sync.Pool{New: func() any { return &walSealer{step: make([]byte, walStep)} }}

// seal reads content of exactly size bytes and seals it. The result is valid until the sealer is used again.
func (s *walSealer) seal(ctx context.Context, r *Repository, f wal.File, content io.Reader, size int64) (wal.Claim, []byte, error) {
	s.out.b = s.out.b[:0]
	sealer, err := r.data.Writer(&s.out)
	if err != nil {
		return wal.Claim{}, nil, fmt.Errorf("seal %s: %w", f, err)
	}
	if s.z == nil {
		if s.z, err = frame.NewStreamEncoder(); err != nil {
			return wal.Claim{}, nil, err
		}
	}
	s.z.Reset(sealer)
	sum, err := s.pass(ctx, r, f, content, size)
	if err == nil {
		err = s.z.Close()
	}
	if err == nil {
		_, err = sealer.Write(wal.AppendTrailer(nil, size, sum))
	}
	if err == nil {
		err = sealer.Close()
	}
	if err != nil {
		return wal.Claim{}, nil, fmt.Errorf("seal %s: %w", f, err)
	}
	return wal.Claim{
		File: f, Size: size, Sum: sum, Object: hashOf(s.out.b), Stored: int64(len(s.out.b)), Sealed: r.config.sealedTo(), Who: r.who,
	}, s.out.b, nil
}

// pass hashes and compresses the content.
func (s *walSealer) pass(ctx context.Context, r *Repository, f wal.File, content io.Reader, size int64) (sum wal.Sum, err error) {
	h := r.walHash(f)
	for left := size; left > 0; {
		if err := context.Cause(ctx); err != nil {
			return sum, err
		}
		step := s.step[:min(left, walStep)]
		if _, err := io.ReadFull(content, step); err != nil {
			return sum, fmt.Errorf("its content ended or failed %d bytes before the end: %w", left, noEOF(err))
		}
		_, _ = h.Write(step) // never fails
		if _, err := s.z.Write(step); err != nil {
			return sum, err
		}
		left -= int64(len(step))
	}
	if n, err := io.ReadFull(content, s.step[:1]); n > 0 {
		return sum, fmt.Errorf("its content has more than the %d bytes that were announced", size)
	} else if !errors.Is(err, io.EOF) {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}

// noEOF keeps the end of content that is too short from reading as its proper end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
