package lang

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// mode says what env(), file() and sensitive attributes stand for.
//
//	mode    env(), file()             sensitive attributes
//	load    real, unknown if missing  unknown, never computed
//	probe   unknown, marked           unknown; tells literals from references
//	reveal  real                      real
type mode int

const (
	modeLoad mode = iota
	modeProbe
	modeReveal
)

// evaluator computes named values, each once and after what it refers to. It is not safe for concurrent use.
type evaluator struct {
	config  *config
	mode    mode
	report  *reporter
	funcs   map[string]function.Function
	done    map[string]cty.Value
	objects map[string][]*object // instances by name; one without for_each
	stack   []string
	cycled  map[string]bool

	byAddress map[string]*object
	probe     *evaluator // made when the first sensitive argument is met
}

func newEvaluator(c *config, m mode) *evaluator {
	e := &evaluator{config: c, mode: m, report: c.report, done: map[string]cty.Value{}, objects: map[string][]*object{}, cycled: map[string]bool{}, byAddress: map[string]*object{}}
	if m != modeLoad {
		e.report = newReporter()
		e.report.files = c.report.files
	}
	e.funcs = e.functions()
	return e
}

// scope is what surrounds an expression beside the named values.
type scope struct {
	each    *each
	address string // of the instance
}

// each is one element of a for_each.
type each struct {
	key, value cty.Value
}

// object is one instance of a block, its attributes computed.
type object struct {
	node    *node
	schema  *Block
	address string
	scope   scope
	values  map[string]cty.Value // by attribute: the schema's type, null when absent, unknown when it cannot be told
	blocks  map[string][]*object
}

// evaluateAll computes everything that was declared, used or not.
func (e *evaluator) evaluateAll() {
	for _, name := range e.config.order {
		e.value(name)
	}
	if e.config.settings != nil {
		e.objects["holdfast"] = []*object{e.object(e.config.settings, scope{})}
	}
}

// allObjects lists the instances of stores, sources, retentions and backups in the order of declaration.
func (e *evaluator) allObjects() []*object {
	var out []*object
	for _, name := range e.config.order {
		for _, o := range e.objects[name] {
			if o.address != "" {
				out = append(out, o)
			}
		}
	}
	return out
}

// value computes one name. A name that is wrong in any way is unknown, so that its users add no errors of their own.
func (e *evaluator) value(name string) cty.Value {
	if v, ok := e.done[name]; ok {
		return v
	}
	e.stack = append(e.stack, name)
	v := e.compute(name)
	e.stack = e.stack[:len(e.stack)-1]
	e.done[name] = v
	return v
}

func (e *evaluator) compute(name string) cty.Value {
	if l, ok := strings.CutPrefix(name, "local."); ok {
		a := e.config.locals[l]
		v, _ := e.eval(a.Expr, scope{}, &place{rng: a.Expr.Range(), node: e.config.localsIn[l]})
		return v
	}
	n := e.config.nodes[name]
	switch {
	case n.schema.Unavailable:
		return cty.DynamicVal
	case strings.HasPrefix(name, "var."):
		return e.variable(strings.TrimPrefix(name, "var."), n)
	case n.forEach != nil:
		return e.instances(name, n)
	default:
		o := e.object(n, scope{address: n.address})
		e.keep(name, o)
		return o.value()
	}
}

func (e *evaluator) keep(name string, o *object) {
	e.objects[name] = append(e.objects[name], o)
	e.byAddress[o.address] = o
}

// eval computes an expression, and completes at with what diagnostics about it need. ok is false when one was made; the
// value is then unknown.
func (e *evaluator) eval(expr hcl.Expression, sc scope, at *place) (cty.Value, bool) {
	at.expr = expr
	if at.address == "" {
		at.address = sc.address
	}
	good, wanted := true, map[string]bool{}
	for _, t := range expr.Variables() {
		here := *at
		names, ok := e.resolve(t, sc, here)
		good = good && ok
		for _, name := range names {
			here.rng = t.SourceRange()
			good = e.acyclic(name, here) && good
			wanted[name] = true
		}
	}
	if !good {
		return cty.DynamicVal, false
	}
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{}, Functions: e.funcs}
	e.fill(ctx, expr, wanted, sc)
	at.ctx = ctx
	v, ds := expr.Value(ctx)
	if ds.HasErrors() {
		e.report.hcl(e.explainKeys(e.hideSecrets(ds, expr, ctx, at.rng), expr), *at)
		return cty.DynamicVal, false
	}
	return v, true
}

