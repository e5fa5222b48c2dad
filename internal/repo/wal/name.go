// Package wal knows the names, the small documents and the continuity of write-ahead log in a repository.
//
// It is pure: it stores nothing, seals nothing and knows no policy. It keeps the invariant that a name which is taken for one
// of ours is written back the same, byte for byte, so that an object never stands for two files.
package wal

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Kind is what a file of write-ahead log is.
type Kind int

// The kinds. Names are those of PostgreSQL (src/include/access/xlog_internal.h), except that of a piece, which is ours.
const (
	KindUnknown Kind = iota
	Segment          // 000000010000000000000003: one whole segment
	Partial          // 000000010000000000000003.partial: the last segment of a timeline that ended
	Label            // 000000010000000000000003.00000028.backup: where a base backup began and ended
	History          // 0000000A.history: how a timeline came about
	Piece            // 000000010000000000000003.00000000-00010000: some bytes of a segment that is not complete yet
)

// Limits of files, in bytes. PostgreSQL allows segments from 1 MiB to 1 GiB, powers of two (initdb --wal-segsize); histories
// and labels are text of a few lines.
const (
	MinSegment = 1 << 20
	MaxSegment = 1 << 30
	MaxText    = 1 << 20
)

// logBytes is what one "log" of segment names spans: 4 GiB, half an LSN.
const logBytes = 1 << 32

// File names one file of write-ahead log. Fields that its kind does not have are zero, so that values compare with ==.
type File struct {
	System   uint64 // identifier of the cluster, as pg_control and IDENTIFY_SYSTEM tell it
	Timeline uint32
	Kind     Kind
	Log, Seg uint32 // which segment: high half of its LSN, and the number within that half; not of History
	From, To int64  // of Piece: the bytes [From,To) of the segment; of Label: From alone
}

// ParseSystem reads a system identifier, such as "7301234567890123456".
func ParseSystem(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != text {
		return 0, fmt.Errorf("%.40q is no system identifier of PostgreSQL: that is a number such as 7301234567890123456", text)
	}
	return n, nil
}

// Parse reads a file's name.
func Parse(system uint64, name string) (File, error) {
	f := File{System: system}
	base, rest, dotted := strings.Cut(name, ".")
	ok := system != 0 && hex32(base[:min(8, len(base))], &f.Timeline) && f.Timeline != 0
	switch {
	case len(base) == 8:
		f.Kind = History
		ok = ok && rest == "history"
	case len(base) == 24:
		ok = ok && hex32(base[8:16], &f.Log) && hex32(base[16:], &f.Seg) && f.suffix(rest, dotted)
	default:
		ok = false
	}
	if !ok || f.Check() != nil || f.Name() != name {
		return File{}, fmt.Errorf("%.80q of system %d is no file of write-ahead log: names read like 000000010000000000000003, with .partial, .00000028.backup or .00000000-00010000 behind them, or 00000002.history", name, system)
	}
	return f, nil
}

func (f *File) suffix(rest string, dotted bool) bool {
	from, label := strings.CutSuffix(rest, ".backup")
	begin, end, piece := strings.Cut(rest, "-")
	switch {
	case !dotted:
		f.Kind = Segment
		return true
	case rest == "partial":
		f.Kind = Partial
		return true
	case label:
		f.Kind = Label
		return offset(from, &f.From)
	case piece:
		f.Kind = Piece
		return offset(begin, &f.From) && offset(end, &f.To)
	}
	return false
}

// Check tells whether f can be a file, for values that were not parsed.
func (f File) Check() error {
	ok := f.System != 0 && f.Timeline != 0
	switch f.Kind {
	case History:
		ok = ok && f == File{System: f.System, Timeline: f.Timeline, Kind: History}
	case Segment, Partial:
		ok = ok && f.Seg < logBytes/MinSegment && f.From == 0 && f.To == 0
	case Label:
		ok = ok && f.Seg < logBytes/MinSegment && 0 <= f.From && f.From < MaxSegment && f.To == 0
	case Piece:
		ok = ok && f.Seg < logBytes/MinSegment && 0 <= f.From && f.From < f.To && f.To <= MaxSegment
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("no file of write-ahead log can be %+v", f)
	}
	return nil
}

// CheckSize tells whether a file of this kind can have so many bytes. A segment that is no power of two was cut off.
func (f File) CheckSize(size int64) error {
	switch f.Kind {
	case Segment, Partial:
		return checkSegment(f.Name(), size)
	case Piece:
		if size != f.To-f.From {
			return fmt.Errorf("%s has %d bytes instead of the %d that its name tells", f.Name(), size, f.To-f.From)
		}
	case Label, History, KindUnknown:
		if size <= 0 || size > MaxText {
			return fmt.Errorf("%s has %d bytes; such files are text of a few lines", f.Name(), size)
		}
	}
	return nil
}

func checkSegment(name string, size int64) error {
	if size < MinSegment || size > MaxSegment || bits.OnesCount64(uint64(size)) != 1 {
		return fmt.Errorf("%s has %d bytes, and segments have a power of two from 1 MiB to 1 GiB: it was cut off, or is no segment", name, size)
	}
	return nil
}

// Name returns the file's name as PostgreSQL writes it.
func (f File) Name() string {
	base := fmt.Sprintf("%08X%08X%08X", f.Timeline, f.Log, f.Seg)
	switch f.Kind {
	case Segment:
		return base
	case Partial:
		return base + ".partial"
	case Label:
		return fmt.Sprintf("%s.%08X.backup", base, f.From)
	case Piece:
		return fmt.Sprintf("%s.%08X-%08X", base, f.From, f.To)
	case History:
		return fmt.Sprintf("%08X.history", f.Timeline)
	case KindUnknown:
	}
	return "unknown"
}

// String reads "000000010000000000000003 of system 7301234567890123456".
func (f File) String() string { return fmt.Sprintf("%s of system %d", f.Name(), f.System) }

// Path is where the file's objects are, below wal/: system, timeline and name.
func (f File) Path() string { return fmt.Sprintf("%d/%08X/%s", f.System, f.Timeline, f.Name()) }

// Whole returns the segment that a piece is part of; of any other kind the segment of the same number.
func (f File) Whole() File {
	return File{System: f.System, Timeline: f.Timeline, Kind: Segment, Log: f.Log, Seg: f.Seg}
}

// PieceOf returns the piece [from,to) of a segment.
func (f File) PieceOf(from, to int64) File {
	f.Kind, f.From, f.To = Piece, from, to
	return f
}

// ParsePath is the reverse of Path.
func ParsePath(path string) (File, error) {
	parts := strings.Split(path, "/")
	if len(parts) != 3 {
		return File{}, fmt.Errorf("%.120q is no place of write-ahead log", path)
	}
	system, err := ParseSystem(parts[0])
	if err != nil {
		return File{}, err
	}
	f, err := Parse(system, parts[2])
	if err == nil && f.Path() != path {
		err = fmt.Errorf("%.120q is no place of write-ahead log: the folder is not that of the file's timeline", path)
	}
	if err != nil {
		return File{}, err
	}
	return f, nil
}

func hex32(s string, out *uint32) bool {
	n, err := strconv.ParseUint(s, 16, 32)
	*out = uint32(n)
	return err == nil && len(s) == 8
}

func offset(s string, out *int64) bool {
	var n uint32
	ok := hex32(s, &n)
	*out = int64(n)
	return ok
}
