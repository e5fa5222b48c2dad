package cli

import "github.com/agext/levenshtein"

// suggest returns the name closest to the one given, or nothing when none is close.
func suggest(given string, names []string) string {
	best, distance := "", 3
	for _, n := range names {
		if d := levenshtein.Distance(given, n, nil); d < distance {
			best, distance = n, d
		}
	}
	return best
}
