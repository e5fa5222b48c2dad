package pgdata

import (
	"testing"
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
