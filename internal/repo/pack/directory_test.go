package pack_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/pack"
)

func records() []pack.Record {
	return []pack.Record{{ID: chunk.ID{1}, Stored: 10, Plain: 20}, {ID: chunk.ID{2}, Stored: 7, Plain: 0}}
}

func TestDirectory(t *testing.T) {
	frame := pack.AppendDirectory(nil, records())
	if len(frame) != pack.DirectorySize(2) {
		t.Errorf("%d bytes, promised %d", len(frame), pack.DirectorySize(2))
	}
	if size, err := pack.FrameSize(frame[len(frame)-pack.TrailerSize:]); err != nil || size != int64(len(frame)) {
		t.Errorf("frame size %d, %v; want %d", size, err, len(frame))
	}
	got, err := pack.DecodeDirectory(frame, 17+int64(len(frame)))
	if diff := cmp.Diff(records(), got); err != nil || diff != "" {
		t.Errorf("decode: %v (-want +got):\n%s", err, diff)
	}
	if _, err := pack.DecodeDirectory(frame, 18+int64(len(frame))); err == nil {
		t.Error("a directory that does not cover its pack was accepted")
	}
	for n := range frame {
		if _, err := pack.DecodeDirectory(frame[:n], 17+int64(n)); err == nil {
			t.Errorf("a directory cut off at %d was accepted", n)
		}
	}
}

func FuzzDirectory(f *testing.F) {
	f.Add(pack.AppendDirectory(nil, records()), int64(17))
	f.Add(pack.AppendDirectory(nil, nil), int64(0))
	f.Fuzz(func(t *testing.T, frame []byte, before int64) {
		got, err := pack.DecodeDirectory(frame, before+int64(len(frame)))
		if err != nil {
			return
		}
		if again, err := pack.DecodeDirectory(pack.AppendDirectory(nil, got), before+int64(len(frame))); err != nil || !cmp.Equal(got, again) {
			t.Errorf("encoded again: %v", err)
		}
	})
}
