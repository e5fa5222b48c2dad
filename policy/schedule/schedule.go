// Package schedule turns a policy schedule into slots: the instants at which a backup is due.
//
// It reads no clock and runs nothing; callers pass the moment they ask about. Invariant: a slot depends only on the
// policy text and the time zone database, so every machine that asks gets the same answer. The database is compiled in
// (time/tzdata) for machines that have none.
//
// # Cron
//
// Five fields (minute, hour, day of month, month, day of week) with lists, ranges, steps and names, or @hourly, @daily,
// @midnight, @weekly, @monthly, @yearly, @annually. Fields are matched against the wall clock of the schedule's time
// zone. When both day fields are restricted, either may match, as in cron.
//
//   - A slot inside an hour that the clock skips happens once, at the first instant after the gap.
//   - A slot inside an hour that the clock repeats happens once, the first time.
//
// # Every
//
// Slots are the multiples of the duration since the Unix epoch, in UTC; the time zone is not used.
package schedule

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"time"
	_ "time/tzdata"
	// so that a schedule means the same on a machine without a zone database

	"github.com/holdfast-io/holdfast/policy"
)

// Rule is a parsed schedule. The zero Rule has no slots. Rules are immutable and safe for concurrent use.
type Rule struct {
	cron   *calendar
	every  time.Duration
	jitter time.Duration
	loc    *time.Location
}

// Location is the time zone in which the rule counts days; UTC for the zero Rule.
func (r Rule) Location() *time.Location {
	if r.loc == nil {
		return time.UTC
	}
	return r.loc
}

// Latest returns the latest slot that is not after now. ok is false when there is none.
func (r Rule) Latest(now time.Time) (slot time.Time, ok bool) {
	switch {
	case r.cron != nil:
		return r.cron.latest(now, r.loc)
	case r.every > 0:
		step := int64(r.every / time.Second)
		return time.Unix(floorDiv(now.Unix(), step)*step, 0).UTC(), true
	default:
		return time.Time{}, false
	}
}

// Next returns the first slot after the given moment; the zero time when there is none.
func (r Rule) Next(after time.Time) time.Time {
	switch {
	case r.cron != nil:
		return r.cron.next(after, r.loc)
	case r.every > 0:
		step := int64(r.every / time.Second)
		return time.Unix((floorDiv(after.Unix(), step)+1)*step, 0).UTC()
	default:
		return time.Time{}
	}
}

// Slots returns the slots after from, up to and including to, in order.
func (r Rule) Slots(from, to time.Time) []time.Time {
	var slots []time.Time
	for s := r.Next(from); !s.IsZero() && !s.After(to); s = r.Next(s) {
		slots = append(slots, s)
	}
	return slots
}

// Due returns when the slot is to be served: the slot plus a delay below the schedule's jitter. The delay is a hash of
// address and slot, so that it is the same in every plan and differs between backups that share a schedule.
func (r Rule) Due(address string, slot time.Time) time.Time {
	seconds := uint64(r.jitter / time.Second)
	if seconds == 0 {
		return slot
	}
	sum := sha256.Sum256([]byte(address + "\x00" + strconv.FormatInt(slot.Unix(), 10)))
	return slot.Add(time.Duration(binary.BigEndian.Uint64(sum[:8])%seconds) * time.Second)
}

// LatestDue returns the latest slot whose Due is not after now. ok is false when there is none.
func (r Rule) LatestDue(address string, now time.Time) (slot time.Time, ok bool) {
	for slot, ok = r.Latest(now); ok; slot, ok = r.Latest(slot.Add(-time.Second)) {
		if !r.Due(address, slot).After(now) {
			return slot, true
		}
		// Jitter is shorter than the time between two slots, except around a change of the clock: a few steps at most.
	}
	return time.Time{}, false
}

// MaxGap returns the longest time between two consecutive slots: changes of the clock, short and long months and leap
// years counted, jitter not (two backups may be MaxGap plus jitter apart). It is exact for the years 2020 to 2040. Zero
// for a Rule without slots. It walks twenty years of days, about a millisecond: keep the answer where it is needed often.
func (r Rule) MaxGap() time.Duration {
	if r.cron != nil {
		return r.cron.maxGap(r.loc)
	}
	return r.every
}

// Jitter returns the bound below which each slot is delayed.
func (r Rule) Jitter() time.Duration { return r.jitter }

// String names the rule as the policy does: `cron "15 2 * * *" Europe/Berlin` or "every 6h".
func (r Rule) String() string {
	switch {
	case r.cron != nil:
		return "cron " + strconv.Quote(r.cron.text) + " " + r.loc.String()
	case r.every > 0:
		return "every " + policy.Duration(r.every).String()
	default:
		return "no schedule"
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
