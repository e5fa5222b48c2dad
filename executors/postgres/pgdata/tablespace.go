package pgdata

import (
	"fmt"
	"strconv"
	"strings"
)

// TablespaceMapName is the name of the tablespace map in a data directory. At its first start a restored server makes the links in
// pg_tblspc that it lists.
const TablespaceMapName = "tablespace_map"

// Tablespace is one line of a tablespace map.
type Tablespace struct {
	OID  uint32
	Path string // absolute, of the folder that the link points to
}

// ParseTablespaceMap reads a tablespace map: lines of an OID, a space and a path in which a backslash stands before each line
// break and backslash (read_tablespace_map in src/backend/access/transam/xlogrecovery.c).
func ParseTablespaceMap(content []byte) ([]Tablespace, error) {
	var spaces []Tablespace
	var line strings.Builder
	escaped := false
	for _, c := range content {
		switch {
		case !escaped && c == '\\':
			escaped = true
			continue
		case !escaped && (c == '\n' || c == '\r'):
			if line.Len() > 0 {
				t, err := parseTablespace(line.String())
				if err != nil {
					return nil, fmt.Errorf("line %d of %s: %w", len(spaces)+1, TablespaceMapName, err)
				}
				spaces = append(spaces, t)
			}
			line.Reset()
			continue
		}
		line.WriteByte(c)
		escaped = false
	}
	if escaped || line.Len() > 0 {
		return nil, fmt.Errorf("%s ends inside a line: it is cut off", TablespaceMapName)
	}
	return spaces, nil
}

func parseTablespace(line string) (Tablespace, error) {
	oid, path, ok := strings.Cut(line, " ")
	n, valid := parseOID(oid)
	if !ok || !valid || !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) {
		return Tablespace{}, fmt.Errorf("%.80q is no OID with an absolute path", line)
	}
	return Tablespace{OID: n, Path: path}, nil
}

// TablespaceMap writes a tablespace map.
func TablespaceMap(spaces []Tablespace) []byte {
	escape := strings.NewReplacer("\\", "\\\\", "\n", "\\\n", "\r", "\\\r")
	var b strings.Builder
	for _, t := range spaces {
		fmt.Fprintf(&b, "%d %s\n", t.OID, escape.Replace(t.Path))
	}
	return []byte(b.String())
}

// parseOID reads an OID or file number as PostgreSQL writes it: decimal, without leading zeros, not zero.
func parseOID(text string) (uint32, bool) {
	if text == "" || text[0] < '1' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil
}
