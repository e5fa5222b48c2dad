package statefile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// MaxSegment is the most plain bytes of one segment, so that a small object cannot fill the memory.
	MaxSegment = 512 << 20
	// window is how far back compression looks. Readers refuse more than maxWindow.
	window    = 1 << 20
	maxWindow = 8 << 20
)

// Ref names one segment: the serial it was written for and the hash of its plain bytes.
//
// The serial makes a name unique to one commit. A segment of serial n can be named first by head n only, so once head n
// exists, whatever it does not name is garbage for ever; no clock is needed to know.
type Ref struct {
	Serial uint64
	Sum    [sha256.Size]byte
}

// NewRef names the plain bytes of a segment written for serial.
func NewRef(serial uint64, plain []byte) Ref { return Ref{serial, sha256.Sum256(plain)} }

// String returns 20 digits, a dash and 64 hex digits.
func (r Ref) String() string { return fmt.Sprintf("%020d-%x", r.Serial, r.Sum) }

// MarshalText implements encoding.TextMarshaler.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Ref) UnmarshalText(text []byte) error {
	serial, sum, ok := bytes.Cut(text, []byte("-"))
	if !ok || len(serial) != 20 || len(sum) != 2*sha256.Size || bytes.ContainsAny(sum, "ABCDEF") {
		return fmt.Errorf("%.100q is not a segment's name", text)
	}
	var err error
	if r.Serial, err = strconv.ParseUint(string(serial), 10, 64); err != nil {
		return fmt.Errorf("%.100q is not a segment's name", text)
	}
	if _, err = hex.Decode(r.Sum[:], sum); err != nil {
		return fmt.Errorf("%.100q is not a segment's name", text)
	}
	return nil
}

// newEncoder is made once: an encoder is safe for concurrent EncodeAll and costs megabytes.
var newEncoder = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(window))
})

// Pack compresses the plain bytes of a segment.
func Pack(plain []byte) ([]byte, error) {
	if len(plain) > MaxSegment {
		return nil, fmt.Errorf("pack state segment: %d bytes are more than the %d that a segment may have", len(plain), MaxSegment)
	}
	enc, err := newEncoder()
	if err != nil {
		return nil, fmt.Errorf("pack state segment: %w", err)
	}
	return enc.EncodeAll(plain, nil), nil
}

// unpacker is a decoder and a buffer that are used again, because a catalog has about a hundred segments.
type unpacker struct {
	zstd *zstd.Decoder
	buf  bytes.Buffer
}

var unpackers sync.Pool

func getUnpacker() (*unpacker, error) {
	if u, ok := unpackers.Get().(*unpacker); ok {
		return u, nil
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	return &unpacker{zstd: d}, err
}

// Unpack decompresses a segment, checks it against its reference and hands the plain bytes to use. They are valid only
// until use returns. name is the object's, for errors.
func Unpack(name string, ref Ref, stored []byte, use func(plain []byte) error) error {
	return unpack(name, ref, stored, MaxSegment, use)
}

func unpack(name string, ref Ref, stored []byte, limit int64, use func(plain []byte) error) error {
	u, err := getUnpacker()
	if err != nil {
		return fmt.Errorf("decode %s: %w", name, err)
	}
	defer unpackers.Put(u)
	if err := u.zstd.Reset(bytes.NewReader(stored)); err != nil {
		return corrupt(name, "%w", err)
	}
	u.buf.Reset()
	n, err := u.buf.ReadFrom(io.LimitReader(u.zstd, limit+1))
	if err == nil && n > limit {
		err = errors.New("it is larger than a segment may be")
	}
	if err != nil {
		return corrupt(name, "%w", err)
	}
	if sha256.Sum256(u.buf.Bytes()) != ref.Sum {
		return corrupt(name, "its content does not match the hash in its name")
	}
	return use(u.buf.Bytes())
}