// explainKeys adds the keys there are to a message about one that is not.
func (e *evaluator) explainKeys(ds hcl.Diagnostics, expr hcl.Expression) hcl.Diagnostics {
	name := e.forEachNode(expr)
	for _, d := range ds {
		if name == "" || d.Summary != "Invalid index" {
			continue
		}
		var keys []string
		for _, o := range e.objects[name] {
			keys = append(keys, strings.TrimPrefix(o.address, name))
		}
		if d.Detail = fmt.Sprintf("%s has no instance with this key. There is %s.", name, list(keys)); len(keys) == 0 || len(keys) > 12 {
			d.Detail = fmt.Sprintf("%s has %s, and none with this key.", name, count(len(keys), "instance"))
		}
	}
	return ds
}

// acyclic reports a reference back to something that is being computed, naming the way round. It is told once.
func (e *evaluator) acyclic(name string, at place) bool {
	for i, s := range e.stack {
		if s != name {
			continue
		}
		round := append(append([]string(nil), e.stack[i:]...), name)
		text := strings.Join(round, " -> ")
		at.expr = nil
		if !e.cycled[name] {
			e.report.error(at, "cycle", "References go in a circle", fmt.Sprintf("%s. Break it by writing one of the values without the reference.", text))
		}
		for _, n := range round {
			e.cycled[n] = true
		}
		return false
	}
	return true
}

// fill puts the wanted names, and every name under a whole root such as `store`, into the context.
func (e *evaluator) fill(ctx *hcl.EvalContext, expr hcl.Expression, wanted map[string]bool, sc scope) {
	tree := map[string]map[string]cty.Value{}
	put := func(parent, word string, v cty.Value) {
		if tree[parent] == nil {
			tree[parent] = map[string]cty.Value{}
		}
		tree[parent][word] = v
	}
	for _, name := range sortedKeys(wanted) {
		parts := strings.SplitN(name, ".", 3)
		if len(parts) == 3 {
			put("source."+parts[1], parts[2], e.value(name))
		} else {
			put(parts[0], parts[1], e.value(name))
		}
	}
	for parent, m := range tree {
		if kind, ok := strings.CutPrefix(parent, "source."); ok {
			put("source", kind, cty.ObjectVal(m))
		}
	}
	for _, t := range expr.Variables() {
		root := t.RootName()
		if _, ok := referenceRoots[root]; ok {
			ctx.Variables[root] = cty.ObjectVal(tree[root])
		}
	}
	if sc.each != nil {
		ctx.Variables["each"] = cty.ObjectVal(map[string]cty.Value{"key": sc.each.key, "value": sc.each.value})
	}
}

// object computes the attributes of one block.
func (e *evaluator) object(n *node, sc scope) *object {
	o := &object{node: n, schema: n.schema, address: sc.address, scope: sc, values: map[string]cty.Value{}, blocks: map[string][]*object{}}
	for i := range n.schema.Attributes {
		s := &n.schema.Attributes[i]
		o.values[s.Name] = e.attribute(o, s)
	}
	for _, b := range n.schema.Blocks {
		for _, sub := range n.blocks[b.Type] {
			o.blocks[b.Type] = append(o.blocks[b.Type], e.object(sub, sc))
		}
	}
	return o
}

// value is what a reference to the object gives: every argument under its name, absent ones null, absent blocks as if empty.
func (o *object) value() cty.Value {
	m := map[string]cty.Value{"address": cty.StringVal(o.address)}
	for name, v := range o.values {
		m[name] = v
	}
	for _, b := range o.schema.Blocks {
		if !b.Repeatable && !b.Unavailable {
			m[b.Type] = o.inner(b.Type).plain()
		}
	}
	return cty.ObjectVal(m)
}

