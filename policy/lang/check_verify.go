package lang

import (
	"fmt"

	"github.com/holdfast-io/holdfast/policy"
)

// verify builds what a verify block says.
func (b *builder) verify(o *object, kind policy.SourceKind) policy.Verify {
	v := policy.Verify{After: policy.VerifyLevel(o.text("after"))}
	r := o.block("restore")
	if r == nil {
		return v
	}
	v.Restore = &policy.Rehearsal{Every: r.span("every"), Server: b.secret(r, "server")}
	if kind == policy.KindFiles && r.node.attrs["server"] != nil {
		b.error(r.at("server"), "rehearsal", "server is for PostgreSQL sources", "A tree of files is rehearsed in a scratch folder. Remove it.")
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
		v.Restore.Checks = append(v.Restore.Checks, b.question(c, kind))
	}
	return v
}

// question builds a check of restored data.
func (b *builder) question(o *object, kind policy.SourceKind) policy.Check {
	at := place{rng: o.node.declared, node: o.node, address: o.scope.address}
	asks, other := "query", "path"
	if kind == policy.KindFiles {
		asks, other = other, asks
	}
	wrong := map[string]string{"query": "PostgreSQL", "database": "PostgreSQL", "path": "files"}
	for _, name := range []string{other, "database"} {
		if kind != "" && !o.absent(name) && (name == other || kind == policy.KindFiles) {
			b.error(o.at(name), "question", fmt.Sprintf("%s is for %s sources", name, wrong[name]), fmt.Sprintf("This backup's source is of the kind %s: ask by %s.", kind, asks))
		}
	}
	if kind != "" && o.absent(asks) && o.absent(other) && !o.node.flawed {
		b.error(at, "question", "The check asks nothing", map[string]string{
			"query": "Give a query, such as query = \"select count(*) from documents\".", "path": "Give a glob, such as path = \"**/*.yaml\".",
		}[asks])
	}
	if o.known("path") {
		b.checkGlob(o.at("path"), o.text("path"), true)
	}
	for _, name := range []string{"query", "path"} {
		if o.known(name) && o.text(name) == "" {
			b.error(o.at(name), "question", fmt.Sprintf("%s is empty", name), "An empty question has no answer.")
		}
	}
	return policy.Check{
		Name: o.node.name, Database: o.text("database"), Query: o.text("query"), Path: o.text("path"),
		Expect: b.condition(o, "expect", map[policy.SourceKind][]string{
			policy.KindPostgres: {"value", "rows"}, policy.KindFiles: {"count", "bytes"},
		}[kind]),
	}
}
