package executors

import (
	"fmt"
	"strings"
)

// ListSome joins names for a message, and counts those beyond the first n: "a, b and 3 more". No name at all is "none".
func ListSome(names []string, n int) string {
	switch {
	case len(names) == 0:
		return "none"
	case len(names) <= n:
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}
