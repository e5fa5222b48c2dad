package planner_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

const hour = policy.Duration(time.Hour)

func at(text string) time.Time {
	v, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return v
}

// ragSet is a small RAG platform: a database and a folder of configuration, one store.
func ragSet() policy.Set {
	return policy.Set{
		Stores: map[string]policy.Store{
			"store.primary": {Address: "store.primary", URL: "file:///backups", Encryption: policy.Encryption{Recipients: []string{"age1recovery"}, Writers: []string{"age1host"}}},
		},
		Sources: map[string]policy.Source{
			"source.postgres.app": {Address: "source.postgres.app", Kind: policy.KindPostgres, Postgres: &policy.PostgresSource{
				Host: "db", Password: policy.NewSecret(`env("PGPASSWORD")`, func() (string, error) { return "hunter2", nil }),
			}},
			"source.files.config": {Address: "source.files.config", Kind: policy.KindFiles, Files: &policy.FilesSource{Root: "/etc/rag"}},
		},
		Retentions: map[string]policy.Retention{
			"retention.standard": {Address: "retention.standard", Last: 3, Daily: 14, Weekly: 8, Monthly: 12},
		},
		Backups: map[string]policy.Backup{
			"backup.app": {
				Address: "backup.app", Source: "source.postgres.app", Store: "store.primary", Retention: "retention.standard",
				Schedule:    &policy.Schedule{Cron: "15 2 * * *", Timezone: "Europe/Berlin"},
				Compression: policy.CompressionDefault, Objective: policy.Objective{RPO: 36 * hour}, Logical: &policy.Logical{Databases: []string{"app"}},
				Verify: policy.Verify{After: policy.VerifyStored},
			},
			"backup.config": {
				Address: "backup.config", Source: "source.files.config", Store: "store.primary", Retention: "retention.standard",
				Schedule: &policy.Schedule{Every: 6 * hour}, Compression: policy.CompressionDefault,
				Verify: policy.Verify{After: policy.VerifyRead},
			},
		},
	}
}

// with edits the parts of a set that a case is about.
func with(s policy.Set, edit func(*policy.Set)) policy.Set {
	edit(&s)
	return s
}

func editBackup(address string, edit func(*policy.Backup)) func(*policy.Set) {
	return func(s *policy.Set) {
		b := s.Backups[address]
		if b.Schedule != nil {
			sched := *b.Schedule
			b.Schedule = &sched
		}
		edit(&b)
		s.Backups[address] = b
	}
}

func editRetention(edit func(*policy.Retention)) func(*policy.Set) {
	return func(s *policy.Set) {
		r := s.Retentions["retention.standard"]
		edit(&r)
		s.Retentions["retention.standard"] = r
	}
}

// point makes a verified restore point of a scheduled run.
func point(t time.Time, size int64) state.RestorePoint {
	return state.RestorePoint{
		ID: t.UTC().Format("20060102T150405Z") + "-aaaaaa", Time: t, Slot: t, Finished: t.Add(time.Minute), Size: size,
		Copies: []state.Copy{{Store: "store.primary", Repository: "r1", Manifest: "m", Stored: size / 4, Proofs: []state.Proof{
			{Level: "stored", At: t.Add(time.Minute), OK: true}, {Level: "read", At: t.Add(time.Minute), OK: true},
		}}},
	}
}

// daily makes n points, one a day, the newest at the given time.
func daily(n int, newest time.Time, size int64) []state.RestorePoint {
	var points []state.RestorePoint
	for i := n - 1; i >= 0; i-- {
		points = append(points, point(newest.AddDate(0, 0, -i), size))
	}
	return points
}

func catalogOf(applied policy.Set, points map[string][]state.RestorePoint) state.Catalog {
	return state.Catalog{Lineage: "l1", Serial: 41, Objects: planner.Objects(applied), Points: points}
}

// settled is a catalog in which nothing is due at 2026-11-22 02:00 UTC.
func settled() state.Catalog {
	return catalogOf(ragSet(), map[string][]state.RestorePoint{
		"backup.app":    daily(10, at("2026-11-22 01:15"), 1<<30),
		"backup.config": {point(at("2026-11-22 00:00"), 4096)},
	})
}

