package pgdata

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

func BenchmarkChecksum(b *testing.B) {
	var page Page
	for i := range page {
		page[i] = byte(i * 7)
	}
	b.SetBytes(PageSize)
	for b.Loop() {
		Checksum(&page, 7)
	}
}

func BenchmarkCheckEmptyPage(b *testing.B) {
	var page Page
	b.SetBytes(PageSize)
	for b.Loop() {
		CheckPage(&page, 7, 0)
	}
}

// plain computes the checksum word by word, as it is described.
func plain(page Page, block uint32) uint16 {
	page[8], page[9] = 0, 0
	sums := seeds
	for i := 0; i < PageSize/4; i++ {
		sums[i%lanes] = mix(sums[i%lanes], binary.LittleEndian.Uint32(page[4*i:]))
	}
	fold := block
	for _, s := range sums {
		fold ^= mix(mix(s, 0), 0)
	}
	return uint16(fold%0xFFFF) + 1
}

func TestChecksum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var page Page
		for i := range page {
			page[i] = byte(r.Uint32())
		}
		block := r.Uint32()
		before := page
		if got, want := Checksum(&page, block), plain(page, block); got != want {
			t.Fatalf("checksum %04X, want %04X", got, want)
		}
		if page != before {
			t.Fatal("the page was changed")
		}
	}
}

func TestCheckPage(t *testing.T) {
	var good Page
	good[3], good[7], good[15] = 1, 5, 0x20 // LSN 1000000/5000000, in the order of its halves' bytes
	binary.LittleEndian.PutUint16(good[8:], Checksum(&good, 9))
	lsn := PageLSN(&good)
	if lsn != 0x01000000_05000000 {
		t.Fatalf("page LSN %s", lsn)
	}
	bad, half := good, Page{}
	bad[8000] ^= 1
	half[8000] = 1 // no header, and not empty
	for name, tc := range map[string]struct {
		page  Page
		bound wal.LSN
		want  Verdict
	}{
		"good":                     {good, 0, PageGood},
		"good, before the bound":   {good, lsn + 1, PageGood},
		"at the bound":             {good, lsn, PageNewer},
		"bad":                      {bad, 0, PageBad},
		"bad, before the bound":    {bad, lsn + 1, PageBad},
		"bad, behind the bound":    {bad, lsn - 1, PageNewer},
		"empty":                    {Page{}, 1, PageEmpty},
		"content without a header": {half, 0, PageBad},
	} {
		if got := CheckPage(&tc.page, 9, tc.bound); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}
