package lang

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// envPrefix starts the names of environment variables that give variable values.
const envPrefix = "HOLDFAST_VAR_"

// addVariables collects variable values: environment, files, then -var; later ones win.
func (c *config) addVariables(files []file) {
	c.given = map[string]input{}
	for _, name := range childNames(c, "var") {
		if text, ok := c.options.Env(envPrefix + name); ok {
			c.give(name, text, envPrefix+name)
		}
	}
	for _, f := range files {
		c.addVariableFile(f)
	}
	for _, name := range sortedKeys(c.options.Vars) {
		if c.nodes["var."+name] == nil {
			c.report.error(place{}, "unknown_variable", fmt.Sprintf("Unknown variable %s", name),
				sentences(fmt.Sprintf("-var gives it a value, but no variable %q block declares it.", name), didYouMean(name, childNames(c, "var"), "")))
			continue
		}
		c.give(name, c.options.Vars[name], "-var")
	}
}

// give takes a value from text: as it is where the variable holds a string, else as an expression.
func (c *config) give(name, text, from string) {
	in := input{value: cty.StringVal(text), from: from}
	want, _ := c.constraint(c.nodes["var."+name], newReporter())
	if want != cty.String && want != cty.DynamicPseudoType {
		expr, ds := hclsyntax.ParseExpression([]byte(text), from, hcl.InitialPos)
		if !ds.HasErrors() && !nestsTooDeep(text) {
			if v, more := expr.Value(nil); !more.HasErrors() {
				in.value = v
			}
		}
	}
	c.given[name] = in
}

func nestsTooDeep(text string) bool {
	_, deep := tooDeep([]byte(text), "")
	return deep
}

func (c *config) addVariableFile(f file) {
	body := c.report.parse(f)
	if body == nil {
		return
	}
	attrs, ds := body.JustAttributes()
	c.report.hcl(ds, place{})
	for _, name := range sortedKeys(attrs) {
		a := attrs[name]
		at := place{rng: a.NameRange}
		if c.nodes["var."+name] == nil {
			c.report.warn(at, "unknown_variable", fmt.Sprintf("Unknown variable %s", name),
				sentences("The file gives it a value, but no variable block declares it.", didYouMean(name, childNames(c, "var"), "")))
			continue
		}
		at.rng = a.Expr.Range()
		if len(a.Expr.Variables()) > 0 {
			c.report.error(at, "constant", fmt.Sprintf("%s is not a constant", name), "Variable files hold plain values; they cannot refer to anything.")
			continue
		}
		v, ds := a.Expr.Value(&hcl.EvalContext{})
		if ds.HasErrors() {
			c.report.hcl(ds, at)
			continue
		}
		c.given[name] = input{value: v, rng: a.Expr.Range(), from: f.name}
	}
}

// constraint reads a variable's type; any when it has none or a wrong one.
func (c *config) constraint(n *node, r *reporter) (cty.Type, *typeexpr.Defaults) {
	a := n.attrs["type"]
	if a == nil {
		return cty.DynamicPseudoType, nil
	}
	t, defaults, ds := typeexpr.TypeConstraintWithDefaults(a.Expr)
	if ds.HasErrors() {
		r.hcl(ds, n.at(a.Expr.Range()))
		return cty.DynamicPseudoType, nil
	}
	return t, defaults
}

// constantFlag reads an argument of a variable that is true or false.
func (e *evaluator) constantFlag(n *node, name string, otherwise bool) bool {
	a := n.attrs[name]
	if a == nil {
		return otherwise
	}
	at := n.at(a.Expr.Range())
	v, ok := e.eval(a.Expr, scope{}, &at)
	if !ok {
		return otherwise
	}
	v, _ = v.Unmark()
	if v, err := convert.Convert(v, cty.Bool); err == nil && v.IsKnown() && !v.IsNull() {
		return v.True()
	}
	e.report.error(at, "wrong_type", fmt.Sprintf("Wrong type for %s", name), "Write true or false.")
	return otherwise
}

// variable computes var.name.
func (e *evaluator) variable(name string, n *node) cty.Value {
	want, defaults := e.config.constraint(n, e.report)
	sensitive := e.constantFlag(n, "sensitive", false)
	nullable := e.constantFlag(n, "nullable", true)
	fallback, hasDefault := e.variableDefault(n, want, defaults, sensitive)
	given, isGiven := e.config.given[name]
	v := fallback
	switch {
	case isGiven && !(given.value.IsNull() && !nullable && hasDefault):
		v = e.givenValue(name, n, given, want, defaults, sensitive)
	case !hasDefault && (sensitive || e.config.options.Static):
		v = cty.UnknownVal(want).Mark(&missing{
			summary: fmt.Sprintf("No value for var.%s", name),
			detail:  fmt.Sprintf("Set %s%s in the environment, or use -var-file.", envPrefix, name),
		})
	case !hasDefault:
		e.report.error(n.at(n.declared), "missing_variable", fmt.Sprintf("No value for var.%s", name),
			fmt.Sprintf("It has no default. Use -var '%s=…', a -var-file, %s, or %s%s in the environment.", name, defaultVars, envPrefix, name))
		return cty.UnknownVal(want)
	}
	if v.IsKnown() && v.IsNull() && !nullable {
		e.report.error(n.at(n.declared), "null_variable", fmt.Sprintf("var.%s is null", name), "It says nullable = false and has no default. Give it a value.")
		return cty.UnknownVal(want)
	}
	if sensitive {
		s := &secret{name: "var." + name, value: plainText(v)}
		e.config.secrets.add(s.value)
		v = v.Mark(s)
	}
	return v
}

