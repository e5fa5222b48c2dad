package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-io/holdfast/policy"
)

// textWindows is how many windows Text lists; those that lose something are listed always.
const textWindows = 20

// whyColumn is the width to which sentences are padded, so that sizes stand below each other.
const whyColumn = 46

// Text is the human form without colours: destructive lines first and never left out, then changes, then the other
// actions, then windows, guards and the summary line. Diagnostics are not in it: views show them with their snippets.
func Text(p Plan) string {
	var b strings.Builder
	if !p.Empty() {
		fmt.Fprintf(&b, "holdfast will perform these actions (catalog serial %d, %s)\n\n", p.Serial, p.Now.UTC().Format("2006-01-02 15:04:05 UTC"))
		writeRows(&b, rows(p))
		b.WriteString("\n")
	}
	writeWindows(&b, p)
	writeDrift(&b, p)
	writeChecks(&b, p)
	for _, block := range p.Blocks {
		fmt.Fprintf(&b, "! %s is blocked by %s: %s\n", clean(block.Address), clean(string(block.Guard)), clean(block.Why))
	}
	if len(p.Blocks) > 0 {
		b.WriteString("\n")
	}
	b.WriteString(Summary(p).Line + "\n")
	if !p.Empty() {
		b.WriteString("Fingerprint: " + p.Fingerprint + "\n")
	}
	return b.String()
}

// row is one line of the table.
type row struct {
	symbol, address, point, verb, why, bytes string
	details                                  []string
}

func rows(p Plan) []row {
	var destructive, changes, actions []row
	for _, a := range p.Actions {
		r := row{symbol: ">", address: a.Address, point: a.Point, verb: string(a.Kind), why: a.Why}
		if a.Kind == Copy || a.Kind == CopyWAL || a.Kind == Repair || a.Kind == ExpireWAL {
			r.verb += " in " + a.Store
		}
		if a.Bytes > 0 {
			r.bytes = policy.FormatBytes(a.Bytes)
		}
		switch {
		case a.Kind.Destructive():
			r.symbol = "x"
			destructive = append(destructive, r)
		case a.Kind == Initialize:
			r.symbol = "+"
			actions = append(actions, r)
		default:
			actions = append(actions, r)
		}
	}
	for _, c := range p.Changes {
		r := row{symbol: "+", address: c.Address, verb: string(c.Kind), why: c.Why}
		switch c.Kind {
		case Forget:
			r.symbol = "."
			destructive = append(destructive, r)
			continue
		case Destroy:
			r.symbol = "x"
			if c.Bytes > 0 {
				r.bytes = policy.FormatBytes(c.Bytes)
			}
			destructive = append(destructive, r)
			continue
		case Move:
			r.symbol = "~"
			changes = append(changes, r)
			continue
		case Update:
			r.symbol = "~"
		}
		if len(c.Attributes) == 1 && c.Kind != Add {
			r.why = c.Attributes[0].String()
			if c.Points > 0 || c.Kind == Update && c.Why != WhyEdited {
				r.why += ": " + c.Why
			}
		} else if c.Kind != Add {
			for _, a := range c.Attributes {
				r.details = append(r.details, a.String())
			}
		}
		r.details = append(r.details, lossLines(c.Lost)...)
		changes = append(changes, r)
	}
	return slices.Concat(destructive, changes, actions)
}

// textLosses is how many spans that a change makes unrestorable are listed with it.
const textLosses = 10

func lossLines(lost []Loss) (lines []string) {
	for i, l := range lost {
		if i == textLosses && len(lost) > textLosses+1 {
			return append(lines, fmt.Sprintf("no longer restorable: %d more spans", len(lost)-i))
		}
		lines = append(lines, "no longer restorable: "+l.Address+" "+Span{From: l.From, To: l.To, Points: l.Points}.String())
	}
	return lines
}

