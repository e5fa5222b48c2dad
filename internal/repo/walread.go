package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"filippo.io/age"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/frame"
	"github.com/holdfast-io/holdfast/internal/repo/seal"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

// walRange is how much of an object is asked for at once, in bytes: most compressed segments of 16 MiB whole.
const walRange = 8 << 20

// walHash begins the sum of a file: its place is part of it, so that no object stands for another.
func (r *Repository) walHash(f wal.File) hash.Hash {
	h := r.keys.NewWALHash()
	_, _ = h.Write(append([]byte(f.Path()), 0)) // never fails
	return h
}

// storedReader reads an object's stored bytes in ranges and hashes them.
type storedReader struct {
	ctx    context.Context
	bucket blob.Bucket
	info   blob.Info
	at     int64
	have   []byte
	sum    hash.Hash
	err    error // of the bucket, or a DamagedError; io.EOF is not kept
}

func (r *Repository) readStored(ctx context.Context, info blob.Info) *storedReader {
	return &storedReader{ctx: ctx, bucket: r.bucket, info: info, sum: sha256.New()}
}

func (s *storedReader) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if len(s.have) == 0 {
		if s.at == s.info.Size {
			return 0, io.EOF
		}
		if s.err = s.fill(); s.err != nil {
			return 0, s.err
		}
	}
	n := copy(p, s.have)
	s.have = s.have[n:]
	return n, nil
}

func (s *storedReader) fill() error {
	n := min(walRange, s.info.Size-s.at)
	data, err := s.bucket.GetRange(s.ctx, s.info.Name, s.at, n)
	if err != nil {
		return s.why(err)
	}
	if int64(len(data)) != n {
		return damaged(s.info.Name, "the store answered %d bytes where %d were asked for", len(data), n)
	}
	_, _ = s.sum.Write(data) // never fails
	s.have, s.at = data, s.at+n
	return nil
}

// why tells an object that is missing or has another size from a store that cannot be reached.
func (s *storedReader) why(err error) error {
	info, serr := s.bucket.Stat(s.ctx, s.info.Name)
	switch {
	case errors.Is(serr, blob.ErrNotFound):
		return damaged(s.info.Name, "it is missing from the store")
	case serr == nil && info.Size != s.info.Size:
		return damaged(s.info.Name, "it has %d bytes instead of %d", info.Size, s.info.Size)
	}
	return fmt.Errorf("read %s: %w", s.info.Name, err)
}

// finish reads what nobody read and compares the hash with the one in the name.
func (s *storedReader) finish() error {
	if _, err := io.Copy(io.Discard, s); err != nil {
		return err
	}
	if got := hex.EncodeToString(s.sum.Sum(nil)); !strings.HasSuffix(s.info.Name, "."+got) {
		return damaged(s.info.Name, "its bytes hash to %s", got)
	}
	return nil
}

// soundWAL reads an object and checks its hash, which takes no key.
func (r *Repository) soundWAL(ctx context.Context, info blob.Info) error {
	return r.readStored(ctx, info).finish()
}

// tail passes on what it reads and keeps the end of it.
type tail struct {
	io.Reader
	last [wal.TrailerSize]byte
	n    int // bytes of last
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	if n >= len(t.last) {
		t.n = copy(t.last[:], p[n-len(t.last):n])
		return n, err
	}
	kept := min(t.n, len(t.last)-n)
	copy(t.last[:], t.last[t.n-kept:t.n])
	t.n = kept + copy(t.last[kept:], p[:n])
	return n, err
}

// openStored decrypts an object's stored bytes.
func (r *Repository) openStored(src io.Reader) (io.Reader, error) {
	if r.data.Plain {
		return src, nil
	}
	return age.Decrypt(src, r.data.Identities...)
}

// outError is an error of whom content is written to.
type outError struct{ error }

func (e outError) Unwrap() error { return e.error }

type outWriter struct{ io.Writer }

func (o outWriter) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil {
		err = outError{err}
	}
	return n, err
}

// copyWAL writes an object's content to dst and returns what it says of itself. Only without an error it is all there, and what
// was pushed.
//
// Errors: DamagedError, OtherKeyError, those of the bucket and of dst.
func (r *Repository) copyWAL(ctx context.Context, f wal.File, info blob.Info, dst io.Writer) (size int64, sum wal.Sum, err error) {
	src := r.readStored(ctx, info)
	size, sum, err = r.unsealWAL(f, src, dst)
	var out outError
	if err == nil || !errors.As(err, &out) {
		// A hash that does not fit says more than what came of it.
		if serr := src.finish(); serr != nil {
			err = serr
		}
	}
	var none *age.NoIdentityMatchError
	switch {
	case err == nil, errors.As(err, &out), src.err != nil, isDamage(err):
		return size, sum, err
	case errors.As(err, &none), errors.Is(err, seal.ErrNoIdentity):
		return 0, wal.Sum{}, &OtherKeyError{Object: info.Name}
	}
	return 0, wal.Sum{}, damaged(info.Name, "%v", err)
}

func (r *Repository) unsealWAL(f wal.File, src io.Reader, dst io.Writer) (int64, wal.Sum, error) {
	plain, err := r.openStored(src)
	if err != nil {
		return 0, wal.Sum{}, err
	}
	end := &tail{Reader: plain}
	z, err := frame.NewStreamDecoder(end)
	if err != nil {
		return 0, wal.Sum{}, err
	}
	defer z.Close()
	h := r.walHash(f)
	n, err := io.Copy(io.MultiWriter(h, outWriter{dst}), io.LimitReader(z, wal.MaxSegment+1))
	if err != nil {
		return 0, wal.Sum{}, err
	}
	size, sum, err := wal.DecodeTrailer(end.last[:end.n])
	if err != nil {
		return 0, wal.Sum{}, err
	}
	if n != size {
		return 0, wal.Sum{}, fmt.Errorf("it holds %d bytes and says %d", n, size)
	}
	if got := wal.Sum(h.Sum(nil)); got != sum {
		return 0, wal.Sum{}, fmt.Errorf("its content is not what was pushed as %s", f)
	}
	return size, sum, f.CheckSize(size)
}
