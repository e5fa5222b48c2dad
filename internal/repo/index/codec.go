// Package index says which chunk is where.
//
// It holds the table in memory and its encoding; it neither seals nor stores, and does not decide what to trust: callers
// add only packs that exist. Its invariant: a chunk has one place, the first that was added.
package index

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/holdfast-io/holdfast/internal/repo/pack"
)

const (
	magic    = "HFIX"
	version  = 1
	headSize = 8
	packHead = 32 + 8 + 4 // hash, stored size, count
	maxCount = 1 << 24
)

// PackID is the SHA-256 of a pack's stored bytes.
type PackID [32]byte

// String returns the id in lower-case hex.
func (p PackID) String() string { return hex.EncodeToString(p[:]) }

// Pack lists the chunks of one pack in the order of their frames.
type Pack struct {
	ID      PackID
	Size    int64 // stored bytes
	Records []pack.Record
}

// Encode returns the table of packs.
func Encode(packs []Pack) []byte {
	size := headSize
	for _, p := range packs {
		size += packHead + len(p.Records)*pack.RecordSize
	}
	out := make([]byte, 0, size)
	out = append(out, magic...)
	out = append(out, version, 0, 0, 0)
	for _, p := range packs {
		out = append(out, p.ID[:]...)
		out = binary.LittleEndian.AppendUint64(out, uint64(p.Size))
		out = binary.LittleEndian.AppendUint32(out, uint32(len(p.Records)))
		for _, r := range p.Records {
			out = pack.AppendRecord(out, r)
		}
	}
	return out
}

// Decode parses what Encode wrote and calls each for every pack.
func Decode(data []byte, each func(Pack) error) error {
	if len(data) < headSize || string(data[:4]) != magic {
		return errors.New("not an index")
	}
	if data[4] != version {
		return fmt.Errorf("index version %d is not known to this holdfast (it knows %d)", data[4], version)
	}
	for data = data[headSize:]; len(data) > 0; {
		if len(data) < packHead {
			return errors.New("index is cut off")
		}
		p := Pack{ID: PackID(data[:32]), Size: int64(binary.LittleEndian.Uint64(data[32:]))}
		count := int(binary.LittleEndian.Uint32(data[40:]))
		data = data[packHead:]
		if count > maxCount || count*pack.RecordSize > len(data) || p.Size < 0 {
			return fmt.Errorf("index claims %d chunks in pack %s", count, p.ID)
		}
		p.Records = make([]pack.Record, 0, count) // the bytes are there
		var offset int64
		for range count {
			r, err := pack.DecodeRecord(data)
			if err != nil {
				return err
			}
			offset += int64(r.Stored)
			p.Records = append(p.Records, r)
			data = data[pack.RecordSize:]
		}
		if offset > 1<<32-1 {
			return fmt.Errorf("index claims %d bytes in pack %s", offset, p.ID)
		}
		if err := each(p); err != nil {
			return err
		}
	}
	return nil
}

// Lists tells whether an encoded index has any of the packs, without reading its chunks. It is true for what cannot be read.
func Lists(data []byte, packs map[PackID]bool) bool {
	if len(data) < headSize {
		return true
	}
	for data = data[headSize:]; len(data) > 0; {
		if len(data) < packHead {
			return true
		}
		if packs[PackID(data[:32])] {
			return true
		}
		count := int(binary.LittleEndian.Uint32(data[40:]))
		if count > maxCount || count*pack.RecordSize > len(data)-packHead {
			return true
		}
		data = data[packHead+count*pack.RecordSize:]
	}
	return false
}

// Heads calls each for every pack that an encoded index lists, without decoding what the packs hold.
func Heads(data []byte, each func(PackInfo)) error {
	if len(data) < headSize || string(data[:4]) != magic {
		return errors.New("not an index")
	}
	if data[4] != version {
		return fmt.Errorf("index version %d is not known to this holdfast (it knows %d)", data[4], version)
	}
	for data = data[headSize:]; len(data) > 0; {
		if len(data) < packHead {
			return errors.New("index is cut off")
		}
		info := PackInfo{ID: PackID(data[:32]), Size: int64(binary.LittleEndian.Uint64(data[32:]))}
		count := int(binary.LittleEndian.Uint32(data[40:]))
		if count > maxCount || count*pack.RecordSize > len(data)-packHead || info.Size < 0 {
			return fmt.Errorf("index claims %d chunks in pack %s", count, info.ID)
		}
		data = data[packHead+count*pack.RecordSize:]
		each(info)
	}
	return nil
}
