package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/executors"
)

// Preview implements executors.Executor.
func (x *Executor) Preview(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (executors.Preview, error) {
	switch {
	case isPhysical(from) && req.Target.URL != nil:
		return x.previewVia(ctx, req, from)
	case isPhysical(from):
		return x.previewPhysical(ctx, req, from)
	}
	p, err := x.planRestore(ctx, req, from)
	if err != nil {
		return executors.Preview{}, err
	}
	out := executors.Preview{Target: p.srv.params.with("dbname", "").address(), Notes: p.notes}
	if p.opts.globals {
		out.Items++
		out.Bytes += int64(len(p.globals))
		if len(p.roles) > 0 {
			out.Notes = append(out.Notes, "makes the roles "+executors.ListSome(p.roles, 10))
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
