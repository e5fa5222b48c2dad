package qdrant

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
)

// Restore implements executors.Executor. Everything is first made under names that are free, and compared with what was
// recorded. Only when all of it is there, what is to be replaced is replaced, one collection after the other, and aliases are
// switched last, in one batch.
func (x *Executor) Restore(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (executors.Result, error) {
	p, err := x.planRestore(ctx, req, from)
	if err != nil {
		return executors.Result{}, err
	}
	defer p.close()
	res := executors.Result{Version: p.c.version.text}
	for _, run := range []func(context.Context, *executors.Result) error{p.makeAll, p.swapAll, p.switchAliases} {
		if err := run(ctx, &res); err != nil {
			if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
				err = errors.Join(context.Cause(ctx), err)
			}
			return res, p.c.hide(err)
		}
	}
	return res, nil
}

// makeAll makes every collection under its own name or a stage's.
func (p *restorePlan) makeAll(ctx context.Context, res *executors.Result) error {
	for i, it := range p.items {
		name := it.name
		if it.stage != "" {
			name = it.stage
		}
		m := p.maker(it.rec, name)
		m.lenient = it.way == wayMerge
		err := m.make(ctx)
		res.Problems = append(res.Problems, m.doubts...)
		if err != nil {
			err = fmt.Errorf("restore collection %q: %w", it.rec.Name, err)
			return errors.Join(p.giveUp(ctx, m, err), p.undo(ctx, p.items[:i]))
		}
		p.log.Info("a collection is restored", "collection", it.rec.Name, "as", name)
		res.Items++
		res.Bytes += it.rec.bytes()
	}
	return nil
}

// giveUp removes what a maker left half done. Under a name that applications know they may have written to it: what holds all
// of its content stays, and so does what somebody else may have made.
func (p *restorePlan) giveUp(ctx context.Context, m *maker, err error) error {
	switch {
	case isOurs(m.name) && !m.made:
		return err
	case isOurs(m.name), m.made && !m.filled:
		return errors.Join(err, p.remove(ctx, []string{m.name}))
	case m.made:
		return fmt.Errorf("%w. All of its content was handed over, and applications may have written to it: %q is kept. Look at it; delete it, or restore once more with -replace", err, m.name)
	case m.unsure:
		return fmt.Errorf("%w. The server did not say whether it made %q: look whether it is there, and delete it if it is nobody else's", err, m.name)
	}
	return err
}

// undo removes the stages of what was made before something else failed. What is complete under a name that applications know
// stays.
func (p *restorePlan) undo(ctx context.Context, items []*restoreItem) error {
	var stages, kept []string
	for _, it := range items {
		if it.stage != "" {
			stages = append(stages, it.stage)
		} else {
			kept = append(kept, it.name)
		}
	}
	err := p.remove(ctx, stages)
	if len(kept) > 0 {
		err = errors.Join(err, fmt.Errorf("already restored, proven and kept: %s (-only names the others when you restore again)", executors.ListSome(kept, 10)))
	}
	return err
}

func (p *restorePlan) maker(rec *collectionRecord, name string) *maker {
	return &maker{x: p.x, c: p.c, rec: rec, name: name, courier: p.courier, from: p.from, log: p.log, written: p.content.made}
}

// remove deletes collections that this restore made.
func (p *restorePlan) remove(ctx context.Context, names []string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, p.x.dropCollection(ctx, p.c, name))
	}
	return errors.Join(errs...)
}

// dropCollection deletes a collection that a call made, also when the call's context ended.
func (x *Executor) dropCollection(ctx context.Context, c *cluster, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.margins.cleanup)
	defer cancel()
	var err error
	for try := 1; try <= x.margins.tries; try++ {
		if err = c.order(ctx, http.MethodDelete, path("collections", name)+"?timeout=15", nil, nil); err == nil || isGone(err) {
			// A server that was still at work when a request was given up may bring it back.
			if _, ierr := c.info(ctx, name); isGone(ierr) {
				return nil
			}
		}
		if serr := sleep(ctx, backoff(try)); serr != nil {
			break
		}
	}
	return fmt.Errorf("collection %q could not be removed, delete it by hand: %w", name, cmp.Or(err, errors.New("it is still there")))
}

