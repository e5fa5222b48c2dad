package files

import (
	"fmt"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// filter decides which paths of a tree belong to it. Patterns are doublestar globs relative to the root. A pattern that
// matches a directory covers everything below it; an exclude wins over every include.
type filter struct {
	include, exclude []string
	bases            []string // of include: the folder each pattern starts in, "." for the root
}

func newFilter(include, exclude []string) (filter, error) {
	var f filter
	var err error
	if f.include, err = cleanGlobs(include); err != nil {
		return f, err
	}
	if f.exclude, err = cleanGlobs(exclude); err != nil {
		return f, err
	}
	for _, p := range f.include {
		base, _ := doublestar.SplitPattern(p)
		f.bases = append(f.bases, base)
	}
	return f, nil
}

// cleanGlobs drops what people write out of habit ("./x", "/x", "x/") and refuses what cannot be a pattern.
func cleanGlobs(globs []string) ([]string, error) {
	var out []string
	for _, g := range globs {
		p := path.Clean(strings.TrimLeft(g, "/"))
		if g == "" || p == ".." || strings.HasPrefix(p, "../") || !doublestar.ValidatePattern(p) {
			return nil, fmt.Errorf("pattern %q: not a glob below the root; write for example %q or %q", g, "conf/**", "**/*.yaml")
		}
		out = append(out, p)
	}
	return out, nil
}

func (f filter) excluded(p string) bool { return matchAny(f.exclude, p) }

// included tells whether p itself is named; the caller remembers it for everything below p.
func (f filter) included(p string) bool { return len(f.include) == 0 || matchAny(f.include, p) }

// mayHold tells whether something below the directory p, which is not included itself, can be.
func (f filter) mayHold(p string) bool {
	for _, base := range f.bases {
		if base == "." || p == "." || below(p, base) || below(base, p) {
			return true
		}
	}
	return false
}

// below tells whether p is dir or lies below it.
func below(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, dir) && p[len(dir)] == '/'
}

func matchAny(globs []string, p string) bool {
	for _, g := range globs {
		if doublestar.MatchUnvalidated(g, p) {
			return true
		}
	}
	return false
}

// covers tells whether a glob matches p or a directory above it.
func covers(glob, p string) bool {
	for i := 0; i < len(p); i++ {
		if p[i] == '/' && doublestar.MatchUnvalidated(glob, p[:i]) {
			return true
		}
	}
	return glob == "." || doublestar.MatchUnvalidated(glob, p)
}
