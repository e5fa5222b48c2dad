// Package view renders: plans, diagnostics, tables, progress; for people and as JSON.
//
// It decides nothing. Everything that is printed passes the redactor, because a Terminal writes through it.
package view

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// Terminal is an output stream that knows whether a person looks at it. Safe for concurrent use; one Write is one piece.
type Terminal struct {
	mu     sync.Mutex
	w      io.Writer
	raw    io.Writer
	color  bool
	live   bool // a person watches: progress may be redrawn
	status string
}

// NewTerminal makes a stream that writes to w; raw tells whether it is a terminal, env whether colours are welcome
// (NO_COLOR, FORCE_COLOR, TERM=dumb).
func NewTerminal(raw, w io.Writer, env func(string) string) *Terminal {
	t := &Terminal{w: w, raw: raw}
	if f, ok := raw.(*os.File); ok {
		t.live = term.IsTerminal(int(f.Fd())) && env("TERM") != "dumb"
	}
	t.color = (t.live || env("FORCE_COLOR") != "") && env("NO_COLOR") == ""
	return t
}

// Plain turns colours off.
func (t *Terminal) Plain() { t.color = false }

// Live tells whether a person watches.
func (t *Terminal) Live() bool { return t.live }

// Write prints above the status line, if there is one.
func (t *Terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.status == "" {
		return t.w.Write(p)
	}
	if _, err := io.WriteString(t.w, "\r\x1b[K"); err != nil {
		return 0, err
	}
	n, err := t.w.Write(p)
	if err == nil {
		_, err = io.WriteString(t.w, t.status)
	}
	return n, err
}

// Status replaces the last line of a live terminal; elsewhere it does nothing. An empty line removes it.
func (t *Terminal) Status(line string) {
	if !t.live {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if f, ok := t.raw.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && len([]rune(line)) >= width {
			line = string([]rune(line)[:max(width-1, 0)])
		}
	}
	t.status = line
	fmt.Fprint(t.w, "\r\x1b[K"+line)
}

// JSON prints one value on one line.
func (t *Terminal) JSON(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		data = fmt.Appendf(nil, `{"type":"error","message":%q}`, err.Error())
	}
	t.Write(append(data, '\n'))
}

// Document prints one JSON document for people and programs.
func (t *Terminal) Document(v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = t.Write(append(data, '\n'))
	}
	return err
}

// List prints a document that holds one list, item after item, so that its length does not matter to memory.
func List[T any](t *Terminal, name string, items iter.Seq[T]) error {
	const flushAt = 1 << 20
	out := fmt.Appendf(nil, "{\n  \"format_version\": \"1.0\",\n  %q: [", name)
	separator := "\n    "
	for item := range items {
		data, err := json.MarshalIndent(item, "    ", "  ")
		if err != nil {
			return err
		}
		out = append(append(out, separator...), data...)
		separator = ",\n    "
		if len(out) >= flushAt {
			if _, err := t.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
	if separator[0] == ',' {
		out = append(out, "\n  "...)
	}
	_, err := t.Write(append(out, "]\n}\n"...))
	return err
}

// Error prints an error in the one shape that errors have.
func (t *Terminal) Error(message string) {
	fmt.Fprintf(t, "%s %s\n", t.Red(t.Bold("Error:")), message)
}

// Warning prints a warning.
func (t *Terminal) Warning(message string) {
	fmt.Fprintf(t, "%s %s\n", t.Yellow(t.Bold("Warning:")), message)
}

func (t *Terminal) paint(code, s string) string {
	if !t.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// Bold, Red, Green, Yellow, Cyan, Grey and Underline paint text where colours are welcome.
func (t *Terminal) Bold(s string) string      { return t.paint("1", s) }
func (t *Terminal) Red(s string) string       { return t.paint("31", s) }
func (t *Terminal) Green(s string) string     { return t.paint("32", s) }
func (t *Terminal) Yellow(s string) string    { return t.paint("33", s) }
func (t *Terminal) Cyan(s string) string      { return t.paint("36", s) }
func (t *Terminal) Grey(s string) string      { return t.paint("90", s) }
func (t *Terminal) Underline(s string) string { return t.paint("4", s) }

// Symbols paints each line of a plan by the symbol it begins with.
func (t *Terminal) Symbols(text string) string {
	if !t.color {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		symbol := strings.TrimLeft(l, " ")
		if len(symbol) < 2 || symbol[1] != ' ' {
			if strings.HasPrefix(l, "Plan:") || strings.HasPrefix(l, "No changes") {
				lines[i] = t.Bold(l)
			}
			continue
		}
		at := len(l) - len(symbol)
		paint := map[byte]func(string) string{'+': t.Green, '~': t.Yellow, 'x': t.Red, '-': t.Red, '.': t.Red, '>': t.Cyan, '!': t.Red}[symbol[0]]
		if paint != nil {
			lines[i] = l[:at] + paint(symbol[:1]) + symbol[1:]
		}
	}
	return strings.Join(lines, "\n")
}
