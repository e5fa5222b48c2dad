package planner

import (
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

// copyWAL plans to bring the WAL of each declared backup from the store that it writes to, to those that `copies` names: what is
// missing there and stays. Apply brings what has come in since then too. It returns the logs that the further stores will have.
func (p *planner) copyWAL(address string, judge walJudge) (copied []state.WAL) {
	b := p.in.Desired.Backups[address]
	logs := p.in.Catalog.WAL[address]
	for i := range logs {
		from := &logs[i]
		if from.Store != b.Store || !p.within(from) {
			continue
		}
		drops := judge.drops(address, from)
		for _, store := range b.Copies {
			missing := lacking(from, logIn(logs, store, from.System, p.within), drops)
			if len(missing) == 0 {
				continue
			}
			if !p.canCopy(from.Store, store) {
				p.sealedWAL(address, store, from, missing)
				continue
			}
			a := plan.Action{
				ID: actionID(plan.CopyWAL, address, store, from.System), Kind: plan.CopyWAL, Address: address, Store: store, From: from.Store,
				System: from.System, Reason: plan.ReasonWALMissing, WAL: missing, After: p.afterInitialize(store),
			}
			a.Why, a.Bytes = missingWAL(missing, store)
			p.adding[store] += a.Bytes
			p.out.Actions = append(p.out.Actions, a)
			there := withoutAll(*from, drops)
			there.Store, there.Repository = store, p.repository[store]
			copied = append(copied, there)
		}
	}
	return copied
}

func withoutAll(log state.WAL, drops []plan.Segments) state.WAL {
	for _, d := range drops {
		log = log.Without(d.Timeline, d.From, d.To)
	}
	return log
}

// sealedWAL tells of WAL that this host has no key to seal anew.
func (p *planner) sealedWAL(address, store string, from *state.WAL, missing []plan.Segments) {
	why, bytes := missingWAL(missing, store)
	d := plan.Drift{Address: address, Store: store, Reason: plan.DriftCopyMissing, Bytes: bytes}
	if r := from.Timeline(missing[0].Timeline).Holding(missing[0].From); r != nil {
		d.Since = r.Since
	}
	d.Why = "WAL waits for " + store + ", " + why + "; it has other recipients, and this host has no key to seal it anew"
	p.drifted(d)
}

func missingWAL(missing []plan.Segments, store string) (why string, bytes int64) {
	segments := int64(0)
	for _, s := range missing {
		segments += s.Count
		bytes += s.Stored
	}
	last := missing[len(missing)-1].Last
	if segments == 1 {
		return "segment " + last + " is missing in " + store, bytes
	}
	return fmt.Sprintf("%s from %s to %s are missing in %s", count(int(segments), "segment"), missing[0].First, last, store), bytes
}

// logIn finds the log of a server in a store; an empty one where nothing of it is known.
func logIn(logs []state.WAL, store, system string, reached func(*state.WAL) bool) *state.WAL {
	i := slices.IndexFunc(logs, func(l state.WAL) bool { return l.Store == store && l.System == system && reached(&l) })
	if i < 0 {
		return &state.WAL{}
	}
	return &logs[i]
}

// lacking lists what a log has and another has not, without what is about to go.
func lacking(from, to *state.WAL, drops []plan.Segments) (missing []plan.Segments) {
	for i := range from.Timelines {
		t := &from.Timelines[i]
		var there [][2]state.LSN
		if u := to.Timeline(t.ID); u != nil {
			for _, r := range u.Ranges {
				there = append(there, [2]state.LSN{r.From, r.To})
			}
		}
		for _, d := range drops {
			if d.Timeline == t.ID {
				there = append(there, [2]state.LSN{d.From, d.To})
			}
		}
		slices.SortFunc(there, func(a, b [2]state.LSN) int { return slices.Compare(a[:], b[:]) })
		for _, r := range t.Ranges {
			missing = append(missing, without(from, t.ID, r, there)...)
		}
	}
	return missing
}

// without lists the parts of a range that are in none of the spans, which are ascending.
func without(log *state.WAL, timeline uint32, r state.Range, spans [][2]state.LSN) (rest []plan.Segments) {
	at := r.From
	for _, s := range append(slices.Clone(spans), [2]state.LSN{r.To, r.To}) {
		if to := min(s[0], r.To); at < to {
			rest = append(rest, run(log, timeline, r, at, to))
		}
		at = max(at, s[1])
	}
	return rest
}

// run is a part of a range, named by the segments that hold it: the last one may not be finished yet.
func run(log *state.WAL, timeline uint32, r state.Range, from, to state.LSN) plan.Segments {
	s := segments(log, timeline, r, from, to)
	size := log.Ceil(from+1) - log.Floor(from)
	s.Count = int64((log.Ceil(to) - log.Floor(from)) / size)
	return s
}
