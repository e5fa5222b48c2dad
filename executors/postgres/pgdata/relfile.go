package pgdata

import (
	"regexp"
	"strconv"
	"strings"
)

// Tablespaces that every cluster has (src/include/catalog/pg_tablespace.dat).
const (
	DefaultTablespace uint32 = 1663 // base/
	GlobalTablespace  uint32 = 1664 // global/
)

// SegmentBlocks is how many pages a relation's file has before the next one begins: 1 GiB of them. The control file has the cluster's own.
const SegmentBlocks = 1 << 30 / PageSize

// Fork is one of the files that a relation is made of (src/common/relpath.c).
type Fork int

// The forks.
const (
	ForkMain Fork = iota
	ForkFreeSpace
	ForkVisibility
	ForkInit // an empty unlogged relation, copied over the main fork after a crash
)

var forks = map[string]Fork{"": ForkMain, "fsm": ForkFreeSpace, "vm": ForkVisibility, "init": ForkInit}

// RelFile is a file made of relation pages.
type RelFile struct {
	Tablespace uint32
	Database   uint32 // 0 in global/
	Number     uint32 // of the relation's files; no OID, though often the same
	Fork       Fork
	Segment    uint32
}

var (
	relationName  = regexp.MustCompile(`^([1-9][0-9]{0,9})(?:_(fsm|vm|init))?(?:\.([1-9][0-9]{0,9}))?$`)
	temporaryName = regexp.MustCompile(`^t[0-9]+_[1-9][0-9]*(?:_(?:fsm|vm|init))?(?:\.[0-9]+)?$`)
	versionFolder = regexp.MustCompile(`^PG_[0-9.]+_[0-9]+$`)
)

// ParseRelFile tells which relation's pages a file holds. Path is relative to the data directory, with slashes. ok is false
// for all other files, those of temporary relations included.
func ParseRelFile(path string) (f RelFile, ok bool) {
	parts := strings.Split(path, "/")
	switch {
	case len(parts) == 2 && parts[0] == "global":
		f.Tablespace = GlobalTablespace
	case len(parts) == 3 && parts[0] == "base":
		f.Tablespace = DefaultTablespace
		if f.Database, ok = parseOID(parts[1]); !ok {
			return RelFile{}, false
		}
	case len(parts) == 5 && parts[0] == "pg_tblspc" && versionFolder.MatchString(parts[2]):
		var ok1, ok2 bool
		f.Tablespace, ok1 = parseOID(parts[1])
		f.Database, ok2 = parseOID(parts[3])
		if !ok1 || !ok2 {
			return RelFile{}, false
		}
	default:
		return RelFile{}, false
	}
	return f, f.name(parts[len(parts)-1])
}

// name reads a file's name into f.
func (f *RelFile) name(name string) bool {
	m := relationName.FindStringSubmatch(name)
	if m == nil {
		*f = RelFile{}
		return false
	}
	number, ok := parseOID(m[1])
	segment := uint64(0)
	if m[3] != "" {
		var err error
		segment, err = strconv.ParseUint(m[3], 10, 32)
		ok = ok && err == nil
	}
	if !ok || segment*SegmentBlocks > 1<<32-1 { // no relation has more pages
		*f = RelFile{}
		return false
	}
	f.Number, f.Fork, f.Segment = number, forks[m[2]], uint32(segment)
	return true
}

// FirstBlock returns the number of the file's first page in its relation.
func (f RelFile) FirstBlock() uint32 { return f.Segment * SegmentBlocks }

// Unlogged are the relations of one folder that have an init fork: their other forks are emptied at the end of recovery, so that a
// backup of them is of no use.
type Unlogged map[uint32]bool

// FindUnlogged looks through the names of one folder.
func FindUnlogged(names []string) Unlogged {
	u := Unlogged{}
	for _, name := range names {
		var f RelFile
		if f.name(name) && f.Fork == ForkInit {
			u[f.Number] = true
		}
	}
	return u
}

// Excludes says whether a backup leaves out a file of that folder.
func (u Unlogged) Excludes(f RelFile) bool { return f.Fork != ForkInit && u[f.Number] }
