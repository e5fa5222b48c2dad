package lang

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/policy"
)

// verify builds what a verify block says.
func (b *builder) verify(o *object, src policy.Source) policy.Verify {
	v := policy.Verify{After: policy.VerifyLevel(o.text("after"))}
	r := o.block("restore")
	if r == nil {
		return v
	}
	v.Restore = &policy.Rehearsal{Every: r.span("every"), Server: b.secret(r, "server")}
	if src.Kind == policy.KindFiles && r.node.attrs["server"] != nil {
		b.error(r.at("server"), "rehearsal", "server is for PostgreSQL and Qdrant sources", "A tree of files is rehearsed in a scratch folder. Remove it.")
	}
	switch {
	case r.known("every") && v.Restore.Every < minEvery:
		b.error(r.at("every"), "rehearsal", "every is too short", fmt.Sprintf("It is %s; the least is %s.", v.Restore.Every, minEvery))
	case r.absent("every") && v.After != policy.VerifyRestore && o.known("after") && !r.node.flawed:
		at := r.at("every")
		b.error(at, "rehearsal", "The rehearsal never takes place", "Give every = \"7d\", or after = \"restore\" in the verify block to rehearse each new restore point.")
	}
	seen := map[string]bool{}
	for _, c := range r.blocks["check"] {
		at := place{rng: c.node.declared, node: c.node, address: o.scope.address}
		if seen[c.node.name] {
			b.error(at, "duplicate", fmt.Sprintf("Duplicate check %q", c.node.name), "Rename one of the two: evidence is kept by name.")
		}
		seen[c.node.name] = true
		v.Restore.Checks = append(v.Restore.Checks, b.question(c, src))
	}
	return v
}

// questionKind is how one kind of source is asked: by the first of the arguments, with the others beside it.
type questionKind struct {
	kind   policy.SourceKind
	args   []string
	offers []string            // parts of self
	more   map[string][]string // further parts, when an argument is given
	write  string              // when nothing is asked
}

var questions = []questionKind{
	{
		kind: policy.KindPostgres, args: []string{"query", "database"}, offers: []string{"value", "rows"},
		write: "Give a query, such as query = \"select count(*) from documents\".",
	},
	{kind: policy.KindFiles, args: []string{"path"}, offers: []string{"count", "bytes"}, write: "Give a glob, such as path = \"**/*.yaml\"."},
	{
		kind: policy.KindQdrant, args: []string{"collection", "search"}, offers: []string{"points", "vectors", "status"},
		more:  map[string][]string{"search": {"hits", "ids", "scores", "score"}},
		write: "Give the name of a collection, such as collection = \"docs\".",
	},
}

// question builds a check of restored data.
func (b *builder) question(o *object, src policy.Source) policy.Check {
	if o.known("path") {
		b.checkGlob(o.at("path"), o.text("path"), true)
	}
	b.checkCollection(o, src)
	return policy.Check{
		Name: o.node.name, Database: o.text("database"), Query: o.text("query"), Path: o.text("path"),
		Collection: o.text("collection"), Search: o.text("search"),
		Expect: b.condition(o, "expect", b.asked(o, src.Kind)),
	}
}

// asked checks that a question is one for its kind of source, and returns the parts of the answer; none of an unknown kind.
func (b *builder) asked(o *object, kind policy.SourceKind) (offers []string) {
	i := slices.IndexFunc(questions, func(q questionKind) bool { return q.kind == kind })
	misplaced := false
	for _, q := range questions {
		for _, name := range q.args {
			if i >= 0 && q.kind != kind && !o.absent(name) {
				misplaced = true
				b.error(o.at(name), "question", fmt.Sprintf("%s is for %s sources", name, kinds[q.kind].name), fmt.Sprintf("This backup's source is of the kind %s: ask by %s.", kind, questions[i].args[0]))
			}
		}
		if asks := q.args[0]; o.known(asks) && o.text(asks) == "" {
			b.error(o.at(asks), "question", fmt.Sprintf("%s is empty", asks), "An empty question has no answer.")
		}
	}
	if i < 0 {
		return nil
	}
	q := questions[i]
	if o.absent(q.args[0]) && !misplaced && !o.node.flawed {
		b.error(place{rng: o.node.declared, node: o.node, address: o.scope.address}, "question", "The check asks nothing", q.write)
	}
	offers = slices.Clone(q.offers)
	for _, name := range q.args {
		if !o.absent(name) {
			offers = append(offers, q.more[name]...)
		}
	}
	return offers
}

// checkCollection wants the name of a collection that the source takes in.
func (b *builder) checkCollection(o *object, src policy.Source) {
	name := o.text("collection")
	switch {
	case name == "" || src.Qdrant == nil:
	case strings.ContainsAny(name, "*?"):
		b.error(o.at("collection"), "question", "collection is a pattern", "A check asks one collection: write its name.")
	case !src.Qdrant.Covers(name):
		b.warn(o.at("collection"), "not_covered", fmt.Sprintf("%s is in no restore point", quoteShort(name)), fmt.Sprintf("%s takes in %s. Ask one of those, or add the name there.", src.Address, list(quoted(src.Qdrant.Collections))))
	}
}
