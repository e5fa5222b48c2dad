package lang

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/holdfast-io/holdfast/policy"
)

// withhold stands for a sensitive attribute while loading: its names are checked, its value is not computed. A literal
// secret is found by computing it with env() and file() giving nothing: what is known then was written down.
func (e *evaluator) withhold(a *hcl.Attribute, s *Attribute, o *object, at place) cty.Value {
	held := cty.UnknownVal(cty.String).Mark(&secret{name: o.address + "." + s.Name})
	if e.mode == modeProbe {
		return held
	}
	if !e.checkNames(a.Expr, o.scope, at) {
		return held
	}
	if e.probe == nil {
		e.probe = newEvaluator(e.config, modeProbe) // one for all: it remembers what it computed
	}
	v, ok := e.probe.eval(a.Expr, o.scope, &at)
	if !ok {
		e.report.take(e.probe.report)
		return held
	}
	plain, _ := v.UnmarkDeep()
	if plain.IsKnown() && plain.IsNull() {
		return s.absent()
	}
	text, err := convert.Convert(plain, cty.String)
	at.expr = nil
	if err != nil {
		e.report.error(at, "wrong_type", fmt.Sprintf("Wrong type for %s", s.Name), fmt.Sprintf("%s takes a string; this is %s.", s.Name, article(plain.Type())))
		return held
	}
	if written := known(text); literalSecret(s.Name, written, text.IsKnown()) && (connects(s.Name) || secretOf(v) == nil) {
		e.config.secrets.add(passwordIn(s.Name, written))
		e.report.errorHidden(at, "literal_secret", fmt.Sprintf("%s is written in the policy", subjectOf(s)),
			fmt.Sprintf("The policy is committed, shown and stored with every restore point. Write %s = env(\"%s\"), or file(\"path\"), or a sensitive variable; and replace the %s, it is known now.", s.Name, strings.ToUpper(s.Name), secretWord(s.Name)))
	}
	return held
}

// connects tells whether a sensitive argument is a connection URL or string: a secret only when a password is in it.
func connects(name string) bool { return name == "dsn" || name == "server" }

// secretWord names the secret that an argument holds.
func secretWord(name string) string {
	if connects(name) {
		return "password"
	}
	return name
}

func subjectOf(s *Attribute) string {
	if connects(s.Name) {
		return "A password in " + s.Name
	}
	return "The " + s.Name
}

// checkNames resolves an expression's names, as eval does, and computes what they refer to.
func (e *evaluator) checkNames(expr hcl.Expression, sc scope, at place) bool {
	good := true
	for _, t := range expr.Variables() {
		names, ok := e.resolve(t, sc, at)
		good = good && ok
		for _, name := range names {
			if good = e.acyclic(name, at) && good; good {
				e.value(name)
			}
		}
	}
	return good
}

// known is the part of a text that does not depend on anything withheld: all of it, or the beginning.
func known(v cty.Value) string {
	if v.IsKnown() {
		return v.AsString()
	}
	if v.Type() == cty.String {
		return v.Range().StringPrefix()
	}
	return ""
}

var (
	urlPassword     = regexp.MustCompile(`^[a-zA-Z]+://[^/@:]*:([^@]+)@`)
	keywordPassword = regexp.MustCompile(`(?i)(^|[\s?&])(password|sslpassword)\s*=\s*('[^']+|[^\s&']+)`)
)

// literalSecret tells whether a text from the policy itself holds a password. Of a text whose end is withheld only the
// beginning is known.
func literalSecret(name, text string, whole bool) bool {
	if !connects(name) {
		return whole && text != ""
	}
	m := keywordPassword.FindString(text)
	return urlPassword.MatchString(text) || m != "" && (whole || !strings.HasSuffix(text, m))
}

// passwordIn is the password of a text that literalSecret found one in.
func passwordIn(name, text string) string {
	if !connects(name) {
		return text
	}
	if m := urlPassword.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	if m := keywordPassword.FindStringSubmatch(text); m != nil {
		return strings.Trim(m[3], "'")
	}
	return ""
}

