package lang

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// referenceRoots are the first words of references, and how many labels follow.
var referenceRoots = map[string]int{"var": 1, "local": 1, "store": 1, "source": 2, "retention": 1, "backup": 1}

// resolve finds the declared names that a traversal stands for. It reports names that do not exist; ok is then false.
func (e *evaluator) resolve(t hcl.Traversal, sc scope, at place) (names []string, ok bool) {
	root := t.RootName()
	at.rng = t.SourceRange()
	labels, known := referenceRoots[root]
	switch {
	case root == "each":
		return nil, e.resolveEach(t, sc, at)
	case !known:
		e.unknownRoot(t, at)
		return nil, false
	}
	name := root
	for i := 1; i <= labels; i++ {
		if len(t) <= i {
			return e.config.namesUnder(name), true
		}
		word, isName := stepName(t[i])
		if !isName {
			return e.config.namesUnder(name), true
		}
		name += "." + word
		if i < labels && len(t) == i+1 && len(e.config.namesUnder(name)) > 0 {
			return e.config.namesUnder(name), true // all of a kind
		}
	}
	if !e.config.declared(name) {
		e.unknownName(root, strings.TrimPrefix(name, root+"."), at)
		return nil, false
	}
	if n := e.config.nodes[name]; n != nil && root != "var" && !e.knownPart(n, t[labels+1:], name, at) {
		return nil, false
	}
	return []string{name}, true
}

func (e *evaluator) resolveEach(t hcl.Traversal, sc scope, at place) bool {
	if sc.each == nil {
		e.report.error(at, "each", "each outside of for_each", "each.key and each.value exist only in source, backup and check blocks that have for_each.")
		return false
	}
	if len(t) > 1 {
		if word, _ := stepName(t[1]); word != "key" && word != "value" {
			e.report.error(at, "each", fmt.Sprintf("each has no %s", word), "It has each.key and each.value.")
			return false
		}
	}
	return true
}

// knownPart checks the first step into a block against its schema, where that can be told without evaluating.
func (e *evaluator) knownPart(n *node, rest hcl.Traversal, name string, at place) bool {
	if len(rest) == 0 || n.schema.Unavailable {
		return true
	}
	attr, isAttr := rest[0].(hcl.TraverseAttr)
	if n.forEach != nil {
		if isAttr {
			e.report.error(at, "needs_key", fmt.Sprintf("%s has for_each", name), fmt.Sprintf("Say which one is meant: %s[\"key\"].%s, or %s[each.key].%s in a block with the same keys.", name, attr.Name, name, attr.Name))
		}
		return !isAttr
	}
	if !isAttr || attr.Name == "address" || n.schema.attribute(attr.Name) != nil || n.schema.block(attr.Name) != nil {
		return true
	}
	e.report.error(at, "unknown_attribute", fmt.Sprintf("%s has no %s", name, attr.Name), didYouMean(attr.Name, append(n.schema.names(), "address"), name+"."))
	return false
}

func (e *evaluator) unknownName(root, word string, at place) {
	if e.config.broken {
		return
	}
	what := map[string]string{"var": "variable", "local": "local value"}[root]
	if what == "" {
		what = root
	}
	var known []string
	for _, n := range e.config.namesUnder(root) {
		known = append(known, strings.TrimPrefix(n, root+"."))
	}
	hint := didYouMean(word, known, root+".")
	if hint == "" {
		hint = fmt.Sprintf("Declare it: %s.", declaration(root, word))
	}
	e.report.error(at, "unknown_reference", fmt.Sprintf("Unknown %s %s.%s", what, root, word), "Nothing of this name is declared. "+hint)
}

func declaration(root, word string) string {
	switch root {
	case "var":
		return fmt.Sprintf("variable %q { … }", word)
	case "local":
		return fmt.Sprintf("locals { %s = … }", word)
	default:
		return labelText(root, strings.Split(word, ".")) + " { … }"
	}
}

// unknownRoot reports a first word that starts no reference, guessing what was meant from the names there are.
func (e *evaluator) unknownRoot(t hcl.Traversal, at place) {
	if e.config.broken {
		return
	}
	text, root := traversalText(t), t.RootName()
	if b := topLevel(root, ""); b != nil && b.Unavailable {
		e.config.unavailable(at, "Reference to "+root)
		return
	}
	if root == "self" {
		e.report.error(at, "unknown_reference", "self is not available here", "Refer to the object by its full name.")
		return
	}
	for _, name := range e.config.allNames() { // app, postgres.app: the beginning was forgotten
		if strings.HasSuffix(name, "."+text) {
			e.report.error(at, "unknown_reference", fmt.Sprintf("Unknown name %s", text), fmt.Sprintf("Did you mean %s?", name))
			return
		}
	}
	roots := sortedKeys(referenceRoots)
	meant := nearest(root, append(roots, "each"))
	detail := fmt.Sprintf("Did you mean %s?", meant+strings.TrimPrefix(text, root))
	if meant == "" {
		detail = "References start with " + either(roots) + ". Texts stand in quotes."
	}
	e.report.error(at, "unknown_reference", fmt.Sprintf("Unknown name %s", text), detail)
}

func stepName(s hcl.Traverser) (string, bool) {
	switch s := s.(type) {
	case hcl.TraverseAttr:
		return s.Name, true
	case hcl.TraverseIndex:
		if k, _ := s.Key.UnmarkDeep(); k.IsKnown() && !k.IsNull() && k.Type() == cty.String {
			return k.AsString(), true
		}
	}
	return "", false
}

func (c *config) declared(name string) bool {
	if l, ok := strings.CutPrefix(name, "local."); ok {
		return c.locals[l] != nil
	}
	return c.nodes[name] != nil
}

func (c *config) allNames() []string { return c.order }

// namesUnder lists the declared names that start with a prefix of whole words.
func (c *config) namesUnder(prefix string) []string {
	var out []string
	for _, n := range c.order {
		if strings.HasPrefix(n, prefix+".") {
			out = append(out, n)
		}
	}
	return out
}

// childNames lists the next words after a prefix.
func childNames(c *config, prefix string) []string {
	var out []string
	seen := map[string]bool{}
	for _, n := range c.namesUnder(prefix) {
		word, _, _ := strings.Cut(n[len(prefix)+1:], ".")
		if !seen[word] {
			seen[word] = true
			out = append(out, word)
		}
	}
	return out
}
