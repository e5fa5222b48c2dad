package retention

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// sieve holds the marks of each point while the rules are applied one after another. Catalogs hold a million points, so
// it makes two slices for each list and nothing for each point.
type sieve struct {
	points []state.RestorePoint
	order  []int // newest first
	marks  []mark
}

func newSieve(points []state.RestorePoint, logs []state.WAL, rule policy.Retention, now time.Time, loc *time.Location) *sieve {
	s := &sieve{points: points, order: newestFirst(points), marks: make([]mark, len(points))}
	failed := s.floors(rule)
	s.rules(rule, now, loc, func(p *state.RestorePoint) bool { return !p.Incomplete })
	if failed {
		s.rules(rule, now, loc, func(p *state.RestorePoint) bool { return !p.Incomplete && proof(p) != damaged })
	}
	for _, i := range Bases(points, logs, rule, now) {
		s.marks[i] |= markBase
	}
	return s
}

// newestFirst orders by time, then id, without moving points. Catalogs keep their points sorted already.
func newestFirst(points []state.RestorePoint) []int {
	order := make([]int, len(points))
	for i := range order {
		order[i] = len(points) - 1 - i
	}
	newer := func(a, b int) int {
		return cmp.Or(points[b].Time.Compare(points[a].Time), strings.Compare(points[b].ID, points[a].ID))
	}
	if !slices.IsSortedFunc(order, newer) {
		slices.SortFunc(order, newer)
	}
	return order
}

// floors marks what stays whatever the rules say, and tells whether any complete point has a failed proof.
func (s *sieve) floors(rule policy.Retention) (failed bool) {
	complete, verified := false, 0
	for _, i := range s.order {
		p := &s.points[i]
		if p.Hold != nil {
			s.marks[i] |= markHeld
		}
		if p.Incomplete {
			if !complete {
				s.marks[i] |= markIncomplete
			}
			continue
		}
		if !complete {
			complete = true
			s.marks[i] |= markNewest
		}
		switch proof(p) {
		case proven:
			if verified < max(1, rule.MinVerified) {
				s.marks[i] |= markVerified
			}
			verified++
		case damaged:
			failed = true
		}
	}
	return failed
}

// evidence is what reading a complete point back has shown. The zero value is none.
type evidence int

const (
	proven  evidence = iota + 1 // the newest proof of some copy is good
	damaged                     // some copy was read back, and of none the newest proof is good
)

// proof is state.RestorePoint.Verified for complete points, told apart from never read back, without copying the point.
func proof(p *state.RestorePoint) (e evidence) {
	for i := range p.Copies {
		if c := &p.Copies[i]; c.Verified() {
			return proven
		} else if len(c.Proofs) > 0 {
			e = damaged
		}
	}
	return e
}

// rules applies every rule to the points that count.
func (s *sieve) rules(rule policy.Retention, now time.Time, loc *time.Location, counts func(*state.RestorePoint) bool) {
	if loc == nil {
		loc = time.UTC
	}
	periods := [...]struct {
		left   int
		bit    mark
		lowest int64 // the key of the oldest period seen
	}{
		periodHour:  {rule.Hourly, markHourly, math.MaxInt64},
		periodDay:   {rule.Daily, markDaily, math.MaxInt64},
		periodWeek:  {rule.Weekly, markWeekly, math.MaxInt64},
		periodMonth: {rule.Monthly, markMonthly, math.MaxInt64},
		periodYear:  {rule.Yearly, markYearly, math.MaxInt64},
	}
	last, within := rule.Last, now.Add(-rule.Within.Std())
	for _, i := range s.order {
		p := &s.points[i]
		if !counts(p) {
			continue
		}
		if last > 0 {
			last--
			s.marks[i] |= markLast
		}
		if rule.Within > 0 && p.Time.After(within) {
			s.marks[i] |= markWithin
		}
		keys := periodKeys(p.Time, loc)
		for k := range periods {
			// Only a key below all others is a new period: where a zone turns its clock back over midnight, a day comes twice.
			if period := &periods[k]; period.left > 0 && keys[k] < period.lowest {
				period.left--
				period.lowest = keys[k]
				s.marks[i] |= period.bit
			}
		}
	}
}

// The periods of the calendar.
const (
	periodHour = iota
	periodDay
	periodWeek
	periodMonth
	periodYear
	periodCount
)

// periodKeys numbers the hour, day, week, month and year of a moment. An hour that the clock repeats is two hours.
func periodKeys(t time.Time, loc *time.Location) [periodCount]int64 {
	local := t.In(loc)
	_, offset := local.Zone()
	year, month, _ := local.Date()
	day := floorDiv(t.Unix()+int64(offset), 86400)
	return [periodCount]int64{
		periodHour:  floorDiv(t.Unix()+int64(offset)%3600, 3600),
		periodDay:   day,
		periodWeek:  floorDiv(day+3, 7), // 1970-01-01 was a Thursday
		periodMonth: int64(year)*12 + int64(month),
		periodYear:  int64(year),
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
