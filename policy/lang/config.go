package lang

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// config is everything that was declared, not yet evaluated. Names are those of references: var.x, local.x, store.x,
// source.postgres.x, retention.x, backup.x.
type config struct {
	dir     string
	options Options
	report  *reporter
	broken  bool // a file's syntax is wrong: what is not found may stand in the part that could not be read

	settings *node
	rules    []*node                   // check blocks
	history  []*node                   // moved and removed blocks
	nodes    map[string]*node          // blocks by name, variables included
	locals   map[string]*hcl.Attribute // by name without "local."
	localsIn map[string]*node
	order    []string // names as declared

	given   map[string]input // variable values from outside, by variable
	secrets *recorder        // sensitive values in use, for the redactor
	met     *recorder        // sensitive values that only passed by while loading, for our own messages
}

// addFile declares the blocks of one policy file.
func (c *config) addFile(f file) {
	before := len(c.report.list)
	body := c.report.parse(f)
	c.broken = c.broken || c.report.list[before:].HasErrors()
	if body == nil {
		return
	}
	if native, ok := body.(*hclsyntax.Body); ok {
		c.checkTop(native)
	}
	schema := &hcl.BodySchema{}
	for _, typ := range topLevelTypes() {
		b := topLevel(typ, firstKind(typ))
		schema.Blocks = append(schema.Blocks, hcl.BlockHeaderSchema{Type: typ, LabelNames: b.labels()})
	}
	content, rest, ds := body.PartialContent(schema)
	c.report.hcl(explainLabels(ds), place{})
	if _, ok := body.(*hclsyntax.Body); !ok {
		attrs, ds := rest.JustAttributes()
		c.report.hcl(ds, place{})
		for name, a := range attrs {
			c.unknownTop(name, a.NameRange)
		}
	}
	for _, b := range content.Blocks {
		c.addBlock(b)
	}
}

// explainLabels says how a block's header is written where the library counts labels.
func explainLabels(ds hcl.Diagnostics) hcl.Diagnostics {
	for _, d := range ds {
		for _, typ := range topLevelTypes() {
			b := topLevel(typ, firstKind(typ))
			if strings.HasSuffix(d.Summary, " for "+typ) {
				d.Detail = fmt.Sprintf("Write %s { … }.", strings.TrimSpace(labelText(typ, b.labels())))
			}
		}
	}
	return ds
}

func firstKind(typ string) string {
	if k := kindsOf(typ); len(k) > 0 {
		return k[0]
	}
	return ""
}

// checkTop reports what may not stand at the top of a file.
func (c *config) checkTop(body *hclsyntax.Body) {
	for name, a := range body.Attributes {
		c.report.error(place{rng: a.NameRange}, "unknown_argument", fmt.Sprintf("Argument %s outside of a block", name), "Files hold blocks only. Named values go into locals { … }, inputs into variable blocks.")
	}
	for _, b := range body.Blocks {
		known := false
		for _, t := range topLevelTypes() {
			known = known || t == b.Type
		}
		if !known {
			c.unknownTop(b.Type, b.TypeRange)
		}
	}
}

func (c *config) unknownTop(name string, rng hcl.Range) {
	c.report.error(place{rng: rng}, "unknown_block", fmt.Sprintf("Unknown block %s", name), sentences("The language has no block of this type.", didYouMean(name, availableTypes(), "")))
}

// addBlock declares one top-level block.
func (c *config) addBlock(b *hcl.Block) {
	context := labelText(b.Type, b.Labels)
	at := place{rng: b.DefRange, node: &node{context: context}}
	kind := ""
	if kinds := kindsOf(b.Type); len(kinds) > 0 {
		kind = b.Labels[0]
		if topLevel(b.Type, kind) == nil {
			at.rng = b.LabelRanges[0]
			c.report.error(at, "unknown_kind", fmt.Sprintf("Unknown kind of %s %q", b.Type, kind), didYouMean(kind, availableKinds(b.Type), ""))
			c.declare(b.Type+"."+strings.Join(b.Labels, "."), &node{schema: &Block{Type: b.Type, Unavailable: true}, declared: b.DefRange})
			return
		}
	}
	schema := topLevel(b.Type, kind)
	address := strings.Join(append([]string{b.Type}, b.Labels...), ".")
	if b.Type == "variable" {
		address = "var." + b.Labels[0]
	}
	if schema.Unavailable {
		c.unavailable(at, "Block "+headerWords(schema))
	}
	if len(b.Labels) > 0 && !c.goodName(b, at) {
		return
	}
	n := c.decode(schema, b, address, context)
	switch b.Type {
	case "holdfast":
		if c.settings != nil {
			c.report.error(n.at(b.DefRange), "duplicate_block", "Duplicate holdfast block", fmt.Sprintf("A configuration has one; the first is at %s. Merge the two.", where(c.settings.declared)))
			return
		}
		c.settings = n
	case "locals":
		c.addLocals(n)
	case "variable":
		c.declare("var."+b.Labels[0], n)
	case "check":
		c.addRule(n)
	case "moved", "removed":
		c.history = append(c.history, n)
	default:
		if schema.Named {
			c.declare(address, n)
		}
	}
}

// addRule declares a house rule. Nothing refers to it, so that it is no name.
func (c *config) addRule(n *node) {
	for _, first := range c.rules {
		if first.address == n.address {
			c.report.error(n.at(n.declared), "duplicate", fmt.Sprintf("Duplicate %s", n.address), fmt.Sprintf("It is already declared at %s. Rename one of the two.", where(first.declared)))
			return
		}
	}
	c.rules = append(c.rules, n)
}

// goodName reports names that could not be referred to.
func (c *config) goodName(b *hcl.Block, at place) bool {
	name := b.Labels[len(b.Labels)-1]
	if hclsyntax.ValidIdentifier(name) && len(name) <= maxName {
		return true
	}
	at.rng = b.LabelRanges[len(b.LabelRanges)-1]
	c.report.error(at, "bad_name", fmt.Sprintf("Bad name %s", quoteShort(name)), fmt.Sprintf("A name starts with a letter and holds letters, digits, _ and -, at most %d bytes.", maxName))
	return false
}

// maxName bounds names: they become parts of object names in stores.
const maxName = 64

func (c *config) declare(name string, n *node) {
	if first, ok := c.nodes[name]; ok {
		c.report.error(n.at(n.declared), "duplicate", fmt.Sprintf("Duplicate %s", name), fmt.Sprintf("It is already declared at %s. Rename one of the two.", where(first.declared)))
		return
	}
	c.nodes[name] = n
	c.order = append(c.order, name)
}

func (c *config) addLocals(n *node) {
	if c.locals == nil {
		c.locals, c.localsIn = map[string]*hcl.Attribute{}, map[string]*node{}
	}
	for _, name := range sortedKeys(n.attrs) {
		a := n.attrs[name]
		if first, ok := c.locals[name]; ok {
			c.report.error(n.at(a.NameRange), "duplicate", fmt.Sprintf("Duplicate local.%s", name), fmt.Sprintf("It is already declared at %s. Rename one of the two.", where(first.NameRange)))
			continue
		}
		c.locals[name], c.localsIn[name] = a, n
		c.order = append(c.order, "local."+name)
	}
}

// input is a variable's value from outside the policy.
type input struct {
	value cty.Value
	rng   hcl.Range // of a variable file; empty for -var and the environment
	from  string    // "-var", "HOLDFAST_VAR_x", a file name
}
