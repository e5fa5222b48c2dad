package policy

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

func marshalRef(ref string) ([]byte, error) {
	return json.Marshal(struct {
		Ref string `json:"sensitive"`
	}{ref})
}

// String writes the duration in the largest unit that divides it: 7d, 36h, 90m, 1.5s.
func (d Duration) String() string {
	t := time.Duration(d)
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if t != 0 && t%u.size == 0 {
			return strconv.FormatInt(int64(t/u.size), 10) + u.name
		}
	}
	return t.String()
}

// MarshalJSON encodes the text form.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the text form.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	v, err := ParseDuration(s)
	*d = v
	return err
}

// maxDuration bounds durations: longer ones are a slip of the keyboard, and sums of them stay far from overflow.
const maxDuration = 100 * 366 * 24 * time.Hour

// ParseDuration reads what time.ParseDuration reads, and the units d (24h) and w (7d) in front: "36h", "7d", "1d12h", "2w".
// Negative durations and those above 100 years are errors.
func ParseDuration(s string) (Duration, error) {
	bad := fmt.Errorf("%q is not a duration; write for example 90s, 15m, 36h, 7d or 2w", s)
	rest, total := s, time.Duration(0)
	for rest != "" {
		i := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if i <= 0 {
			break
		}
		unit := map[byte]time.Duration{'d': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[rest[i]]
		if unit == 0 {
			break
		}
		n, err := strconv.ParseFloat(rest[:i], 64)
		if err != nil || n*float64(unit) > float64(maxDuration) {
			return 0, bad
		}
		if total += time.Duration(n * float64(unit)); total > maxDuration {
			return 0, bad
		}
		rest = rest[i+1:]
	}
	if rest != "" {
		t, err := time.ParseDuration(rest)
		if err != nil || t < 0 || t > maxDuration {
			return 0, bad
		}
		total += t
	}
	if s == "" || total > maxDuration {
		return 0, bad
	}
	return Duration(total), nil
}
