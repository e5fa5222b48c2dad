package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
)

// previewVia tells all that restoreVia does. Which databases and tables there are at the moment only the recovered server knows.
func (x *Executor) previewVia(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (executors.Preview, error) {
	p, err := x.planVia(ctx, req, from)
	if err != nil {
		return executors.Preview{}, err
	}
	out := executors.Preview{Target: p.target.with("dbname", "").address(), Items: p.point.Items, Bytes: p.point.Bytes}
	out.Notes = append(pointNotes(p.point.Document, p.rec),
		fmt.Sprintf("a scratch server is started for it on this host: %s as %s, reachable through a socket in its own folder only", p.bin.path, p.account.name()),
		fmt.Sprintf("it needs about %s in %s, where %s are free, and the WAL that it replays; it is removed at the end, whatever happens", mebibytes(p.need), p.place, mebibytes(p.free)),
		"then "+p.selected()+" dumped and restored "+p.destination(),
		"which databases and tables there are at that moment is known when it has recovered; until then nothing on the target is changed",
	)
	for _, pattern := range req.Only {
		if !strings.Contains(pattern, "/") && strings.Contains(pattern, ".") {
			out.Notes = append(out.Notes, fmt.Sprintf("-only=%s has no slash: it names a database where there are several; a table is DATABASE/SCHEMA.TABLE", pattern))
		}
	}
	if name := p.target["dbname"]; name != "" && !p.there {
		out.Creates = append(out.Creates, name)
	} else if req.Replace {
		out.Replaces = append(out.Replaces, p.replaced()...)
	}
	return out, nil
}

func (p *viaPlan) selected() string {
	if len(p.req.Only) == 0 {
		return "all its databases are"
	}
	return "what " + strings.Join(p.req.Only, ", ") + " selects is"
}

func (p *viaPlan) destination() string {
	name := p.target["dbname"]
	switch {
	case name == "":
		return "to databases of the same names"
	case p.there:
		return fmt.Sprintf("into the database %q, which exists: tables in one transaction, a whole database beside it and then in its place", name)
	default:
		return fmt.Sprintf("as the new database %q", name)
	}
}

// replaced are what -replace may replace.
func (p *viaPlan) replaced() []string {
	name := p.target["dbname"]
	if len(p.req.Only) > 0 {
		return p.req.Only
	}
	if name == "" {
		name = "every database of the same name"
	}
	return []string{name}
}

// relationIn is the relation, quoted, that a pattern names exactly: DATABASE/SCHEMA.TABLE without signs of globs. Names that hold
// slashes or dots themselves are left to the restore.
func relationIn(pattern string) (string, bool) {
	_, rel, ok := strings.Cut(pattern, "/")
	schema, table, dotted := strings.Cut(rel, ".")
	if !ok || !dotted || strings.ContainsAny(rel, `*?[]{}\/`) || strings.Contains(table, ".") {
		return "", false
	}
	return ident(schema, table), true
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

// restoreVia restores databases, or parts of them, out of a base backup. Until the scratch server has recovered and was looked
// at, nothing on the target is touched; from then on all that Restore promises holds.
func (x *Executor) restoreVia(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (_ executors.Result, err error) {
	p, err := x.planVia(ctx, req, from)
	if err != nil {
		return executors.Result{}, err
	}
	log := req.Log
	if log == nil {
		log = discard
	}
	c, err := p.start(ctx, log)
	if err != nil {
		return executors.Result{}, fmt.Errorf("restore out of a base backup: %w", err)
	}
	res, err := x.restoreRecovered(ctx, p, c, log)
	if closeErr := c.close(); closeErr != nil {
		log.Warn("something of a scratch server is left; the next restore tries again", "err", closeErr)
		res.Problems = append(res.Problems, executors.Problem{Path: "scratch", Err: closeErr})
	}
	if err != nil {
		return executors.Result{}, err
	}
	return res, nil
}

// restoreRecovered dumps the recovered server into the target.
func (x *Executor) restoreRecovered(ctx context.Context, p *viaPlan, c *recoveredServer, log *slog.Logger) (executors.Result, error) {
	log.Info("the scratch server has recovered", "lsn", c.reached.lsn, "timeline", c.reached.timeline, "last_commit", c.reached.commit)
	dumps, err := x.openLive(ctx, c, p.req.Only, p.from.Meta())
	if err != nil {
		return executors.Result{}, fmt.Errorf("read the recovered server: %w", err)
	}
	req := p.req
	req.Options, req.WAL = p.logical, nil
	res, err := x.restoreLogical(ctx, req, dumps)
	if err != nil {
		return executors.Result{}, err
	}
	res.Position, res.Time = c.reached.lsn, c.reached.commit
	res.Problems = append([]executors.Problem{{Path: "recovery", Err: errors.New(c.reached.String())}}, res.Problems...)
	return res, nil
}

// superusers are the roles by which the recovered server is tried, in order.
func (p *viaPlan) superusers() []string {
	names := []string{p.from.Meta()[metaSuperuser], serverUser}
	if source, err := sourceParams(p.req.Source.Postgres); err == nil {
		names = append(names, source["user"])
	}
	return names
}
