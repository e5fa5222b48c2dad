package qdrant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// Options of a restore request, by key.
const (
	optionFilter     = "filter"      // Qdrant's filter in JSON: only the points that it selects come back
	optionAliases    = "aliases"     // "true": the recorded aliases are pointed to what is restored, those that exist too
	optionVia        = "via"         // auto, upload, url or file
	optionServe      = "serve"       // host:port where the server fetches archives from this host
	optionAnyVersion = "any_version" // "true": try versions that are not said to fit
)

// way is how one collection comes back.
type way int

const (
	wayCreate  way = iota // it is made anew
	wayReplace            // it is made under another name, then takes the place of the one that is there
	wayMerge              // selected points are written into the collection that is there
)

// restorePlan is everything a restore will do, decided before it begins.
type restorePlan struct {
	x       *Executor
	c       *cluster
	req     executors.RestoreRequest
	log     *slog.Logger
	from    executors.Supply
	content *contents
	items   []*restoreItem
	filter  json.RawMessage
	there   []alias // on the target, before
	aliases []aliasChange
	notes   []string
	courier *courier
}

// restoreItem is one collection.
type restoreItem struct {
	rec   *collectionRecord
	name  string // on the target
	way   way
	stage string // name it is made under first; empty when that is its own
	there bool   // a collection of that name exists

	selected uint64 // points that a filter chose and that were written
}

// aliasChange points an alias somewhere. from is where it pointed before, empty for a new one.
type aliasChange struct{ alias, from, to string }

