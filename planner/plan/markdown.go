package plan

import (
	"fmt"
	"strings"
)

// MarkdownLimit is the greatest length of Markdown's result in bytes, below what code hosts allow in a comment.
const MarkdownLimit = 60_000

// markdownReserve is kept free for the notes and the footer that must always fit.
const markdownReserve = 2_000

// NotApprovable is in every Markdown form that had to leave something out.
const NotApprovable = "Truncated: not approvable. Read the whole plan with `holdfast plan`."

// Markdown is the form for a pull request: verdict, what is taken away, changes, the other actions for each backup,
// windows, warnings, fingerprint. It never exceeds MarkdownLimit; what does not fit is counted and the plan marked
// NotApprovable.
func Markdown(p Plan) string {
	m := &markdown{}
	m.add("<!-- holdfast:plan -->\n### holdfast: " + escape(Summary(p).Line) + "\n")
	m.notes("more blocks", len(p.Blocks), func(i int) string {
		b := p.Blocks[i]
		return "**Blocked by " + escape(string(b.Guard)) + "**: " + escape(b.Address) + ": " + escape(b.Why)
	})
	var destructive, changes, actions []row
	for _, r := range rows(p) {
		switch r.symbol {
		case "x", ".":
			destructive = append(destructive, r)
		case ">":
			actions = append(actions, r)
		default:
			changes = append(changes, r)
		}
	}
	m.rows("Takes away", destructive, false)
	m.rows("Changes", changes, false)
	m.rows("Actions", actions, true)
	m.windows(p)
	m.drift(p)
	failed := unblocked(p)
	m.notes("more house rules", len(failed), func(i int) string {
		c := failed[i]
		return "Check " + escape(c.Address) + " (" + escape(c.Severity) + "): " + escape(c.Message)
	})
	m.notes("more warnings", len(p.Diagnostics), func(i int) string {
		d := p.Diagnostics[i]
		return "Warning: " + escape(strings.TrimSpace(d.Address+" "+d.Summary)) + ". " + escape(d.Detail)
	})
	if m.truncated {
		m.add("\n**" + NotApprovable + "**\n")
	}
	m.add(fmt.Sprintf("\n---\nFingerprint `%s`, catalog serial %d, planned for %s\n", p.Fingerprint, p.Serial, p.Now.UTC().Format("2006-01-02 15:04:05 UTC")))
	return m.String()
}

// markdown grows up to the limit and remembers whether something was left out.
type markdown struct {
	strings.Builder
	truncated bool
}

func (m *markdown) add(text string) { m.WriteString(text) }

func (m *markdown) fits(text string) bool { return m.Len()+len(text) <= MarkdownLimit-markdownReserve }

func (m *markdown) cut(what string) {
	m.truncated = true
	m.add("\nand " + what + "\n")
}

// notes writes n quoted paragraphs.
func (m *markdown) notes(what string, n int, text func(i int) string) {
	for i := range n {
		note := "\n> " + text(i) + "\n"
		if !m.fits(note) {
			m.cut(fmt.Sprintf("%d %s", n-i, what))
			return
		}
		m.add(note)
	}
}

// rows writes a block of lines as a diff, whose colours code hosts know: the symbol stands in the first column. Folded
// rows are grouped by address.
func (m *markdown) rows(title string, rows []row, folded bool) {
	if len(rows) == 0 {
		return
	}
	m.add(fmt.Sprintf("\n#### %s (%d)\n", title, len(rows)))
	for i := 0; i < len(rows); {
		n := len(rows)
		if folded {
			n = i + 1
			for n < len(rows) && rows[n].address == rows[i].address {
				n++
			}
		}
		written := m.group(rows[i:n], folded)
		i += written
		if i < n {
			m.cut(fmt.Sprintf("%d more of %d under %q", len(rows)-i, len(rows), title))
			return
		}
	}
}

// group writes rows until the limit and returns how many it wrote.
func (m *markdown) group(rows []row, folded bool) int {
	open, end := "\n```diff\n", "```\n"
	if folded {
		open = "\n<details><summary>" + escape(rows[0].address) + "</summary>\n" + open
		end += "\n</details>\n"
	}
	written := 0
	for i, r := range rows {
		line := diffSymbol(r.symbol) + " " + fenced(joinWords(r.address, r.point, r.verb, r.why, r.bytes))
		for _, d := range r.details {
			line += "    " + fenced(d)
		}
		if i == 0 {
			line = open + line
		}
		if !m.fits(line + end) {
			break
		}
		m.add(line)
		written++
	}
	if written > 0 {
		m.add(end)
	}
	return written
}

// diffSymbol maps a plan's symbol to what code hosts colour.
func diffSymbol(symbol string) string {
	switch symbol {
	case "x", ".":
		return "-"
	case "~":
		return "!"
	case ">":
		return "#"
	default:
		return symbol
	}
}

func (m *markdown) windows(p Plan) {
	var lines []string
	for _, w := range p.Windows {
		if w.Lost {
			lines = append(lines, "- "+escape(w.Address)+": "+w.Before.String()+" becomes "+w.After.String()+"; loses "+w.lost()+"\n")
		}
	}
	if len(lines) == 0 {
		return
	}
	m.add("\n#### Can no longer be restored\n\n")
	for i, line := range lines {
		if !m.fits(line) {
			m.cut(fmt.Sprintf("%d more windows", len(lines)-i))
			return
		}
		m.add(line)
	}
}

// drift lists what the text form lists. Nobody approves drift: leaving some out does not make the plan unapprovable.
func (m *markdown) drift(p Plan) {
	if len(p.Drift) == 0 {
		return
	}
	m.add(fmt.Sprintf("\n#### Where the world differs (%d)\n\n", len(p.Drift)))
	lines := driftLines(p)
	for i, line := range lines {
		line = "- " + escape(strings.TrimPrefix(line, "! ")) + "\n"
		if !m.fits(line) {
			m.add(fmt.Sprintf("\nand %d more lines\n", len(lines)-i))
			return
		}
		m.add(line)
	}
}

func joinWords(words ...string) string {
	var some []string
	for _, w := range words {
		if w != "" {
			some = append(some, w)
		}
	}
	return strings.Join(some, "  ")
}

// fenced makes one line of a code block, which it cannot end.
func fenced(s string) string { return strings.ReplaceAll(clean(s), "`", "'") + "\n" }

// escaper keeps text from being read as Markdown, HTML or a mention.
var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "`", "'", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "|", "\\|", "#", "\\#", "@", "&#64;")

func escape(s string) string { return escaper.Replace(clean(s)) }
