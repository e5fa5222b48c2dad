// Package pack lays chunks out in packs: concatenated zstd frames, one per chunk, then a skippable frame with the pack's
// directory, so that zstd -d gives the plain bytes and an index can be rebuilt from packs alone.
//
// It neither compresses nor encrypts: what it handles is the plain inside of the age file. Its invariant: a directory that
// was decoded covers the pack exactly, frame after frame from offset 0.
package pack

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
)

// TargetSize is about how large packs get, in stored bytes. Only a single larger chunk exceeds it.
const TargetSize = 32 << 20

// Record says of one chunk how long its frame and its content are. Records stand in the order of the frames.
type Record struct {
	ID     chunk.ID
	Stored uint32 // bytes of the zstd frame
	Plain  uint32
}

// RecordSize is the encoded size of a record: id, stored, plain.
const RecordSize = 32 + 4 + 4

const (
	skippableMagic = 0x184D2A5D
	directoryMagic = "HFPD"
	version        = 1
	headSize       = 4 + 1 + 3 + 4 // magic, version, reserved, count
	// TrailerSize is the size of what ends every pack: the length of the skippable frame's content and the magic.
	TrailerSize   = 4 + 4
	skippableHead = 8
	maxDirectory  = 64 << 20
)

// AppendRecord appends r's encoding.
func AppendRecord(dst []byte, r Record) []byte {
	dst = append(dst, r.ID[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, r.Stored)
	return binary.LittleEndian.AppendUint32(dst, r.Plain)
}

// DecodeRecord reads one record from the start of data, which must hold RecordSize bytes.
func DecodeRecord(data []byte) (Record, error) {
	r := Record{ID: chunk.ID(data[:32]), Stored: binary.LittleEndian.Uint32(data[32:]), Plain: binary.LittleEndian.Uint32(data[36:])}
	if r.Plain > chunk.MaxChunk || r.Stored > 2*chunk.MaxChunk {
		return Record{}, fmt.Errorf("chunk %s claims %d bytes stored, %d plain: more than any chunk has", r.ID, r.Stored, r.Plain)
	}
	return r, nil
}

// DirectorySize is the size of the whole skippable frame for n records.
func DirectorySize(n int) int { return skippableHead + headSize + n*RecordSize + TrailerSize }

// AppendDirectory appends the skippable frame that ends a pack.
func AppendDirectory(dst []byte, records []Record) []byte {
	content := uint32(DirectorySize(len(records)) - skippableHead)
	dst = binary.LittleEndian.AppendUint32(dst, skippableMagic)
	dst = binary.LittleEndian.AppendUint32(dst, content)
	dst = append(dst, directoryMagic...)
	dst = append(dst, version, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(records)))
	for _, r := range records {
		dst = AppendRecord(dst, r)
	}
	dst = binary.LittleEndian.AppendUint32(dst, content)
	return append(dst, directoryMagic...)
}

// FrameSize tells from the last TrailerSize bytes of a pack's plain inside how long the skippable frame at its end is.
func FrameSize(trailer []byte) (int64, error) {
	if len(trailer) != TrailerSize || string(trailer[4:]) != directoryMagic {
		return 0, errors.New("pack does not end in a directory")
	}
	content := int64(binary.LittleEndian.Uint32(trailer))
	if content < headSize+TrailerSize || content > maxDirectory {
		return 0, fmt.Errorf("pack directory claims %d bytes", content)
	}
	return skippableHead + content, nil
}

// DecodeDirectory parses the skippable frame at the end of a pack whose plain inside has total bytes.
func DecodeDirectory(frame []byte, total int64) ([]Record, error) {
	if len(frame) < skippableHead+headSize+TrailerSize {
		return nil, errors.New("pack directory is too short")
	}
	size, err := FrameSize(frame[len(frame)-TrailerSize:])
	if err != nil {
		return nil, err
	}
	body := frame[skippableHead : len(frame)-TrailerSize]
	switch {
	case size != int64(len(frame)), binary.LittleEndian.Uint32(frame) != skippableMagic,
		int64(binary.LittleEndian.Uint32(frame[4:])) != size-skippableHead, string(body[:4]) != directoryMagic:
		return nil, errors.New("pack directory's frame is malformed")
	case body[4] != version:
		return nil, fmt.Errorf("pack directory version %d is not known", body[4])
	}
	count := int64(binary.LittleEndian.Uint32(body[8:]))
	rows := body[headSize:]
	if int64(len(rows)) != count*RecordSize {
		return nil, fmt.Errorf("pack directory claims %d chunks in %d bytes", count, len(rows))
	}
	var records []Record
	var sum int64
	for ; len(rows) > 0; rows = rows[RecordSize:] {
		r, err := DecodeRecord(rows)
		if err != nil {
			return nil, err
		}
		sum += int64(r.Stored)
		records = append(records, r)
	}
	if sum+size != total {
		return nil, fmt.Errorf("pack directory covers %d bytes of %d", sum+size, total)
	}
	return records, nil
}
