package view

import (
	"fmt"
	"strings"

	"github.com/holdfast-io/holdfast/internal/diag"
)

// Diagnostics prints each finding with the source it is about.
func (t *Terminal) Diagnostics(list diag.List) {
	for _, d := range list {
		fmt.Fprint(t, t.diagnostic(d))
	}
}

func (t *Terminal) diagnostic(d diag.Diagnostic) string {
	var b strings.Builder
	paint, word := t.Red, "Error:"
	if d.Severity == diag.Warning {
		paint, word = t.Yellow, "Warning:"
	}
	line := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		if t.color {
			b.WriteString(paint("│") + " ")
		}
		b.WriteString(text + "\n")
	}
	if t.color {
		b.WriteString(paint("╷") + "\n")
	}
	line("%s %s", paint(t.Bold(word)), t.Bold(d.Summary))
	if d.Range != nil {
		line("")
		where := fmt.Sprintf("  on %s line %d", d.Range.Filename, d.Range.Start.Line)
		if d.Snippet != nil && d.Snippet.Context != "" {
			where += ", in " + d.Snippet.Context
		}
		line("%s:", where)
		if d.Snippet != nil {
			t.snippet(line, d.Snippet)
		}
	} else if d.Address != "" {
		line("")
		line("  with %s", d.Address)
	}
	if d.Detail != "" {
		line("")
		for l := range strings.SplitSeq(d.Detail, "\n") {
			line("%s", l)
		}
	}
	if t.color {
		b.WriteString(paint("╵") + "\n")
	} else {
		b.WriteString("\n")
	}
	return b.String()
}

func (t *Terminal) snippet(line func(string, ...any), s *diag.Snippet) {
	code := s.Code
	if from, to := s.HighlightStart, s.HighlightEnd; t.color && 0 <= from && from < to && to <= len(code) {
		code = code[:from] + t.Underline(code[from:to]) + code[to:]
	}
	for i, l := range strings.Split(code, "\n") {
		line("%4d: %s", s.StartLine+i, l)
	}
	if len(s.Values) > 0 {
		line("    ├────────────────")
		for _, v := range s.Values {
			line("    │ %s %s", v.Traversal, v.Statement)
		}
	}
}
