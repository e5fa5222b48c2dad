package lang

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// absent is the value of an argument that is not written: its default, or null.
func (s *Attribute) absent() cty.Value {
	if v, ok := defaults[s.Default]; ok && s.Type != TypeType {
		return v
	}
	return cty.NullVal(s.Type.ctyType())
}

// defaults are the values of the registry's defaults, by their text.
var defaults = func() map[string]cty.Value {
	out := map[string]cty.Value{}
	var walk func([]Block)
	walk = func(blocks []Block) {
		for _, b := range blocks {
			for _, a := range b.Attributes {
				expr, ds := hclsyntax.ParseExpression([]byte(a.Default), "default", hcl.InitialPos)
				if a.Default == "" || ds.HasErrors() {
					continue
				}
				if v, ds := expr.Value(nil); !ds.HasErrors() {
					out[a.Default] = v
				}
			}
			walk(b.Blocks)
		}
	}
	walk(registry)
	return out
}()

// attribute computes one argument of an object in its schema's type.
func (e *evaluator) attribute(o *object, s *Attribute) cty.Value {
	a := o.node.attrs[s.Name]
	if a == nil || s.Unavailable {
		return s.absent()
	}
	if s.Type == TypeAddress || s.Type == TypeCondition {
		return cty.NullVal(cty.DynamicPseudoType) // taken as written, by whoever builds the policy value
	}
	at := place{rng: a.Expr.Range(), node: o.node, address: o.scope.address, expr: a.Expr}
	if s.Sensitive && e.mode != modeReveal {
		return e.withhold(a, s, o, at)
	}
	v, ok := e.eval(a.Expr, o.scope, &at)
	if !ok {
		return cty.UnknownVal(s.Type.ctyType())
	}
	if s.Sensitive {
		return v
	}
	if s.Type == TypeReference {
		plain, _ := v.Unmark() // inside there may be secrets: the object is referred to, not shown
		return e.reference(plain, s, a, at)
	}
	if s.Type == TypeReferences {
		return e.references(v, s, a, at)
	}
	if held := secretOf(v); held != nil {
		e.report.error(at, "sensitive", fmt.Sprintf("%s is not a place for a secret", s.Name),
			fmt.Sprintf("The value depends on %s, which is sensitive, and %s is shown in plans and stored in the state. Write nonsensitive(…) around it if it is no secret.", held.name, s.Name))
		return cty.UnknownVal(s.Type.ctyType())
	}
	if !v.IsWhollyKnown() && !e.present(v, at) && !v.IsKnown() {
		return cty.UnknownVal(s.Type.ctyType())
	}
	v, _ = v.UnmarkDeep()
	return e.convert(v, s, at)
}

// convert brings a value into the schema's type, and checks what the schema says of it.
func (e *evaluator) convert(v cty.Value, s *Attribute, at place) cty.Value {
	want := s.Type.ctyType()
	if v.IsNull() {
		if s.Required {
			e.report.error(at, "missing_argument", fmt.Sprintf("%s is null", s.Name), "It is required: "+s.Doc)
			return cty.UnknownVal(want)
		}
		return s.absent()
	}
	if s.Type == TypeJSON {
		out, summary, detail := s.json(v)
		if summary != "" {
			e.report.error(at, "bad_value", summary, detail)
		}
		return out
	}
	out, err := convert.Convert(v, want)
	if err != nil || want == cty.String && !isText(v.Type()) {
		detail := fmt.Sprintf("%s takes a %s; this is %s.", s.Name, s.Type, article(v.Type()))
		if want == cty.List(cty.String) && v.Type() == cty.String {
			detail = fmt.Sprintf("%s takes a list of strings: put the text into brackets.", s.Name)
		}
		e.report.error(at, "wrong_type", fmt.Sprintf("Wrong type for %s", s.Name), detail)
		return cty.UnknownVal(want)
	}
	if !out.IsWhollyKnown() {
		return out
	}
	if summary, detail := s.check(out); summary != "" {
		e.report.error(at, "bad_value", summary, detail)
		if s.Type == TypeStrings {
			return out // the other elements can still be looked at
		}
		return cty.UnknownVal(want)
	}
	return out
}

// isText tells whether a type may stand where text is wanted: numbers convert, so that `cron = 5` is caught later with the
// others, but true is never a name.
func isText(t cty.Type) bool {
	return t == cty.String || t == cty.Number || t == cty.DynamicPseudoType
}

