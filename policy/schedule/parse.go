package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/holdfast-io/holdfast/policy"
)

// Parse checks a policy schedule and makes a Rule of it. Paused is not part of the rule: a paused schedule keeps its
// slots, and the caller decides not to serve them.
func Parse(s policy.Schedule) (Rule, error) {
	loc, err := zone(s.Timezone)
	if err != nil {
		return Rule{}, err
	}
	rule := Rule{loc: loc, every: s.Every.Std(), jitter: s.Jitter.Std()}
	switch {
	case s.Cron != "" && s.Every != 0:
		return Rule{}, errors.New("a schedule has either cron or every, not both")
	case s.Cron != "":
		if rule.cron, err = parseCron(s.Cron); err != nil {
			return Rule{}, err
		}
	case s.Every == 0:
		return Rule{}, errors.New("a schedule needs cron or every")
	case rule.every < time.Second || rule.every%time.Second != 0:
		return Rule{}, fmt.Errorf("every = %q: write a whole number of seconds, at least one", s.Every)
	}
	if rule.jitter < 0 {
		return Rule{}, fmt.Errorf("jitter = %q: a delay cannot be negative", s.Jitter)
	}
	if shortest := rule.minGap(); rule.jitter >= shortest {
		return Rule{}, fmt.Errorf("jitter = %q must be shorter than the time between two slots (%s)", s.Jitter, policy.Duration(shortest))
	}
	return rule, nil
}

// zone finds a time zone. "Local" is refused because a plan must not depend on the machine that makes it.
func zone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("timezone = %q is not an IANA time zone; write for example \"Europe/Berlin\" or \"UTC\"", name)
	}
	return loc, nil
}

var fields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

func parseCron(text string) (*calendar, error) {
	switch {
	case strings.Contains(text, "TZ="):
		return nil, fmt.Errorf("cron = %q: name the time zone with the timezone attribute", text)
	case strings.HasPrefix(text, "@every"):
		return nil, fmt.Errorf("cron = %q: write every = \"…\" in place of cron", text)
	case strings.TrimSpace(text) == "":
		return nil, errors.New("cron is empty; write five fields: minute, hour, day of month, month, day of week")
	}
	parsed, err := fields.Parse(sundays(text))
	if err != nil {
		return nil, fmt.Errorf("cron = %q: %w", text, err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("cron = %q is not a list of five fields", text)
	}
	c := newCalendar(text, spec)
	if _, ok := c.atOrAfter(0); !ok {
		return nil, fmt.Errorf("cron = %q never happens: no month it names has that day", text)
	}
	return c, nil
}

// sundays rewrites 7, which crontab(5) allows for Sunday and the parser does not know, in the day-of-week field.
func sundays(text string) string {
	f := strings.Fields(text)
	if len(f) != 5 {
		return text
	}
	days := strings.Split(f[4], ",")
	for i, d := range days {
		if d == "7" {
			days[i] = "0"
		} else if from, found := strings.CutSuffix(d, "-7"); found {
			days[i] = from + "-6,0"
		}
	}
	f[4] = strings.Join(days, ",")
	return strings.Join(f, " ")
}

// minGap is the shortest time between two slots by the wall clock.
func (r Rule) minGap() time.Duration {
	if r.cron == nil {
		return r.every
	}
	m := r.cron.minutes
	shortest := m[0] + minutesPerDay - m[len(m)-1]
	for i := 1; i < len(m); i++ {
		shortest = min(shortest, m[i]-m[i-1])
	}
	return time.Duration(shortest) * time.Minute
}