// applied is what the catalog's objects become.
func applied(before map[string]state.Object, in planner.Input, p plan.Plan) map[string]state.Object {
	next, declared := map[string]state.Object{}, planner.Objects(in.Desired)
	maps.Copy(next, before)
	for _, c := range p.Changes {
		o := declared[c.Address]
		o.Repository, o.Usage = next[c.Address].Repository, next[c.Address].Usage
		switch c.Kind {
		case plan.Move:
			continue
		case plan.Destroy:
			delete(next, c.Address)
			continue
		case plan.Forget:
			o = next[c.Address]
			o.Forgotten = true
			var b policy.Backup
			if json.Unmarshal(o.Attributes, &b) == nil && b.Retention != "" {
				o.Retention = before[b.Retention].Attributes
			}
		}
		next[c.Address] = o
	}
	for _, a := range p.Actions {
		if a.Kind == plan.Initialize {
			o := next[a.Address]
			o.Repository = "repository at " + in.Desired.Stores[a.Address].URL
			next[a.Address] = o
		}
	}
	return next
}

// simulate does what apply does when every action succeeds.
func simulate(in planner.Input, p plan.Plan) state.Catalog {
	c := in.Catalog
	c.Objects, c.Points = maps.Clone(c.Objects), maps.Clone(c.Points)
	for _, change := range p.Changes {
		if change.Kind == plan.Move {
			c.Move(change.From, change.Address)
		}
	}
	in.Catalog = c
	c.Serial++
	if c.Lineage == "" {
		c.Lineage = "new"
	}
	c.Objects = applied(c.Objects, in, p)
	points := map[string][]state.RestorePoint{}
	for address, list := range in.Catalog.Points {
		points[address] = append([]state.RestorePoint(nil), list...)
	}
	c.Points, c.WAL = points, maps.Clone(c.WAL)
	c.Runs = append([]state.Run(nil), c.Runs...)
	run := state.Run{ID: fmt.Sprintf("run-%d", c.Serial), Operation: "apply", Status: state.RunOK, Started: in.Now, Finished: in.Now}
	for _, a := range p.Actions {
		done := state.RunAction{Address: a.Address, Kind: string(a.Kind), Point: a.Point, Store: a.Store, Slot: a.Slot, Status: state.RunOK, Started: in.Now, Finished: in.Now.Add(time.Second)}
		switch a.Kind {
		case plan.Recover:
			for i := range c.Runs {
				if c.Runs[i].ID == a.Run {
					c.Runs[i].Status = state.RunInterrupted
				}
			}
		case plan.Backup:
			points[a.Address] = append(points[a.Address], state.RestorePoint{
				ID: in.Now.UTC().Format("20060102T150405Z") + "-bbbbbb", Time: in.Now, Slot: a.Slot, Finished: in.Now, Run: run.ID,
				Source: in.Desired.Backups[a.Address].Source, Size: 1 << 20,
				Copies: []state.Copy{{Store: a.Store, Repository: c.Objects[a.Store].Repository, Manifest: "m", Stored: 1 << 18}},
				Base:   nextBase(in.Desired.Backups[a.Address], c.WAL[a.Address], a.Store),
			})
		case plan.Verify:
			list := points[a.Address]
			for i := range list {
				if list[i].ID == a.Point || a.Point == "" && i == len(list)-1 {
					prove(&list[i], a.Store, state.Proof{Level: a.Level, At: in.Now, OK: true})
				}
			}
		case plan.Copy:
			list := points[a.Address]
			for i := range list {
				if list[i].ID == a.Point || a.Point == "" && i == len(list)-1 {
					list[i].Copies = append(slices.Clone(list[i].Copies), state.Copy{Store: a.Store, Repository: c.Objects[a.Store].Repository, Manifest: "m", Stored: 1 << 18})
					prove(&list[i], a.Store, state.Proof{Level: "stored", At: in.Now, OK: true})
				}
			}
		case plan.Repair:
			list := points[a.Address]
			for i := range list {
				if list[i].ID == a.Point {
					prove(&list[i], a.Store, state.Proof{Level: "stored", At: in.Now, OK: a.From != "", Final: a.From == ""})
				}
			}
		case plan.Prune:
			o := c.Objects[a.Address]
			o.Usage = &state.Usage{At: in.Now, Bytes: 1 << 20, Condemned: a.Bytes, Due: in.Now.Add(24 * time.Hour)}
			c.Objects[a.Address] = o
		case plan.CopyWAL:
			logs := slices.Clone(c.WAL[a.Address])
			from := logs[slices.IndexFunc(logs, func(l state.WAL) bool { return l.Store == a.From && l.System == a.System })]
			i := slices.IndexFunc(logs, func(l state.WAL) bool { return l.Store == a.Store && l.System == a.System })
			if i < 0 {
				i, logs = len(logs), append(logs, state.WAL{Store: a.Store, Repository: c.Objects[a.Store].Repository, System: a.System, SegmentSize: from.SegmentSize})
			}
			logs[i] = joined(logs[i], from)
			c.WAL[a.Address] = logs
		case plan.ExpireWAL:
			for _, still := range planner.StillExpiresWAL(planner.Input{Desired: in.Desired, Catalog: c, Now: in.Now}, []plan.Action{a}) {
				c.WAL[a.Address] = slices.Clone(c.WAL[a.Address])
				for i, log := range c.WAL[a.Address] {
					for _, s := range still.WAL {
						if log.Store == a.Store && log.System == a.System {
							log = log.Without(s.Timeline, s.From, s.To)
						}
					}
					c.WAL[a.Address][i] = log
				}
			}
		case plan.Expire:
			still := planner.StillExpires(planner.Input{Desired: in.Desired, Catalog: c, Now: in.Now}, []plan.Action{a})
			if len(still) == 0 {
				continue
			}
			var kept []state.RestorePoint
			for _, q := range points[a.Address] {
				if q.ID != a.Point {
					kept = append(kept, q)
					continue
				}
				for _, copied := range q.Copies {
					o := c.Objects[copied.Store]
					u := state.Usage{}
					if o.Usage != nil {
						u = *o.Usage
					}
					u.Points, u.Expired = u.Points+1, u.Expired+copied.Stored
					o.Usage = &u
					c.Objects[copied.Store] = o
				}
			}
			points[a.Address] = kept
		}
		run.Actions = append(run.Actions, done)
	}
	c.Runs = append(c.Runs, run)
	return c
}

