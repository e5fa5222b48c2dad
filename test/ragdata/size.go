package ragdata

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseSize reads a number of bytes such as 300MiB or 4GiB.
func ParseSize(s string) (int64, error) {
	for _, u := range []struct {
		name  string
		shift int
	}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if digits, ok := strings.CutSuffix(s, u.name); ok {
			n, err := strconv.ParseInt(digits, 10, 32)
			if err != nil || n <= 0 {
				break
			}
			return n << u.shift, nil
		}
	}
	return 0, fmt.Errorf("%q is not a size: write for example 300MiB or 4GiB", s)
}
