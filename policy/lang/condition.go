package lang

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/holdfast-io/holdfast/policy"
)

// condition makes a policy value of an expression over self. Its names are checked now; it is computed when somebody knows
// what self is. offers are the parts of self; none when they cannot be told.
func (b *builder) condition(o *object, name string, offers []string) policy.Condition {
	a := o.node.attrs[name]
	if a == nil {
		return policy.Condition{}
	}
	at := place{rng: a.Expr.Range(), node: o.node, address: o.scope.address}
	text, functions := b.config.expression(a.Expr)
	good, selves := b.checkFunctions(functions, pure, at), 0
	wanted := map[string]bool{}
	for _, t := range a.Expr.Variables() {
		here := at
		here.rng = t.SourceRange()
		switch root := t.RootName(); root {
		case "self":
			selves++
			good = b.checkSelf(t, offers, here) && good
		case "var", "local":
			names, ok := b.eval.resolve(t, scope{}, here)
			for _, n := range names {
				wanted[n] = true
				ok = b.checkShown(n, here) && ok
			}
			good = good && ok
		default:
			good = false
			b.error(here, "condition", fmt.Sprintf("%s cannot be used in %s", traversalText(t), name), "It is computed from restored data, where only self, variables, locals and functions are known.")
		}
	}
	if selves == 0 && good {
		b.error(at, "condition", fmt.Sprintf("%s does not look at the answer", name), "It would say the same of any data. Use "+either(selfParts(offers))+".")
		good = false
	}
	if !good {
		return policy.NewCondition(text, nil)
	}
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{}, Functions: pure}
	b.eval.fill(ctx, a.Expr, wanted, scope{})
	return policy.NewCondition(text, func(self map[string]any) (bool, error) { return holdsFor(a.Expr, text, ctx, self) })
}

// expression returns an expression as a person would write it, and the calls in it.
func (c *config) expression(expr hcl.Expression) (text string, calls []*hclsyntax.FunctionCallExpr) {
	native, ok := expr.(hclsyntax.Expression)
	text = c.written(expr.Range())
	if !ok { // JSON: a text with ${…}
		v, _ := expr.Value(nil)
		if v.IsKnown() && !v.IsNull() && v.Type() == cty.String {
			text = v.AsString()
		}
		native, _ = hclsyntax.ParseTemplate([]byte(text), expr.Range().Filename, hcl.InitialPos)
		if inner, found := strings.CutPrefix(text, "${"); found {
			text = strings.TrimSpace(strings.TrimSuffix(inner, "}"))
		}
	}
	if native == nil {
		return text, nil
	}
	_ = hclsyntax.VisitAll(native, func(n hclsyntax.Node) hcl.Diagnostics {
		if call, ok := n.(*hclsyntax.FunctionCallExpr); ok {
			calls = append(calls, call)
		}
		return nil
	})
	return text, calls
}

// checkFunctions wants calls of functions that are there and may be used here.
func (b *builder) checkFunctions(calls []*hclsyntax.FunctionCallExpr, allowed map[string]function.Function, at place) bool {
	good := true
	for _, call := range calls {
		if _, ok := allowed[call.Name]; ok {
			continue
		}
		good = false
		here := at
		if !at.node.json {
			here.rng = call.NameRange
		}
		if _, ok := b.eval.funcs[call.Name]; ok {
			b.error(here, "condition", fmt.Sprintf("%s(…) cannot be used here", call.Name), "The condition is shown and stored, and computed elsewhere. Put the value into a local without secrets.")
			continue
		}
		b.error(here, "unknown_function", fmt.Sprintf("Unknown function %s", call.Name), sentences("There is no function of this name.", didYouMean(call.Name, sortedKeys(b.eval.funcs), "")))
	}
	return good
}

// checkSelf wants a part that self has.
func (b *builder) checkSelf(t hcl.Traversal, offers []string, at place) bool {
	word := ""
	if len(t) > 1 {
		word, _ = stepName(t[1])
	}
	if len(offers) == 0 { // of an unknown source
		return word != ""
	}
	for _, o := range offers {
		if o == word {
			return true
		}
	}
	if word == "" {
		b.error(at, "condition", "self is not a value", "It has "+list(selfParts(offers))+".")
		return false
	}
	b.error(at, "unknown_attribute", fmt.Sprintf("self has no %s", word), didYouMean(word, offers, "self."))
	return false
}

func selfParts(offers []string) []string {
	if len(offers) == 0 {
		return []string{"self"}
	}
	var out []string
	for _, o := range offers {
		out = append(out, "self."+o)
	}
	return out
}

// checkShown refuses secrets: results are quoted when a check fails.
func (b *builder) checkShown(name string, at place) bool {
	if held := secretOf(b.eval.value(name)); held != nil {
		b.error(at, "sensitive", fmt.Sprintf("%s is sensitive", name), "Conditions and what they compare are shown when they fail. Use nonsensitive(…) in a local if it is no secret.")
		return false
	}
	return true
}

// holdsFor computes a condition for one self.
func holdsFor(expr hcl.Expression, text string, names *hcl.EvalContext, self map[string]any) (bool, error) {
	parts := map[string]cty.Value{}
	for name, v := range self {
		part, err := toCty(v)
		if err != nil {
			return false, fmt.Errorf("compute %s: self.%s: %w", text, name, err)
		}
		parts[name] = part
	}
	ctx := &hcl.EvalContext{Functions: names.Functions, Variables: map[string]cty.Value{"self": cty.ObjectVal(parts)}}
	for name, v := range names.Variables {
		if name != "self" {
			ctx.Variables[name] = v
		}
	}
	v, ds := expr.Value(ctx)
	if ds.HasErrors() {
		for _, d := range ds {
			if d.Severity == hcl.DiagError {
				return false, fmt.Errorf("compute %s: %s: %s", text, strings.TrimSuffix(d.Summary, "."), strings.TrimSuffix(d.Detail, "."))
			}
		}
	}
	v, _ = v.UnmarkDeep()
	switch {
	case !v.IsKnown():
		return false, fmt.Errorf("compute %s: a value in it is not known here", text)
	case v.IsNull() || v.Type() != cty.Bool:
		return false, fmt.Errorf("compute %s: it %s, neither true nor false", text, describe(v))
	}
	return v.True(), nil
}

func toCty(v any) (cty.Value, error) {
	switch v := v.(type) {
	case nil:
		return cty.NullVal(cty.DynamicPseudoType), nil
	case string:
		return cty.StringVal(v), nil
	case bool:
		return cty.BoolVal(v), nil
	case []any:
		elements := make([]cty.Value, len(v))
		for i := range v {
			var err error
			if elements[i], err = toCty(v[i]); err != nil {
				return cty.NilVal, err
			}
		}
		return cty.TupleVal(elements), nil
	case int64:
		return cty.NumberIntVal(v), nil
	case uint64:
		return cty.NumberUIntVal(v), nil
	case float64:
		if v != v || v-v != 0 { // NaN and infinities have no number
			return cty.NilVal, fmt.Errorf("%v is not a number that can be compared", v)
		}
		return cty.NumberFloatVal(v), nil
	default:
		return cty.NilVal, fmt.Errorf("a value of type %T", v)
	}
}
