package postgres

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// Item paths within a restore point.
const (
	globalsPath = "globals.sql"
	dumpFolder  = "databases/"
	dumpSuffix  = ".dump"
)

// dumpPath names a database's item. Letters and digits of any script stay readable; everything that paths, shells or
// globs treat specially is percent-encoded. The true name is in the entry's attributes.
func dumpPath(database string) string {
	var b strings.Builder
	for _, r := range database {
		switch {
		case r == utf8.RuneError:
			b.WriteString("%EF%BF%BD")
		case unicode.IsLetter(r), unicode.IsDigit(r), strings.ContainsRune("-_.", r):
			b.WriteRune(r)
		default:
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
	}
	return path.Join(dumpFolder, b.String()+dumpSuffix)
}

// ident quotes an SQL identifier.
func ident(parts ...string) string { return pgx.Identifier(parts).Sanitize() }

// literal quotes an SQL string for a server with standard_conforming_strings on.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
