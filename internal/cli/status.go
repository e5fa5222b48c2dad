package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
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
  holdfast status -refresh=list    # also look at the write-ahead log that has come in
  holdfast status -json`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf := a.policyFlags(f)
		at := f.string("at", "TIME", "", "tell it for this moment instead of now")
		refresh := f.choice("refresh", "none", "list looks first at the write-ahead log that the stores hold now", "none", "list")
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
			if *refresh != "none" {
				s.takeWAL(ctx)
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
	Moment      time.Time `json:"newest_moment,omitzero"` // that can be restored: the newest point's, or what WAL goes up to
	AgeSeconds  float64   `json:"age_seconds,omitempty"`  // of the moment
	RPOSeconds  float64   `json:"rpo_seconds,omitempty"`
	Verified    bool      `json:"verified"`
	Next        time.Time `json:"next,omitzero"`
	Size        int64     `json:"size,omitempty"`
	StoredBytes int64     `json:"stored_bytes,omitempty"`

	Copies  []copyStatus `json:"copies,omitempty"`  // of the newest complete point
	Missing []string     `json:"missing,omitempty"` // what keeps it from being protected
	Held    int          `json:"held_points,omitempty"`
	WAL     []walStatus  `json:"wal,omitempty"`
}

// copyStatus is what is known of one copy.
type copyStatus struct {
	Store    string    `json:"store"`
	Level    string    `json:"level,omitempty"` // of the furthest good proof
	ProvenAt time.Time `json:"proven_at,omitzero"`
	Damaged  bool      `json:"damaged,omitempty"`
}

// health judges a backup from evidence alone: what is in the catalog, what was proven, what was promised.
func (s *session) health(address string, now time.Time) backupStatus {
	b, declared := s.policy.Backups[address]
	points := s.catalog.Points[address]
	st := backupStatus{Address: address, Points: len(points), RPOSeconds: b.Objective.RPO.Std().Seconds(), WAL: s.walOf(address, now)}
	newest := s.count(&st, points)
	paused := b.Schedule != nil && b.Schedule.Paused
	if b.Schedule != nil && !paused {
		if rule, err := schedule.Parse(*b.Schedule); err == nil {
			st.Next = next(rule, address, now)
		}
	}
	if newest != nil {
		st.Moment, st.AgeSeconds = newest.Time, now.Sub(newest.Time).Seconds()
	}
	if !declared {
		st.Health, st.Why = "forgotten", "the policy does not declare it any more; its restore points stay"
		return st
	}
	if newest == nil {
		st.Health, st.Why = "unprotected", "there is no complete restore point"
		st.Missing = []string{st.Why}
		return st
	}
	moment, what := s.newestMoment(b, address, *newest)
	st.Moment, st.AgeSeconds = moment, now.Sub(moment).Seconds()
	risks, doubts := slices.Concat(s.moved(b, *newest), tooOld(b, now.Sub(moment), what), s.brokenWAL(b, address, *newest), risks(b, points, *newest)), doubts(b, points, *newest, now)
	st.Missing = slices.Concat(risks, doubts)
	switch {
	case len(risks) > 0:
		st.Health = "at risk"
	case paused:
		st.Health, st.Missing = "paused", append([]string{"its schedule is paused"}, st.Missing...)
	case len(doubts) > 0:
		st.Health = "unproven"
	default:
		st.Health, st.Why = "protected", s.protectedBy(b, *newest)
		return st
	}
	st.Why = strings.Join(st.Missing, "; ")
	return st
}

// moved names the stores that hold another repository now than the newest restore point was stored in.
func (s *session) moved(b policy.Backup, newest state.RestorePoint) (missing []string) {
	for _, store := range b.Stores() {
		known := s.catalog.Objects[store].Repository
		if c, there := newest.In(store); there && known != "" && c.Repository != known {
			missing = append(missing, "the newest restore point is not in the repository that "+store+" holds now")
		}
	}
	return missing
}

// count fills in what can be counted, and returns the newest complete point.
func (s *session) count(st *backupStatus, points []state.RestorePoint) (newest *state.RestorePoint) {
	for i := range points {
		p := &points[i]
		if p.Hold != nil {
			st.Held++
		}
		for _, c := range p.Copies {
			st.StoredBytes += c.Stored
		}
		if !p.Incomplete {
			newest = p
		}
	}
	if newest == nil {
		return nil
	}
	st.Newest, st.NewestTime, st.Size, st.Verified = newest.ID, newest.Time, newest.Size, newest.Verified()
	for _, c := range newest.Copies {
		one := copyStatus{Store: c.Store, Damaged: c.Damaged()}
		if best, ok := furthest(c); ok {
			one.Level, one.ProvenAt = best.Level, best.At
		}
		st.Copies = append(st.Copies, one)
	}
	return newest
}

// tooOld tells when what can be restored is older than promised.
func tooOld(b policy.Backup, age time.Duration, what string) []string {
	if rpo := b.Objective.RPO.Std(); rpo <= 0 || age <= rpo {
		return nil
	}
	return []string{fmt.Sprintf("%s is %s old; the objective is %s", what, view.Duration(age), b.Objective.RPO)}
}

// risks are broken promises: data is in fewer places or in a worse state than the policy says.
func risks(b policy.Backup, points []state.RestorePoint, newest state.RestorePoint) (missing []string) {
	if len(newest.Copies) == 0 {
		missing = append(missing, "the newest restore point is in no store")
	}
	for _, store := range b.Stores() {
		c, there := newest.In(store)
		switch {
		case there && c.Broken():
			missing = append(missing, "the newest restore point is damaged in "+store)
		case there && c.Damaged():
			missing = append(missing, "the newest restore point did not restore from "+store+" as the policy's checks expect")
		case !there && store != b.Store:
			n := 0
			for i := range points {
				if _, there := points[i].In(store); !there && !points[i].Incomplete {
					n++
				}
			}
			missing = append(missing, fmt.Sprintf("%d %s not in %s yet", n, plural(n, "restore point is", "restore points are"), store))
		}
	}
	return missing
}

// doubts are proofs that the policy asks for and nobody has. The level counts for the first copy, whose content is what was
// read; that further copies hold the same bytes is proven as stored.
func doubts(b policy.Backup, points []state.RestorePoint, newest state.RestorePoint, now time.Time) (missing []string) {
	for _, store := range b.Stores() {
		c, there := newest.In(store)
		if !there && store == b.Store && len(newest.Copies) > 0 {
			c, there = newest.Copies[0], true // the backup moved to another store; its points did not
		}
		if !there || c.Damaged() {
			continue
		}
		wanted := policy.VerifyAdded
		if after := b.Verify.After; store == b.Store && after.Rank() > policy.VerifyStored.Rank() {
			wanted = after
		}
		best, proven := furthest(c)
		switch {
		case !proven:
			missing = append(missing, "the newest restore point was never read back in "+c.Store)
		case policy.VerifyLevel(best.Level).Rank() < wanted.Rank():
			missing = append(missing, fmt.Sprintf("the newest restore point is proven at level %s in %s; the policy asks for %s", best.Level, c.Store, wanted))
		}
	}
	if r := b.Verify.Restore; r != nil && r.Every > 0 {
		last := state.LastProof(points, string(policy.VerifyRestore))
		switch age := now.Sub(last); {
		case last.IsZero():
			missing = append(missing, "no restore was ever rehearsed; the policy asks for one every "+r.Every.String())
		case age > r.Every.Std():
			missing = append(missing, fmt.Sprintf("the last rehearsed restore is %s old; the policy asks for one every %s", view.Duration(age), r.Every))
		}
	}
	return missing
}

// protectedBy says what the protection rests on.
func (s *session) protectedBy(b policy.Backup, newest state.RestorePoint) string {
	c, ok := newest.In(b.Store)
	if !ok {
		c = newest.Copies[0]
	}
	best, _ := furthest(c)
	why := map[policy.VerifyLevel]string{
		policy.VerifyRestore: "the newest restore point was restored to a scratch place",
		policy.VerifyRead:    "the newest restore point was read back and decoded",
	}[policy.VerifyLevel(best.Level)]
	why = cmp.Or(why, "the newest restore point was read back")
	if n := len(b.Copies); n > 0 {
		why += fmt.Sprintf(", and is in %d further %s", n, plural(n, "store", "stores"))
	}
	return why
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
	s.walTable(addresses, now)
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
