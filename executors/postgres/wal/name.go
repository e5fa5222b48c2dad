package wal

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind is what a file of pg_wal or of a WAL archive is, by its name.
type Kind int

// The kinds PostgreSQL archives and asks back (src/include/access/xlog_internal.h).
const (
	KindUnknown Kind = iota
	KindSegment      // 000000010000000000000001: a segment
	KindPartial      // 000000010000000000000001.partial: a segment whose timeline ended inside it, or that is still received
	KindHistory      // 00000002.history: where a timeline came from
	KindBackup       // 000000010000000000000001.00000028.backup: a note that a base backup began in that segment
)

func (k Kind) String() string {
	switch k {
	case KindSegment:
		return "segment"
	case KindPartial:
		return "partial segment"
	case KindHistory:
		return "timeline history"
	case KindBackup:
		return "backup history"
	default:
		return "unknown"
	}
}

// Name is what a file's name says.
type Name struct {
	Kind     Kind
	Timeline Timeline
	Offset   uint32 // of the base backup's start inside its segment, in bytes; only of KindBackup

	high, low uint32 // parts of the segment's number
}

// ParseName tells what a file name is. A name that is none of PostgreSQL's is KindUnknown; lower-case digits are such a name.
func ParseName(name string) Name {
	if text, ok := strings.CutSuffix(name, ".history"); ok {
		if tli, ok := hex8(text); ok && tli > 0 {
			return Name{Kind: KindHistory, Timeline: Timeline(tli)}
		}
		return Name{}
	}
	if len(name) < 24 {
		return Name{}
	}
	n, ok := parseDigits(name[:24])
	if !ok {
		return Name{}
	}
	switch rest := name[24:]; {
	case rest == "":
		n.Kind = KindSegment
	case rest == ".partial":
		n.Kind = KindPartial
	case len(rest) == len(".00000028.backup") && rest[0] == '.' && rest[9:] == ".backup":
		if n.Offset, ok = hex8(rest[1:9]); !ok {
			return Name{}
		}
		n.Kind = KindBackup
	default:
		return Name{}
	}
	return n
}

func parseDigits(text string) (Name, bool) {
	tli, ok1 := hex8(text[:8])
	high, ok2 := hex8(text[8:16])
	low, ok3 := hex8(text[16:24])
	return Name{Timeline: Timeline(tli), high: high, low: low}, ok1 && ok2 && ok3 && tli > 0
}

// Segment returns the segment that the name speaks of. It fails for a history file, and when a cluster with this segment
// size cannot have a file of that name.
func (n Name) Segment(size SegmentSize) (Segment, error) {
	if err := size.Check(); err != nil {
		return Segment{}, err
	}
	if n.Kind == KindUnknown || n.Kind == KindHistory {
		return Segment{}, fmt.Errorf("a file of kind %q names no WAL segment", n.Kind)
	}
	if uint64(n.low) >= size.perLog() {
		return Segment{}, fmt.Errorf("%08X%08X%08X is no name of a WAL segment of %d bytes: its last part must be below %X; compare wal_segment_size of the cluster",
			uint32(n.Timeline), n.high, n.low, size, size.perLog())
	}
	return Segment{Timeline: n.Timeline, Number: uint64(n.high)*size.perLog() + uint64(n.low)}, nil
}

// HistoryName returns the name of a timeline's history file. The first timeline has none.
func HistoryName(t Timeline) string { return fmt.Sprintf("%08X.history", uint32(t)) }

// hex8 reads exactly eight upper-case hex digits.
func hex8(text string) (uint32, bool) {
	if len(text) != 8 || strings.Trim(text, "0123456789ABCDEF") != "" {
		return 0, false
	}
	v, err := strconv.ParseUint(text, 16, 32)
	return uint32(v), err == nil
}
