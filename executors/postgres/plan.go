package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

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
	scratch bool // the targets are made-up names that nobody else uses
}

// targetError says that the target, not the restore point, is why something cannot be done.
type targetError struct{ error }

func (e *targetError) Unwrap() error { return e.error }

// planRestore reads the request, the heads of the dumps and the target.
func (x *Executor) planRestore(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (*restorePlan, error) {
	if req.Target.URL == nil {
		return nil, errors.New("restore PostgreSQL: the target is no URL; write -target=postgres://USER@HOST/DATABASE")
	}
	p, err := secretParams(req.Target.URL)
	if err != nil {
		return nil, fmt.Errorf("restore PostgreSQL: %w", err)
	}
	return x.planAt(ctx, req, p, p["dbname"], from)
}

// planAt is planRestore for a server; database is the target of a single dump, empty when each keeps its name.
func (x *Executor) planAt(ctx context.Context, req executors.RestoreRequest, p params, database string, from executors.Supply) (*restorePlan, error) {
	opts, err := readOptions(req.Options)
	if err != nil {
		return nil, err
	}
	plan := &restorePlan{opts: opts, point: pointSuffix(from.Meta()[metaPoint])}
	picked, err := plan.readPoint(ctx, req, from)
	if err != nil {
		return nil, err
	}
	if err := plan.nameTargets(database, picked); err != nil {
		return nil, err
	}
	conn, err := plan.connect(ctx, p)
	if err != nil {
		return nil, &targetError{err}
	}
	defer closeConn(ctx, conn)
	if err := plan.check(ctx, conn, x.tools, req.Replace); err != nil {
		return nil, &targetError{plan.srv.hide(err)}
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
				if pt.glob.Match(name) {
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
				return fmt.Errorf("select %q: it matches no table; database %q holds %s", pt.text, d.source, executors.ListSome(relationNames(d.head), 20))
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

// temporaryName names the database a restore is built in. It depends on the point and the target only, so that the rest
// of a restore that was killed is found and removed by the next one.
func (p *restorePlan) temporaryName(prefix, target string) string {
	if p.scratch {
		return target + scratchBuilding
	}
	sum := sha256.Sum256([]byte(target))
	return prefix + p.point + "_" + hex.EncodeToString(sum[:4])
}