// swapAll puts what was staged in its place.
func (p *restorePlan) swapAll(ctx context.Context, res *executors.Result) error {
	for i, it := range p.items {
		if it.stage == "" {
			continue
		}
		swap := p.replace
		if it.way == wayMerge {
			swap = p.merge
		}
		if err := swap(ctx, it); err != nil {
			var done, stages []string
			for j, o := range p.items {
				if j < i && o.stage != "" {
					done = append(done, o.name)
				}
				if j >= i && o.stage != "" {
					stages = append(stages, o.stage)
				}
			}
			err = fmt.Errorf("put collection %q in its place: %w", it.name, err)
			if len(done) > 0 {
				err = fmt.Errorf("%w (already in place: %s)", err, strings.Join(done, ", "))
			}
			return errors.Join(err, p.remove(ctx, stages))
		}
		if it.way == wayMerge {
			res.Problems = append(res.Problems, executors.Problem{Path: it.name, Err: fmt.Errorf("the filter selected %d points of about %d; they are written", it.selected, it.rec.After)})
		}
	}
	return nil
}

// replace takes a safety snapshot of what is there, makes the collection anew under its name, and brings the old one back
// when that fails. Qdrant cannot rename a collection.
func (p *restorePlan) replace(ctx context.Context, it *restoreItem) error {
	// A shard's files are given out only by a node that has a replica of it. A collection that is made anew has its replicas
	// elsewhere, and may have fewer shards.
	var cfg config
	if err := json.Unmarshal(it.rec.Config, &cfg); err != nil {
		return err
	}
	now, err := p.c.layout(ctx, it.name)
	if err != nil {
		return err
	}
	old, err := p.saveOld(ctx, it.name, p.c.distributed || len(now.shards) != cfg.Params.ShardNumber)
	if err != nil {
		return fmt.Errorf("take a safety snapshot of the old one (nothing was changed): %w", err)
	}
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), old.forget(ctx))
	}
	for try := 1; ; try++ {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else {
			err = p.c.order(ctx, http.MethodDelete, path("collections", it.name)+"?timeout=60", nil, nil)
		}
		if err != nil && !isGone(err) && try == 1 {
			if isFinal(err) { // it was not deleted, and is what it was
				return errors.Join(err, old.forget(ctx))
			}
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.x.margins.cleanup)
			_, ierr := p.c.info(late, it.name)
			cancel()
			if ierr == nil { // still; but the server may have heard of it, and do it in a moment
				return fmt.Errorf("%w. %q is still there, and may be deleted yet: look again in a minute. Its safety snapshots are kept, %s", err, it.name, old.where())
			}
		}
		if err == nil || isGone(err) {
			m := p.maker(it.rec, it.name)
			m.live = true
			err = m.make(ctx)
		}
		// Applications like to make a collection that they miss, the moment it is away.
		if try == p.x.margins.tries || !hasStatus(err, http.StatusConflict) {
			break
		}
	}
	if err != nil {
		return errors.Join(err, old.bringBack(ctx))
	}
	// Aliases went with the old collection. They are back at once, whatever becomes of the collections after this one.
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.x.margins.cleanup)
	defer cancel()
	if err := old.aliases(late); err != nil {
		return errors.Join(fmt.Errorf("%w. Safety snapshots of the old one are kept, %s", err, old.where()), p.remove(ctx, []string{it.stage}))
	}
	return errors.Join(old.forget(ctx), p.remove(ctx, []string{it.stage}))
}

