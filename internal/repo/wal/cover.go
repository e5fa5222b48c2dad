package wal

import (
	"cmp"
	"slices"
)

// Cover chooses pieces of one segment that follow one another from its beginning on, as far as any of them reach. A piece that
// begins inside the one before continues it from there.
func Cover(pieces []File) (out []File) {
	sorted := slices.SortedFunc(slices.Values(pieces), func(a, b File) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	at := int64(0)
	for len(sorted) > 0 && sorted[0].From <= at {
		var best File
		for len(sorted) > 0 && sorted[0].From <= at {
			if sorted[0].To > best.To {
				best = sorted[0]
			}
			sorted = sorted[1:]
		}
		if best.To > at {
			out, at = append(out, best), best.To
		}
	}
	return out
}
