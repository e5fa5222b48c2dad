package planner_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// server is a PostgreSQL server as the tests imagine it: it fills a segment in every sixteen minutes, and each promotion begins
// another timeline.
type server struct {
	system   string
	began    time.Time
	switches []time.Time // promotions, ascending; timeline 1 is before the first
}

const (
	segment   = state.LSN(16 << 20)
	perMinute = segment / 16
)

func (s server) lsn(t time.Time) state.LSN {
	return segment + state.LSN(t.Sub(s.began)/time.Minute)*perMinute
}

func (s server) time(l state.LSN) time.Time {
	return s.began.Add(time.Duration((l-segment)/perMinute) * time.Minute)
}

// timeline that the server is on.
func (s server) timeline(t time.Time) uint32 {
	id := uint32(1)
	for _, at := range s.switches {
		if !t.Before(at) {
			id++
		}
	}
	return id
}

// log is what a store has of the server's WAL up to a moment, without the lost segments.
func (s server) log(store string, until time.Time, lost func(timeline uint32, n state.LSN) bool) state.WAL {
	w := state.WAL{Store: store, Repository: "r1", System: s.system, SegmentSize: int64(segment), Seen: until}
	for i := range len(s.switches) + 1 {
		from, to := s.began, until
		t := state.Timeline{ID: uint32(i + 1), Parent: uint32(i)}
		if i > 0 {
			from, t.Switch = s.switches[i-1], s.lsn(s.switches[i-1])
		}
		if i < len(s.switches) {
			to = s.switches[i]
		}
		end := s.lsn(to)
		for at := w.Floor(s.lsn(from)); at < end; at += segment {
			next := min(at+segment, end)
			if lost(t.ID, at/segment) {
				continue
			}
			r := state.Range{From: at, To: next, Since: s.time(at), Until: s.time(next), Stored: int64(next - at)}
			if n := len(t.Ranges); n > 0 && t.Ranges[n-1].To == at {
				t.Ranges[n-1].To, t.Ranges[n-1].Until = r.To, r.Until
				t.Ranges[n-1].Stored += r.Stored
				continue
			}
			t.Ranges = append(t.Ranges, r)
		}
		w.Timelines = append(w.Timelines, t)
	}
	return w
}

func (s server) base(at time.Time, took time.Duration) *state.Base {
	return &state.Base{System: s.system, Timeline: s.timeline(at), Start: s.lsn(at.Add(-took)), End: s.lsn(at)}
}

// restorable is told segment by segment, without the ranges' times and without the code that is tested.
func (s server) restorable(points []state.RestorePoint, logs []state.WAL, store string, t time.Time) bool {
	for _, log := range logs {
		if log.Store != store || log.System != s.system {
			continue
		}
		for _, p := range points {
			if _, there := p.In(store); there && p.Base != nil && p.Base.System == s.system && !p.Incomplete && !p.Time.After(t) && s.unbroken(log, p.Base, t) {
				return true
			}
		}
	}
	return false
}

// unbroken looks for every segment from a base to a moment.
func (s server) unbroken(log state.WAL, b *state.Base, t time.Time) bool {
	for tl := b.Timeline; tl <= s.timeline(t); tl++ {
		from, to := b.Start, s.lsn(t)
		if tl > b.Timeline {
			from = s.lsn(s.switches[tl-2])
		}
		if tl < s.timeline(t) {
			to = log.Floor(s.lsn(s.switches[tl-1])) // the rest is in the first segment of the next timeline
			if tl == b.Timeline {
				to = max(to, b.End)
			}
		}
		for at := log.Floor(from); at < to; at += segment {
			if !slices.ContainsFunc(log.Timeline(tl).Ranges, func(r state.Range) bool { return r.From <= at && min(at+segment, to) <= r.To }) {
				return false
			}
		}
	}
	return true
}

// pitrSet declares one backup with WAL, and one more store.
func pitrSet() policy.Set {
	return policy.Set{
		Stores: map[string]policy.Store{
			"store.primary": {Address: "store.primary", URL: "file:///backups", Encryption: policy.Encryption{Recipients: []string{"age1"}}},
			"store.offsite": {Address: "store.offsite", URL: "file:///offsite", Encryption: policy.Encryption{Recipients: []string{"age1"}}},
		},
		Sources: map[string]policy.Source{
			"source.postgres.app": {Address: "source.postgres.app", Kind: policy.KindPostgres, Postgres: &policy.PostgresSource{Host: "db"}},
		},
		Retentions: map[string]policy.Retention{"retention.standard": {Address: "retention.standard", Last: 1, Continuous: 3 * 24 * hour}},
		Backups: map[string]policy.Backup{"backup.pitr": {
			Address: "backup.pitr", Source: "source.postgres.app", Store: "store.primary", Retention: "retention.standard",
			Schedule: &policy.Schedule{Cron: "0 1 * * *"}, Compression: policy.CompressionDefault, Objective: policy.Objective{RPO: policy.Duration(5 * time.Minute)},
			Physical: &policy.Physical{Reader: policy.ReaderAuto, Checkpoint: policy.CheckpointSpread, WAL: policy.WAL{Mode: policy.WALStream, MaxLag: policy.Duration(30 * time.Second), Slot: "holdfast_pitr"}},
			Verify:   policy.Verify{After: policy.VerifyStored},
		}},
	}
}

