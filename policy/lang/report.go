package lang

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/holdfast-io/holdfast/internal/diag"
)

// place is what a diagnostic is about.
type place struct {
	rng     hcl.Range
	node    *node // the block it stands in; nil for none
	address string
	expr    hcl.Expression   // whose names' values are shown; nil for none
	ctx     *hcl.EvalContext // that expr was evaluated in
}

// reporter collects diagnostics, each once, with the source around them.
type reporter struct {
	files map[string][]byte
	list  diag.List
	seen  map[string]bool
}

func newReporter() *reporter {
	return &reporter{files: map[string][]byte{}, seen: map[string]bool{}}
}

func (r *reporter) error(at place, code, summary, detail string) {
	r.add(diag.Error, at, code, summary, detail)
}

func (r *reporter) warn(at place, code, summary, detail string) {
	r.add(diag.Warning, at, code, summary, detail)
}

// errorHidden reports without showing the source: it holds a secret.
func (r *reporter) errorHidden(at place, code, summary, detail string) {
	files := r.files
	r.files = nil
	r.error(at, code, summary, detail)
	r.files = files
}

// scrub is the last line: whatever holds a known secret loses its source, or the secret.
func scrub(list diag.List, secrets []string) diag.List {
	for i := range list {
		d := &list[i]
		for _, s := range secrets {
			if len(s) < minSecret {
				continue
			}
			d.Summary = strings.ReplaceAll(d.Summary, s, "(sensitive value)")
			d.Detail = strings.ReplaceAll(d.Detail, s, "(sensitive value)")
			if d.Snippet != nil && holds(d.Snippet, s) {
				d.Snippet = nil
			}
		}
	}
	return list
}

func holds(s *diag.Snippet, secret string) bool {
	for _, v := range s.Values {
		if strings.Contains(v.Statement, secret) {
			return true
		}
	}
	return strings.Contains(s.Code, secret)
}

// minSecret is the shortest text that is looked for: shorter ones occur everywhere by chance.
const minSecret = 4

// take takes over what another reporter found.
func (r *reporter) take(from *reporter) {
	for _, d := range from.list {
		rng := hcl.Range{}
		if d.Range != nil {
			rng = hclRange(*d.Range)
		}
		key := findingKey(d.Severity, rng, d.Summary, d.Detail)
		if !r.seen[key] {
			r.seen[key] = true
			r.list = append(r.list, d)
		}
	}
}

func findingKey(sev diag.Severity, rng hcl.Range, summary, detail string) string {
	return fmt.Sprint(sev, rng, "\x00", summary, "\x00", detail)
}

func hclRange(r diag.Range) hcl.Range {
	return hcl.Range{
		Filename: r.Filename,
		Start:    hcl.Pos{Line: r.Start.Line, Column: r.Start.Column, Byte: r.Start.Byte},
		End:      hcl.Pos{Line: r.End.Line, Column: r.End.Column, Byte: r.End.Byte},
	}
}

// add keeps one diagnostic. The same finding in each instance of a for_each block is told once.
func (r *reporter) add(sev diag.Severity, at place, code, summary, detail string) {
	key := findingKey(sev, at.rng, summary, detail)
	if r.seen[key] {
		return
	}
	r.seen[key] = true
	d := diag.Diagnostic{Severity: sev, Code: code, Summary: summary, Detail: detail, Address: at.address}
	if at.node != nil && d.Address == "" {
		d.Address = at.node.address
	}
	if at.rng.Filename != "" {
		rng := toRange(at.rng)
		d.Range = &rng
		d.Snippet = r.snippet(at)
	}
	r.list = append(r.list, d)
}

// hcl converts what the HCL library found.
func (r *reporter) hcl(ds hcl.Diagnostics, at place) {
	for _, d := range ds {
		here := at
		if d.Subject != nil {
			here.rng = *d.Subject
		}
		if d.Expression != nil {
			here.expr, here.ctx = d.Expression, d.EvalContext
		}
		sev := diag.Error
		if d.Severity == hcl.DiagWarning {
			sev = diag.Warning
		}
		r.add(sev, here, "hcl", strings.TrimSuffix(d.Summary, "."), d.Detail)
	}
}

// sorted returns the diagnostics in reading order; those without a place come first.
func (r *reporter) sorted() diag.List {
	sort.SliceStable(r.list, func(i, j int) bool {
		a, b := r.list[i].Range, r.list[j].Range
		if a == nil || b == nil {
			return a == nil && b != nil
		}
		if a.Filename != b.Filename {
			return a.Filename < b.Filename
		}
		return a.Start.Byte < b.Start.Byte
	})
	return r.list
}

// maxSnippetLines bounds what is shown of a long range; beyond it the first line stands for all.
const maxSnippetLines = 4

