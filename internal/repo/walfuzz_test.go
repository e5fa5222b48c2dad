package repo

import (
	"bytes"
	"io"
	"testing"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/seal"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
)

// FuzzWALContent: stored bytes give what was sealed for this file, or an error.
func FuzzWALContent(f *testing.F) {
	r := &Repository{data: seal.Sealer{Plain: true}, keys: chunk.NewKeys([32]byte{1}), canRead: true}
	file := wal.File{System: 7, Timeline: 2, Kind: wal.History}
	want := []byte("1\t0/3000000\tno recovery target specified\n")
	s := &walSealer{step: make([]byte, walStep)}
	_, sealed, err := s.seal(f.Context(), r, file, bytes.NewReader(want), int64(len(want)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Clone(sealed))
	f.Add(sealed[:len(sealed)-wal.TrailerSize])
	f.Add(wal.AppendTrailer(nil, 1<<30, wal.Sum{}))
	f.Add([]byte{0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 1, 0, 0}) // claims a length of 2^60
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		if _, _, err := r.unsealWAL(file, bytes.NewReader(data), &out); err == nil && !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%q was taken for the file", out.Bytes())
		}
		// Ranges of any sizes keep the same end.
		var all bytes.Buffer
		end := &tail{Reader: io.TeeReader(bytes.NewReader(data), &all)}
		step := make([]byte, 7)
		for err := error(nil); err == nil; {
			_, err = end.Read(step)
		}
		if kept := end.last[:end.n]; !bytes.HasSuffix(all.Bytes(), kept) || end.n != min(len(data), wal.TrailerSize) {
			t.Errorf("%x is kept of the end of %x", kept, data)
		}
	})
}
