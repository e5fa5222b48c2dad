package planner

import (
	"encoding/json"
	"time"

	"github.com/holdfast-io/holdfast/internal/diag"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/schedule"
	"github.com/holdfast-io/holdfast/state"
)

// rules parses each distinct schedule once: fleets declare thousands of backups with few schedules.
type rules struct {
	parsed map[policy.Schedule]schedule.Rule
	moved  []policy.Moved
}

func newRules(set policy.Set) (*rules, diag.List) {
	r := &rules{parsed: map[policy.Schedule]schedule.Rule{}, moved: set.Moved}
	var diags diag.List
	for _, address := range sortedKeys(set.Backups) {
		if s := set.Backups[address].Schedule; s != nil {
			if _, err := r.parse(*s); err != nil {
				diags = append(diags, diag.NewError(address, "The schedule cannot be used", err.Error()))
			}
		}
	}
	return r, diags
}

func (r *rules) parse(s policy.Schedule) (schedule.Rule, error) {
	s.Paused = false
	if rule, ok := r.parsed[s]; ok {
		return rule, nil
	}
	rule, err := schedule.Parse(s)
	if err == nil {
		r.parsed[s] = rule
	}
	return rule, err
}

// of returns the rule of a backup; the zero rule when it has no schedule.
func (r *rules) of(b policy.Backup) schedule.Rule {
	if b.Schedule == nil {
		return schedule.Rule{}
	}
	rule, err := r.parse(*b.Schedule)
	if err != nil {
		return schedule.Rule{} // of an older policy that this version cannot read any more; those of today were checked
	}
	return rule
}

// keeping is how long a backup's points stay: the retention and the zone whose calendar it counts by. Without a retention
// everything stays.
type keeping struct {
	retention policy.Retention
	loc       *time.Location
	some      bool
}

func (k keeping) equal(o keeping) bool {
	k.retention.Address, o.retention.Address = "", ""
	return k.some == o.some && (!k.some || k.retention == o.retention && k.loc.String() == o.loc.String())
}

func (r *rules) keepingOf(b policy.Backup, retention policy.Retention, found bool) keeping {
	return keeping{retention: retention, loc: r.of(b).Location(), some: found && b.Retention != ""}
}

func (r *rules) desired(set policy.Set, address string) keeping {
	b := set.Backups[address]
	retention, found := set.Retentions[b.Retention]
	return r.keepingOf(b, retention, found)
}

// applied is how long points stay by the policy last applied. What was never applied, or is forgotten, expires nothing.
func (r *rules) applied(objects map[string]state.Object, address string) (keeping, policy.Backup) {
	var b policy.Backup
	var retention policy.Retention
	o, ok := objects[address]
	if !ok || o.Forgotten || json.Unmarshal(o.Attributes, &b) != nil {
		return keeping{}, b
	}
	b.Retention = r.today(objects, b.Retention)
	ro, found := objects[b.Retention]
	found = found && json.Unmarshal(ro.Attributes, &retention) == nil
	return r.keepingOf(b, retention, found), b
}

// today is the address under which the catalog knows what an applied backup refers to: references in the catalog still
// name a retention as it was called before it was moved.
func (r *rules) today(objects map[string]state.Object, address string) string {
	if _, there := objects[address]; !there {
		if to := policy.Destination(r.moved, address); to != "" {
			return to
		}
	}
	return address
}
