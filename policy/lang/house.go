package lang

import (
	"fmt"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/holdfast-io/holdfast/policy"
)

// The results of an assertion.
const (
	checkPass  = "pass"
	checkFail  = "fail"
	checkError = "error"
)

// houseRules computes the check blocks on what is declared.
func (b *builder) houseRules() {
	for _, n := range b.config.rules {
		head := &object{node: n, schema: n.schema, values: map[string]cty.Value{}, scope: scope{address: n.address}}
		head.values["severity"] = b.eval.attribute(head, n.schema.attribute("severity"))
		severity := head.text("severity")
		for _, one := range b.ruleScopes(n) {
			for _, assert := range n.blocks["assert"] {
				if c, ok := b.assertion(assert, one); ok {
					c.Address, c.Severity = one.address, severity
					b.set.Checks = append(b.set.Checks, c)
				}
			}
		}
	}
	sort.SliceStable(b.set.Checks, func(i, j int) bool { return b.set.Checks[i].Address < b.set.Checks[j].Address })
}

// ruleScopes are what a rule looks at: once without for_each, each object of a type, or each element of a map or set.
func (b *builder) ruleScopes(n *node) []scope {
	if n.forEach == nil {
		return []scope{{address: n.address}}
	}
	if typ := wholeType(n.forEach.Expr); referenceRoots[typ] > 0 && typ != "var" && typ != "local" {
		var out []scope
		for _, o := range b.eval.allObjects() {
			if o.schema.Type == typ {
				key := strings.TrimPrefix(o.address, typ+".")
				out = append(out, scope{each: &each{key: cty.StringVal(key), value: o.value()}, address: fmt.Sprintf("%s[%q]", n.address, o.address)})
			}
		}
		return out
	}
	keys, values, ok := b.eval.forEach(n)
	if !ok {
		return []scope{{each: &each{key: cty.UnknownVal(cty.String), value: cty.DynamicVal}, address: n.address}}
	}
	var out []scope
	for _, key := range keys {
		out = append(out, scope{each: &each{key: cty.StringVal(key), value: values[key]}, address: fmt.Sprintf("%s[%q]", n.address, key)})
	}
	return out
}

// wholeType is the one word that an expression consists of, such as backup; empty when it is more than that.
func wholeType(expr hcl.Expression) string {
	if word := hcl.ExprAsKeyword(expr); word != "" {
		return word
	}
	vars := expr.Variables()
	if len(vars) != 1 || len(vars[0]) != 1 {
		return ""
	}
	if v, ds := expr.Value(nil); ds.HasErrors() || v.Type() != cty.String || !v.IsKnown() || v.AsString() != "${"+vars[0].RootName()+"}" {
		return "" // not the text of a JSON file
	}
	return vars[0].RootName()
}

// assertion computes one condition. ok is false when it cannot be told now: something is not known, or was reported.
func (b *builder) assertion(n *node, sc scope) (c policy.HouseCheck, ok bool) {
	condition, message := n.attrs["condition"], n.attrs["error_message"]
	if condition == nil || message == nil {
		return c, false
	}
	v, why, ok := b.quietly(n, condition, sc)
	switch {
	case !ok:
		return c, false
	case why != "":
		return policy.HouseCheck{Status: checkError, Message: why}, true
	}
	held := secretOf(v)
	plain, _ := v.UnmarkDeep()
	yes, err := convert.Convert(plain, cty.Bool)
	switch {
	case err != nil || plain.IsKnown() && plain.IsNull():
		return policy.HouseCheck{Status: checkError, Message: fmt.Sprintf("The condition is neither true nor false: it is %s.", article(plain.Type()))}, true
	case !yes.IsKnown() && held != nil && missingOf(v) == nil:
		return policy.HouseCheck{Status: checkError, Message: fmt.Sprintf("The condition depends on %s, a secret, which is not computed here.", held.name)}, true
	case !yes.IsKnown():
		return c, false
	case yes.True():
		return policy.HouseCheck{Status: checkPass}, true
	}
	return policy.HouseCheck{Status: checkFail, Message: b.failure(n, message, sc)}, true
}

// failure is the message of an assertion that does not hold.
func (b *builder) failure(n *node, message *hcl.Attribute, sc scope) string {
	v, why, ok := b.quietly(n, message, sc)
	switch text := plainText(v); {
	case !ok || why != "":
		return sentences("The condition is false.", why)
	case secretOf(v) != nil:
		return "The condition is false. The error message is sensitive and not shown."
	case text == "":
		return "The condition is false. The error message is not known."
	default:
		return text
	}
}

// quietly computes an expression. Names that do not exist are mistakes in the policy and reported, with ok false; what goes
// wrong with the values at hand is returned as why.
func (b *builder) quietly(n *node, a *hcl.Attribute, sc scope) (v cty.Value, why string, ok bool) {
	at := place{rng: a.Expr.Range(), node: n, address: sc.address}
	_, calls := b.config.expression(a.Expr)
	known := b.checkFunctions(calls, b.eval.funcs, at)
	if !b.eval.checkNames(a.Expr, sc, at) || !known {
		return cty.DynamicVal, "", false
	}
	loud := b.eval.report
	b.eval.report = newReporter()
	b.eval.report.files = loud.files
	v, ok = b.eval.eval(a.Expr, sc, &at)
	found := b.eval.report
	b.eval.report = loud
	if ok {
		return v, "", true
	}
	first := found.list[0]
	if first.Summary == "Unsupported attribute" { // a slip of the keyboard, which no value cures
		loud.take(found)
		return v, "", false
	}
	return v, fmt.Sprintf("%s: %s", first.Summary, first.Detail), true
}
