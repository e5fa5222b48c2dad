package lang

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/schedule"
)

// checkBackup checks what a backup says against what it refers to.
func (b *builder) checkBackup(o *object, p policy.Backup) {
	src := b.set.Sources[p.Source]
	b.checkMethod(o, src)
	b.checkCopies(o, p)
	b.checkOverlap(o.at("store"), src, b.set.Stores[p.Store])
	for i, address := range p.Copies {
		if address != p.Store {
			b.checkOverlap(o.atElement("copies", i), src, b.set.Stores[address])
		}
	}
	if s := o.block("logical"); s != nil {
		b.checkGlobs(s, "databases", false)
		b.checkGlobs(s, "exclude_databases", false)
	}
	b.checkQdrantMethods(o)
	b.checkPhysical(o)
	b.checkVerify(o, p)
	if o.block("schedule") == nil {
		b.checkUnscheduled(o)
		return
	}
	if b.checkSchedule(o.block("schedule")) {
		b.checkObjective(o, p)
	}
}

// kinds is what the checks say of each kind of source.
var kinds = map[policy.SourceKind]struct {
	name, is string
	methods  []string // one of these blocks says how it is read; none: there is one way
	write    string   // when none of them is there
}{
	policy.KindPostgres: {"PostgreSQL", "a PostgreSQL server", []string{"logical", "physical"}, "Write logical {} for pg_dump of every database, or physical {} for base backups of the whole server."},
	policy.KindQdrant:   {"Qdrant", "a Qdrant server", []string{"snapshot", "export"}, "Write snapshot {} for its own snapshots, or export {} for points that any version takes back."},
	policy.KindFiles:    {"files", "a tree of files", nil, ""},
}

// methods are the method blocks, each with the kind of source that it is for.
var methods = []struct {
	block string
	kind  policy.SourceKind
}{{"logical", policy.KindPostgres}, {"physical", policy.KindPostgres}, {"snapshot", policy.KindQdrant}, {"export", policy.KindQdrant}}

// checkMethod wants the one method that fits the kind of source.
func (b *builder) checkMethod(o *object, src policy.Source) {
	kind, known := kinds[src.Kind]
	if !known {
		return
	}
	at, first, misplaced := place{rng: o.node.declared, node: o.node, address: o.address}, "", false
	for _, m := range methods {
		s := o.block(m.block)
		if s == nil {
			continue
		}
		here := at
		here.rng = s.node.declared
		switch {
		case m.kind != src.Kind:
			misplaced = true
			detail := fmt.Sprintf("%s is %s and needs no method block. Remove it.", src.Address, kind.is)
			if len(kind.methods) > 0 {
				detail = fmt.Sprintf("%s is %s. Use %s instead.", src.Address, kind.is, either(kind.methods))
			}
			b.error(here, "method", fmt.Sprintf("%s is for %s sources", m.block, kinds[m.kind].name), detail)
		case first != "":
			b.error(here, "method", fmt.Sprintf("%s and %s exclude each other", first, m.block), "A backup reads its source in one way. For both, write two backups of the same source.")
		default:
			first = m.block
		}
	}
	if first == "" && !misplaced && len(kind.methods) > 0 && !o.node.flawed {
		b.error(at, "method", "No method", fmt.Sprintf("%s is %s: say how it is read. %s", src.Address, kind.is, kind.write))
	}
}

// checkCopies wants each copy in a store of its own.
func (b *builder) checkCopies(o *object, p policy.Backup) {
	seen := map[string]bool{p.Store: true}
	for i, address := range p.Copies {
		at := o.atElement("copies", i)
		switch {
		case address == "":
		case address == p.Store:
			b.error(at, "copies", fmt.Sprintf("%s is the store itself", address), "Every restore point is there already; a copy goes to another store. Remove it from copies.")
		case seen[address]:
			b.error(at, "copies", fmt.Sprintf("%s stands in copies twice", address), "Remove one of the two.")
		}
		seen[address] = true
	}
}

// checkVerify finds a retention that never comes to anything: without a newer verified point nothing expires.
func (b *builder) checkVerify(o *object, p policy.Backup) {
	if p.Verify.After != policy.VerifyNone || p.Retention == "" || p.Verify.Restore != nil && p.Verify.Restore.Every > 0 || o.node.flawed {
		return
	}
	b.warn(o.block("verify").at("after"), "never_verified", "No copy is ever verified", fmt.Sprintf("%s holds back every expiry until a newer restore point was verified, which only `holdfast verify` by hand would do. Use after = \"stored\" or \"read\".", p.Retention))
}