// joined is a log after everything of another was brought to it.
func joined(to, from state.WAL) state.WAL {
	to.Seen = from.Seen
	var all []state.Timeline
	for _, t := range from.Timelines {
		ranges := slices.Clone(t.Ranges)
		if u := to.Timeline(t.ID); u != nil {
			ranges = append(ranges, u.Ranges...)
		}
		slices.SortFunc(ranges, func(a, b state.Range) int { return cmp.Compare(a.From, b.From) })
		t.Ranges = nil
		for _, r := range ranges {
			last := len(t.Ranges) - 1
			switch {
			case last < 0 || r.From > t.Ranges[last].To:
				t.Ranges = append(t.Ranges, r)
			case r.To > t.Ranges[last].To:
				t.Ranges[last].To, t.Ranges[last].Until, t.Ranges[last].Cut = r.To, r.Until, r.Cut
			}
		}
		all = append(all, t)
	}
	to.Timelines = all
	return to
}

// nextBase is where a base backup stands that is made now: at the end of the newest WAL of its store.
func nextBase(b policy.Backup, logs []state.WAL, store string) *state.Base {
	newest := state.WAL{}
	for _, l := range logs {
		if l.Store == store && l.Seen.After(newest.Seen) {
			newest = l
		}
	}
	timeline, end, ok := newest.Frontier()
	if b.Physical == nil || !ok {
		return nil
	}
	return &state.Base{System: newest.System, Timeline: timeline, Start: max(end.From, newest.Floor(end.To-1)), End: end.To}
}

// prove sets the newest proof of one copy, as a verification or repair does.
func prove(p *state.RestorePoint, store string, proof state.Proof) {
	p.Copies = slices.Clone(p.Copies)
	for i := range p.Copies {
		if p.Copies[i].Store == store {
			kept := slices.DeleteFunc(slices.Clone(p.Copies[i].Proofs), func(q state.Proof) bool { return q.Level == proof.Level || proof.OK && !q.OK })
			p.Copies[i].Proofs = append(kept, proof)
		}
	}
}

func mustPlan(t testing.TB, in planner.Input) plan.Plan {
	t.Helper()
	p, diags := planner.Plan(in)
	if diags.HasErrors() {
		t.Fatalf("Plan: %+v", diags)
	}
	return p
}
