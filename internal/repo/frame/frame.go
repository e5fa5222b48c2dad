// Package frame turns chunks and metadata into single zstd frames and back.
//
// It neither encrypts nor stores. Its invariant: every frame is one that the zstd command decodes, and decoding never
// allocates more than the caller allows, whatever a frame claims.
package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Level is how hard chunks are compressed.
type Level string

// The levels, from quickest to smallest. An empty level means Default, which is Fast today: measured on rows, text and
// floats, the encoder's next step takes twice the time for 5 % fewer bytes, and the one after it is slower still and larger.
const (
	None    Level = "none"
	Fast    Level = "fast"
	Default Level = "default"
	Better  Level = "better"
)

// maxBlock is the largest block of a zstd frame, in bytes.
const maxBlock = 128 << 10

// window is how far back the encoder looks, in bytes. More gains nothing within chunks of usual size and costs each worker
// twice as much memory.
const window = 1 << 20

// Overhead is the most by which a frame of n bytes exceeds them.
func Overhead(n int) int { return 32 + 3*(n/maxBlock+2) }

// Encoder compresses one chunk at a time. It is not safe for concurrent use: make one per worker.
type Encoder struct{ z *zstd.Encoder } // nil stores raw frames only

// NewEncoder returns an encoder for level.
func NewEncoder(level Level) (*Encoder, error) {
	var speed zstd.EncoderLevel
	switch level {
	case None:
		return &Encoder{}, nil
	case Fast, Default, "":
		speed = zstd.SpeedFastest
	case Better:
		speed = zstd.SpeedDefault
	default:
		return nil, fmt.Errorf("compression %q is not known; use none, fast, default or better", level)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(window), zstd.WithSingleSegment(true))
	if err != nil {
		return nil, fmt.Errorf("make encoder: %w", err)
	}
	return &Encoder{z}, nil
}

// Append appends src as one frame to dst. Content that looks incompressible is stored in raw blocks without being tried.
func (e *Encoder) Append(dst, src []byte) []byte {
	if e.z == nil || len(src) == 0 || looksRandom(src) {
		return AppendRaw(dst, src)
	}
	return e.z.EncodeAll(src, dst)
}

// AppendRaw appends src as a frame of raw blocks: a header with the content's size, then blocks of at most 128 KiB.
func AppendRaw(dst, src []byte) []byte {
	const singleSegment4ByteSize = 0xA0
	dst = append(dst, 0x28, 0xB5, 0x2F, 0xFD, singleSegment4ByteSize)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(src)))
	for {
		n := min(len(src), maxBlock)
		head := uint32(n) << 3 // type 0: raw
		if n == len(src) {
			head |= 1 // last
		}
		dst = append(dst, byte(head), byte(head>>8), byte(head>>16))
		dst = append(dst, src[:n]...)
		if src = src[n:]; len(src) == 0 {
			return dst
		}
	}
}

// Decoder decodes frames. Safe for concurrent use.
type Decoder struct{ z *zstd.Decoder }

// NewDecoder returns a decoder.
func NewDecoder() (*Decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(16<<20))
	if err != nil {
		return nil, fmt.Errorf("make decoder: %w", err)
	}
	return &Decoder{z}, nil
}

// Decode decodes frame into dst's capacity, which must have room for size more bytes. It must hold exactly so many.
func (d *Decoder) Decode(dst, frame []byte, size int) ([]byte, error) {
	out, err := d.z.DecodeAll(frame, dst[:len(dst):len(dst)+size])
	if err != nil {
		return nil, fmt.Errorf("decode frame: %w", err)
	}
	if len(out)-len(dst) != size {
		return nil, fmt.Errorf("decode frame: %d bytes where %d were expected", len(out)-len(dst), size)
	}
	return dst[:len(dst)+size], nil // out, with the whole capacity
}

// Pack compresses a metadata document.
func Pack(plain []byte) ([]byte, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return nil, fmt.Errorf("make encoder: %w", err)
	}
	return z.EncodeAll(plain, make([]byte, 0, len(plain)/3+64)), nil
}

// Unpack decompresses a metadata document of at most limit bytes. Memory grows with what is really decoded.
func Unpack(packed []byte, limit int64) ([]byte, error) {
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(16<<20))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	defer z.Close()
	var out bytes.Buffer
	n, err := out.ReadFrom(io.LimitReader(z, limit+1))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if n > limit {
		return nil, errors.New("decompress: larger than any such document may be")
	}
	return out.Bytes(), nil
}
