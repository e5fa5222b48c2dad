package lang

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// node is one block as written: its known arguments and blocks, not yet evaluated.
type node struct {
	schema   *Block
	address  string // store.primary; of the outermost block
	context  string // `store "primary"`
	name     string // the last label of an inner block
	declared hcl.Range
	end      hcl.Range // where a missing argument would go
	attrs    map[string]*hcl.Attribute
	blocks   map[string][]*node
	forEach  *hcl.Attribute
	json     bool
	flawed   bool            // it holds something that is not understood, so that what seems absent may be there in another way
	meant    map[string]bool // arguments and blocks that stand there under a wrong name or in a wrong form
}

func (n *node) at(rng hcl.Range) place { return place{rng: rng, node: n} }

// decode takes a block apart as its schema says and reports everything that does not fit.
func (c *config) decode(schema *Block, block *hcl.Block, address, context string) *node {
	n := &node{
		schema: schema, address: address, context: context, declared: block.DefRange,
		attrs: map[string]*hcl.Attribute{}, blocks: map[string][]*node{}, meant: map[string]bool{},
	}
	_, native := block.Body.(*hclsyntax.Body)
	n.json = !native
	n.end = block.Body.MissingItemRange()
	if schema.Unavailable {
		return n
	}
	if schema.Free {
		attrs, ds := block.Body.JustAttributes()
		c.report.hcl(ds, n.at(block.DefRange))
		n.attrs = attrs
		return n
	}
	content, rest, ds := block.Body.PartialContent(bodySchema(schema))
	c.report.hcl(ds, n.at(block.DefRange))
	c.leftovers(n, block.Body, rest, content)
	for name, a := range content.Attributes {
		if name == "for_each" && schema.ForEach {
			n.forEach = a
		} else if s := schema.attribute(name); s.Unavailable {
			n.flawed = true
			c.unavailable(n.at(a.NameRange), "Argument "+name)
		} else {
			n.attrs[name] = a
		}
	}
	for _, b := range content.Blocks {
		s := schema.block(b.Type)
		switch {
		case s.Unavailable:
			n.flawed = true
			c.unavailable(n.at(b.DefRange), "Block "+b.Type)
		case len(n.blocks[b.Type]) > 0 && !s.Repeatable:
			c.report.error(n.at(b.DefRange), "duplicate_block", fmt.Sprintf("Duplicate %s block", b.Type),
				fmt.Sprintf("At most one is allowed here; the first is at %s. Merge the two.", where(n.blocks[b.Type][0].declared)))
		default:
			sub := c.decode(s, b, address, context)
			if s.Named {
				sub.name = b.Labels[0]
				c.goodName(b, sub.at(b.DefRange))
			}
			n.blocks[b.Type] = append(n.blocks[b.Type], sub)
		}
	}
	if !c.broken {
		c.requireParts(n)
	}
	return n
}

// requireParts reports required arguments and blocks that are not there.
func (c *config) requireParts(n *node) {
	for _, a := range n.schema.Attributes {
		if a.Required && n.attrs[a.Name] == nil && !n.meant[a.Name] {
			c.report.error(n.at(n.declared), "missing_argument", fmt.Sprintf("Missing argument %s", a.Name), fmt.Sprintf("%s block needs it: %s", withArticle(headerWords(n.schema)), a.Doc))
		}
	}
	for _, b := range n.schema.Blocks {
		if b.Required && len(n.blocks[b.Type]) == 0 && !n.meant[b.Type] {
			c.report.error(n.at(n.declared), "missing_block", fmt.Sprintf("Missing %s block", b.Type), sentences(fmt.Sprintf("%s block needs one: %s", withArticle(headerWords(n.schema)), b.Doc), requiredHint(b.Type)))
		}
	}
}

func requiredHint(block string) string {
	if block == "encryption" {
		return "Make a key with `holdfast key generate` and name its recipient: encryption { recipients = [\"age1…\"] }. To store readable copies on purpose, write encryption { none = true }."
	}
	return ""
}

func headerWords(s *Block) string {
	if s.Kind != "" {
		return fmt.Sprintf("%s %q", s.Type, s.Kind)
	}
	return s.Type
}

// withArticle begins a sentence about one of a kind.
func withArticle(words string) string {
	if strings.ContainsRune("aeiou", rune(words[0])) {
		return "An " + words
	}
	return "A " + words
}

func (c *config) unavailable(at place, what string) {
	c.report.error(at, "not_available", what+" is not available in this version",
		"It belongs to the language, and a later version of holdfast understands it. Remove it for now; `holdfast schema -json` lists what this version knows.")
}

func bodySchema(b *Block) *hcl.BodySchema {
	s := &hcl.BodySchema{}
	for _, a := range b.Attributes {
		s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: a.Name})
	}
	if b.ForEach {
		s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: "for_each"})
	}
	for _, sub := range b.Blocks {
		s.Blocks = append(s.Blocks, hcl.BlockHeaderSchema{Type: sub.Type, LabelNames: sub.labels()})
	}
	return s
}

// leftovers reports arguments and blocks that the schema does not know.
func (c *config) leftovers(n *node, body, rest hcl.Body, content *hcl.BodyContent) {
	s := n.schema
	if native, ok := body.(*hclsyntax.Body); ok {
		for name, a := range native.Attributes {
			if content.Attributes[name] == nil {
				c.unknownArgument(n, name, a.NameRange)
			}
		}
		for _, b := range native.Blocks {
			if s.block(b.Type) == nil {
				c.unknownBlock(n, b.Type, b.TypeRange)
			}
		}
		return
	}
	attrs, ds := rest.JustAttributes()
	c.report.hcl(ds, n.at(n.declared))
	for name, a := range attrs {
		c.unknownArgument(n, name, a.NameRange)
	}
}

func (c *config) unknownArgument(n *node, name string, rng hcl.Range) {
	n.note(name)
	if n.schema.block(name) != nil {
		c.report.error(n.at(rng), "block_as_argument", fmt.Sprintf("%s is a block", name), fmt.Sprintf("Write %s { … }, without the equals sign.", name))
		return
	}
	detail := didYouMean(name, n.schema.names(), "")
	if name == "for_each" {
		detail = "for_each is for source, backup and check blocks."
	}
	c.report.error(n.at(rng), "unknown_argument", fmt.Sprintf("Unknown argument %s", name), sentences(fmt.Sprintf("%s block has no argument of this name.", withArticle(headerWords(n.schema))), detail))
}

// note remembers that something stands here under an unknown name or in the wrong form.
func (n *node) note(name string) {
	n.flawed = true
	n.meant[name] = true
	n.meant[nearest(name, n.schema.names())] = true
}

func (c *config) unknownBlock(n *node, typ string, rng hcl.Range) {
	n.note(typ)
	if n.schema.attribute(typ) != nil {
		c.report.error(n.at(rng), "argument_as_block", fmt.Sprintf("%s is an argument", typ), fmt.Sprintf("Write %s = …, with an equals sign and without a block.", typ))
		return
	}
	c.report.error(n.at(rng), "unknown_block", fmt.Sprintf("Unknown block %s", typ), sentences(fmt.Sprintf("%s block has no block of this type.", withArticle(headerWords(n.schema))), didYouMean(typ, n.schema.names(), "")))
}

// where writes a position as compilers do.
func where(r hcl.Range) string {
	return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line)
}
