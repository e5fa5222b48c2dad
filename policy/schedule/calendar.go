package schedule

import (
	"sort"
	"time"

	"github.com/robfig/cron/v3"
)

const minutesPerDay = 24 * 60

// starBit is how the parser marks a field that was written as a star.
const starBit = 1 << 63

// margins of the walk.
const (
	// searchDays bounds the search for a matching day. The longest distance is eight years, between the leap days of 2096
	// and 2104.
	searchDays = 8*366 + 1
	// foldMinutes is more than any zone has turned its clock back at once since 1970: a wall time this far ahead of now may
	// have happened already.
	foldMinutes = 3 * 60
)

// calendar is a cron expression as a set of wall-clock minutes: all the days that match × the same minutes of each day.
// A wall time is counted in minutes since 1970-01-01 00:00 by the wall clock, as if every day had 24 hours.
type calendar struct {
	text            string
	minutes         []int64 // of a day, sorted, never empty
	dom, month, dow uint64
}

func newCalendar(text string, spec *cron.SpecSchedule) *calendar {
	c := &calendar{text: text, dom: spec.Dom, month: spec.Month, dow: spec.Dow}
	for h := range 24 {
		for m := range 60 {
			if spec.Hour&(1<<h) != 0 && spec.Minute&(1<<m) != 0 {
				c.minutes = append(c.minutes, int64(h*60+m))
			}
		}
	}
	return c
}

// matches tells whether a day (counted from 1970-01-01) has slots.
func (c *calendar) matches(day int64) bool {
	t := time.Unix(day*86400, 0).UTC()
	_, month, dom := t.Date()
	if c.month&(1<<uint(month)) == 0 {
		return false
	}
	byDom, byDow := c.dom&(1<<uint(dom)) != 0, c.dow&(1<<uint(t.Weekday())) != 0
	if c.dom&starBit != 0 || c.dow&starBit != 0 {
		return byDom && byDow
	}
	return byDom || byDow
}

// atOrAfter returns the first wall time that matches and is not before wall.
func (c *calendar) atOrAfter(wall int64) (int64, bool) {
	day, minute := floorDiv(wall, minutesPerDay), wall-floorDiv(wall, minutesPerDay)*minutesPerDay
	for range searchDays {
		if c.matches(day) {
			if i := sort.Search(len(c.minutes), func(i int) bool { return c.minutes[i] >= minute }); i < len(c.minutes) {
				return day*minutesPerDay + c.minutes[i], true
			}
		}
		day, minute = day+1, 0
	}
	return 0, false
}

// atOrBefore returns the last wall time that matches and is not after wall.
func (c *calendar) atOrBefore(wall int64) (int64, bool) {
	day, minute := floorDiv(wall, minutesPerDay), wall-floorDiv(wall, minutesPerDay)*minutesPerDay
	for range searchDays {
		if c.matches(day) {
			if i := sort.Search(len(c.minutes), func(i int) bool { return c.minutes[i] > minute }); i > 0 {
				return day*minutesPerDay + c.minutes[i-1], true
			}
		}
		day, minute = day-1, minutesPerDay-1
	}
	return 0, false
}

// latest relies on instant never falling when the wall time grows: the first hit going down is the answer.
func (c *calendar) latest(now time.Time, loc *time.Location) (time.Time, bool) {
	wall, ok := c.atOrBefore(wallOf(now, loc) + foldMinutes)
	for ; ok; wall, ok = c.atOrBefore(wall - 1) {
		if t := instant(wall, loc); !t.After(now) {
			return t, true
		}
	}
	return time.Time{}, false
}

// next starts at the wall time of after, because every earlier wall time is an instant that is not after it.
func (c *calendar) next(after time.Time, loc *time.Location) time.Time {
	wall, ok := c.atOrAfter(wallOf(after, loc))
	for ; ok; wall, ok = c.atOrAfter(wall + 1) {
		if t := instant(wall, loc); t.After(after) {
			return t
		}
	}
	return time.Time{}
}

// maxGap looks at the first and last slot of each matching day, and at every slot of the days on which the clock changes.
func (c *calendar) maxGap(loc *time.Location) time.Duration {
	from := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).Unix() / 86400
	to := time.Date(2041, 1, 1, 0, 0, 0, 0, time.UTC).Unix() / 86400
	var inside time.Duration // the longest gap between two slots of an ordinary day
	for i := 1; i < len(c.minutes); i++ {
		inside = max(inside, time.Duration(c.minutes[i]-c.minutes[i-1])*time.Minute)
	}

	var longest time.Duration
	var last time.Time
	for day := from; day < to; day++ {
		if !c.matches(day) {
			continue
		}
		slots := func(i int) time.Time { return instant(day*minutesPerDay+c.minutes[i], loc) }
		if !last.IsZero() {
			longest = max(longest, slots(0).Sub(last))
		}
		if changes(day, loc) {
			for i := 1; i < len(c.minutes); i++ {
				longest = max(longest, slots(i).Sub(slots(i-1)))
			}
		} else {
			longest = max(longest, inside)
		}
		last = slots(len(c.minutes) - 1)
	}
	return longest
}

// changes tells whether a clock in loc is turned during the day.
func changes(day int64, loc *time.Location) bool {
	return instant((day+1)*minutesPerDay, loc).Sub(instant(day*minutesPerDay, loc)) != 24*time.Hour
}

// wallOf is the wall time that a clock in loc shows, seconds dropped.
func wallOf(t time.Time, loc *time.Location) int64 {
	_, offset := t.In(loc).Zone()
	return floorDiv(t.Unix()+int64(offset), 60)
}

// instant is when a clock in loc first shows the wall time; for one that is skipped, the first instant after the gap.
// The answer never falls when wall grows.
func instant(wall int64, loc *time.Location) time.Time {
	w := time.Unix(wall*60, 0).UTC()
	t := time.Date(w.Year(), w.Month(), w.Day(), w.Hour(), w.Minute(), 0, 0, loc)
	start, end := t.ZoneBounds()
	switch shown := wallOf(t, loc); {
	case shown > wall: // time.Date went past the gap
		return start.UTC()
	case shown < wall: // time.Date stayed before the gap
		return end.UTC()
	}
	if !start.IsZero() {
		_, offset := start.Add(-time.Second).Zone()
		if earlier := time.Unix(wall*60-int64(offset), 0); earlier.Before(start) {
			return earlier.UTC()
		}
	}
	return t.UTC()
}
