package lang

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/holdfast-io/holdfast/policy"
)

// history builds the moved and removed blocks.
func (b *builder) history() {
	h := &history{builder: b, next: map[string]movedTo{}, gone: map[string]*node{}}
	for _, n := range b.config.history {
		o := b.eval.object(n, scope{})
		from, ok := h.address(o, "from")
		if n.schema.Type == "moved" {
			to, toOK := h.address(o, "to")
			if ok && toOK {
				h.move(o, from, to)
			}
			continue
		}
		if ok {
			h.remove(o, from)
		}
	}
	h.finish()
}

// history collects renames and removals, each address once.
type history struct {
	*builder
	moves []movedFrom
	next  map[string]movedTo
	gone  map[string]*node
}

type movedFrom struct {
	from string
	o    *object
}

type movedTo struct {
	to string
	o  *object
}

// address reads an argument that names an object, without computing it.
func (h *history) address(o *object, name string) (string, bool) {
	a := o.node.attrs[name]
	if a == nil {
		return "", false
	}
	t, ds := hcl.AbsTraversalForExpr(a.Expr)
	if ds.HasErrors() && o.node.json { // "${backup.a}" as well as "backup.a"
		text, _ := h.config.expression(a.Expr)
		t, ds = hclsyntax.ParseTraversalAbs([]byte(text), a.Expr.Range().Filename, hcl.InitialPos)
	}
	kinds := []string{"backup", "retention", "source", "store"}
	if o.schema.Type == "removed" {
		kinds = kinds[:1]
	}
	if ds.HasErrors() {
		h.error(o.at(name), "address", fmt.Sprintf("%s is not an address", name), `Write it as it is, without quotes and calls: backup.app or backup.app["key"].`)
		return "", false
	}
	address, good := addressText(t)
	root := t.RootName()
	switch known := slices.Contains(kinds, root); {
	case !known && o.schema.Type == "removed" && referenceRoots[root] > 0:
		h.error(o.at(name), "address", fmt.Sprintf("%s is not a backup", traversalText(t)), "Only backups have restore points. A store, source or retention that is not declared any more is simply forgotten.")
		return "", false
	case !known:
		h.error(o.at(name), "address", fmt.Sprintf("%s is not an address", traversalText(t)), sentences("Addresses start with "+either(kinds)+".", meantRoot(root, kinds)))
		return "", false
	case !good:
		h.error(o.at(name), "address", fmt.Sprintf("%s is not an address", traversalText(t)), fmt.Sprintf(`Write %s, or %s["key"] for an instance of a block with for_each.`, exampleReference(root), exampleReference(root)))
		return "", false
	}
	return address, true
}

func meantRoot(root string, kinds []string) string {
	if n := nearest(root, kinds); n != "" {
		return fmt.Sprintf("Did you mean %s?", n)
	}
	return ""
}

// addressText writes a traversal as an address: the labels of its type, and one key at most.
func addressText(t hcl.Traversal) (string, bool) {
	labels := referenceRoots[t.RootName()]
	if len(t) < 1+labels || len(t) > 2+labels {
		return "", false
	}
	for _, step := range t[1 : 1+labels] {
		if _, ok := step.(hcl.TraverseAttr); !ok {
			return "", false
		}
	}
	if len(t) == 2+labels {
		index, ok := t[1+labels].(hcl.TraverseIndex)
		if !ok || index.Key.Type() != cty.String || !goodKey(index.Key.AsString()) {
			return "", false
		}
	}
	return traversalText(t), true
}

// block is the name of the block that an address belongs to.
func block(address string) string {
	name, _, _ := strings.Cut(address, "[")
	return name
}

// move takes one rename. Between blocks with for_each it stands for one of each instance.
func (h *history) move(o *object, from, to string) {
	n := h.config.nodes[block(to)]
	switch {
	case from == to:
		h.error(o.at("to"), "moved", fmt.Sprintf("%s is moved to itself", from), "Remove the block.")
	case typeOf(from) != typeOf(to):
		h.error(o.at("to"), "moved", fmt.Sprintf("A %s cannot become a %s", typeOf(from), typeOf(to)), "Both addresses must be of one type.")
	case n != nil && n.forEach != nil && block(to) == to && block(from) == from:
		for _, instance := range h.eval.objects[to] {
			h.one(o, from+strings.TrimPrefix(instance.address, to), instance.address)
		}
	default:
		h.one(o, from, to)
	}
}

// typeOf is the type of an address, with its kind.
func typeOf(address string) string {
	name := block(address)
	return name[:strings.LastIndexByte(name, '.')]
}