func (b *builder) checkUnscheduled(o *object) {
	if s := o.block("objective"); s != nil && s.known("rpo") {
		b.error(s.at("rpo"), "rpo", "The rpo cannot be met", "The backup has no schedule, so nothing makes restore points in time. Add a schedule block, or remove rpo.")
	}
}

// checkSchedule tells whether the schedule makes sense and is known well enough to be compared with an objective.
func (b *builder) checkSchedule(s *object) bool {
	switch {
	case !s.absent("cron") && !s.absent("every"):
		b.error(s.at("every"), "schedule", "cron and every exclude each other", "Remove one of the two.")
		return false
	case s.absent("cron") && s.absent("every") && s.node.flawed:
		return false // one of the two was probably meant
	case s.absent("cron") && s.absent("every"):
		b.error(place{rng: s.node.declared, node: s.node, address: s.scope.address}, "schedule", "The schedule says no time", "Give cron = \"15 2 * * *\" (minute, hour, day, month, weekday) or every = \"1h\".")
		return false
	}
	if !b.checkRule(s, "timezone", policy.Schedule{Every: policy.Duration(time.Hour), Timezone: s.text("timezone")}) {
		return false
	}
	rule := policy.Schedule{Cron: s.text("cron"), Every: s.span("every"), Timezone: s.text("timezone")}
	when := "cron"
	switch {
	case s.absent("cron"):
		when = "every"
		if s.known("every") && rule.Every < minEvery {
			b.error(s.at("every"), "schedule", "every is too short", fmt.Sprintf("It is %s; the least is %s.", rule.Every, minEvery))
			return false
		}
	case s.known("cron") && rule.Cron == "":
		rule.Cron = " " // an empty text is a bad expression, not an absent one
	}
	if !s.known(when) || !b.checkRule(s, when, rule) {
		return false
	}
	rule.Jitter = s.span("jitter")
	return b.checkRule(s, "jitter", rule)
}

// minEvery is the shortest interval; below it a run could not end before the next is due.
const minEvery = policy.Duration(time.Minute)

// checkRule lets the schedule package judge a schedule that is right but for one argument.
func (b *builder) checkRule(s *object, name string, rule policy.Schedule) bool {
	err, known := b.ruleErrors[rule]
	if !known {
		_, err = schedule.Parse(rule)
		b.ruleErrors[rule] = err
	}
	if err != nil {
		b.error(s.at(name), "schedule", fmt.Sprintf("Bad %s", name), err.Error()+".")
		return false
	}
	return true
}

// checkObjective compares the promise with the longest time that the schedule lets pass.
func (b *builder) checkObjective(o *object, p policy.Backup) {
	s := o.block("objective")
	if s == nil || !s.known("rpo") || o.node.flawed {
		return
	}
	if o.block("physical") != nil && b.checkLag(o, p) {
		return
	}
	usual, worst := b.gaps(*p.Schedule)
	switch rpo := p.Objective.RPO; {
	case usual > rpo:
		b.error(s.at("rpo"), "rpo", "The schedule cannot meet the rpo", fmt.Sprintf("Up to %s pass between two slots, more than %s. Back up more often, or promise less.", spoken(usual), spoken(rpo)))
		return
	case worst > rpo:
		b.warn(s.at("rpo"), "rpo_tight", "The schedule misses the rpo at times", fmt.Sprintf("Usually at most %s pass between two slots; with jitter, and where the clock is changed, it can be %s. Promise %s, or back up more often.", spoken(usual), spoken(worst), spoken(worst)))
	}
	if p.Schedule.Paused {
		b.warn(o.block("schedule").at("paused"), "paused", "A paused schedule cannot meet its rpo", fmt.Sprintf("No restore point is made while it is paused, and the promise of %s is broken after that time.", p.Objective.RPO))
	}
}

// gaps are the longest times between two slots: by the wall clock alone, and with jitter and changes of the clock.
func (b *builder) gaps(p policy.Schedule) (usual, worst policy.Duration) {
	p.Paused = false
	if g, ok := b.gapsOf[p]; ok {
		return g[0], g[1]
	}
	utc := p
	utc.Timezone = ""
	for i, s := range []policy.Schedule{utc, p} {
		rule, err := schedule.Parse(s)
		if err != nil {
			return 0, 0 // reported
		}
		if i == 0 {
			usual = policy.Duration(rule.MaxGap())
		}
		worst = policy.Duration(rule.MaxGap() + rule.Jitter())
	}
	b.gapsOf[p] = [2]policy.Duration{usual, worst}
	return usual, worst
}

// spoken writes a duration as people say it: 7h5m where the canonical text is 425m.
func spoken(d policy.Duration) string {
	s := d.Std().String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
