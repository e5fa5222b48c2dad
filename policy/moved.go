package policy

// Destination follows moved blocks from an address to the end; empty when none begins there or they run in a circle.
func Destination(moved []Moved, from string) (to string) {
	at := from
	for range moved {
		next := ""
		for _, m := range moved {
			if m.From == at {
				next = m.To
			}
		}
		if next == "" {
			return to
		}
		if next == from {
			return ""
		}
		at, to = next, next
	}
	return to
}
