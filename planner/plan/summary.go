package plan

import (
	"fmt"
	"strings"

	"github.com/holdfast-io/holdfast/policy"
)

// Totals counts what is in a plan.
type Totals struct {
	Line        string             `json:"line"` // the summary line; a public interface
	Add         int                `json:"add"`
	Change      int                `json:"change"`
	Forget      int                `json:"forget"`
	Adopt       int                `json:"adopt"`
	Move        int                `json:"move,omitempty"`
	Destroy     int                `json:"destroy,omitempty"`
	Actions     map[ActionKind]int `json:"actions"` // only kinds that occur
	ExpireBytes int64              `json:"expire_bytes"`
	WALBytes    int64              `json:"wal_bytes,omitempty"` // in the store, of WAL that expires
	PruneBytes  int64              `json:"prune_bytes,omitempty"`
	Drift       int                `json:"drift,omitempty"`
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
	{Copy, "copy", "copies"},
	{CopyWAL, "WAL copy", "WAL copies"},
	{Repair, "repair", "repairs"},
	{Expire, "expire", "expires"},
	{ExpireWAL, "WAL expiry", "WAL expiries"},
	{Prune, "prune", "prunes"},
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
		case Move:
			t.Move++
		case Destroy:
			t.Destroy++
		}
	}
	for _, a := range p.Actions {
		t.Actions[a.Kind]++
		switch a.Kind {
		case Expire:
			t.ExpireBytes += a.Bytes
		case ExpireWAL:
			t.WALBytes += a.Bytes
		case Prune:
			t.PruneBytes += a.Bytes
		}
	}
	t.Drift = len(p.Drift)
	t.Line = t.line()
	switch {
	case p.Empty() && t.Drift == 1:
		t.Line = "No changes, but 1 difference between the catalog and the world."
	case p.Empty() && t.Drift > 1:
		t.Line = fmt.Sprintf("No changes, but %d differences between the catalog and the world.", t.Drift)
	case p.Empty():
		t.Line = NoChanges
	}
	return t
}

func (t Totals) line() string {
	line := fmt.Sprintf("Plan: %d to add, %d to change, %d to forget", t.Add, t.Change, t.Forget)
	if t.Adopt > 0 {
		line += fmt.Sprintf(", %d to adopt", t.Adopt)
	}
	if t.Move > 0 {
		line += fmt.Sprintf(", %d to move", t.Move)
	}
	if t.Destroy > 0 {
		line += fmt.Sprintf(", %d to destroy", t.Destroy)
	}
	sums := map[ActionKind]int64{Expire: t.ExpireBytes, ExpireWAL: t.WALBytes, Prune: t.PruneBytes}
	var parts []string
	for _, k := range kinds {
		n := t.Actions[k.kind]
		switch {
		case n == 1:
			parts = append(parts, "1 "+k.one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, k.many))
		}
		if bytes, told := sums[k.kind]; n > 0 && told {
			parts[len(parts)-1] += " (" + policy.FormatBytes(bytes) + ")"
		}
	}
	if len(parts) > 0 {
		line += ". Actions: " + strings.Join(parts, ", ")
	}
	line += "."
	if t.Drift > 0 {
		line += fmt.Sprintf(" Drift: %d.", t.Drift)
	}
	return line
}