// inner is the first block of a type, or an empty one.
func (o *object) inner(typ string) *object {
	if list := o.blocks[typ]; len(list) > 0 {
		return list[0]
	}
	return &object{schema: o.schema.block(typ)}
}

// plain is the value of an inner block.
func (o *object) plain() cty.Value {
	m := map[string]cty.Value{}
	for i := range o.schema.Attributes {
		s := &o.schema.Attributes[i]
		if v, ok := o.values[s.Name]; ok {
			m[s.Name] = v
		} else {
			m[s.Name] = s.absent()
		}
	}
	for _, b := range o.schema.Blocks {
		if !b.Repeatable && !b.Unavailable {
			m[b.Type] = o.inner(b.Type).plain()
		}
	}
	return cty.ObjectVal(m)
}

// instances computes a block with for_each: one object for each element, in the order of keys.
func (e *evaluator) instances(name string, n *node) cty.Value {
	keys, values, ok := e.forEach(n)
	if !ok { // look inside anyway, so that other mistakes are found in the same run
		e.object(n, scope{each: &each{key: cty.UnknownVal(cty.String), value: cty.DynamicVal}, address: n.address})
		return cty.DynamicVal
	}
	m := map[string]cty.Value{}
	for _, key := range keys {
		o := e.object(n, scope{each: &each{key: cty.StringVal(key), value: values[key]}, address: fmt.Sprintf("%s[%q]", n.address, key)})
		e.keep(name, o)
		m[key] = o.value()
	}
	return cty.ObjectVal(m)
}

// forEach computes the elements of a for_each. ok is false when they are unknown or wrong.
func (e *evaluator) forEach(n *node) (keys []string, values map[string]cty.Value, ok bool) {
	at := place{rng: n.forEach.Expr.Range(), node: n, expr: n.forEach.Expr}
	v, ok := e.eval(n.forEach.Expr, scope{address: n.address}, &at)
	if !ok {
		return nil, nil, false
	}
	if shallowSecret(v) != nil {
		e.report.error(at, "sensitive", "for_each of a sensitive value", "Keys become part of addresses, which are shown. Use nonsensitive(…) if the value is no secret.")
		return nil, nil, false
	}
	if !v.IsKnown() {
		e.present(v, at)
		return nil, nil, false
	}
	v, _ = v.Unmark()
	t := v.Type()
	isSet := t.IsSetType()
	switch {
	case v.IsNull():
		e.report.error(at, "for_each", "for_each is null", "Give a map, an object or a set of strings; an empty one makes no instances.")
		return nil, nil, false
	case !t.IsMapType() && !t.IsObjectType() && (!isSet || t.ElementType() != cty.String && v.IsKnown() && v.LengthInt() > 0):
		e.report.error(at, "for_each", "for_each takes a map or a set of strings", fmt.Sprintf("This is %s. For a list of strings write toset(…).", article(t)))
		return nil, nil, false
	case !v.IsWhollyKnown() && isSet, !v.IsKnown():
		return nil, nil, false
	}
	values = map[string]cty.Value{}
	for it := v.ElementIterator(); it.Next(); {
		k, el := it.Element()
		if k.IsNull() || !goodKey(k.AsString()) {
			e.report.error(at, "for_each", "Bad key in for_each", "Keys become part of addresses: letters, digits and _ . @ : + -, at most 64 of them.")
			return nil, nil, false
		}
		values[k.AsString()] = el
	}
	return sortedKeys(values), values, true
}

func goodKey(key string) bool {
	if key == "" || len(key) > maxName {
		return false
	}
	return strings.IndexFunc(key, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.@:+-", r))
	}) < 0
}

// present reports what an unknown value waits for, unless the run is static. It is false for unknown values.
func (e *evaluator) present(v cty.Value, at place) bool {
	if m := missingOf(v); m != nil && !v.IsWhollyKnown() {
		if !e.config.options.Static {
			e.report.error(at, "missing_value", m.summary, m.detail)
		}
		return false
	}
	return v.IsKnown()
}

// article names a type as a sentence does.
func article(t cty.Type) string {
	name := t.FriendlyName()
	if t == cty.DynamicPseudoType {
		return "a value of any type"
	}
	if strings.ContainsRune("aeiou", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}