// drawPITR draws some days of a server, with promotions, lost segments and base backups of which some are bad.
func drawPITR(t *rapid.T) (planner.Input, []server) {
	set := pitrSet()
	r := set.Retentions["retention.standard"]
	r.Last, r.Daily = rapid.IntRange(0, 2).Draw(t, "last"), rapid.IntRange(0, 3).Draw(t, "daily")
	r.Continuous = policy.Duration(rapid.IntRange(0, 5).Draw(t, "continuous")) * 12 * hour
	set.Retentions[r.Address] = r
	if rapid.Bool().Draw(t, "copies") {
		b := set.Backups["backup.pitr"]
		b.Copies = []string{"store.offsite"}
		set.Backups["backup.pitr"] = b
	}
	in := planner.Input{Desired: set, Now: moment}
	in.Catalog = catalogOf(set, map[string][]state.RestorePoint{})
	in.Catalog.WAL = map[string][]state.WAL{}

	var servers []server
	days := rapid.IntRange(2, 6).Draw(t, "days")
	began := moment.Add(-time.Duration(days*24) * time.Hour)
	upgraded := moment
	if rapid.IntRange(0, 3).Draw(t, "upgraded") == 0 {
		upgraded = began.Add(time.Duration(rapid.IntRange(60, days*24*60-60).Draw(t, "upgrade")) * time.Minute)
	}
	for i, span := range [][2]time.Time{{began, upgraded}, {upgraded, moment}} {
		if !span[0].Before(span[1]) {
			continue
		}
		s := server{system: fmt.Sprint(7000 + i), began: span[0]}
		minutes := int(span[1].Sub(span[0]) / time.Minute)
		for _, m := range rapid.SliceOfNDistinct(rapid.IntRange(1, minutes-1), 0, 2, rapid.ID[int]).Draw(t, "switches") {
			s.switches = append(s.switches, span[0].Add(time.Duration(m)*time.Minute))
		}
		slices.SortFunc(s.switches, time.Time.Compare)
		servers = append(servers, s)
		for _, store := range []string{"store.primary", "store.offsite"} {
			lost := map[state.LSN]bool{}
			for _, n := range rapid.SliceOfN(rapid.IntRange(0, minutes/16+1), 0, 3).Draw(t, "lost") {
				lost[state.LSN(n)] = true
			}
			in.Catalog.WAL["backup.pitr"] = append(in.Catalog.WAL["backup.pitr"], s.log(store, span[1], func(_ uint32, n state.LSN) bool { return lost[n] }))
		}
		for range rapid.IntRange(0, 6).Draw(t, "bases") {
			at := span[0].Add(time.Duration(rapid.IntRange(1, minutes).Draw(t, "base")) * time.Minute)
			took := min(time.Duration(rapid.IntRange(0, 45).Draw(t, "took"))*time.Minute, at.Sub(span[0]))
			p := point(at, 1<<20)
			p.ID = fmt.Sprintf("%s-%02d", at.Format("20060102T150405Z"), len(in.Catalog.Points["backup.pitr"]))
			p.Base, p.Incomplete = s.base(at, took), rapid.IntRange(0, 7).Draw(t, "incomplete") == 0
			if s.timeline(at.Add(-took)) != p.Base.Timeline {
				continue // a promotion ends a base backup
			}
			if rapid.IntRange(0, 2).Draw(t, "second copy") == 0 {
				second := p.Copies[0]
				second.Store = "store.offsite"
				p.Copies = append(p.Copies, second)
			}
			if rapid.IntRange(0, 4).Draw(t, "unproven") == 0 {
				p.Copies[0].Proofs = nil
			}
			in.Catalog.Points["backup.pitr"] = append(in.Catalog.Points["backup.pitr"], p)
		}
	}
	slices.SortFunc(in.Catalog.Points["backup.pitr"], func(a, b state.RestorePoint) int { return a.Time.Compare(b.Time) })
	return in, servers
}

