package frame

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// NewStreamEncoder returns an encoder that makes one frame of what is written to it, at the quickest level, in constant
// memory. Reset gives it a destination and makes it ready for the next frame. It is not safe for concurrent use.
func NewStreamEncoder() (*zstd.Encoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithWindowSize(window))
	if err != nil {
		return nil, fmt.Errorf("make encoder: %w", err)
	}
	return z, nil
}

// NewStreamDecoder decodes what src has, skippable frames passed over, in constant memory whatever it claims.
func NewStreamDecoder(src io.Reader) (*zstd.Decoder, error) {
	z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(16<<20))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return z, nil
}
