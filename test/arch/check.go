package arch

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Package is what the law needs to know of a package: paths relative to the module, without test files.
type Package struct {
	Path    string
	Imports []string   // full import paths, sorted
	Uses    []Selector // package-level names of imported packages it mentions
}

// Selector is a mention of a name of an imported package, such as time.Now.
type Selector struct {
	Import, Name string
	Pos          string // file:line
}

// Check returns every breach of the law, one sentence each, sorted.
func Check(packages []Package) []string {
	c := checker{byPath: map[string]Package{}}
	for _, p := range packages {
		c.byPath[p.Path] = p
	}
	for _, p := range packages {
		c.arrows(p)
		c.outside(p)
		c.shipped(p)
		c.forbidden(p)
		c.never(p)
	}
	c.purity(packages)
	slices.Sort(c.findings)
	return slices.Compact(c.findings)
}

type checker struct {
	byPath   map[string]Package
	findings []string
}

func (c *checker) report(format string, args ...any) {
	c.findings = append(c.findings, fmt.Sprintf(format, args...))
}

// arrows holds p against its rule.
func (c *checker) arrows(p Package) {
	i := slices.IndexFunc(Rules, func(r Rule) bool { return match(r.Of, p.Path) })
	if i < 0 {
		c.report("%s has no rule: say in test/arch/rules.go which of our packages it may import", p.Path)
		return
	}
	for _, to := range p.ours() {
		// Packages for tests serve the tests of many; what they may import is not an arrow of the design.
		if !matchAny(Rules[i].May, to) && !testOnly(p.Path) {
			c.report("%s imports %s: rule %q allows %s", p.Path, to, Rules[i].Of, allowed(Rules[i].May))
		}
	}
}

// outside holds p's third-party imports against the list of who may use what.
func (c *checker) outside(p Package) {
	for _, to := range p.Imports {
		first, _, _ := strings.Cut(to, "/")
		if ours(to) || !strings.Contains(first, ".") {
			continue
		}
		i := slices.IndexFunc(Outside, func(o outsider) bool { return to == o.Path || strings.HasPrefix(to, o.Path+"/") })
		switch {
		case i < 0:
			c.report("%s imports %s: a dependency that test/arch/rules.go does not know", p.Path, to)
		case !matchAny(Outside[i].By, p.Path):
			c.report("%s imports %s: that is for %s", p.Path, to, allowed(Outside[i].By))
		}
	}
}

// shipped keeps tests out of what ships.
func (c *checker) shipped(p Package) {
	if testOnly(p.Path) {
		return
	}
	for _, to := range p.Imports {
		if to == "testing" || strings.HasPrefix(to, "testing/") || ours(to) && testOnly(relative(to)) {
			c.report("%s imports %s: production code never imports what is for tests", p.Path, to)
		}
	}
}

// forbidden looks for calls that belong elsewhere.
func (c *checker) forbidden(p Package) {
	for _, use := range p.Uses {
		for _, f := range Forbidden {
			if use.Import == f.Import && use.Name == f.Name && !matchAny(f.But, p.Path) {
				c.report("%s: %s.%s: %s", use.Pos, path.Base(use.Import), use.Name, f.Why)
			}
		}
	}
}

// never follows the arrows from p as far as they go.
func (c *checker) never(p Package) {
	for _, n := range Never {
		if !matchAny(n.From, p.Path) || testOnly(p.Path) {
			continue
		}
		for to, way := range c.reach(p.Path) {
			if matchAny(n.To, to) && !matchAny(n.From, to) {
				c.report("%s must never reach %s, and does: %s", p.Path, to, strings.Join(way, " -> "))
			}
		}
	}
}

// purity holds the pure packages, and all of ours they import, against the imports and calls that see the world.
func (c *checker) purity(packages []Package) {
	for _, root := range packages {
		if !matchAny(Pure, root.Path) || testOnly(root.Path) || matchAny(NotPure, root.Path) {
			continue
		}
		for to, way := range c.reach(root.Path) {
			for _, imported := range c.byPath[to].Imports {
				if matchAny(impure, imported) {
					c.report("%s is pure, and imports %s: %s", root.Path, imported, strings.Join(append(way, imported), " -> "))
				}
			}
			for _, use := range c.byPath[to].Uses {
				if use.Import == "time" && slices.Contains(worldly, use.Name) {
					c.report("%s: %s is pure (imported by %s): no time.%s, the moment is an argument", use.Pos, to, root.Path, use.Name)
				}
			}
		}
	}
}

// reach returns every package of ours that from imports, itself included, with the way there.
func (c *checker) reach(from string) map[string][]string {
	ways := map[string][]string{from: {from}}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		for _, to := range c.byPath[queue[0]].ours() {
			if ways[to] == nil {
				ways[to] = append(slices.Clone(ways[queue[0]]), to)
				queue = append(queue, to)
			}
		}
	}
	return ways
}

// ours returns p's imports of this module, relative to it.
func (p Package) ours() []string {
	var list []string
	for _, i := range p.Imports {
		if ours(i) {
			list = append(list, relative(i))
		}
	}
	return list
}

func ours(imported string) bool { return imported == module || strings.HasPrefix(imported, module+"/") }

func relative(imp string) string { return strings.TrimPrefix(strings.TrimPrefix(imp, module), "/") }

func testOnly(relative string) bool {
	return match("test/...", relative) || strings.HasSuffix(relative, "test")
}

// match tells whether path is pattern, or lies in the folder that a pattern ending in /... names.
func match(pattern, path string) bool {
	if folder, ok := strings.CutSuffix(pattern, "..."); ok {
		return strings.HasPrefix(path+"/", folder)
	}
	return pattern == path
}

func matchAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, path) })
}

func allowed(patterns []string) string {
	if len(patterns) == 0 {
		return "nothing of ours (it is a leaf)"
	}
	return strings.Join(patterns, ", ")
}
