package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/schedule"
	"github.com/holdfast-io/holdfast/state"
)

var statusCommand = &command{
	name: "status", group: "Main", summary: "Tell how well each backup protects, and when it runs next",
	usage: "[options]",
	examples: `  holdfast status
  holdfast status -json`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf := a.policyFlags(f)
		at := f.string("at", "TIME", "", "tell it for this moment instead of now")
		return func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return usageError("status takes no arguments")
			}
			s, err := a.open(ctx, pf, nil, false)
			if err != nil {
				return err
			}
			now, err := a.moment(*at)
			if err != nil {
				return err
			}
			return s.showStatus(now)
		}
	},
}

// backupStatus is how one backup stands.
type backupStatus struct {
	Address     string    `json:"address"`
	Health      string    `json:"health"` // protected, unproven, at risk, unprotected, paused, forgotten
	Why         string    `json:"why"`
	Points      int       `json:"points"`
	Newest      string    `json:"newest_point,omitempty"`
	NewestTime  time.Time `json:"newest_time,omitzero"`
	AgeSeconds  float64   `json:"age_seconds,omitempty"`
	RPOSeconds  float64   `json:"rpo_seconds,omitempty"`
	Verified    bool      `json:"verified"`
	Next        time.Time `json:"next,omitzero"`
	Size        int64     `json:"size,omitempty"`
	StoredBytes int64     `json:"stored_bytes,omitempty"`
}

// health judges a backup from evidence alone: what is in the catalog, what was proven, what was promised.
func (s *session) health(address string, now time.Time) backupStatus {
	b, declared := s.policy.Backups[address]
	points := s.catalog.Points[address]
	st := backupStatus{Address: address, Points: len(points), RPOSeconds: b.Objective.RPO.Std().Seconds()}
	var newest state.RestorePoint
	for _, p := range points {
		for _, copied := range p.Copies {
			st.StoredBytes += copied.Stored
		}
		if !p.Incomplete {
			newest = p
		}
	}
	paused := b.Schedule != nil && b.Schedule.Paused
	if b.Schedule != nil && !paused {
		if rule, err := schedule.Parse(*b.Schedule); err == nil {
			st.Next = next(rule, address, now)
		}
	}
	if newest.ID != "" {
		st.Newest, st.NewestTime, st.Size, st.Verified = newest.ID, newest.Time, newest.Size, newest.Verified()
		st.AgeSeconds = now.Sub(newest.Time).Seconds()
	}
	age := now.Sub(newest.Time)
	switch rpo := b.Objective.RPO.Std(); {
	case !declared:
		st.Health, st.Why = "forgotten", "the policy does not declare it any more; its restore points stay"
	case newest.ID == "":
		st.Health, st.Why = "unprotected", "there is no complete restore point"
	case slices.ContainsFunc(newest.Copies, damagedCopy):
		st.Health, st.Why = "at risk", "the newest restore point is damaged"
	case rpo > 0 && age > rpo:
		st.Health, st.Why = "at risk", fmt.Sprintf("the newest restore point is %s old; the objective is %s", view.Duration(age), b.Objective.RPO)
	case paused:
		st.Health, st.Why = "paused", "its schedule is paused"
	case !st.Verified:
		st.Health, st.Why = "unproven", "the newest restore point was never read back"
	default:
		st.Health, st.Why = "protected", "the newest restore point was read back"
	}
	return st
}

// next is when the backup is due: a slot that has passed may still wait for its jitter.
func next(rule schedule.Rule, address string, now time.Time) time.Time {
	if slot, ok := rule.Latest(now); ok {
		if due := rule.Due(address, slot); due.After(now) {
			return due
		}
	}
	return rule.Due(address, rule.Next(now))
}

// damagedCopy tells whether reading the copy back failed last time.
func damagedCopy(c state.Copy) bool {
	return !c.Verified() && slices.ContainsFunc(c.Proofs, func(p state.Proof) bool { return !p.OK })
}

func (s *session) showStatus(now time.Time) error {
	addresses := slices.Collect(maps.Keys(s.policy.Backups))
	for a, points := range s.catalog.Points {
		if _, ok := s.policy.Backups[a]; !ok && len(points) > 0 {
			addresses = append(addresses, a)
		}
	}
	slices.Sort(addresses)
	all := make([]backupStatus, len(addresses))
	for i, a := range addresses {
		all[i] = s.health(a, now)
	}
	if s.json {
		return s.out.Document(map[string]any{"format_version": "1.0", "now": now, "lineage": s.catalog.Lineage, "serial": s.catalog.Serial, "backups": all})
	}
	rows := make([][]string, len(all))
	for i, st := range all {
		rows[i] = []string{st.Address, s.paintHealth(st.Health), fmt.Sprint(st.Points), ageText(st), rpoText(s.policy.Backups[st.Address]), view.Time(st.Next), st.Why}
	}
	s.out.Table([]string{"BACKUP", "HEALTH", "POINTS", "AGE", "RPO", "NEXT (UTC)", "WHY"}, rows)
	s.workers()
	return nil
}

// workers tells of runs that are at work or died.
func (s *session) workers() {
	for _, r := range s.catalog.Runs {
		if r.Status != state.RunPending {
			continue
		}
		if slices.Contains(s.alive, r.ID) {
			fmt.Fprintf(s.out, "\nRun %s by %s is at work since %s UTC.\n", r.ID, r.Who, view.Time(r.Started))
		} else {
			fmt.Fprintf(s.out, "\nRun %s by %s did not finish; the next apply settles what it left.\n", r.ID, r.Who)
		}
	}
}

func ageText(st backupStatus) string {
	if st.Newest == "" {
		return "-"
	}
	return view.Duration(time.Duration(st.AgeSeconds * float64(time.Second)).Round(time.Second))
}

func rpoText(b policy.Backup) string {
	if b.Objective.RPO == 0 {
		return "-"
	}
	return b.Objective.RPO.String()
}

func (s *session) paintHealth(h string) string {
	switch h {
	case "protected":
		return s.out.Green(h)
	case "unprotected", "at risk":
		return s.out.Red(h)
	default:
		return s.out.Yellow(h)
	}
}

// location is the time zone in which a backup's calendar is read.
func location(b policy.Backup) *time.Location {
	if b.Schedule != nil && b.Schedule.Timezone != "" {
		if loc, err := time.LoadLocation(b.Schedule.Timezone); err == nil {
			return loc
		}
	}
	return time.UTC
}
