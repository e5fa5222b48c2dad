package planner

import (
	"cmp"
	"math"
	"slices"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/retention"
	"github.com/holdfast-io/holdfast/policy/schedule"
	"github.com/holdfast-io/holdfast/state"
)

// walJudge decides which WAL may go. A store keeps the WAL of a server once, whichever backups it belongs to: what any of
// them needs stays.
type walJudge struct {
	in     Input
	rules  *rules
	points func(address string) []state.RestorePoint // those that stay
	known  map[string]map[string]bool                // system → addresses of the backups with WAL or base backups of it
}

func newWalJudge(in Input, r *rules, points func(address string) []state.RestorePoint) walJudge {
	j := walJudge{in: in, rules: r, points: points, known: map[string]map[string]bool{}}
	note := func(system, address string) {
		if j.known[system] == nil {
			j.known[system] = map[string]bool{}
		}
		j.known[system][address] = true
	}
	for address, logs := range in.Catalog.WAL {
		for i := range logs {
			note(logs[i].System, address)
		}
	}
	for address, points := range in.Catalog.Points {
		for i := range points {
			if b := points[i].Base; b != nil {
				note(b.System, address)
			}
		}
	}
	return j
}

// walNeeds is what is needed of a log.
type walNeeds struct {
	from  state.LSN // everything from here on, on every timeline
	bases []*state.Base
}

// drops lists what may go of a log, on segment boundaries.
func (j walJudge) drops(address string, log *state.WAL) (drops []plan.Segments) {
	if !j.expires(address) {
		return nil
	}
	needs := walNeeds{from: math.MaxUint64}
	for other := range j.known[log.System] {
		j.needs(other, log, &needs)
	}
	for i := range log.Timelines {
		t := &log.Timelines[i]
		for _, r := range t.Ranges {
			drops = append(drops, needs.leaves(log, t.ID, r)...)
		}
	}
	return drops
}

// expires tells whether WAL of a backup ever expires: it has a retention and is not paused, or is removed.
func (j walJudge) expires(address string) bool {
	_, some, destroyed := j.keeping(address)
	return some || destroyed
}

// keeping is what retention holds for a backup. some is false when everything stays.
func (j walJudge) keeping(address string) (rule policy.Retention, some, destroyed bool) {
	b, declared := j.in.Desired.Backups[address]
	if declared {
		k := j.rules.desired(j.in.Desired, address)
		return k.retention, k.some && !paused(b), false
	}
	removed, said := removedIn(j.in.Desired, address)
	if !said {
		return rule, false, false
	}
	k := j.rules.stored(j.in.Catalog.Objects, address)
	return k.retention, k.some, removed.Destroy
}

// needs adds what one backup needs of a log.
func (j walJudge) needs(address string, log *state.WAL, needs *walNeeds) {
	rule, some, destroyed := j.keeping(address)
	points := j.points(address)
	begin := retention.Begin(rule, j.in.Now)
	filled, oldest := false, state.LSN(math.MaxUint64)
	for i := range points {
		b := points[i].Base
		if b == nil || b.System != log.System {
			continue
		}
		needs.bases = append(needs.bases, b)
		oldest, filled = min(oldest, b.Start), filled || points[i].Verified() && !points[i].Time.After(begin)
	}
	switch {
	case destroyed:
	case !some && slices.ContainsFunc(j.in.Catalog.WAL[address], func(l state.WAL) bool { return l.System == log.System }):
		needs.from = 0
	case !some:
		needs.from = min(needs.from, oldest)
	case !filled && j.goesOn(points, log):
		needs.from = 0 // no proven base backup is as old as the window yet
	default:
		for _, i := range retention.Bases(points, []state.WAL{*log}, rule, j.in.Now) {
			if b := points[i].Base; b.System == log.System {
				needs.from = min(needs.from, b.Start)
			}
		}
	}
}

// goesOn tells whether a log is that of the server that the newest base backup is of, or of one that came after it.
func (j walJudge) goesOn(points []state.RestorePoint, log *state.WAL) bool {
	newest := -1
	for i := range points {
		if points[i].Base != nil && !points[i].Incomplete && (newest < 0 || points[i].Time.After(points[newest].Time)) {
			newest = i
		}
	}
	_, end, _ := log.Frontier()
	return newest < 0 || points[newest].Base.System == log.System || end.Until.After(points[newest].Time)
}

// leaves lists what of a range is not needed.
func (n *walNeeds) leaves(log *state.WAL, timeline uint32, r state.Range) (drops []plan.Segments) {
	var kept [][2]state.LSN
	kept = append(kept, [2]state.LSN{log.Floor(n.from), math.MaxUint64})
	for _, b := range n.bases {
		if b.Timeline == timeline && !b.Carries {
			kept = append(kept, [2]state.LSN{log.Floor(b.Start), log.Ceil(b.End)})
		}
	}
	slices.SortFunc(kept, func(a, b [2]state.LSN) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	at := r.From
	for _, k := range kept {
		if k[0] > at && at < r.To {
			// A segment that is not finished is not one to delete.
			if to := min(k[0], log.Floor(r.To)); to > at {
				drops = append(drops, segments(log, timeline, r, at, to))
			}
		}
		at = max(at, k[1])
	}
	return drops
}

func segments(log *state.WAL, timeline uint32, r state.Range, from, to state.LSN) plan.Segments {
	return plan.Segments{
		Timeline: timeline, From: from, To: to, First: log.Segment(timeline, from), Last: log.Segment(timeline, to-1),
		Count: int64((to - from) / (log.Ceil(from+1) - log.Floor(from))), Stored: int64(float64(r.Stored) * float64(to-from) / float64(r.To-r.From)),
	}
}

// StillExpiresWAL returns those of the planned expiries of WAL that hold for the catalog and the moment of in, each with
// the segments that may still go: fewer than planned, never others. Apply asks it again before each deletion.
func StillExpiresWAL(in Input, planned []plan.Action) (still []plan.Action) {
	r := &rules{parsed: map[policy.Schedule]schedule.Rule{}, moved: in.Desired.Moved}
	judge := newWalJudge(in, r, func(address string) []state.RestorePoint { return in.Catalog.Points[address] })
	for _, a := range planned {
		logs := in.Catalog.WAL[a.Address]
		i := slices.IndexFunc(logs, func(l state.WAL) bool { return l.Store == a.Store && l.System == a.System })
		if a.Kind != plan.ExpireWAL || i < 0 {
			continue
		}
		if _, declared := in.Desired.Backups[a.Address]; declared && in.Catalog.Objects[a.Address].Forgotten {
			continue
		}
		log := &logs[i]
		var both []plan.Segments
		a.Bytes = 0
		for _, d := range judge.drops(a.Address, log) {
			for _, s := range a.WAL {
				if from, to := max(d.From, s.From), min(d.To, s.To); d.Timeline == s.Timeline && from < to {
					part := segments(log, d.Timeline, state.Range{From: d.From, To: d.To, Stored: d.Stored}, from, to)
					both, a.Bytes = append(both, part), a.Bytes+part.Stored
				}
			}
		}
		if a.WAL = both; len(both) > 0 {
			still = append(still, a)
		}
	}
	return still
}
