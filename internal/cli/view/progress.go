package view

import (
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// Progress tells how actions go: one live line on a terminal, plain lines elsewhere, JSON events when asked. Its methods
// are apply.Events; they are safe for concurrent use.
type Progress struct {
	out  *Terminal // JSON events and finished actions
	err  *Terminal // the live line
	json bool
	now  func() time.Time

	mu      sync.Mutex
	started map[string]time.Time
	told    map[string]time.Time
}

const (
	liveEvery  = 200 * time.Millisecond
	plainEvery = 10 * time.Second // also between JSON events
)

// NewProgress makes a progress view. With json, events go to out as JSON lines.
func NewProgress(out, err *Terminal, json bool, now func() time.Time) *Progress {
	return &Progress{out: out, err: err, json: json, now: now, started: map[string]time.Time{}, told: map[string]time.Time{}}
}

type event struct {
	Type      string          `json:"type"`
	Time      time.Time       `json:"time"`
	ID        string          `json:"id"`
	Action    plan.ActionKind `json:"action"`
	Address   string          `json:"address"`
	Point     string          `json:"point,omitempty"`
	Status    state.RunStatus `json:"status,omitempty"`
	Bytes     int64           `json:"bytes,omitempty"`
	Stored    int64           `json:"stored_bytes,omitempty"`
	Expected  int64           `json:"expected_bytes,omitempty"`
	Rate      float64         `json:"bytes_per_second,omitempty"`
	Remaining float64         `json:"remaining_seconds,omitempty"`
	Seconds   float64         `json:"seconds,omitempty"`
	Message   string          `json:"message,omitempty"`
}

func (p *Progress) event(kind string, a plan.Action) event {
	return event{Type: kind, Time: p.now().UTC(), ID: a.ID, Action: a.Kind, Address: a.Address, Point: a.Point}
}

// subject names an action in a line.
func subject(a plan.Action) string {
	if a.Kind == plan.Backup || a.Point == "" {
		return a.Address
	}
	return a.Address + " " + a.Point
}

// ActionStarted implements apply.Events.
func (p *Progress) ActionStarted(a plan.Action) {
	p.mu.Lock()
	p.started[a.ID], p.told[a.ID] = p.now(), p.now()
	p.mu.Unlock()
	if p.json {
		p.out.JSON(p.event("action_start", a))
		return
	}
	fmt.Fprintf(p.out, "%s: %s...\n", subject(a), doing[a.Kind])
}

var doing = map[plan.ActionKind]string{
	plan.Initialize: "Initializing", plan.Recover: "Recovering", plan.Backup: "Backing up", plan.Verify: "Verifying",
	plan.Expire: "Expiring", plan.ExpireWAL: "Expiring WAL", plan.Copy: "Copying", plan.CopyWAL: "Copying WAL", plan.Repair: "Repairing", plan.Prune: "Pruning", Restoring: "Restoring",
}

// Restoring is the action kind under which a restore reports its progress; no plan holds it.
const Restoring plan.ActionKind = "restore"

// ActionProgress implements apply.Events.
func (p *Progress) ActionProgress(a plan.Action, bytes, stored, expected int64) {
	every := plainEvery
	if p.err.Live() && !p.json {
		every = liveEvery
	}
	p.mu.Lock()
	now := p.now()
	elapsed := now.Sub(p.started[a.ID])
	due := now.Sub(p.told[a.ID]) >= every
	if due {
		p.told[a.ID] = now
	}
	p.mu.Unlock()
	if !due || elapsed <= 0 {
		return
	}
	rate := float64(bytes) / elapsed.Seconds()
	var left time.Duration
	if expected > bytes && rate > 0 {
		left = time.Duration(float64(expected-bytes) / rate * float64(time.Second))
	}
	if p.json {
		e := p.event("action_progress", a)
		e.Bytes, e.Stored, e.Expected, e.Rate, e.Remaining = bytes, stored, expected, rate, left.Seconds()
		p.out.JSON(e)
		return
	}
	line := fmt.Sprintf("%s: %s, %s/s", subject(a), Bytes(bytes), Bytes(int64(rate)))
	if stored > 0 {
		line += ", " + Bytes(stored) + " stored"
	}
	if left > 0 {
		line += fmt.Sprintf(", %d %%, about %s left", bytes*100/expected, Duration(left.Round(time.Second)))
	}
	if p.err.Live() {
		p.err.Status(line)
		return
	}
	fmt.Fprintln(p.out, line)
}

// ActionNote implements apply.Events.
func (p *Progress) ActionNote(a plan.Action, note string) {
	if p.json {
		e := p.event("action_note", a)
		e.Message = note
		p.out.JSON(e)
		return
	}
	fmt.Fprintf(p.out, "%s: note: %s\n", subject(a), note)
}

// ActionFinished implements apply.Events.
func (p *Progress) ActionFinished(a plan.Action, done state.RunAction) {
	p.mu.Lock()
	took := p.now().Sub(p.started[a.ID])
	p.mu.Unlock()
	if p.json {
		e := p.event("action_complete", a)
		if done.Status == state.RunFailed || done.Status == state.RunInterrupted {
			e.Type = "action_errored"
		}
		e.Point, e.Status, e.Bytes, e.Stored, e.Seconds, e.Message = done.Point, done.Status, done.Bytes, done.Stored, took.Seconds(), done.Error
		p.out.JSON(e)
		return
	}
	p.err.Status("")
	fmt.Fprintln(p.out, p.finished(a, done, took))
}

func (p *Progress) finished(a plan.Action, done state.RunAction, took time.Duration) string {
	switch done.Status {
	case state.RunFailed:
		return fmt.Sprintf("%s: %s after %s: %s", subject(a), p.out.Red("failed"), Duration(took), done.Error)
	case state.RunInterrupted:
		return fmt.Sprintf("%s: %s after %s", subject(a), p.out.Yellow("interrupted"), Duration(took))
	case state.RunSkipped:
		return fmt.Sprintf("%s: skipped: %s", subject(a), done.Error)
	}
	line := fmt.Sprintf("%s: %s after %s", subject(a), p.out.Green(finishedWord[a.Kind]), Duration(took))
	switch a.Kind {
	case plan.Backup:
		line += fmt.Sprintf(": restore point %s, %s read, %s stored", done.Point, Bytes(done.Bytes), Bytes(done.Stored))
	case plan.Verify, plan.Repair, Restoring:
		line += ", " + Bytes(done.Bytes)
	case plan.Copy:
		line += fmt.Sprintf(" from %s to %s, %s stored and verified", a.From, a.Store, Bytes(done.Stored))
	case plan.CopyWAL:
		line += fmt.Sprintf(" from %s to %s, %s stored", a.From, a.Store, Bytes(done.Stored))
	case plan.ExpireWAL, plan.Prune:
		line += ", " + Bytes(done.Stored) + " freed"
	}
	return line
}

var finishedWord = map[plan.ActionKind]string{
	plan.Initialize: "initialized", plan.Recover: "recovered", plan.Backup: "backed up", plan.Verify: "verified",
	plan.Expire: "expired", plan.ExpireWAL: "WAL expired", plan.Copy: "copied", plan.CopyWAL: "WAL copied", plan.Repair: "repaired", plan.Prune: "pruned", Restoring: "restored",
}