// switchAliases points aliases to what was restored, in one batch: readers see all of them move at once.
func (p *restorePlan) switchAliases(ctx context.Context, res *executors.Result) error {
	var actions []map[string]any
	for _, a := range p.aliases {
		if a.from != "" {
			actions = append(actions, map[string]any{"delete_alias": map[string]string{"alias_name": a.alias}})
		}
		actions = append(actions, createAlias(a.alias, a.to))
	}
	if len(actions) == 0 {
		return nil
	}
	now, err := p.c.aliases(ctx)
	if err != nil {
		return fmt.Errorf("point aliases %s to what was restored (the collections are restored; point them by hand): %w", p.aliasNames(), err)
	}
	// Deleting one that is gone would fail the batch half-way.
	actions = slices.DeleteFunc(actions, func(a map[string]any) bool {
		d, ok := a["delete_alias"].(map[string]string)
		return ok && aliasOf(now, d["alias_name"]) == ""
	})
	if err := p.c.changeAliases(ctx, actions); err != nil {
		return fmt.Errorf("point aliases %s to what was restored (the collections are restored; point them by hand): %w", p.aliasNames(), err)
	}
	for _, a := range p.aliases {
		res.Problems = append(res.Problems, executors.Problem{Path: a.alias, Err: fmt.Errorf("the alias points to %s now", a.to)})
	}
	return nil
}

// aliasNames are the aliases that are to be switched, for people.
func (p *restorePlan) aliasNames() string {
	var out []string
	for _, a := range p.aliases {
		out = append(out, a.alias)
	}
	return executors.ListSome(out, 10)
}

func createAlias(name, collection string) map[string]any {
	return map[string]any{"create_alias": map[string]string{"collection_name": collection, "alias_name": name}}
}

func (c *cluster) changeAliases(ctx context.Context, actions []map[string]any) error {
	if len(actions) == 0 {
		return nil
	}
	return c.order(ctx, http.MethodPost, "/collections/aliases?timeout=60", map[string]any{"actions": actions}, nil)
}

// merge copies the selected points from the stage into a collection, which is made when it does not exist. What they
// overwrite is kept as safety snapshots until all of them are there.
func (p *restorePlan) merge(ctx context.Context, it *restoreItem) error {
	names, err := p.c.collectionNames(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(names, it.name) {
		old, err := p.saveOld(ctx, it.name, false)
		if err != nil {
			return fmt.Errorf("take a safety snapshot (nothing was changed): %w", err)
		}
		err = p.copySelected(ctx, it)
		if err != nil && it.selected == 0 {
			return errors.Join(fmt.Errorf("%w (nothing was changed)", err), old.forget(ctx))
		}
		if err != nil {
			return fmt.Errorf("%w; some points may be written already, writing them again does no harm. Safety snapshots from before are kept on the server: %s", err, old.where())
		}
		return errors.Join(old.forget(ctx), p.remove(ctx, []string{it.stage}))
	}
	m := p.maker(it.rec, it.name)
	err = m.prepare(ctx)
	if err == nil {
		err = p.copySelected(ctx, it)
		m.filled = err == nil
	}
	if err == nil {
		err = steps(ctx, step{"", m.settle}, step{"", m.finish})
	}
	if err != nil {
		return p.giveUp(ctx, m, err)
	}
	return p.remove(ctx, []string{it.stage})
}

// copySelected writes the points of the stage that the filter selects, and counts them in it.selected, also when it fails.
func (p *restorePlan) copySelected(ctx context.Context, it *restoreItem) error {
	l, err := p.c.layout(ctx, it.stage)
	if err != nil {
		return err
	}
	target, err := p.c.info(ctx, it.name)
	if err != nil {
		return err
	}
	into, err := target.parsed()
	if err != nil {
		return err
	}
	d := newDialer(p.c)
	defer d.close()
	for _, key := range l.keysOf() {
		read := &pages{d: d, tries: p.x.margins.tries + 1, collection: it.stage, key: key, filter: p.filter, parts: fields{payload: true, vectors: true}, size: into.pageSize(0)}
		w := p.x.writePoints(ctx, d, it.name, into.pageSize(0), nil)
		if into.Params.ShardingMethod == "custom" {
			w.key = key
		}
		for {
			page, err := read.next(ctx)
			if err != nil {
				if werr := w.wait(); werr != nil || !errors.Is(err, io.EOF) {
					return cmp.Or(werr, err)
				}
				break
			}
			for _, one := range page {
				if err := w.add(one); err != nil {
					return errors.Join(err, w.wait())
				}
				it.selected++
			}
		}
	}
	p.log.Info("selected points are restored", "collection", it.name, "points", it.selected)
	return nil
}
