package qdrantserver

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"time"
)

// filter is a condition on points: clauses of conditions, or a single condition.
type filter struct {
	Must, Should, MustNot []*filter
	MinShould             *struct {
		Conditions []*filter `json:"conditions"`
		MinCount   int       `json:"min_count"`
	}

	Key     string
	Match   *match
	Range   *bounds
	IsEmpty *fieldName
	IsNull  *fieldName
	HasID   []pointID
	hasIDs  bool
	HasVec  *string
}

type fieldName struct {
	Key string `json:"key"`
}

type match struct {
	Value  any     `json:"value"`
	Any    []any   `json:"any"`
	Except []any   `json:"except"`
	Text   *string `json:"text"`
}

type bounds struct {
	GT  any `json:"gt"`
	GTE any `json:"gte"`
	LT  any `json:"lt"`
	LTE any `json:"lte"`
}

// UnmarshalJSON reads a filter or one of its conditions. A clause may be a list or a single condition.
func (f *filter) UnmarshalJSON(text []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	for name, value := range raw {
		if err := f.set(name, value); err != nil {
			return err
		}
	}
	if f.Key != "" && f.Match == nil && f.Range == nil {
		return fail(kindInvalid, "Validation error in JSON body: [filter.__all__: Validation error: At least one field condition must be specified [{}]]")
	}
	return nil
}

func (f *filter) set(name string, value json.RawMessage) error {
	if string(value) == "null" {
		return nil
	}
	switch name {
	case "must":
		return clause(value, &f.Must)
	case "should":
		return clause(value, &f.Should)
	case "must_not":
		return clause(value, &f.MustNot)
	case "min_should":
		return strictJSON(value, &f.MinShould)
	case "key":
		return strictJSON(value, &f.Key)
	case "match":
		return strictJSON(value, &f.Match)
	case "range":
		return strictJSON(value, &f.Range)
	case "is_empty":
		return strictJSON(value, &f.IsEmpty)
	case "is_null":
		return strictJSON(value, &f.IsNull)
	case "has_id":
		f.hasIDs = true
		return strictJSON(value, &f.HasID)
	case "has_vector":
		return strictJSON(value, &f.HasVec)
	case "filter": // a nested filter of an older spelling
		var nested *filter
		if err := strictJSON(value, &nested); err != nil {
			return err
		}
		f.Must = append(f.Must, nested)
		return nil
	}
	return fail(kindFormat, "Format error in JSON body: unknown field `%s`, expected one of `should`, `min_should`, `must`, `must_not`", name)
}

func clause(value json.RawMessage, into *[]*filter) error {
	if value[0] == '[' {
		return strictJSON(value, into)
	}
	var one *filter
	if err := strictJSON(value, &one); err != nil {
		return err
	}
	*into = []*filter{one}
	return nil
}

func strictJSON(value []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// matches says whether a point fulfils the filter. A nil filter lets everything through.
func (f *filter) matches(p *point) bool {
	if f == nil {
		return true
	}
	for _, c := range f.Must {
		if !c.matches(p) {
			return false
		}
	}
	for _, c := range f.MustNot {
		if c.matches(p) {
			return false
		}
	}
	if len(f.Should) > 0 && count(f.Should, p) == 0 {
		return false
	}
	if f.MinShould != nil && count(f.MinShould.Conditions, p) < f.MinShould.MinCount {
		return false
	}
	return f.matchesField(p)
}

func count(list []*filter, p *point) (n int) {
	for _, c := range list {
		if c.matches(p) {
			n++
		}
	}
	return n
}

func (f *filter) matchesField(p *point) bool {
	if f.hasIDs && !contains(f.HasID, p.id) {
		return false
	}
	if f.HasVec != nil {
		if _, has := p.vectors[*f.HasVec]; !has {
			return false
		}
	}
	if f.IsEmpty != nil {
		for _, v := range fieldValues(p.tree, f.IsEmpty.Key) {
			if list, isList := v.([]any); v != nil && (!isList || len(list) > 0) {
				return false
			}
		}
	}
	if f.IsNull != nil && !anyNull(fieldValues(p.tree, f.IsNull.Key)) {
		return false
	}
	if f.Key == "" || f.Match == nil && f.Range == nil {
		return true
	}
	for _, v := range flattened(fieldValues(p.tree, f.Key)) {
		if f.Match != nil && f.Match.holds(v) || f.Range != nil && f.Range.holds(v) {
			return true
		}
	}
	return false
}

func contains(ids []pointID, id pointID) bool {
	for _, other := range ids {
		if other == id {
			return true
		}
	}
	return false
}

func anyNull(values []any) bool {
	for _, v := range values {
		if v == nil {
			return true
		}
		if list, ok := v.([]any); ok && anyNull(list) {
			return true
		}
	}
	return false
}

func (m *match) holds(v any) bool {
	switch {
	case m.Text != nil:
		s, ok := v.(string)
		return ok && strings.Contains(s, *m.Text)
	case m.Any != nil:
		for _, want := range m.Any {
			if sameValue(want, v) {
				return true
			}
		}
		return false
	case m.Except != nil:
		for _, want := range m.Except {
			if sameValue(want, v) {
				return false
			}
		}
		return v != nil
	}
	return sameValue(m.Value, v)
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		return ok && a == b
	case string:
		return a == b
	case bool:
		return a == b
	}
	return false
}

func (r *bounds) holds(v any) bool {
	for _, b := range []struct {
		bound any
		ok    func(int) bool
	}{
		{r.GT, func(c int) bool { return c > 0 }},
		{r.GTE, func(c int) bool { return c >= 0 }},
		{r.LT, func(c int) bool { return c < 0 }},
		{r.LTE, func(c int) bool { return c <= 0 }},
	} {
		if b.bound == nil {
			continue
		}
		c, comparable := compareValues(v, b.bound)
		if !comparable || !b.ok(c) {
			return false
		}
	}
	return true
}

// compareValues compares numbers with numbers and times with times.
func compareValues(a, b any) (int, bool) {
	switch b := b.(type) {
	case json.Number:
		a, ok := a.(json.Number)
		if !ok {
			return 0, false
		}
		x, okX := new(big.Float).SetString(string(a))
		y, okY := new(big.Float).SetString(string(b))
		if !okX || !okY {
			return 0, false
		}
		return x.Cmp(y), true
	case string:
		a, ok := a.(string)
		if !ok {
			return 0, false
		}
		x, okX := parseTime(a)
		y, okY := parseTime(b)
		return x.Compare(y), okX && okY
	}
	return 0, false
}

func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
