package policy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteUnits are the units of amounts of data, decimal and binary.
var byteUnits = map[string]float64{
	"": 1, "B": 1,
	"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50,
}

// ParseBytes reads an amount of data, such as "500GiB", "1.5 TB" or "4096", into bytes.
func ParseBytes(s string) (int64, error) {
	i := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if i < 0 {
		i = len(s)
	}
	unit, known := byteUnits[strings.TrimSpace(s[i:])]
	n, err := strconv.ParseFloat(s[:i], 64)
	if err != nil || !known || n*unit >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is not an amount of data; write for example 100MB, 500GiB or 1.5TiB", s)
	}
	return int64(n * unit), nil
}

// FormatBytes writes a size as a person reads it: "0 B", "812 KiB", "1.2 GiB".
func FormatBytes(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, unit := float64(n)/1024, 0
	for value >= 1023.95 && unit < 4 {
		value, unit = value/1024, unit+1
	}
	digits := 1
	if value >= 99.95 {
		digits = 0
	}
	return strconv.FormatFloat(value, 'f', digits, 64) + " " + [...]string{"KiB", "MiB", "GiB", "TiB", "PiB"}[unit]
}

// ParseRate reads an amount of data per second, such as "50MiB/s", into bytes per second. Rates below MinRate are errors: a
// number without its unit is the usual reason.
func ParseRate(s string) (int64, error) {
	amount, ok := strings.CutSuffix(s, "/s")
	n, err := ParseBytes(strings.TrimSpace(amount))
	switch {
	case !ok || err != nil:
		return 0, fmt.Errorf("%q is not a rate; write for example 500kB/s, 50MiB/s or 1GiB/s", s)
	case n < MinRate:
		return 0, fmt.Errorf("%q is less than 1KiB/s, too slow for anything to end", s)
	}
	return n, nil
}

// MinRate is the least rate, in bytes per second.
const MinRate = 1 << 10
