package wal

import (
	"encoding/binary"
	"errors"
)

// The trailer is a skippable frame of zstd (RFC 8878, section 3.1.2) behind the frame of the content, so that the zstd command passes over it. It lets content be
// checked without its claim.
const (
	trailerMagic = 0x184D2A5D // of a skippable frame, as in packs
	trailerName  = "HFWL"
	trailerV     = 1

	// TrailerSize is its length in bytes: 8 of the frame, then name, version and 3 zeros, size, sum.
	TrailerSize = 8 + 8 + 8 + 32
)

// AppendTrailer appends the trailer of content of size bytes.
func AppendTrailer(dst []byte, size int64, sum Sum) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, trailerMagic)
	dst = binary.LittleEndian.AppendUint32(dst, TrailerSize-8)
	dst = append(dst, trailerName...)
	dst = append(dst, trailerV, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(size))
	return append(dst, sum[:]...)
}

// DecodeTrailer is the reverse of AppendTrailer.
func DecodeTrailer(data []byte) (size int64, sum Sum, err error) {
	if len(data) != TrailerSize {
		return 0, Sum{}, errors.New("it does not end in a trailer")
	}
	size = int64(binary.LittleEndian.Uint64(data[16:]))
	copy(sum[:], data[24:])
	if size < 0 || size > MaxSegment || string(AppendTrailer(nil, size, sum)) != string(data) {
		return 0, Sum{}, errors.New("it does not end in a trailer of write-ahead log")
	}
	return size, sum, nil
}