func writeRows(b *strings.Builder, rows []row) {
	var address, point, verb int
	for _, r := range rows {
		address, point, verb = max(address, width(r.address)), max(point, width(r.point)), max(verb, width(r.verb))
	}
	for _, r := range rows {
		line := "  " + r.symbol + " " + pad(r.address, address) + "  "
		if point > 0 {
			line += pad(r.point, point) + "  "
		}
		line += pad(r.verb, verb) + "  "
		if r.bytes == "" {
			line += clean(r.why)
		} else {
			line += pad(r.why, whyColumn) + "  " + r.bytes
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		for _, d := range r.details {
			b.WriteString("      " + clean(d) + "\n")
		}
	}
}

func writeWindows(b *strings.Builder, p Plan) {
	var lines []string
	left, address := 0, 0
	for _, w := range p.Windows {
		if !w.Before.equal(w.After) {
			address = max(address, width(w.Address))
		}
	}
	for _, w := range p.Windows {
		if w.Before.equal(w.After) {
			continue
		}
		if !w.Lost && len(lines) >= textWindows {
			left++
			continue
		}
		line := "  " + pad(w.Address, address) + "  " + w.Before.String() + " -> " + w.After.String()
		if w.Lost {
			line += "; loses " + w.lost()
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return
	}
	b.WriteString("What can be restored, before and after:\n\n" + strings.Join(lines, "\n") + "\n")
	if left > 0 {
		fmt.Fprintf(b, "  and %d more backups that lose nothing\n", left)
	}
	b.WriteString("\n")
}

// textDrift is how many lines of drift Text and Markdown list for each reason.
const textDrift = 10

func writeDrift(b *strings.Builder, p Plan) {
	if len(p.Drift) == 0 {
		return
	}
	b.WriteString("Where the world differs:\n\n")
	for _, line := range driftLines(p) {
		b.WriteString("  " + line + "\n")
	}
	b.WriteString("\n")
}

// driftLines are those that nothing mends first: they wait for a person.
func driftLines(p Plan) (lines []string) {
	listed := map[Reason]int{}
	var mended, more []string
	for _, d := range p.Drift {
		if listed[d.Reason]++; listed[d.Reason] > textDrift {
			continue
		}
		line := "! " + clean(joinWords(d.Address, d.Point, string(d.Reason), d.Object)) + "  " + clean(d.Why)
		if d.Bytes > 0 {
			line += " (" + policy.FormatBytes(d.Bytes) + ")"
		}
		if d.Fixed {
			mended = append(mended, line+"; apply mends it")
		} else {
			lines = append(lines, line)
		}
	}
	for _, d := range p.Drift {
		if n := listed[d.Reason] - textDrift; n > 0 {
			more = append(more, fmt.Sprintf("and %d more of %s", n, d.Reason))
			listed[d.Reason] = 0
		}
	}
	return slices.Concat(lines, mended, more)
}

func writeChecks(b *strings.Builder, p Plan) {
	failed := unblocked(p)
	for _, c := range failed {
		fmt.Fprintf(b, "! %s (%s): %s\n", clean(c.Address), clean(c.Severity), clean(c.Message))
	}
	if len(failed) > 0 {
		b.WriteString("\n")
	}
}

// unblocked are the house rules that do not hold, without those that block the plan: they are told with the blocks.
func unblocked(p Plan) []Check {
	return slices.DeleteFunc(slices.Clone(p.Checks), func(c Check) bool {
		return c.Status == "pass" || slices.ContainsFunc(p.Blocks, func(b Block) bool { return b.Guard == GuardCheck && b.Address == c.Address })
	})
}

// lost names the ends that the plan cuts off.
func (w Window) lost() string {
	switch {
	case w.After.Points == 0:
		return "everything"
	case w.After.From.After(w.Before.From):
		return formatRange(w.Before.From, w.After.From)
	case w.After.To.Before(w.Before.To):
		return formatRange(w.After.To, w.Before.To)
	}
	var gone []string
	for _, s := range w.Before.Without(w.After.Continuous) {
		gone = append(gone, s.String())
	}
	return "every instant from " + strings.Join(gone, ", ")
}

// String writes the span in UTC, to the minute, or to the second where both ends lie in one minute.
func (s Span) String() string {
	switch {
	case s.Points == 0:
		return "nothing"
	case s.Points == 1 && len(s.Continuous) == 0:
		return formatMoment(s.From) + " (1 point)"
	}
	text := fmt.Sprintf("%s (%d points", formatRange(s.From, s.To), s.Points)
	if s.Points == 1 {
		text = formatRange(s.From, s.To) + " (1 point"
	}
	for i, c := range s.Continuous {
		switch i {
		case 0:
			text += ", every instant " + c.String()
		case textStretches:
			return text + fmt.Sprintf(" and %d more stretches)", len(s.Continuous)-i)
		default:
			text += ", " + c.String()
		}
	}
	return text + ")"
}

// textStretches is how many stretches of one span are told.
const textStretches = 3

// String writes both ends as spans do.
func (s Stretch) String() string { return formatRange(s.From, s.To) }

func (s Span) equal(o Span) bool {
	return s.From.Equal(o.From) && s.To.Equal(o.To) && s.Points == o.Points && slices.Equal(s.Continuous, o.Continuous)
}

// Without returns what is in the stretches of s and not in those that are kept.
func (s Span) Without(kept []Stretch) (rest []Stretch) {
	for _, c := range s.Continuous {
		from := c.From
		for _, d := range kept {
			if d.To.Before(from) || d.From.After(c.To) {
				continue
			}
			if from.Before(d.From) {
				rest = append(rest, Stretch{from, d.From})
			}
			from = d.To
		}
		if from.Before(c.To) {
			rest = append(rest, Stretch{from, c.To})
		}
	}
	return rest
}

func formatMoment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

func formatRange(from, to time.Time) string {
	a, b := formatMoment(from), formatMoment(to)
	if a == b {
		a, b = from.UTC().Format(time.DateTime), to.UTC().Format(time.DateTime)
	}
	return a + " to " + b
}

// String writes the attribute as "daily 14 -> 7". A secret shows the expression that was written.
func (a Attribute) String() string {
	return a.Path + " " + attributeValue(a.Before) + " -> " + attributeValue(a.After)
}

func attributeValue(text string) string {
	if text == "" {
		return "(none)"
	}
	if ref, ok := strings.CutPrefix(text, `{"sensitive":`); ok {
		return strings.TrimSuffix(ref, "}") + " (sensitive)"
	}
	return text
}

// clean makes catalog and policy text safe for a terminal: control characters, which could hide or fake lines, become
// question marks.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r) {
			return '?'
		}
		return r
	}, s)
}

func width(s string) int { return utf8.RuneCountInString(s) }

func pad(s string, n int) string {
	s = clean(s)
	return s + strings.Repeat(" ", max(0, n-width(s)))
}
