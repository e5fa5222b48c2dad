package replication

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// settingUnits are PostgreSQL's units of time, as SHOW prints them (src/backend/utils/misc/guc.c, time_unit_conversion_table).
var settingUnits = map[string]time.Duration{
	"": time.Millisecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
}

// reportInterval is how often to report to a server with this wal_sender_timeout: three times in it, so that one report may
// be lost.
func reportInterval(timeout string) (time.Duration, error) {
	digits := strings.TrimRight(timeout, "adhimns")
	n, err := strconv.ParseInt(digits, 10, 32)
	unit, ok := settingUnits[timeout[len(digits):]]
	if err != nil || !ok || n < 0 {
		return 0, fmt.Errorf("wal_sender_timeout is %.40q, which cannot be read", timeout)
	}
	if n == 0 { // the server waits for ever
		return statusInterval, nil
	}
	return max(time.Millisecond, min(statusInterval, time.Duration(n)*unit/3)), nil
}