// planRestore looks at the restore point and at the target, and refuses what cannot work or would destroy something unasked.
// The caller closes the plan.
func (x *Executor) planRestore(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (p *restorePlan, err error) {
	p = &restorePlan{x: x, req: req, log: logger(req.Log), from: from}
	if p.content, err = readContents(ctx, from, req.Only); err != nil {
		return nil, err
	}
	if p.c, err = x.openTarget(ctx, req); err != nil {
		return nil, err
	}
	if err := p.decide(ctx); err != nil {
		p.close()
		return nil, p.c.hide(err)
	}
	return p, nil
}

func (x *Executor) openTarget(ctx context.Context, req executors.RestoreRequest) (*cluster, error) {
	switch {
	case req.Target.URL != nil:
		return x.openURL(ctx, req.Target.URL, req.Source)
	case req.Source.Qdrant == nil:
		return nil, errors.New("the policy does not declare the restore point's source any more: name the server in the target, http://host:6333")
	}
	return x.openSource(ctx, req.Source, toRestore)
}

func (p *restorePlan) close() {
	p.c.close()
}

func (p *restorePlan) decide(ctx context.Context) error {
	if text := p.req.Options[optionFilter]; text != "" {
		if !json.Valid([]byte(text)) {
			return errors.New("the filter is not valid JSON; it reads like {\"must\": [{\"key\": \"tenant\", \"match\": {\"value\": \"acme\"}}]}")
		}
		if p.req.Options[optionAliases] == "true" {
			return errors.New("a filter brings back some of the points: aliases are not switched to them. Leave -aliases away, and switch them when the collection is what it should be")
		}
		p.filter = json.RawMessage(text)
	}
	if err := p.gate(); err != nil {
		return err
	}
	if p.filter != nil {
		// A server reads a request before it looks for the collection: one that does not exist tells whether it knows the filter.
		if _, err := p.c.count(ctx, p.stageName(0), nil, p.filter); err != nil && !isGone(err) {
			var said *statusError
			if errors.As(err, &said) { // without the path, which names nothing that there is
				err = errors.New(said.text)
			}
			return fmt.Errorf("the server does not take the filter: %w", err)
		}
	}
	var err error
	if p.courier, err = newCourier(p.x, p.c, p.req); err != nil {
		return err
	}
	if p.there, err = p.c.aliases(ctx); err != nil {
		return err
	}
	names, err := p.c.collectionNames(ctx)
	if err != nil {
		return err
	}
	for _, rec := range p.content.collections {
		it, err := p.item(rec, names)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(p.items, func(o *restoreItem) bool { return o.name == it.name }) {
			return fmt.Errorf("more than one collection would be restored as %q: put a * into the target's name, which stands for the collection's own, or select one collection with -only", it.name)
		}
		if it.way == wayMerge && slices.Contains(names, it.name) {
			if err := p.takes(ctx, it); err != nil {
				return fmt.Errorf("the selected points do not fit into the collection %q: %w. Restore them under another name", it.name, err)
			}
		}
		p.items = append(p.items, it)
	}
	p.planAliases(names)
	p.notes = append(p.notes, p.c.gaps()...)
	return nil
}

// gate checks that the target's version can load what is in the point.
func (p *restorePlan) gate() error {
	if p.content.point.Method != "snapshot" {
		return nil
	}
	err := p.c.version.fits(p.content.made)
	if err != nil && p.req.Options[optionAnyVersion] == "true" && !p.c.version.less(p.content.made) {
		p.notes = append(p.notes, fmt.Sprintf("the snapshots are of Qdrant %s and the server is %s, which is not said to work", p.content.made.text, p.c.version.text))
		return nil
	}
	if err == nil && p.c.version.less(p.content.made) {
		p.notes = append(p.notes, fmt.Sprintf("the snapshots are of Qdrant %s and the server is %s, an older patch of the same version", p.content.made.text, p.c.version.text))
	}
	return err
}

// item decides how one collection comes back.
func (p *restorePlan) item(rec *collectionRecord, names []string) (*restoreItem, error) {
	pattern := p.req.Target.Root
	if pattern == "" {
		pattern = "*"
	}
	it := &restoreItem{rec: rec, name: strings.ReplaceAll(pattern, "*", rec.Name)}
	if err := p.content.whole(rec); err != nil {
		return nil, err
	}
	// A server would take . and .. for folders of its own, and remove them when the collection cannot be made.
	if strings.ContainsAny(it.name, "/\x00<>:\"|?*\\") || len(it.name) > 255 || it.name == "." || it.name == ".." || isOurs(it.name) {
		return nil, fmt.Errorf("%q cannot be the name of a restored collection; Qdrant allows neither / \\ : * ? \" < > | nor more than 255 bytes, . and .. are folders, and %s and %s begin names of holdfast's own", it.name, drillPrefix, stagePrefix)
	}
	if of := aliasOf(p.there, it.name); of != "" {
		return nil, fmt.Errorf("%q is an alias of the collection %q: restoring to it would write into that. Restore under another name, and switch the alias to it with -aliases", it.name, of)
	}
	if err := p.sharding(rec); err != nil {
		return nil, err
	}
	exists := slices.Contains(names, it.name)
	it.there = exists
	switch {
	case exists && !p.req.Replace && p.filter != nil:
		return nil, fmt.Errorf("%w: collection %q; with -replace the selected points are written into it (points of the same ids are replaced, all others stay), or restore under another name", executors.ErrTargetExists, it.name)
	case exists && !p.req.Replace:
		return nil, fmt.Errorf("%w: collection %q; restore under another name (-target=NAME), or replace it with -replace", executors.ErrTargetExists, it.name)
	case p.filter != nil:
		it.way = wayMerge
		it.stage = p.stageName(len(p.items))
		p.notes = append(p.notes, fmt.Sprintf("%s is restored under a name that begins with %s first, from which the selected points are copied", rec.Name, stagePrefix))
		if !exists {
			p.notes = append(p.notes, it.name+" does not exist and is made with the recorded configuration")
		}
	case exists:
		it.way = wayReplace
		it.stage = p.stageName(len(p.items))
		p.notes = append(p.notes, fmt.Sprintf("%s is restored under a name that begins with %s first and compared; then the old %s is kept as snapshots %s until the new one is in its place. The server needs room for about three times %s meanwhile, and %s is away while it is put in place",
			rec.Name, stagePrefix, it.name, p.keptAt(), policy.FormatBytes(rec.bytes()), it.name))
	}
	return it, nil
}

// takes finds that a collection which is there can hold the points of a recorded one.
func (p *restorePlan) takes(ctx context.Context, it *restoreItem) error {
	i, err := p.c.info(ctx, it.name)
	if err != nil {
		return err
	}
	now, err := i.parsed()
	if err != nil {
		return err
	}
	var then config
	if err := json.Unmarshal(it.rec.Config, &then); err != nil {
		return fmt.Errorf("decode the recorded configuration: %w", err)
	}
	have, want := now.vectors(), then.vectors()
	for _, name := range sortedKeys(want) {
		switch size, ok := have[name]; {
		case !ok:
			return fmt.Errorf("it has no vector %q", name)
		case size != want[name]:
			return fmt.Errorf("its vector %q has %d numbers, in the restore point it has %d", name, size, want[name])
		}
	}
	for _, name := range sortedKeys(then.Params.SparseVectors) {
		if _, ok := now.Params.SparseVectors[name]; !ok {
			return fmt.Errorf("it has no sparse vector %q", name)
		}
	}
	if now.Params.ShardingMethod == "custom" && then.Params.ShardingMethod != "custom" {
		return errors.New("it has shard keys, and the restore point has none")
	}
	return nil
}

// keptAt tells where safety snapshots of what is replaced are.
func (p *restorePlan) keptAt() string {
	if p.c.distributed {
		return "in " + safetyDir() + " of this host (TMPDIR names another folder)"
	}
	return "on the server"
}

// sharding refuses what the target cannot hold.
func (p *restorePlan) sharding(rec *collectionRecord) error {
	var cfg config
	if err := json.Unmarshal(rec.Config, &cfg); err != nil {
		return fmt.Errorf("collection %q: decode its configuration: %w", rec.Name, err)
	}
	if cfg.Params.ShardingMethod == "custom" && !p.c.distributed {
		if rec.Export == nil {
			return fmt.Errorf("collection %q has shard keys, which only a cluster keeps, and %s is a single server: restore to a cluster, or from a backup made by export", rec.Name, p.c.address())
		}
		p.notes = append(p.notes, fmt.Sprintf("%s has shard keys, which a single server does not keep: its points come back without them, and points whose id stands under several keys would take each other's place: then the restore fails", rec.Name))
	}
	if nodes := max(len(p.c.peers), 1); cfg.Params.ReplicationFactor > nodes {
		p.notes = append(p.notes, fmt.Sprintf("%s has %d replicas of each shard; the target has room for %d, and it comes back with that", rec.Name, cfg.Params.ReplicationFactor, nodes))
	}
	return nil
}

func (p *restorePlan) stageName(i int) string {
	return fmt.Sprintf("%s%s_%d", stagePrefix, newToken(), i)
}

// planAliases decides which aliases come back: those that are free, when collections keep their names; all of them when
// asked for. The switch is the last thing that happens.
func (p *restorePlan) planAliases(names []string) {
	if p.filter != nil {
		return
	}
	all := p.req.Options[optionAliases] == "true"
	for _, a := range p.content.point.Aliases {
		i := slices.IndexFunc(p.items, func(it *restoreItem) bool { return it.rec.Name == a.Collection })
		if i < 0 {
			continue
		}
		to, now := p.items[i].name, aliasOf(p.there, a.Alias)
		switch {
		case now == to: // a replacement keeps it
		case slices.Contains(names, a.Alias) || slices.ContainsFunc(p.items, func(it *restoreItem) bool { return it.name == a.Alias }):
			p.notes = append(p.notes, fmt.Sprintf("alias %s is not restored: a collection has that name", a.Alias))
		case all || now == "" && to == a.Collection:
			p.aliases = append(p.aliases, aliasChange{a.Alias, now, to})
		case now == "":
			p.notes = append(p.notes, fmt.Sprintf("alias %s is not restored: %s comes back under another name; -aliases points it there", a.Alias, a.Collection))
		case to == a.Collection:
			p.notes = append(p.notes, fmt.Sprintf("alias %s points to %s and stays so; -aliases points it to %s", a.Alias, now, to))
		}
	}
}

// Preview implements executors.Executor.
func (x *Executor) Preview(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (executors.Preview, error) {
	p, err := x.planRestore(ctx, req, from)
	if err != nil {
		return executors.Preview{}, err
	}
	defer p.close()
	out := executors.Preview{Target: p.c.address() + " (Qdrant " + p.c.version.text + ")"}
	for _, it := range p.items {
		out.Items++
		out.Bytes += it.rec.bytes()
		switch {
		case it.way == wayCreate || !it.there:
			out.Creates = append(out.Creates, it.name)
		case it.way == wayReplace:
			out.Replaces = append(out.Replaces, it.name)
		default:
			out.Replaces = append(out.Replaces, "points of "+it.name)
		}
		out.Notes = append(out.Notes, it.describe())
	}
	out.Notes = append(out.Notes, p.notes...)
	for _, a := range p.aliases {
		text := fmt.Sprintf("alias %s will point to %s", a.alias, a.to)
		if a.from != "" {
			text += fmt.Sprintf(" (now: %s)", a.from)
		}
		out.Notes = append(out.Notes, text)
	}
	return out, nil
}

func (it *restoreItem) describe() string {
	what := fmt.Sprintf("%s: %d points", it.rec.Name, it.rec.After)
	if e := it.rec.Export; e != nil {
		what += ", as points"
		for _, less := range []struct {
			is   bool
			what string
		}{{!e.Vectors, "WITHOUT VECTORS"}, {!e.Payload, "WITHOUT PAYLOADS"}, {e.Filter != nil, "ONLY those that the backup's filter selected"}} {
			if less.is {
				what += ", " + less.what
			}
		}
	} else {
		what += fmt.Sprintf(", shards: %d", len(it.rec.Shards))
	}
	if it.name != it.rec.Name {
		what += ", becomes " + it.name
	}
	return what
}
