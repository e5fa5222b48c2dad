package cli

import (
	"fmt"
	"time"

	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// walStatus is what one store has of the write-ahead log of one server, as it was seen last.
type walStatus struct {
	Store      string         `json:"store"`
	System     string         `json:"system"`
	Windows    []plan.Stretch `json:"windows"` // inside of them every instant can be restored from this store
	Timeline   uint32         `json:"timeline,omitempty"`
	Frontier   state.LSN      `json:"frontier,omitempty"` // the first byte that is not stored
	Until      time.Time      `json:"until,omitzero"`     // what was committed by then is stored
	LagSeconds float64        `json:"lag_seconds,omitempty"`
	Gaps       []walGap       `json:"gaps,omitempty"`
	Stored     int64          `json:"stored_bytes"`
	Seen       time.Time      `json:"seen"` // when the server was last heard of
}

// walGap is WAL that is missing.
type walGap struct {
	Timeline uint32    `json:"timeline"`
	First    string    `json:"first"` // segment
	Last     string    `json:"last"`
	Since    time.Time `json:"since,omitzero"` // the last moment before it
}

// walOf tells of the logs of a backup, ordered by store and server.
func (s *session) walOf(address string, now time.Time) (all []walStatus) {
	for _, log := range s.catalog.WAL[address] {
		st := walStatus{Store: log.Store, System: log.System, Seen: log.Seen, Stored: log.Stored()}
		if st.Windows = planner.Continuous(s.catalog.Points[address], []state.WAL{log}); st.Windows == nil {
			st.Windows = []plan.Stretch{}
		}
		if timeline, end, ok := log.Frontier(); ok {
			st.Timeline, st.Frontier, st.Until = timeline, end.To, end.Until
		}
		if !st.Until.IsZero() {
			st.LagSeconds = max(0, now.Sub(st.Until).Seconds())
		}
		for _, g := range log.Gaps() {
			st.Gaps = append(st.Gaps, walGap{g.Timeline, g.First, g.Last, g.Since})
		}
		all = append(all, st)
	}
	return all
}

// walTable shows the logs of backups, where there are any.
func (s *session) walTable(addresses []string, now time.Time) {
	var rows [][]string
	for _, address := range addresses {
		for _, st := range s.walOf(address, now) {
			rows = append(rows, []string{address, st.Store, windowsText(st.Windows), lagText(st), view.Bytes(st.Stored), s.gapsText(st.Gaps)})
		}
	}
	if len(rows) > 0 {
		fmt.Fprintln(s.out)
		s.out.Table([]string{"WAL OF", "STORE", "EVERY INSTANT (UTC)", "LAG", "STORED", "MISSING"}, rows)
	}
}

// windowsText tells the newest stretch, and how many more there are.
func windowsText(windows []plan.Stretch) string {
	n := len(windows)
	if n == 0 {
		return "none"
	}
	text := view.Time(windows[n-1].From) + " to " + view.Time(windows[n-1].To)
	if n > 1 {
		text += fmt.Sprintf(", and %d earlier", n-1)
	}
	return text
}

func lagText(st walStatus) string {
	if st.Until.IsZero() {
		return "-"
	}
	return view.Duration(time.Duration(st.LagSeconds * float64(time.Second)).Round(time.Second))
}

// gapsText names the newest gap, and how many more there are.
func (s *session) gapsText(gaps []walGap) string {
	n := len(gaps)
	if n == 0 {
		return "nothing"
	}
	g := gaps[n-1]
	text := g.First
	if g.Last != g.First {
		text += " to " + g.Last
	}
	if n > 1 {
		text += fmt.Sprintf(", and %d earlier gaps", n-1)
	}
	return s.out.Red(text)
}

// newestMoment is the newest moment that a backup can be restored to from the store that it writes to, and what it is called:
// where WAL goes on from its base backups, the moment that WAL goes up to.
func (s *session) newestMoment(b policy.Backup, address string, newest state.RestorePoint) (last time.Time, what string) {
	last, what = newest.Time, "the newest restore point"
	for _, log := range s.catalog.WAL[address] {
		if !b.KeepsWAL() || log.Store != b.Store {
			continue
		}
		for _, w := range planner.Continuous(s.catalog.Points[address], []state.WAL{log}) {
			if w.To.After(last) {
				last, what = w.To, "the newest WAL"
			}
		}
	}
	return last, what
}

// brokenWAL says what keeps the newest base backup from being brought forward to the newest WAL.
func (s *session) brokenWAL(b policy.Backup, address string, newest state.RestorePoint) (missing []string) {
	for _, log := range s.catalog.WAL[address] {
		if !b.KeepsWAL() || log.Store != b.Store || newest.Base == nil || newest.Base.System != log.System {
			continue
		}
		if why, broken := log.Broken(newest.Base); broken {
			missing = append(missing, "WAL after the newest base backup is broken: "+why.What)
		}
	}
	return missing
}

// reach is the last instant that a base backup can be brought forward to, in any store; zero where there is no WAL for it.
func (s *session) reach(address string, p state.RestorePoint) (last time.Time) {
	if p.Base == nil {
		return last
	}
	for _, w := range planner.Continuous([]state.RestorePoint{p}, s.catalog.WAL[address]) {
		if w.To.After(last) {
			last = w.To
		}
	}
	return last
}
