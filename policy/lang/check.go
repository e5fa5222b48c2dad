package lang

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/zclconf/go-cty/cty"

	"github.com/holdfast-io/holdfast/policy"
)

// check tells what is wrong with a known value of the attribute's own type; an empty summary means nothing.
func (s *Attribute) check(v cty.Value) (summary, detail string) {
	switch s.Type {
	case TypeInt:
		return s.checkInt(v.AsBigFloat())
	case TypeDuration:
		if _, err := policy.ParseDuration(v.AsString()); err != nil {
			return fmt.Sprintf("%s is not a duration", s.Name), "Write a number and a unit, such as 90s, 15m, 36h, 7d or 2w."
		}
	case TypeBytes:
		if n, err := policy.ParseBytes(v.AsString()); err != nil {
			return fmt.Sprintf("%s is not an amount of data", s.Name), "Write a number and a unit, such as 100MB, 500GiB or 1.5TiB."
		} else if n == 0 {
			return fmt.Sprintf("%s is zero", s.Name), "Leave it out if there is no limit."
		}
	case TypeRate:
		if _, err := policy.ParseRate(v.AsString()); err != nil {
			return fmt.Sprintf("Bad %s", s.Name), fmt.Sprintf("%s. Leave it out if there is no limit.", err)
		}
	case TypePercent:
		if _, err := policy.ParsePercent(v.AsString()); err != nil {
			return fmt.Sprintf("Bad %s", s.Name), err.Error() + "."
		}
	case TypeStrings:
		for it := v.ElementIterator(); it.Next(); {
			if _, el := it.Element(); el.IsNull() || el.AsString() == "" {
				return fmt.Sprintf("%s has an empty element", s.Name), "Remove it, or compact(…) the list."
			}
		}
	case TypeString:
		return s.checkText(v.AsString())
	}
	return "", ""
}

func (s *Attribute) checkInt(f *big.Float) (summary, detail string) {
	n, accuracy := f.Int64()
	if accuracy != big.Exact {
		return fmt.Sprintf("%s is not a whole number", s.Name), fmt.Sprintf("It is %s.", f.Text('g', 10))
	}
	if n < int64(s.Min) || s.Max != 0 && n > int64(s.Max) {
		return fmt.Sprintf("%s is out of range", s.Name), fmt.Sprintf("It is %d; it must be from %d to %d.", n, s.Min, s.Max)
	}
	return "", ""
}

func (s *Attribute) checkText(text string) (summary, detail string) {
	switch {
	case len(s.Enum) > 0 && !slices.Contains(s.Enum, text):
		hint := fmt.Sprintf("Use %s.", either(quoted(s.Enum)))
		if n := nearest(text, s.Enum); n != "" {
			hint = fmt.Sprintf("Did you mean %q?", n)
		}
		return fmt.Sprintf("Unknown %s %s", s.Name, quoteShort(text)), hint
	case text == "" && s.Required:
		return fmt.Sprintf("%s is empty", s.Name), s.Doc
	}
	return "", ""
}

func quoted(words []string) []string {
	var out []string
	for _, w := range words {
		out = append(out, fmt.Sprintf("%q", w))
	}
	return out
}
