package planner

import (
	"strconv"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// expectRecords bounds how many records of past actions are read for expectations. A thousand runs of ten thousand backups
// are remembered; the newest few say all there is to say.
const expectRecords = 200_000

// expect fills in what actions will cost, from the newest successful action of the same kind and address.
func (p *planner) expect() {
	type subject struct {
		kind    plan.ActionKind
		address string
	}
	wanted := map[subject]int{}
	for i, a := range p.out.Actions {
		key := subject{a.Kind, a.Address}
		if _, first := wanted[key]; first {
			continue // the proof of a further copy takes its own time
		}
		if a.Kind == plan.Backup || a.Kind == plan.Verify && a.Reason != plan.ReasonRehearsal {
			wanted[key] = i
		}
	}
	read := 0
	for r := len(p.in.Catalog.Runs) - 1; r >= 0 && len(wanted) > 0 && read < expectRecords; r-- {
		actions := p.in.Catalog.Runs[r].Actions
		read += len(actions)
		for _, done := range actions {
			key := subject{plan.ActionKind(done.Kind), done.Address}
			i, ok := wanted[key]
			if !ok || done.Status != state.RunOK {
				continue
			}
			delete(wanted, key)
			p.out.Actions[i].Seconds = done.Finished.Sub(done.Started).Seconds()
			if done.Bytes > 0 {
				p.out.Actions[i].Bytes = done.Bytes
			}
		}
	}
}

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// formatAge writes an age as a person says it: 40s, 90m, 26h, 12d.
func formatAge(d time.Duration) string {
	for _, u := range []struct {
		below, unit time.Duration
		name        string
	}{{2 * time.Minute, time.Second, "s"}, {2 * time.Hour, time.Minute, "m"}, {72 * time.Hour, time.Hour, "h"}} {
		if d < u.below {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d/(24*time.Hour)), 10) + "d"
}
