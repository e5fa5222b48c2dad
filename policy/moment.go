package policy

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Moment is where a point-in-time recovery stops. Exactly one field is set.
type Moment struct {
	Latest bool      // the end of what is stored
	Time   time.Time // after what was committed at this time or before
	LSN    string    // a position in the write-ahead log, as PostgreSQL writes it
	Name   string    // a restore point made by pg_create_restore_point
	XID    uint64    // a transaction
}

var lsnText = regexp.MustCompile(`^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$`)

// ParseMoment reads "latest", an RFC 3339 time (a blank for the T will do; without an offset it is UTC), an LSN, "name:NAME" or
// "xid:NUMBER".
func ParseMoment(text string) (Moment, error) {
	switch {
	case text == "latest":
		return Moment{Latest: true}, nil
	case lsnText.MatchString(text):
		return Moment{LSN: strings.ToUpper(text)}, nil
	case strings.HasPrefix(text, "name:"):
		if name := strings.TrimPrefix(text, "name:"); name != "" && len(name) < 64 && !strings.ContainsRune(name, 0) {
			return Moment{Name: name}, nil
		}
		return Moment{}, fmt.Errorf("%q names no restore point; PostgreSQL's have 1 to 63 bytes", text)
	case strings.HasPrefix(text, "xid:"):
		if xid, err := strconv.ParseUint(strings.TrimPrefix(text, "xid:"), 10, 64); err == nil && xid > 0 {
			return Moment{XID: xid}, nil
		}
		return Moment{}, fmt.Errorf("%q is no transaction; write for example xid:4711", text)
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999"} {
		if t, err := time.Parse(layout, text); err == nil {
			return Moment{Time: t.UTC()}, nil
		}
	}
	return Moment{}, fmt.Errorf("%.100q is no moment: write latest, a time such as 2026-11-22T02:15:00Z, an LSN such as 16/B374D848, name:NAME or xid:NUMBER", text)
}

// String writes the moment as ParseMoment reads it.
func (m Moment) String() string {
	switch {
	case m.Latest:
		return "latest"
	case m.LSN != "":
		return m.LSN
	case m.Name != "":
		return "name:" + m.Name
	case m.XID != 0:
		return "xid:" + strconv.FormatUint(m.XID, 10)
	}
	return m.Time.Format(time.RFC3339Nano)
}
