package plan

import "strings"

// Diff explains why two plans have different fingerprints: one line for each change or destructive action that only one of
// them holds, "- " for those of a, "+ " for those of b. It is empty exactly when the fingerprints are equal.
func Diff(a, b Plan) string {
	count := map[string]int{}
	for _, l := range fingerprintLines(a) {
		count[l.explain()]++
	}
	var added, removed []string
	for _, l := range fingerprintLines(b) {
		if text := l.explain(); count[text] > 0 {
			count[text]--
		} else {
			added = append(added, "+ "+text)
		}
	}
	for _, l := range fingerprintLines(a) {
		if text := l.explain(); count[text] > 0 {
			count[text]--
			removed = append(removed, "- "+text)
		}
	}
	return strings.Join(append(removed, added...), "\n")
}

func (l fingerprintLine) explain() string {
	text := l.String()
	for i, a := range l.Attributes {
		if i == 0 {
			text += ": "
		} else {
			text += ", "
		}
		text += a.String()
	}
	return clean(text)
}
