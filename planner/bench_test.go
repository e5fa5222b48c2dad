package planner_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// fleet is a large installation: each backup has the same history, one point a day.
func fleet(backups, pointsEach int) planner.Input {
	s := ragSet()
	base := s.Backups["backup.app"]
	clear(s.Backups)
	points := map[string][]state.RestorePoint{}
	for i := range backups {
		b := base
		b.Address = fmt.Sprintf("backup.app[%q]", fmt.Sprint("t", i))
		s.Backups[b.Address] = b
		points[b.Address] = daily(pointsEach, at("2026-11-21 01:15").Add(time.Duration(i)*time.Millisecond), 1<<30)
	}
	s = with(s, editRetention(func(r *policy.Retention) { r.Daily = 90 }))
	return planner.Input{Desired: s, Catalog: catalogOf(s, points), Now: at("2026-11-22 02:00")}
}

func benchmark(b *testing.B, prepare func(*planner.Input)) {
	in := fleet(10_000, 100)
	prepare(&in)
	runtime.GC()
	b.ReportAllocs()
	for b.Loop() {
		p := mustPlan(b, in)
		b.ReportMetric(float64(len(p.Actions)), "actions")
	}
}

// BenchmarkPlan10kBackups1MPoints is the worst hour of the day: every backup is due and expires what is old.
func BenchmarkPlan10kBackups1MPoints(b *testing.B) { benchmark(b, func(*planner.Input) {}) }

// BenchmarkPlan10kBackups1MPointsSettled is every other hour: nothing is due.
func BenchmarkPlan10kBackups1MPointsSettled(b *testing.B) {
	benchmark(b, func(in *planner.Input) {
		s := with(in.Desired, editRetention(func(r *policy.Retention) { r.Daily = 200 }))
		in.Now = at("2026-11-21 02:00")
		in.Catalog.Objects = planner.Objects(s)
	})
}

// BenchmarkPlan10kBackups1MPointsHistory is the worst hour of a fleet whose last ten runs were as large.
func BenchmarkPlan10kBackups1MPointsHistory(b *testing.B) {
	benchmark(b, func(in *planner.Input) {
		for i := range 10 {
			run := state.Run{ID: fmt.Sprint("run-", i), Operation: "apply", Status: state.RunOK, Started: in.Now.Add(time.Duration(i-10) * 24 * time.Hour)}
			for address := range in.Desired.Backups {
				for _, kind := range []string{"back up", "verify", "expire"} {
					run.Actions = append(run.Actions, state.RunAction{Address: address, Kind: kind, Status: state.RunOK})
				}
			}
			in.Catalog.Runs = append(in.Catalog.Runs, run)
		}
	})
}