// secret makes the policy's value of a sensitive argument: its text as written, and how to compute it.
func (b *builder) secret(o *object, name string) *policy.Secret {
	a := o.node.attrs[name]
	if a == nil {
		return nil
	}
	if v := o.values[name]; v.IsKnown() {
		if plain, _ := v.Unmark(); plain.IsNull() {
			return nil
		}
	}
	config, sc := b.config, o.scope
	return policy.NewSecret(config.written(a.Expr.Range()), func() (string, error) { return config.reveal(a, name, sc) })
}

// written is the source text of a range; empty when the range is off.
func (c *config) written(rng hcl.Range) string {
	src := c.report.files[rng.Filename]
	if rng.Start.Byte > rng.End.Byte || rng.End.Byte > len(src) {
		return ""
	}
	return string(src[rng.Start.Byte:rng.End.Byte])
}

// reveal computes a sensitive argument now: the environment and files are read again each time.
func (c *config) reveal(a *hcl.Attribute, name string, sc scope) (string, error) {
	e := newEvaluator(c, modeReveal)
	at := place{rng: a.Expr.Range()}
	prefix := fmt.Sprintf("read %s of %s (%s)", name, sc.address, where(at.rng))
	v, ok := e.eval(a.Expr, sc, &at)
	if !ok {
		if len(e.report.list) == 0 {
			return "", errors.New(prefix + ": it cannot be computed")
		}
		return "", fmt.Errorf("%s: %s. %s", prefix, e.report.list[0].Summary, e.report.list[0].Detail)
	}
	if m := missingOf(v); m != nil && !v.IsWhollyKnown() {
		return "", fmt.Errorf("%s: %s. %s", prefix, m.summary, m.detail)
	}
	c.secrets.addMarks(v)
	plain, _ := v.UnmarkDeep()
	text, err := convert.Convert(plain, cty.String)
	if err != nil || !text.IsKnown() || text.IsNull() {
		return "", errors.New(prefix + ": it is not a string")
	}
	out := text.AsString()
	if !connects(name) {
		out = strings.TrimRight(out, "\r\n") // files end with a newline, passwords and keys do not
	}
	if secretOf(v) != nil || !connects(name) {
		c.secrets.add(out)
	}
	return out, nil
}

// hideSecrets takes the details out of messages about expressions that touch sensitive values: functions quote their
// arguments in errors.
func (e *evaluator) hideSecrets(ds hcl.Diagnostics, expr hcl.Expression, ctx *hcl.EvalContext, rng hcl.Range) hcl.Diagnostics {
	if !e.touchesSecrets(expr, ctx, rng) {
		return ds
	}
	out := make(hcl.Diagnostics, len(ds))
	for i, d := range ds {
		c := *d
		if d.Severity == hcl.DiagError && !strings.HasPrefix(d.Summary, "Call to unknown function") {
			c.Detail = "The expression uses a sensitive value, so that the details are not shown."
		}
		out[i] = &c
	}
	return out
}

func (e *evaluator) touchesSecrets(expr hcl.Expression, ctx *hcl.EvalContext, rng hcl.Range) bool {
	for _, t := range expr.Variables() {
		if v, ds := t.TraverseAbs(ctx); !ds.HasErrors() && secretOf(v) != nil {
			return true
		}
		if v, ok := ctx.Variables[t.RootName()]; ok && secretOf(v) != nil {
			return true
		}
	}
	src := e.config.report.files[rng.Filename]
	if rng.Start.Byte > rng.End.Byte || rng.End.Byte > len(src) {
		return false
	}
	tokens, _ := hclsyntax.LexConfig(src[rng.Start.Byte:rng.End.Byte], "", hcl.InitialPos)
	for _, t := range tokens {
		text := string(t.Bytes)
		if t.Type == hclsyntax.TokenIdent && (text == "env" || text == "file" || text == "sensitive") ||
			t.Type == hclsyntax.TokenQuotedLit && (strings.Contains(text, "env(") || strings.Contains(text, "file(") || strings.Contains(text, "sensitive(")) {
			return true
		}
	}
	return false
}
