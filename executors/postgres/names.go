package postgres

import (
	"fmt"
	"path"
	"regexp"
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

// glob matches names: * is any text, ? one character, [a-z] a class, \ takes the next character as it is. Unlike in
// paths, * spans slashes and dots, which names may contain.
type glob struct{ re *regexp.Regexp }

func newGlob(pattern string) (glob, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	runes := []rune(pattern)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; r {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		case '\\':
			if i++; i < len(runes) {
				b.WriteString(regexp.QuoteMeta(string(runes[i])))
			}
		case '[':
			end := i + 1
			for end < len(runes) && runes[end] != ']' {
				end++
			}
			if end == len(runes) {
				return glob{}, fmt.Errorf("read pattern %q: a [ has no ]", pattern)
			}
			b.WriteString(string(runes[i : end+1]))
			i = end
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	re, err := regexp.Compile(b.String() + `\z`)
	if err != nil {
		return glob{}, fmt.Errorf("read pattern %q: its class in [] is not valid", pattern)
	}
	return glob{re}, nil
}

func (g glob) match(name string) bool { return g.re.MatchString(name) }
