// Package retention decides which restore points remain, and why.
//
// It deletes nothing: it answers, planner turns the answer into actions. Invariants, each proven by a property test: every
// point is either kept or expired; the newest complete point and the newest verified point are always kept; more retention
// never expires more; the order of the points does not matter; applying a rule again to what it kept expires nothing.
//
// # Rules
//
// A point stays while any rule keeps it.
//
//	last N           the N newest points
//	within D         every point whose time is later than now minus D
//	hourly … yearly  the newest point of each of the N newest hours, days, weeks, months, years that have any points
//	continuous D     the base backups that every instant of the last D stands on; see Bases
//
// Hours to years are those of the calendar in the given time zone (the schedule's); weeks begin on Monday. A period
// without points is not counted, so a pause in backing up never makes old points expire.
//
//   - An incomplete point counts for no rule. It stays until there is a newer complete one.
//   - A point whose newest proof failed never takes the place of a sound one: the rules are applied to all complete points
//     and again to those that did not fail, and a point stays when either keeps it.
//
// # Floors
//
// The newest complete point always stays, and so do the newest verified one and, with min_verified = N, the N newest
// verified ones, whatever the rules say. A held point stays until it is released.
package retention

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// Decision is what a rule makes of a list of points. Both lists are ordered by time, then id, oldest first.
type Decision struct {
	Keep, Expire []Verdict
}

// Verdict is what happens to one point, and why: the rules that keep it ("last 3", "daily 14"), or what does not.
type Verdict struct {
	Index   int // of the point in the list that was judged
	Point   string
	Reasons []string // shared between verdicts; not to be changed
}

// Apply judges every point. It changes neither the list nor the points, and does not need them in any order. logs
// are the write-ahead logs of the same backup, if any.
func Apply(points []state.RestorePoint, logs []state.WAL, rule policy.Retention, now time.Time, loc *time.Location) Decision {
	s := newSieve(points, logs, rule, now, loc)
	d := Decision{Keep: make([]Verdict, 0, len(points)), Expire: s.expiring(rule)}
	words := map[mark][]string{}
	for _, i := range slices.Backward(s.order) {
		m := s.marks[i]
		if m == 0 {
			continue
		}
		if words[m] == nil {
			words[m] = m.reasons(rule)
		}
		d.Keep = append(d.Keep, Verdict{Index: i, Point: points[i].ID, Reasons: words[m]})
	}
	return d
}

// Expiring is Apply(…).Expire, for callers that judge a million points and do not ask why the rest stays.
func Expiring(points []state.RestorePoint, logs []state.WAL, rule policy.Retention, now time.Time, loc *time.Location) []Verdict {
	return newSieve(points, logs, rule, now, loc).expiring(rule)
}

// expiring lists the points without a mark, oldest first.
func (s *sieve) expiring(rule policy.Retention) (list []Verdict) {
	var reasons, ofBases []string
	for _, i := range slices.Backward(s.order) {
		if s.marks[i] != 0 {
			continue
		}
		v := Verdict{Index: i, Point: s.points[i].ID, Reasons: incompleteReasons}
		if !s.points[i].Incomplete {
			if reasons == nil {
				reasons = []string{"not in " + Describe(rule)}
				ofBases = append(slices.Clone(reasons), "not "+wordBase)
			}
			if v.Reasons = reasons; s.points[i].Base != nil && rule.Continuous > 0 {
				v.Reasons = ofBases
			}
		}
		list = append(list, v)
	}
	return list
}

var incompleteReasons = []string{"incomplete, and there is a newer complete restore point"}

// Describe writes the rules of a retention in a fixed order: "last 3, within 2d, daily 14". Floors are not rules.
func Describe(rule policy.Retention) string {
	var words []string
	for m := markLast; m <= markYearly; m <<= 1 {
		if w := m.word(rule); w != "" {
			words = append(words, w)
		}
	}
	if len(words) == 0 {
		return "any rule (the retention has none)"
	}
	return strings.Join(words, ", ")
}

// mark is the set of reasons to keep a point.
type mark uint16

// The reasons, in the order in which they are told.
const (
	markLast mark = 1 << iota
	markWithin
	markHourly
	markDaily
	markWeekly
	markMonthly
	markYearly
	markBase
	markNewest
	markVerified
	markIncomplete
	markHeld
	markEnd
)

// wordBase is why a base backup stays that recovery to an instant of the continuous window begins with.
const wordBase = "base of the continuous window"

func (m mark) reasons(rule policy.Retention) []string {
	var words []string
	for one := markLast; one < markEnd; one <<= 1 {
		if m&one != 0 {
			words = append(words, one.word(rule))
		}
	}
	return words
}

// word names a single reason; empty for a rule that the retention does not have.
func (m mark) word(rule policy.Retention) string {
	counted := func(name string, n int) string {
		if n <= 0 {
			return ""
		}
		return name + " " + strconv.Itoa(n)
	}
	switch m {
	case markLast:
		return counted("last", rule.Last)
	case markWithin:
		if rule.Within <= 0 {
			return ""
		}
		return "within " + rule.Within.String()
	case markHourly:
		return counted("hourly", rule.Hourly)
	case markDaily:
		return counted("daily", rule.Daily)
	case markWeekly:
		return counted("weekly", rule.Weekly)
	case markMonthly:
		return counted("monthly", rule.Monthly)
	case markYearly:
		return counted("yearly", rule.Yearly)
	case markBase:
		return wordBase
	case markNewest:
		return "newest complete"
	case markVerified:
		if rule.MinVerified > 1 {
			return counted("min_verified", rule.MinVerified)
		}
		return "newest verified"
	case markIncomplete:
		return "incomplete, until there is a newer complete one"
	case markHeld:
		return "held"
	default:
		return ""
	}
}
