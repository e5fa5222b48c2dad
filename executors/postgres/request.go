package postgres

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-io/holdfast/policy"
)

// Options of a restore request.
const (
	optGlobals    = "globals"     // "true": make missing roles first
	optNoOwner    = "no_owner"    // "true": everything belongs to the connecting role, and no grants are made
	optJobs       = "jobs"        // number of parallel connections; more than one stages the dump in a file
	optStagingDir = "staging_dir" // folder of that file
)

// options are a restore request's options, read.
type options struct {
	globals, noOwner bool
	jobs             int
	jobsAsked        bool // jobs was given, not chosen here
	stagingDir       string
}

// maxDefaultJobs bounds the connections a restore takes without being told.
const maxDefaultJobs = 4

func readOptions(in map[string]string) (options, error) {
	o := options{jobs: min(maxDefaultJobs, runtime.GOMAXPROCS(0))}
	for _, k := range slices.Sorted(maps.Keys(in)) {
		var err error
		switch v := in[k]; k {
		case optGlobals:
			o.globals, err = strconv.ParseBool(v)
		case optNoOwner:
			o.noOwner, err = strconv.ParseBool(v)
		case optJobs:
			o.jobsAsked = true
			if o.jobs, err = strconv.Atoi(v); err == nil && (o.jobs < 1 || o.jobs > 128) {
				err = fmt.Errorf("%d is not between 1 and 128", o.jobs)
			}
		case optStagingDir:
			o.stagingDir = v
		default:
			return options{}, fmt.Errorf("read option %q: a restore of PostgreSQL knows %s, %s, %s and %s", k, optGlobals, optNoOwner, optJobs, optStagingDir)
		}
		if err != nil {
			return options{}, fmt.Errorf("read option %s=%q: %w", k, in[k], err)
		}
	}
	return o, nil
}

// choice is what the patterns of a request select: whole databases, or relations of them.
type choice struct {
	globals bool
	whole   map[string]bool
	parts   map[string][]partPattern // by database
}

// partPattern is the part of a pattern that is about relations; text is the pattern as written.
type partPattern struct {
	text string
	glob policy.Glob
}

// choose reads patterns: an item's path, a database, "database/schema.table", or, when the point holds one database,
// "schema.table". Names are matched as they are, without quotes.
func choose(patterns []string, dumps map[string]string, hasGlobals bool) (choice, error) {
	c := choice{whole: map[string]bool{}, parts: map[string][]partPattern{}}
	names := slices.Sorted(maps.Keys(dumps))
	if len(patterns) == 0 {
		for _, n := range names {
			c.whole[n] = true
		}
		return c, nil
	}
	for _, p := range patterns {
		g, err := policy.NewGlob(p)
		if err != nil {
			return choice{}, err
		}
		matched := false
		for _, n := range names {
			if g.Match(n) || g.Match(dumps[n]) {
				c.whole[n], matched = true, true
			}
		}
		if hasGlobals && g.Match(globalsPath) {
			c.globals, matched = true, true
		}
		if matched {
			continue
		}
		if matched, err = c.choosePart(p, names); err != nil {
			return choice{}, err
		}
		if !matched {
			return choice{}, fmt.Errorf("select %q: it matches nothing; the restore point holds the databases %s; tables are selected as DATABASE/SCHEMA.TABLE",
				p, strings.Join(names, ", "))
		}
	}
	maps.DeleteFunc(c.parts, func(name string, _ []partPattern) bool { return c.whole[name] })
	return c, nil
}

// choosePart tries every slash as the border between database and relation, for names may hold slashes.
func (c *choice) choosePart(p string, names []string) (bool, error) {
	matched := false
	for i := range len(p) {
		if p[i] != '/' {
			continue
		}
		db, err := policy.NewGlob(p[:i])
		if err != nil {
			continue // the slash stands inside a class
		}
		rel, err := policy.NewGlob(p[i+1:])
		if err != nil {
			return false, err
		}
		for _, n := range names {
			if db.Match(n) {
				c.parts[n], matched = append(c.parts[n], partPattern{p, rel}), true
			}
		}
		if matched {
			return true, nil
		}
	}
	if len(names) != 1 {
		return false, nil
	}
	rel, err := policy.NewGlob(p)
	if err == nil {
		c.parts[names[0]] = append(c.parts[names[0]], partPattern{p, rel})
	}
	return true, err
}