// TestWindowStaysRestorable: whatever expires by a plan, each instant of the continuous window that could be restored
// before it can be restored after it, from the same store; and every kept base backup that was consistent still is.
func TestWindowStaysRestorable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, servers := drawPITR(t)
		p, diags := planner.Plan(in)
		if diags.HasErrors() {
			t.Fatalf("%+v", diags)
		}
		if len(p.Blocks) > 0 {
			p = plan.WithoutDeletions(p)
		}
		after := simulate(in, p)
		window := in.Desired.Retentions["retention.standard"].Continuous.Std()
		points, logs := in.Catalog.Points["backup.pitr"], in.Catalog.WAL["backup.pitr"]
		for i, s := range servers {
			end := moment
			if i+1 < len(servers) {
				end = servers[i+1].began.Add(-time.Minute)
			}
			for at := moment.Add(-window); !at.After(end); at = at.Add(7 * time.Minute) {
				if at.Before(s.began) {
					continue
				}
				for _, store := range []string{"store.primary", "store.offsite"} {
					if s.restorable(points, logs, store, at) && !s.restorable(after.Points["backup.pitr"], after.WAL["backup.pitr"], store, at) {
						t.Fatalf("%s of system %s can no longer be restored from %s:\n%s", at, s.system, store, plan.Text(p))
					}
				}
			}
			for _, kept := range after.Points["backup.pitr"] {
				for _, store := range []string{"store.primary", "store.offsite"} {
					alone := []state.RestorePoint{kept}
					if kept.Base != nil && kept.Base.System == s.system && s.restorable(alone, logs, store, kept.Time) && !s.restorable(alone, after.WAL["backup.pitr"], store, kept.Time) {
						t.Fatalf("base backup %s lost what makes it consistent in %s:\n%s", kept.ID, store, plan.Text(p))
					}
				}
			}
		}
	})
}

// TestWindowsTellTheTruth: an instant is inside of a stretch exactly when some store can restore it.
func TestWindowsTellTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, servers := drawPITR(t)
		p, _ := planner.Plan(in)
		points, logs := in.Catalog.Points["backup.pitr"], in.Catalog.WAL["backup.pitr"]
		at := moment.Add(-time.Duration(rapid.IntRange(1, 6*24*60).Draw(t, "minutes ago")) * time.Minute)
		told := slices.ContainsFunc(p.Windows[0].Before.Continuous, func(s plan.Stretch) bool { return s.From.Before(at) && at.Before(s.To) })
		can := false
		for i, s := range servers {
			if at.Before(s.began) || i+1 < len(servers) && !at.Before(servers[i+1].began) {
				continue
			}
			can = s.restorable(points, logs, "store.primary", at) || s.restorable(points, logs, "store.offsite", at)
		}
		edge := slices.ContainsFunc(p.Windows[0].Before.Continuous, func(s plan.Stretch) bool { return s.From.Equal(at) || s.To.Equal(at) })
		alone := slices.ContainsFunc(points, func(p state.RestorePoint) bool { return p.Time.Equal(at) }) // its moment is a point, not a stretch
		if told != can && !edge && !alone {
			t.Fatalf("%s: told %t, can be restored %t\n%s", at, told, can, plan.Text(p))
		}
	})
}

// TestWALExpiriesConverge: one apply is enough, and later questions never add segments.
func TestWALExpiriesConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, servers := drawPITR(t)
		p, _ := planner.Plan(in)
		if len(p.Blocks) > 0 {
			return
		}
		later := in
		later.Now = in.Now.Add(time.Duration(rapid.IntRange(-50, 50).Draw(t, "later")) * time.Hour)
		for _, a := range planner.StillExpiresWAL(later, p.Actions) {
			i := slices.IndexFunc(p.Actions, func(b plan.Action) bool { return a.ID == b.ID })
			for _, s := range a.WAL {
				if i < 0 || !slices.ContainsFunc(p.Actions[i].WAL, func(b plan.Segments) bool { return b.Timeline == s.Timeline && b.From <= s.From && s.To <= b.To }) {
					t.Fatalf("%s takes %s to %s, which was not planned", a.ID, s.First, s.Last)
				}
			}
		}
		in.Catalog = simulate(in, p)
		again, _ := planner.Plan(in)
		if in.Catalog = simulate(in, again); slices.ContainsFunc(planAgain(t, in).Actions, func(a plan.Action) bool { return a.Kind == plan.CopyWAL }) {
			t.Fatalf("WAL is copied again; first:\n%s\nthen:\n%s", plan.Text(p), plan.Text(again))
		}
		if slices.ContainsFunc(p.Actions, func(a plan.Action) bool { return a.Kind == plan.Copy || a.Kind == plan.Verify && a.Point != "" }) || len(servers) > 1 {
			return // new evidence for an old point, or the first base of another server: expiry may go on from there once more
		}
		if !again.Empty() {
			t.Fatalf("first:\n%s\nthen:\n%s", plan.Text(p), plan.Text(again))
		}
	})
}

func planAgain(t *rapid.T, in planner.Input) plan.Plan {
	p, diags := planner.Plan(in)
	if diags.HasErrors() {
		t.Fatalf("%+v", diags)
	}
	return p
}