// plainText is a known string, or empty.
func plainText(v cty.Value) string {
	v, _ = v.Unmark()
	if v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
		return v.AsString()
	}
	return ""
}

func (e *evaluator) variableDefault(n *node, want cty.Type, defaults *typeexpr.Defaults, sensitive bool) (cty.Value, bool) {
	a := n.attrs["default"]
	if a == nil {
		return cty.NullVal(want), false
	}
	at := n.at(a.Expr.Range())
	if len(a.Expr.Variables()) > 0 {
		e.report.error(at, "constant", "A default refers to something", "Defaults are constants; use locals for values that are made of others.")
		return cty.UnknownVal(want), true
	}
	v, ok := e.eval(a.Expr, scope{}, &at)
	if !ok {
		return cty.UnknownVal(want), true
	}
	if defaults != nil && !v.IsNull() {
		v = defaults.Apply(v)
	}
	out, err := convert.Convert(v, want)
	if err != nil {
		e.report.error(at, "wrong_type", "The default does not fit the type", fmt.Sprintf("The type is %s: %s.", typeexpr.TypeString(want), err))
		return cty.UnknownVal(want), true
	}
	if sensitive && plainText(out) != "" && secretOf(out) == nil {
		e.config.secrets.add(plainText(out))
		at.node = nil
		e.report.warn(at, "literal_secret", "A sensitive variable has its secret as default", "The policy is committed, shown and stored with every restore point. Remove the default and give the value by the environment.")
	}
	return out, true
}

// givenValue converts a value from outside. Messages about sensitive ones do not show it.
func (e *evaluator) givenValue(name string, n *node, in input, want cty.Type, defaults *typeexpr.Defaults, sensitive bool) cty.Value {
	v := in.value
	if defaults != nil && !v.IsNull() {
		v = defaults.Apply(v)
	}
	out, err := convert.Convert(v, want)
	if err == nil {
		return out
	}
	at := place{rng: in.rng}
	if in.rng.Filename == "" {
		at = n.at(n.declared)
	}
	at.address = "var." + name
	reason := err.Error() + "."
	if sensitive {
		reason = "The value is sensitive and not shown."
	}
	e.report.error(at, "wrong_type", fmt.Sprintf("The value of var.%s does not fit its type", name), fmt.Sprintf("The type is %s; the value comes from %s. %s", typeexpr.TypeString(want), in.from, strings.ToUpper(reason[:1])+reason[1:]))
	return cty.UnknownVal(want)
}

// validateVariables checks the validation rules of every variable whose value is known.
func (e *evaluator) validateVariables() {
	for _, name := range e.config.order {
		n := e.config.nodes[name]
		if n == nil || !strings.HasPrefix(name, "var.") {
			continue
		}
		for _, rule := range n.blocks["validation"] {
			e.validate(name, n, rule)
		}
	}
}

func (e *evaluator) validate(name string, n, rule *node) {
	condition, message := rule.attrs["condition"], rule.attrs["error_message"]
	if condition == nil || message == nil {
		return // reported when it was taken apart
	}
	at := rule.at(condition.Expr.Range())
	at.address = name
	v, ok := e.eval(condition.Expr, scope{}, &at)
	textAt := rule.at(message.Expr.Range())
	text, textOK := e.eval(message.Expr, scope{}, &textAt)
	if !ok || !textOK {
		return
	}
	v, _ = v.Unmark()
	b, err := convert.Convert(v, cty.Bool)
	if err != nil || b.IsKnown() && b.IsNull() {
		e.report.error(at, "wrong_type", "The condition is neither true nor false", fmt.Sprintf("This is %s.", article(v.Type())))
		return
	}
	if !b.IsKnown() || b.True() {
		return
	}
	detail := "The error message is sensitive and not shown."
	if secretOf(text) == nil {
		text, _ = text.UnmarkDeep()
		detail = plainText(text)
	}
	at.rng = n.declared
	if in, given := e.config.given[strings.TrimPrefix(name, "var.")]; given && in.rng.Filename != "" {
		at.rng, at.node = in.rng, nil
	}
	e.report.error(at, "validation", fmt.Sprintf("Invalid value for %s", name), sentences(detail, fmt.Sprintf("(The rule is at %s.)", where(condition.Expr.Range()))))
}