// references accepts a list of declared objects of the wanted type. Each element is told of at its own place.
func (e *evaluator) references(v cty.Value, s *Attribute, a *hcl.Attribute, at place) cty.Value {
	plain, _ := v.Unmark()
	switch t := plain.Type(); {
	case !plain.IsKnown():
		return cty.DynamicVal
	case plain.IsNull():
		return s.absent()
	case !t.IsTupleType() && !t.IsListType() && !t.IsSetType():
		detail := fmt.Sprintf("Write %s = [%s].", s.Name, exampleReference(s.Reference))
		if address := e.addressOf(plain); address != "" {
			detail = fmt.Sprintf("Write %s = [%s].", s.Name, address)
		}
		e.report.error(at, "wrong_type", fmt.Sprintf("%s takes a list", s.Name), detail)
		return cty.DynamicVal
	}
	parts, ds := hcl.ExprList(a.Expr)
	var out []cty.Value
	for it := plain.ElementIterator(); it.Next(); {
		_, el := it.Element()
		el, _ = el.Unmark()
		here, one := at, *s
		one.Required = true // an element cannot be null
		elementOf := *a
		if !ds.HasErrors() && len(out) < len(parts) {
			elementOf.Expr = parts[len(out)]
			here.rng, here.expr = elementOf.Expr.Range(), elementOf.Expr
		}
		out = append(out, e.reference(el, &one, &elementOf, here))
	}
	return cty.TupleVal(out)
}

// reference accepts the value of a declared object of the wanted type.
func (e *evaluator) reference(v cty.Value, s *Attribute, a *hcl.Attribute, at place) cty.Value {
	want := "a " + s.Reference
	bad := func(code, summary, detail string) cty.Value {
		e.report.error(at, code, summary, detail)
		return cty.DynamicVal
	}
	switch {
	case !v.IsKnown():
		return cty.DynamicVal
	case v.IsNull():
		if s.Required {
			return bad("missing_argument", fmt.Sprintf("%s is null", s.Name), fmt.Sprintf("It must refer to %s.", want))
		}
		return s.absent()
	case v.Type() == cty.String:
		name := v.AsString()
		example := s.Reference + ".name"
		if e.config.declared(name) {
			example = name
		} else if e.config.declared(s.Reference + "." + name) {
			example = s.Reference + "." + name
		}
		if at.node.json {
			example = `"${` + example + `}"`
		}
		if s.Type == TypeReferences {
			return bad("reference_as_text", fmt.Sprintf("%s holds a text", s.Name), fmt.Sprintf("References are expressions: write %s = [%s].", s.Name, example))
		}
		return bad("reference_as_text", fmt.Sprintf("%s is a text", s.Name), fmt.Sprintf("References are expressions: write %s = %s.", s.Name, example))
	}
	address := e.addressOf(v)
	if address == "" {
		detail := fmt.Sprintf("%s takes %s, such as %s.", s.Name, want, exampleReference(s.Reference))
		if n := e.forEachNode(a.Expr); n != "" {
			detail = fmt.Sprintf("%s has for_each; say which instance: %s[\"key\"], or %s[each.key] in a block with the same keys.", n, n, n)
		}
		return bad("wrong_reference", fmt.Sprintf("%s does not refer to %s", s.Name, want), detail)
	}
	if kind, _, _ := strings.Cut(address, "."); kind != s.Reference {
		return bad("wrong_reference", fmt.Sprintf("%s does not refer to %s", s.Name, want), fmt.Sprintf("%s is a %s; %s takes %s, such as %s.", address, kind, s.Name, want, exampleReference(s.Reference)))
	}
	return v
}

func exampleReference(typ string) string {
	if typ == "source" {
		return "source.postgres.name"
	}
	return typ + ".name"
}

// addressOf tells which object a value is; empty when it is none.
func (e *evaluator) addressOf(v cty.Value) string {
	if !v.IsKnown() || v.IsNull() || !v.Type().IsObjectType() || !v.Type().HasAttribute("address") {
		return ""
	}
	a, _ := v.GetAttr("address").Unmark()
	if !a.IsKnown() || a.IsNull() || a.Type() != cty.String {
		return ""
	}
	if e.byAddress[a.AsString()] == nil {
		return ""
	}
	return a.AsString()
}

// forEachNode names the block with for_each that an expression refers to as a whole.
func (e *evaluator) forEachNode(expr hcl.Expression) string {
	for _, t := range expr.Variables() {
		parts := 1 + referenceRoots[t.RootName()]
		name := traversalText(t[:min(parts, len(t))])
		if n := e.config.nodes[name]; n != nil && n.forEach != nil {
			return name
		}
	}
	return ""
}