// snippet cuts the lines of the range out of its file. Ranges inside JSON strings can be off; they are clamped.
func (r *reporter) snippet(at place) *diag.Snippet {
	src, ok := r.files[at.rng.Filename]
	if !ok {
		return nil
	}
	start := min(max(at.rng.Start.Byte, 0), len(src))
	end := min(max(at.rng.End.Byte, start), len(src))
	from := bytes.LastIndexByte(src[:start], '\n') + 1
	to := len(src)
	if i := bytes.IndexByte(src[end:], '\n'); i >= 0 {
		to = end + i
	}
	if end > start && src[end-1] == '\n' {
		to = end - 1
	}
	if bytes.Count(src[from:to], []byte{'\n'}) >= maxSnippetLines {
		to = from + bytes.IndexByte(src[from:], '\n')
	}
	code := strings.ToValidUTF8(strings.TrimRight(string(src[from:to]), "\r"), "?")
	s := &diag.Snippet{
		Code:           code,
		StartLine:      at.rng.Start.Line,
		HighlightStart: min(start-from, len(code)),
		HighlightEnd:   min(max(end-from, start-from), len(code)),
		Values:         values(at.expr, at.ctx),
	}
	shorten(s)
	if at.node != nil {
		s.Context = at.node.context
	}
	return s
}

// maxSnippet bounds the text of a snippet, in bytes: JSON files can be one long line.
const maxSnippet = 400

// shorten cuts a long snippet down to what stands around the highlight.
func shorten(s *diag.Snippet) {
	if len(s.Code) <= maxSnippet {
		return
	}
	from := max(0, s.HighlightStart-maxSnippet/4)
	to := min(len(s.Code), from+maxSnippet)
	for from > 0 && !utf8.RuneStart(s.Code[from]) {
		from--
	}
	for to < len(s.Code) && !utf8.RuneStart(s.Code[to]) {
		to--
	}
	s.Code = s.Code[from:to]
	s.HighlightStart -= from
	s.HighlightEnd = min(s.HighlightEnd-from, len(s.Code))
}

// values tells what the names in an expression stand for.
func values(expr hcl.Expression, ctx *hcl.EvalContext) []diag.Value {
	if expr == nil || ctx == nil {
		return nil
	}
	var out []diag.Value
	seen := map[string]bool{}
	for _, t := range expr.Variables() {
		for n := len(t); n > 0; n-- { // the longest part that has a value
			v, ds := t[:n].TraverseAbs(ctx)
			if ds.HasErrors() {
				continue
			}
			name := traversalText(t[:n])
			if statement := describe(v); statement != "" && !seen[name] {
				seen[name] = true
				out = append(out, diag.Value{Traversal: name, Statement: statement})
			}
			break
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Traversal < out[j].Traversal })
	return out
}

// describe says what a value is, never showing a sensitive one. Unknown values have nothing to say.
func describe(v cty.Value) string {
	if shallowSecret(v) != nil {
		return "is (sensitive value)"
	}
	v, _ = v.UnmarkDeep()
	switch t := v.Type(); {
	case !v.IsKnown():
		return ""
	case v.IsNull():
		return "is null"
	case t == cty.String:
		return "is " + quoteShort(v.AsString())
	case t == cty.Number:
		return "is " + v.AsBigFloat().Text('g', 20)
	case t == cty.Bool:
		return fmt.Sprintf("is %t", v.True())
	case t.IsObjectType():
		return fmt.Sprintf("is object with %s", count(len(t.AttributeTypes()), "attribute"))
	case t.IsCollectionType() || t.IsTupleType():
		return fmt.Sprintf("is %s with %s", strings.SplitN(t.FriendlyName(), " of ", 2)[0], count(v.LengthInt(), "element"))
	default:
		return "is " + t.FriendlyName()
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func quoteShort(s string) string {
	const most = 100
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// traversalText writes a traversal as a person would.
func traversalText(t hcl.Traversal) string {
	var b strings.Builder
	for _, s := range t {
		switch s := s.(type) {
		case hcl.TraverseRoot:
			b.WriteString(s.Name)
		case hcl.TraverseAttr:
			b.WriteString("." + s.Name)
		case hcl.TraverseIndex:
			k, _ := s.Key.UnmarkDeep()
			switch {
			case k.IsKnown() && !k.IsNull() && k.Type() == cty.String:
				fmt.Fprintf(&b, "[%q]", k.AsString())
			case k.IsKnown() && !k.IsNull() && k.Type() == cty.Number:
				fmt.Fprintf(&b, "[%s]", k.AsBigFloat().Text('g', 20))
			default:
				b.WriteString("[…]")
			}
		default:
			b.WriteString("[…]")
		}
	}
	return b.String()
}
