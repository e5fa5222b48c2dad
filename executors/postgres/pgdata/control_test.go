package pgdata

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// image makes a control file of a layout.
func image(version, catalog uint32) []byte {
	b := make([]byte, 8192)
	put := func(at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }
	put(0, 77)
	put(8, version)
	put(12, catalog)
	put(16, uint32(StateArchiveRecovery))
	put(136, 0x3000028)
	put(228, uint32(wal.DefaultSegmentSize))
	reseal(b)
	return b
}

func reseal(b []byte) {
	if end, ok := crcAt[binary.LittleEndian.Uint32(b[8:])]; ok {
		binary.LittleEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
	}
}

func TestParseControl(t *testing.T) {
	for catalog, major := range catalogs {
		version := uint32(layout13)
		switch major {
		case 17:
			version = layout17
		case 18:
			version = layout18
		}
		c, err := ParseControl(image(version, catalog))
		if err != nil || c.Major() != major || c.SystemID != 77 || c.State != StateArchiveRecovery || c.MinRecovery != 0x3000028 {
			t.Errorf("PostgreSQL %d: %+v, %v", major, c, err)
		}
	}
	if c, err := ParseControl(image(layout18, 1)); err != nil || c.Major() != 0 {
		t.Errorf("an unknown catalog: %d, %v", c.Major(), err)
	}
	good := image(layout13, 202209061)
	for n := range 292 {
		if _, err := ParseControl(good[:n]); err == nil {
			t.Fatalf("%d bytes are enough", n)
		}
		bad := bytes.Clone(good)
		bad[n] ^= 4
		if _, err := ParseControl(bad); err == nil {
			t.Errorf("byte %d may change", n)
		}
	}
	for want, change := range map[string]func([]byte){
		"version 1900": func(b []byte) { binary.LittleEndian.PutUint32(b[8:], 1900) },
		"damaged":      func(b []byte) { b[40] ^= 1 },
		"segments":     func(b []byte) { b[228] = 1; reseal(b) },
	} {
		b := bytes.Clone(good)
		change(b)
		if _, err := ParseControl(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if State(7).String() != "unknown state 7" || WALLevel(7).String() != "unknown level 7" {
		t.Error("unknown numbers have names")
	}
}

func FuzzParseControl(f *testing.F) {
	f.Add(image(layout13, 202209061))
	f.Add(image(layout18, 202506291))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 16 && len(b) < 1<<14 && len(b) > 296 {
			reseal(b) // so that what is behind the checksum is reached
		}
		if c, err := ParseControl(b); err == nil && c.SegmentSize.Check() != nil {
			t.Errorf("segments of %d bytes", c.SegmentSize)
		}
	})
}