func (h *history) one(o *object, from, to string) {
	if first, ok := h.next[from]; ok {
		h.error(o.at("from"), "moved", fmt.Sprintf("%s is moved twice", from), fmt.Sprintf("It is moved to %s at %s. Remove one of the two.", first.to, where(first.o.node.declared)))
		return
	}
	if !h.absentNow(o, from) {
		return
	}
	h.next[from] = movedTo{to, o}
	h.moves = append(h.moves, movedFrom{from, o})
}

// absentNow wants an address that is not declared any more.
func (h *history) absentNow(o *object, from string) bool {
	n := h.config.nodes[block(from)]
	if h.eval.byAddress[from] == nil && (n == nil || n.forEach != nil || block(from) != from) {
		return true
	}
	h.error(o.at("from"), "still_declared", fmt.Sprintf("%s is still declared", from), fmt.Sprintf("It is at %s, and this block says what became of it when it was gone. Remove one of the two.", where(n.declared)))
	return false
}

func (h *history) remove(o *object, from string) {
	if first := h.gone[from]; first != nil {
		h.error(o.at("from"), "removed", fmt.Sprintf("%s is removed twice", from), fmt.Sprintf("The first is at %s. Remove one of the two.", where(first.declared)))
		return
	}
	if !h.absentNow(o, from) {
		return
	}
	h.gone[from] = o.node
	h.set.Removed = append(h.set.Removed, policy.Removed{From: from, Destroy: o.flag("destroy")})
}

// finish follows renames of renames to what is declared today.
func (h *history) finish() {
	for _, m := range h.moves {
		if gone := h.gone[m.from]; gone != nil {
			h.error(m.o.at("from"), "moved", fmt.Sprintf("%s is both moved and removed", m.from), fmt.Sprintf("It is removed at %s. Remove one of the two.", where(gone.declared)))
			continue
		}
		to, ok := h.end(m)
		if ok && h.declaredNow(h.next[m.from].o, m.from, to) {
			h.set.Moved = append(h.set.Moved, policy.Moved{From: m.from, To: to})
		}
	}
	h.checkMeeting()
}

// end follows the renames from m on; ok is false when they go in a circle.
func (h *history) end(m movedFrom) (string, bool) {
	round, to := []string{m.from}, h.next[m.from].to
	for {
		round = append(round, to)
		if to == m.from {
			h.error(m.o.at("to"), "moved", "Renames go in a circle", strings.Join(round, " -> ")+". Remove one of the blocks.")
			return "", false
		}
		further, ok := h.next[to]
		if !ok {
			return to, true
		}
		if len(round) > len(h.next)+1 {
			return "", false // into a circle that others report
		}
		to = further.to
	}
}

// declaredNow wants the end of a rename to exist.
func (h *history) declaredNow(o *object, from, to string) bool {
	if h.eval.byAddress[to] != nil {
		return true
	}
	at, n := o.at("to"), h.config.nodes[block(to)]
	switch {
	case h.gone[to] != nil:
		h.error(at, "moved", fmt.Sprintf("%s is removed", to), fmt.Sprintf("A removed block at %s says so. Remove %s itself instead of moving it.", where(h.gone[to].declared), from))
	case n == nil:
		root, word, _ := strings.Cut(block(to), ".")
		h.eval.unknownName(root, word, at)
	case n.schema.Unavailable:
	case n.forEach == nil:
		h.error(at, "moved", fmt.Sprintf("%s has no instances", block(to)), fmt.Sprintf("It has no for_each: write to = %s.", block(to)))
	case block(to) == to:
		h.error(at, "needs_key", fmt.Sprintf("%s has for_each", to), fmt.Sprintf("Say which instance %s became: %s[\"key\"].", from, to))
	case h.eval.done[block(to)].IsKnown():
		var keys []string
		for _, i := range h.eval.objects[block(to)] {
			keys = append(keys, i.address)
		}
		h.error(at, "unknown_reference", fmt.Sprintf("Unknown instance %s", to), didYouMean(to, keys, ""))
	}
	return false
}

// checkMeeting finds two objects that became one without the one having been the other: both have restore points.
func (h *history) checkMeeting() {
	from := map[string]movedFrom{}
	for _, m := range h.moves {
		to := h.next[m.from].to
		if first, ok := from[to]; ok {
			h.error(m.o.at("to"), "moved", fmt.Sprintf("%s and %s are both moved to %s", first.from, m.from, to), fmt.Sprintf("The first is at %s. One object cannot have been two; write a removed block for the other.", where(first.o.node.declared)))
			continue
		}
		from[to] = m
	}
}
