package lang

import (
	"fmt"
	"sort"
	"strings"

	"github.com/agext/levenshtein"
)

// nearest returns the known name that was most likely meant, or "".
func nearest(given string, known []string) string {
	best, distance := "", 3 // two slips are a typo, three are another word
	if len(given) <= 3 {
		distance = 2
	}
	known = append([]string(nil), known...)
	sort.Strings(known)
	for _, k := range known {
		if len(given) > 1 && sameLetters(given, k) { // letters in another order are one slip
			return k
		}
		if d := levenshtein.Distance(strings.ToLower(given), strings.ToLower(k), nil); d < distance {
			best, distance = k, d
		}
	}
	return best
}

func sameLetters(a, b string) bool {
	x, y := strings.Split(a, ""), strings.Split(b, "")
	sort.Strings(x)
	sort.Strings(y)
	return strings.Join(x, "") == strings.Join(y, "")
}

// didYouMean is a sentence for a detail: what was probably meant, or else what there is.
func didYouMean(given string, known []string, prefix string) string {
	if n := nearest(given, known); n != "" {
		return fmt.Sprintf("Did you mean %s%s?", prefix, n)
	}
	if len(known) == 0 {
		return ""
	}
	known = append([]string(nil), known...)
	sort.Strings(known)
	if len(known) > 12 {
		return ""
	}
	for i := range known {
		known[i] = prefix + known[i]
	}
	return "There is " + list(known) + "."
}

// list joins words as a sentence does: a, b and c.
func list(words []string) string {
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}

// either joins alternatives: a, b or c.
func either(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return list(words)
}

// sentences joins the parts that are not empty.
func sentences(parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, " ")
}
