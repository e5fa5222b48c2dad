package plan

import (
	"fmt"
	"strings"
)

// Totals counts what is in a plan.
type Totals struct {
	Line        string             `json:"line"` // the summary line; a public interface
	Add         int                `json:"add"`
	Change      int                `json:"change"`
	Forget      int                `json:"forget"`
	Adopt       int                `json:"adopt"`
	Actions     map[ActionKind]int `json:"actions"` // only kinds that occur
	ExpireBytes int64              `json:"expire_bytes"`
}

// kinds are all kinds of action in the order of summaries, with the word that counts them.
var kinds = []struct {
	kind      ActionKind
	one, many string
}{
	{Initialize, "initialize", "initializes"},
	{Recover, "recover", "recovers"},
	{Backup, "backup", "backups"},
	{Verify, "verify", "verifies"},
	{Expire, "expire", "expires"},
}

// NoChanges is the summary line of an empty plan.
const NoChanges = "No changes. What is declared was applied, and nothing is due."

// Summary counts changes and actions and says so in one line:
//
//	Plan: 1 to add, 1 to change, 0 to forget. Actions: 2 backups, 2 verifies, 1 expire (1.2 GiB).
func Summary(p Plan) Totals {
	t := Totals{Actions: map[ActionKind]int{}}
	for _, c := range p.Changes {
		switch c.Kind {
		case Add:
			t.Add++
		case Update:
			t.Change++
		case Forget:
			t.Forget++
		case Adopt:
			t.Adopt++
		}
	}
	for _, a := range p.Actions {
		t.Actions[a.Kind]++
		if a.Kind == Expire {
			t.ExpireBytes += a.Bytes
		}
	}
	t.Line = t.line()
	if p.Empty() {
		t.Line = NoChanges
	}
	return t
}

func (t Totals) line() string {
	line := fmt.Sprintf("Plan: %d to add, %d to change, %d to forget", t.Add, t.Change, t.Forget)
	if t.Adopt > 0 {
		line += fmt.Sprintf(", %d to adopt", t.Adopt)
	}
	var parts []string
	for _, k := range kinds {
		n := t.Actions[k.kind]
		switch {
		case n == 1:
			parts = append(parts, "1 "+k.one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, k.many))
		}
		if n > 0 && k.kind == Expire {
			parts[len(parts)-1] += " (" + FormatBytes(t.ExpireBytes) + ")"
		}
	}
	if len(parts) > 0 {
		line += ". Actions: " + strings.Join(parts, ", ")
	}
	return line + "."
}
