package view

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/diag"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// capture is a terminal whose output can be looked at.
func capture(env map[string]string) (*Terminal, *bytes.Buffer) {
	var b bytes.Buffer
	return NewTerminal(&b, &b, func(k string) string { return env[k] }), &b
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 5 << 30: "5.0 GiB", 1 << 62: "4.0 EiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1234 * time.Millisecond: "1.2s", 90 * time.Second: "1m30s", 2 * time.Minute: "2m", 5*time.Hour + 20*time.Minute: "5h20m",
		5 * time.Hour: "5h", 49 * time.Hour: "2d1h", 48 * time.Hour: "2d", -time.Hour: "1h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestTableAlignsPaintedCells(t *testing.T) {
	out, b := capture(map[string]string{"FORCE_COLOR": "1"})
	out.Table([]string{"A", "B"}, [][]string{{out.Green("ok"), "x"}, {"failed", "y"}})
	var columns []int
	for line := range strings.SplitSeq(strings.TrimSpace(b.String()), "\n") {
		plain := stripEscapes(line)
		columns = append(columns, strings.LastIndexAny(plain, "Bxy"))
	}
	if diff := cmp.Diff([]int{8, 8, 8}, columns); diff != "" {
		t.Errorf("second column (-want +got):\n%s\n%s", diff, b.String())
	}
}

func stripEscapes(s string) string {
	for {
		i := strings.Index(s, "\x1b[")
		if i < 0 {
			return s
		}
		s = s[:i] + s[i+strings.IndexByte(s[i:], 'm')+1:]
	}
}

func TestNoColor(t *testing.T) {
	for name, tc := range map[string]struct {
		env  map[string]string
		want bool
	}{
		"a pipe":        {nil, false},
		"forced":        {map[string]string{"FORCE_COLOR": "1"}, true},
		"NO_COLOR wins": {map[string]string{"FORCE_COLOR": "1", "NO_COLOR": "1"}, false},
	} {
		out, b := capture(tc.env)
		out.Error("x")
		if got := strings.Contains(b.String(), "\x1b["); got != tc.want {
			t.Errorf("%s: painted %v, want %v", name, got, tc.want)
		}
	}
}

func TestSymbolsPaintOnlySymbols(t *testing.T) {
	out, _ := capture(map[string]string{"FORCE_COLOR": "1"})
	text := "  x backup.a  expire\n  + store.b\nnothing here\nPlan: 1 to add"
	got := out.Symbols(text)
	if stripEscapes(got) != text {
		t.Errorf("the text changed: %q", got)
	}
	for _, want := range []string{out.Red("x"), out.Green("+"), out.Bold("Plan: 1 to add")} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
}

func TestDiagnostic(t *testing.T) {
	out, b := capture(nil)
	out.Diagnostics(diag.List{{
		Severity: diag.Error, Summary: "Unknown argument dayly", Detail: "Did you mean daily?",
		Range:   &diag.Range{Filename: "main.hf.hcl", Start: diag.Pos{Line: 6}},
		Snippet: &diag.Snippet{Context: `retention "r"`, Code: "  dayly = var.n", StartLine: 6, HighlightStart: 2, HighlightEnd: 7, Values: []diag.Value{{Traversal: "var.n", Statement: "is 9"}}},
	}})
	want := `Error: Unknown argument dayly

  on main.hf.hcl line 6, in retention "r":
   6:   dayly = var.n
    ├────────────────
    │ var.n is 9

Did you mean daily?

`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("diagnostic (-want +got):\n%s", diff)
	}
}

// Progress is plain lines at a slow pace where nobody watches, and JSON events when asked for.
func TestProgress(t *testing.T) {
	now := time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	a := plan.Action{ID: "back up backup.a", Kind: plan.Backup, Address: "backup.a", Point: "p1"}
	work := func(p *Progress) {
		p.ActionStarted(a)
		now = now.Add(time.Second)
		p.ActionProgress(a, 1<<20, 0, 100<<20) // too early to be told
		now = now.Add(9 * time.Second)
		p.ActionProgress(a, 50<<20, 10<<20, 100<<20)
		p.ActionNote(a, "a file changed")
		now = now.Add(10 * time.Second)
		p.ActionFinished(a, state.RunAction{Status: state.RunOK, Point: "p1", Bytes: 100 << 20, Stored: 20 << 20})
	}
	out, b := capture(nil)
	work(NewProgress(out, out, false, clock))
	want := `backup.a: Backing up...
backup.a: 50.0 MiB, 5.0 MiB/s, 10.0 MiB stored, 50 %, about 10s left
backup.a: note: a file changed
backup.a: backed up after 20s: restore point p1, 100.0 MiB read, 20.0 MiB stored
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("plain (-want +got):\n%s", diff)
	}
	out, b = capture(nil)
	work(NewProgress(out, out, true, clock))
	var kinds []string
	for line := range strings.SplitSeq(strings.TrimSpace(b.String()), "\n") {
		kinds = append(kinds, line[len(`{"type":"`):strings.Index(line, `",`)])
	}
	if diff := cmp.Diff([]string{"action_start", "action_progress", "action_note", "action_complete"}, kinds); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A list is the same document whether it is made at once or item by item.
func TestList(t *testing.T) {
	for _, items := range [][]map[string]int{{}, {{"a": 1}}, {{"a": 1}, {"a": 2, "b": 3}}} {
		out, streamed := capture(nil)
		if err := List(out, "points", slices.Values(items)); err != nil {
			t.Fatal(err)
		}
		out, whole := capture(nil)
		if err := out.Document(map[string]any{"format_version": "1.0", "points": items}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(whole.String(), streamed.String()); diff != "" {
			t.Errorf("%d items (-whole +streamed):\n%s", len(items), diff)
		}
	}
}
