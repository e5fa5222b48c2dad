package frame_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-io/holdfast/internal/repo/frame"
)

func samples() map[string][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300<<10)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	var text bytes.Buffer
	for text.Len() < 300<<10 {
		fmt.Fprintf(&text, "row %d has value %d and name n%x\n", rng.IntN(1e6), rng.IntN(100), rng.IntN(5000))
	}
	return map[string][]byte{"noise": noise, "text": text.Bytes(), "zero": make([]byte, 300<<10)}
}

func TestRoundTrip(t *testing.T) {
	decoder, err := frame.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range []frame.Level{frame.None, frame.Fast, frame.Default, frame.Better, ""} {
		encoder, err := frame.NewEncoder(level)
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range samples() {
			for _, n := range []int{0, 1, 2, 127, 128, 255, 256, 257, 65535, 65536, 131071, 131072, 131073, 262144, len(data)} {
				packed := encoder.Append([]byte("before"), data[:n])
				if len(packed)-6 > n+frame.Overhead(n) {
					t.Errorf("%s %s %d: %d bytes exceed the promised overhead", level, name, n, len(packed)-6)
				}
				got, err := decoder.Decode(make([]byte, 0, n), packed[6:], n)
				if err != nil || !bytes.Equal(got, data[:n]) {
					t.Errorf("%s %s %d: %v, content equal: %v", level, name, n, err, bytes.Equal(got, data[:n]))
				}
				if n > 0 {
					if _, err := decoder.Decode(make([]byte, 0, n), packed[6:], n-1); err == nil {
						t.Errorf("%s %s %d: decoded into less room than it has content", level, name, n)
					}
				}
				if _, err := decoder.Decode(make([]byte, 0, n+1), packed[6:], n+1); err == nil {
					t.Errorf("%s %s %d: decoded although more was expected", level, name, n)
				}
			}
		}
	}
}

// TestNoiseIsStoredRaw: what does not compress costs no encoding, and what compresses is compressed.
func TestNoiseIsStoredRaw(t *testing.T) {
	encoder, err := frame.NewEncoder(frame.Default)
	if err != nil {
		t.Fatal(err)
	}
	all := samples()
	if got, want := encoder.Append(nil, all["noise"]), frame.AppendRaw(nil, all["noise"]); !bytes.Equal(got, want) {
		t.Error("noise was not stored as raw blocks")
	}
	for _, name := range []string{"text", "zero"} {
		if got := len(encoder.Append(nil, all[name])); got > len(all[name])/2 {
			t.Errorf("%s: %d bytes of %d", name, got, len(all[name]))
		}
	}
}

func TestUnknownLevel(t *testing.T) {
	if _, err := frame.NewEncoder("best"); err == nil {
		t.Error("level best was accepted")
	}
}

// TestUnpackLimit: a small object cannot make much of itself.
func TestUnpackLimit(t *testing.T) {
	packed, err := frame.Pack(make([]byte, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := frame.Unpack(packed, 1<<20-1); err == nil {
		t.Error("more than the limit was unpacked")
	}
	got, err := frame.Unpack(packed, 1<<20)
	if err != nil || len(got) != 1<<20 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func FuzzDecode(f *testing.F) {
	decoder, err := frame.NewDecoder()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frame.AppendRaw(nil, []byte("raw")), 3)
	encoder, err := frame.NewEncoder(frame.Fast)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoder.Append(nil, bytes.Repeat([]byte("text "), 1000)), 5000)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		if size < 0 || size > 1<<16 {
			return
		}
		got, err := decoder.Decode(make([]byte, 0, size), data, size)
		if err == nil && len(got) != size {
			t.Errorf("%d bytes, want %d", len(got), size)
		}
		if plain, err := frame.Unpack(data, 1<<16); err == nil && len(plain) > 1<<16 {
			t.Errorf("unpacked %d bytes", len(plain))
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for name, data := range samples() {
		for _, level := range []frame.Level{frame.Fast, frame.Better} {
			b.Run(name+"/"+string(level), func(b *testing.B) {
				encoder, err := frame.NewEncoder(level)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(256 << 10)
				var out []byte
				for b.Loop() {
					out = encoder.Append(out[:0], data[:256<<10])
				}
				b.ReportMetric(float64(256<<10)/float64(len(out)), "ratio")
			})
		}
	}
}
