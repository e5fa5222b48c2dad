// Package wal knows PostgreSQL's write-ahead log as bytes and names: positions, segments, timelines. It is pure: it reads no
// file and no clock.
package wal

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a byte position in the write-ahead log, counted from its beginning. It is written as two hex numbers, high and low
// half, as in 16/B374D848 (pg_lsn in the PostgreSQL manual, section 8.20).
type LSN uint64

// ParseLSN reads "16/B374D848".
func ParseLSN(text string) (LSN, error) {
	high, low, ok := strings.Cut(text, "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%.40q is no LSN: it reads like 16/B374D848", text)
	}
	return LSN(h<<32 | l), nil
}

func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }
