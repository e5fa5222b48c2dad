package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/archive"
)

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
				executors.ErrTargetExists, executors.ListSome(d.clash, 10), d.target)
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
			executors.ListSome(slices.Sorted(maps.Keys(missing)), 10))
	}
	return nil
}
