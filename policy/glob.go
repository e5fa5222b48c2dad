package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Glob matches names: * is any text, ? one character, [a-z] a class, {a,b} one of several, \ takes the next character as it is.
// Unlike in paths, * spans slashes and dots, which names may contain.
type Glob struct{ re *regexp.Regexp }

// NewGlob reads a pattern.
func NewGlob(pattern string) (Glob, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	runes := []rune(pattern)
	open := 0 // braces
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
				return Glob{}, fmt.Errorf("read pattern %q: a [ has no ]", pattern)
			}
			b.WriteString(string(runes[i : end+1]))
			i = end
		case '{':
			open++
			b.WriteString("(?:")
		case '}':
			if open--; open < 0 {
				return Glob{}, fmt.Errorf("read pattern %q: a } has no {", pattern)
			}
			b.WriteString(")")
		case ',':
			if open > 0 {
				r = '|'
			}
			b.WriteRune(r)
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	if open > 0 {
		return Glob{}, fmt.Errorf("read pattern %q: a { has no }", pattern)
	}
	re, err := regexp.Compile(b.String() + `\z`)
	if err != nil {
		return Glob{}, fmt.Errorf("read pattern %q: its class in [] is not valid", pattern)
	}
	return Glob{re}, nil
}

// Match tells whether a name fits the whole pattern.
func (g Glob) Match(name string) bool { return g.re.MatchString(name) }

// matchAny tells whether a name fits one of the patterns. Those that cannot be read match nothing.
func matchAny(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if g, err := NewGlob(pattern); err == nil && g.Match(name) {
			return true
		}
	}
	return false
}

// Covers tells whether the backup takes in a database. Patterns that cannot be read cover nothing.
func (l Logical) Covers(database string) bool {
	return (len(l.Databases) == 0 || matchAny(l.Databases, database)) && !matchAny(l.ExcludeDatabases, database)
}

// Covers tells whether the source's backups take in a collection. Patterns that cannot be read cover nothing.
func (q QdrantSource) Covers(collection string) bool {
	return len(q.Collections) == 0 || matchAny(q.Collections, collection)
}

// SameServer tells whether two sources name a node in common: they are of one server, or one cluster.
func (q QdrantSource) SameServer(other QdrantSource) bool {
	return slices.ContainsFunc(q.URLs, func(url string) bool { return slices.Contains(other.URLs, url) })
}
