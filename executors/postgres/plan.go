package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/archive"
)

// way is how a dump gets into its target.
type way int

// The ways. All but inPlace and merge build beside what is there and rename at the end.
const (
	wayUnknown way = iota
	wayCreate      // the target is new
	waySwap        // the target exists and is replaced by a complete new one
	wayInPlace     // the target exists and is empty: filled in one transaction
	wayMerge       // single relations into an existing target, in one transaction
)

// dumpPlan is what will happen to one dump.
type dumpPlan struct {
	entry    executors.Entry
	head     archive.Head
	source   string // database that was dumped
	target   string
	way      way
	part     *selection // nil: everything
	ids      []int      // of a part: what to restore
	clash    []string   // of a part: relations that exist
	leftOut  []string   // of a part: links to relations that are not there
	noSpaces bool       // the target lacks a tablespace
	tool     tool
}

// restorePlan is a whole request, checked against the target. Making it changes nothing.
type restorePlan struct {
	srv     *server
	facts   facts
	opts    options
	point   string
	globals string // SQL, when roles shall be made
	roles   []string
	dumps   []dumpPlan
	notes   []string
}

// planRestore reads the request, the heads of the dumps and the target.
func (x *Executor) planRestore(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (*restorePlan, error) {
	if req.Target.URL == nil {
		return nil, errors.New("restore PostgreSQL: the target is no URL; write -target=postgres://USER@HOST/DATABASE")
	}
	opts, err := readOptions(req.Options)
	if err != nil {
		return nil, err
	}
	p, err := secretParams(req.Target.URL)
	if err != nil {
		return nil, fmt.Errorf("restore PostgreSQL: %w", err)
	}
	plan := &restorePlan{opts: opts, point: pointSuffix(from.Meta()[metaPoint])}
	picked, err := plan.readPoint(ctx, req, from)
	if err != nil {
		return nil, err
	}
	if err := plan.nameTargets(p["dbname"], picked); err != nil {
		return nil, err
	}
	conn, err := plan.connect(ctx, p)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	if err := plan.check(ctx, conn, x.tools, req.Replace); err != nil {
		return nil, plan.srv.hide(err)
	}
	return plan, nil
}

// readPoint chooses dumps and reads their heads, and the globals when they are wanted.
func (p *restorePlan) readPoint(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (choice, error) {
	paths := map[string]string{} // database → item path
	hasGlobals := false
	err := from.Entries(ctx, func(e executors.Entry) error {
		if e.Path == globalsPath {
			hasGlobals = true
		} else if name := e.Attrs[attrDatabase]; name != "" {
			paths[name] = e.Path
		}
		return nil
	})
	if err != nil {
		return choice{}, err
	}
	c, err := choose(req.Only, paths, hasGlobals)
	if err != nil {
		return choice{}, err
	}
	p.opts.globals = p.opts.globals || c.globals
	if p.opts.globals && !hasGlobals {
		return choice{}, errors.New("restore roles: the restore point holds none")
	}
	want := func(e executors.Entry) bool {
		name := e.Attrs[attrDatabase]
		return e.Path == globalsPath && p.opts.globals || name != "" && (c.whole[name] || c.parts[name] != nil)
	}
	err = from.Read(ctx, want, func(e executors.Entry, r io.Reader) error {
		if e.Path == globalsPath {
			p.globals, err = readGlobals(r)
			return wrapPath(e.Path, err)
		}
		head, err := archive.ReadHead(r)
		if err != nil {
			return wrapPath(e.Path, err)
		}
		p.dumps = append(p.dumps, dumpPlan{entry: e, head: head, source: e.Attrs[attrDatabase]})
		return nil
	})
	if err != nil {
		return choice{}, err
	}
	return c, p.selectParts(c)
}

func wrapPath(path string, err error) error {
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// selectParts finds the relations that patterns name. Each pattern must match somewhere.
func (p *restorePlan) selectParts(c choice) error {
	matched := map[string]bool{}
	for i := range p.dumps {
		d := &p.dumps[i]
		patterns := c.parts[d.source]
		if patterns == nil {
			continue
		}
		s := selectRelations(d.head, func(name string) bool {
			hit := false
			for _, pt := range patterns {
				if pt.glob.match(name) {
					hit, matched[pt.text] = true, true
				}
			}
			return hit
		})
		d.part = &s
	}
	for _, d := range p.dumps {
		for _, pt := range c.parts[d.source] {
			if !matched[pt.text] {
				return fmt.Errorf("select %q: it matches no table; database %q holds %s", pt.text, d.source, listSome(relationNames(d.head), 20))
			}
		}
	}
	p.dumps = slices.DeleteFunc(p.dumps, func(d dumpPlan) bool { return d.part != nil && len(d.part.relations) == 0 })
	return nil
}

// nameTargets decides which database each dump becomes.
func (p *restorePlan) nameTargets(database string, c choice) error {
	if database != "" && len(p.dumps) > 1 {
		var names []string
		for _, d := range p.dumps {
			names = append(names, d.source)
		}
		return fmt.Errorf("restore into database %q: %d databases are selected (%s); select one with -only, or leave the database out of the target so that each keeps its name",
			database, len(names), strings.Join(names, ", "))
	}
	if len(p.dumps) == 0 && !c.globals {
		return errors.New("restore PostgreSQL: the restore point holds no dump")
	}
	for i := range p.dumps {
		p.dumps[i].target = p.dumps[i].source
		if database != "" {
			p.dumps[i].target = database
		}
	}
	return nil
}

// connect reaches the target server through a database that the restore does not rename.
func (p *restorePlan) connect(ctx context.Context, params params) (*pgx.Conn, error) {
	app := "holdfast restore " + p.point
	var first error
	for _, name := range append(slices.Clone(maintenanceDatabases), params["dbname"]) {
		if name == "" || slices.ContainsFunc(p.dumps, func(d dumpPlan) bool { return d.target == name && name != params["dbname"] }) {
			continue
		}
		srv, conn, err := dial(ctx, params.with("dbname", name), app)
		if err == nil {
			p.srv = srv
			return conn, nil
		}
		if first == nil {
			first = err
		}
		if !hasCode(err, codeNoDatabase, codeNotAllowed, codeDenied) {
			return nil, err
		}
	}
	return nil, first
}

// check finds everything that would make the restore fail or destroy something, before it begins.
func (p *restorePlan) check(ctx context.Context, conn *pgx.Conn, tools finder, replace bool) error {
	var err error
	if p.facts, err = readFacts(ctx, conn); err != nil {
		return err
	}
	have, err := p.readTarget(ctx, conn)
	if err != nil {
		return err
	}
	for i := range p.dumps {
		d := &p.dumps[i]
		if d.tool, err = tools.find(ctx, "pg_restore", max(majorOf(d.head.DumpVersion), p.facts.major)); err != nil {
			return err
		}
		if err := p.decideWay(ctx, d, have, replace); err != nil {
			return fmt.Errorf("restore database %q: %w", d.source, err)
		}
		if err := p.checkNeeds(d, have); err != nil {
			return fmt.Errorf("restore database %q: %w", d.source, err)
		}
	}
	return nil
}

// targetFacts are what the target server has, by name.
type targetFacts struct{ databases, roles, spaces, extensions map[string]bool }

func (p *restorePlan) readTarget(ctx context.Context, conn *pgx.Conn) (targetFacts, error) {
	var t targetFacts
	for sql, into := range map[string]*map[string]bool{
		"select datname from pg_database":            &t.databases,
		"select rolname from pg_roles":               &t.roles,
		"select spcname from pg_tablespace":          &t.spaces,
		"select name from pg_available_extensions()": &t.extensions,
	} {
		rows, err := conn.Query(ctx, sql)
		if err != nil {
			return t, fmt.Errorf("read target: %w", err)
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return t, fmt.Errorf("read target: %w", err)
		}
		*into = map[string]bool{}
		for _, n := range names {
			(*into)[n] = true
		}
	}
	if p.opts.globals {
		all, err := statements(p.globals)
		if err != nil {
			return t, wrapPath(globalsPath, err)
		}
		for _, st := range all {
			if m := createRole.FindStringSubmatch(st); m != nil && !t.roles[unquote(m[1])] {
				p.roles = append(p.roles, unquote(m[1]))
				t.roles[unquote(m[1])] = true
			}
		}
	}
	return t, nil
}

// decideWay looks at the target database.
func (p *restorePlan) decideWay(ctx context.Context, d *dumpPlan, have targetFacts, replace bool) error {
	if !have.databases[d.target] {
		d.way = wayCreate
		return d.finishPart(func(archive.Entry) (bool, error) { return false, nil })
	}
	conn, err := p.srv.openDatabase(ctx, d.target)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	if d.part != nil {
		d.way = wayMerge
		if err := d.finishPart(func(e archive.Entry) (bool, error) { return objectExists(ctx, conn, e) }); err != nil {
			return err
		}
		if len(d.clash) > 0 && !replace {
			return fmt.Errorf("%w: %s in database %q; restore into another database, or replace what is there with -replace",
				executors.ErrTargetExists, listSome(d.clash, 10), d.target)
		}
		return nil
	}
	empty, err := isEmpty(ctx, conn)
	switch {
	case err != nil:
		return err
	case empty:
		d.way = wayInPlace
	case replace:
		d.way = waySwap
	default:
		return fmt.Errorf("%w: database %q holds data; name a new database in the target, or replace it with -replace", executors.ErrTargetExists, d.target)
	}
	return nil
}

// finishPart decides, for a part, what comes along and what is left out.
func (d *dumpPlan) finishPart(exists func(archive.Entry) (bool, error)) error {
	if d.part == nil {
		return nil
	}
	for _, rel := range d.part.relations {
		there, err := exists(rel)
		if err != nil {
			return err
		}
		if there {
			d.clash = append(d.clash, relationName(rel))
		}
	}
	for _, n := range d.part.needs {
		there, err := exists(n.on)
		if err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("%s %s needs %s, which is neither selected nor in the target; select it too with -only=%s",
				strings.ToLower(n.by.Desc), relationName(n.by), relationName(n.on), relationName(n.on))
		}
	}
	var supports, links []archive.Entry
	for _, e := range d.part.supports {
		there, err := exists(e)
		if err != nil {
			return err
		}
		if !there {
			supports = append(supports, e)
		}
	}
	for _, l := range d.part.links {
		there, err := exists(l.to)
		if err != nil {
			return err
		}
		if there {
			links = append(links, l.entry)
		} else {
			d.leftOut = append(d.leftOut, fmt.Sprintf("%s %s: it points to %s, which is not there", strings.ToLower(l.entry.Desc), relationName(l.entry), relationName(l.to)))
		}
	}
	d.ids = d.part.withSupport(supports, links)
	return nil
}

// entries are those that will be restored.
func (d *dumpPlan) entries() []archive.Entry {
	if d.part == nil {
		return d.head.Entries
	}
	var out []archive.Entry
	for _, e := range d.head.Entries {
		if slices.Contains(d.ids, e.ID) {
			out = append(out, e)
		}
	}
	return out
}

// tables are the relations that will hold data afterwards.
func (d *dumpPlan) tables() []archive.Entry {
	return slices.DeleteFunc(slices.Clone(d.entries()), func(e archive.Entry) bool {
		return e.Desc != "TABLE" && e.Desc != "MATERIALIZED VIEW" && e.Desc != "FOREIGN TABLE"
	})
}

// checkNeeds refuses a restore that would stop half-way for want of a role or an extension.
func (p *restorePlan) checkNeeds(d *dumpPlan, have targetFacts) error {
	missing := map[string]bool{}
	for _, e := range d.entries() {
		if e.Desc == "EXTENSION" && !have.extensions[e.Tag] {
			return fmt.Errorf("extension %q is not available on the target server; install its package there first", e.Tag)
		}
		if e.Tablespace != "" && !have.spaces[e.Tablespace] && !d.noSpaces {
			d.noSpaces = true
			p.notes = append(p.notes, fmt.Sprintf("%s: tablespace %q does not exist on the target; its objects go to the default tablespace", d.source, e.Tablespace))
		}
		if !p.opts.noOwner {
			for _, role := range rolesOf(e) {
				missing[role] = missing[role] || !have.roles[role]
			}
		}
	}
	maps.DeleteFunc(missing, func(_ string, yes bool) bool { return !yes })
	if len(missing) > 0 {
		return fmt.Errorf("the target server lacks the roles %s; make them from the restore point with -globals, or restore without owners and grants with -no-owner",
			listSome(slices.Sorted(maps.Keys(missing)), 10))
	}
	return nil
}

// temporaryName names the database a restore is built in. It depends on the point and the target only, so that the rest
// of a restore that was killed is found and removed by the next one.
func (p *restorePlan) temporaryName(prefix, target string) string {
	sum := sha256.Sum256([]byte(target))
	return prefix + p.point + "_" + hex.EncodeToString(sum[:4])
}

// Preview implements executors.Executor.
func (x *Executor) Preview(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (executors.Preview, error) {
	p, err := x.planRestore(ctx, req, from)
	if err != nil {
		return executors.Preview{}, err
	}
	out := executors.Preview{Target: p.srv.params.with("dbname", "").address(), Notes: p.notes}
	if p.opts.globals {
		out.Items++
		out.Bytes += int64(len(p.globals))
		if len(p.roles) > 0 {
			out.Notes = append(out.Notes, "makes the roles "+listSome(p.roles, 10))
		}
	}
	for i := range p.dumps {
		d := &p.dumps[i]
		out.Items++
		out.Bytes += d.entry.Size
		out.Notes = append(out.Notes, d.describe())
		switch {
		case d.way == wayMerge:
			for _, rel := range d.part.relations {
				name := d.target + "/" + relationName(rel)
				if slices.Contains(d.clash, relationName(rel)) {
					out.Replaces = append(out.Replaces, name)
				} else {
					out.Creates = append(out.Creates, name)
				}
			}
		case d.way == waySwap:
			out.Replaces = append(out.Replaces, d.target)
		default:
			out.Creates = append(out.Creates, d.target)
		}
		for _, l := range d.leftOut {
			out.Notes = append(out.Notes, "leaves out "+l)
		}
	}
	return out, nil
}

// describe says in one line what will be done.
func (d *dumpPlan) describe() string {
	what := fmt.Sprintf("database %q (%d tables, dumped %s by PostgreSQL %s)", d.source, len(d.tables()),
		d.entry.ModTime.UTC().Format(time.DateTime), majorMinor(d.head.ServerVersion))
	switch d.way {
	case wayCreate:
		return what + fmt.Sprintf(" becomes the new database %q", d.target)
	case waySwap:
		return what + fmt.Sprintf(" replaces %q once it is complete; connections to it are ended, then the old one is dropped", d.target)
	case wayInPlace:
		return what + fmt.Sprintf(" fills the empty database %q in one transaction", d.target)
	default:
		return what + fmt.Sprintf(" goes into the existing database %q in one transaction", d.target)
	}
}

func majorMinor(version string) string {
	v, _, _ := strings.Cut(version, " ")
	return v
}

// listSome joins names, and counts those beyond the first n.
func listSome(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}
