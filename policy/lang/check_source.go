package lang

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/holdfast-io/holdfast/policy"
)

// checkPostgres wants one way to connect, not two and not none.
func (b *builder) checkPostgres(o *object) {
	single := []string{"host", "port", "user", "database", "sslmode", "password"}
	if o.node.attrs["dsn"] == nil || o.absent("dsn") {
		if o.absent("host") && !o.node.flawed {
			b.error(place{rng: o.node.declared, node: o.node, address: o.address}, "connection", "No way to connect", "Give dsn = env(\"DATABASE_URL\"), or host (a name, or the folder of a Unix socket) with user, database and password.")
		}
		return
	}
	for _, name := range single {
		if o.node.attrs[name] != nil && !o.absent(name) {
			b.error(o.at(name), "connection", fmt.Sprintf("%s beside dsn", name), fmt.Sprintf("dsn says everything about the connection. Remove %s, or remove dsn and use the single arguments.", name))
		}
	}
}

func (b *builder) checkFiles(o *object) {
	for _, name := range []string{"include", "exclude"} {
		b.checkGlobs(o, name, true)
	}
}

// checkGlobs checks patterns; relative ones may not leave the root.
func (b *builder) checkGlobs(o *object, name string, paths bool) {
	for i, pattern := range o.texts(name) {
		b.checkGlob(o.atElement(name, i), pattern, paths)
	}
}

func (b *builder) checkGlob(at place, pattern string, paths bool) {
	switch {
	case !doublestar.ValidatePattern(pattern):
		b.error(at, "glob", fmt.Sprintf("Bad pattern %s", quoteShort(pattern)), "Brackets and braces must be closed; \\ takes the meaning from the next character.")
	case paths && strings.HasPrefix(pattern, "/"):
		b.error(at, "glob", fmt.Sprintf("Pattern %s starts with /", quoteShort(pattern)), fmt.Sprintf("Patterns are relative to root: write %s.", quoteShort(strings.TrimLeft(pattern, "/"))))
	case paths && (pattern == ".." || strings.HasPrefix(pattern, "../") || strings.Contains(pattern, "/../") || strings.HasSuffix(pattern, "/..")):
		b.error(at, "glob", fmt.Sprintf("Pattern %s leaves the root", quoteShort(pattern)), "Patterns are relative to root and stay below it. Use a source of its own for another folder.")
	}
}

// checkRetention wants a rule that keeps something.
func (b *builder) checkRetention(o *object, r policy.Retention) {
	if o.node.flawed {
		return // a rule was probably meant
	}
	rules := []string{"last", "within", "hourly", "daily", "weekly", "monthly", "yearly"}
	for _, name := range append([]string{"continuous"}, rules...) {
		if !o.absent(name) && !o.known(name) {
			return // it cannot be told
		}
	}
	if most := r.Last + r.Hourly + r.Daily + r.Weekly + r.Monthly + r.Yearly; most > 0 || r.Within > 0 {
		if r.Within == 0 && r.MinVerified > most {
			b.warn(o.at("min_verified"), "floor_above_rules", "min_verified keeps more than the rules", fmt.Sprintf("The rules together keep at most %s; the floor holds %d. Give a rule that keeps as many, or lower min_verified.", count(most, "restore point"), r.MinVerified))
		}
		return
	}
	if r.Continuous > 0 {
		return // what refers to it is looked at by checkPhysicals
	}
	b.error(place{rng: o.node.declared, node: o.node, address: o.address}, "keeps_nothing", "The retention keeps nothing", fmt.Sprintf("Every restore point would expire. Give at least one of %s a value above zero.", either(rules)))
}

// checkOverlap finds a store inside of the folder that is copied into it: each backup would contain the last ones.
func (b *builder) checkOverlap(at place, src policy.Source, store policy.Store) {
	path, ok := b.filePath(store.URL)
	if !ok || src.Files == nil || src.Files.Root == "" {
		return
	}
	rel, err := filepath.Rel(b.config.base(src.Files.Root), path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return
	}
	rel = filepath.ToSlash(rel)
	for _, pattern := range src.Files.Exclude {
		if hit, _ := doublestar.Match(pattern, rel); hit {
			return
		}
		if hit, _ := doublestar.Match(pattern, rel+"/x"); hit {
			return
		}
	}
	detail := fmt.Sprintf("Each restore point would hold the earlier ones. Move the store elsewhere, or write exclude = [\"%s/**\"] in %s.", rel, src.Address)
	if rel == "." {
		detail = "Each restore point would hold the earlier ones. Move the store elsewhere."
	}
	b.error(at, "store_in_source", fmt.Sprintf("%s lies inside of %s", store.Address, src.Address), detail)
}
