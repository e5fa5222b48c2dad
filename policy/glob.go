package policy

import (
	"fmt"
	"regexp"
	"strings"
)

// Glob matches names: * is any text, ? one character, [a-z] a class, \ takes the next character as it is. Unlike in
// paths, * spans slashes and dots, which names may contain.
type Glob struct{ re *regexp.Regexp }

// NewGlob reads a pattern.
func NewGlob(pattern string) (Glob, error) {
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
				return Glob{}, fmt.Errorf("read pattern %q: a [ has no ]", pattern)
			}
			b.WriteString(string(runes[i : end+1]))
			i = end
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	re, err := regexp.Compile(b.String() + `\z`)
	if err != nil {
		return Glob{}, fmt.Errorf("read pattern %q: its class in [] is not valid", pattern)
	}
	return Glob{re}, nil
}

// Match tells whether a name fits the whole pattern.
func (g Glob) Match(name string) bool { return g.re.MatchString(name) }

// Covers tells whether the backup takes in a database. Patterns that cannot be read cover nothing.
func (l Logical) Covers(database string) bool {
	matches := func(patterns []string) bool {
		for _, pattern := range patterns {
			if g, err := NewGlob(pattern); err == nil && g.Match(database) {
				return true
			}
		}
		return false
	}
	return (len(l.Databases) == 0 || matches(l.Databases)) && !matches(l.ExcludeDatabases)
}
