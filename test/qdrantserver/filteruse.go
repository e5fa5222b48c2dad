package qdrantserver

import "encoding/json"

// fieldUse is a field that a filter looks at, and the index types that would serve it.
type fieldUse struct{ key, types string }

// fields are all fields that the filter looks at.
func (f *filter) fields() []fieldUse {
	if f == nil {
		return nil
	}
	var uses []fieldUse
	for _, list := range [][]*filter{f.Must, f.Should, f.MustNot} {
		for _, c := range list {
			uses = append(uses, c.fields()...)
		}
	}
	if f.MinShould != nil {
		for _, c := range f.MinShould.Conditions {
			uses = append(uses, c.fields()...)
		}
	}
	if f.Key != "" {
		uses = append(uses, fieldUse{f.Key, f.indexTypes()})
	}
	for _, field := range []*fieldName{f.IsEmpty, f.IsNull} {
		if field != nil {
			uses = append(uses, fieldUse{field.Key, "bool, datetime, float, geo, integer, keyword, text, text (with phrase_matching: true), uuid"})
		}
	}
	return uses
}

func (f *filter) indexTypes() string {
	switch {
	case f.Range != nil && f.Range.ofTimes():
		return "datetime"
	case f.Range != nil:
		return "float, integer"
	case f.Match == nil:
		return "keyword"
	case f.Match.Text != nil:
		return "text"
	}
	values := append(append([]any{f.Match.Value}, f.Match.Any...), f.Match.Except...)
	for _, v := range values {
		switch v.(type) {
		case json.Number:
			return "integer"
		case bool:
			return "bool"
		}
	}
	return "keyword"
}

func (r *bounds) ofTimes() bool {
	for _, b := range []any{r.GT, r.GTE, r.LT, r.LTE} {
		if _, text := b.(string); text {
			return true
		}
	}
	return false
}

// conditions is what the filter adds to the cost of a read.
func (f *filter) conditions() int {
	if f == nil {
		return 0
	}
	n := 0
	for _, list := range [][]*filter{f.Must, f.Should, f.MustNot} {
		for _, c := range list {
			n += c.conditions()
		}
	}
	if f.MinShould != nil {
		for _, c := range f.MinShould.Conditions {
			n += c.conditions()
		}
	}
	if f.Key != "" || f.IsEmpty != nil || f.IsNull != nil || f.hasIDs || f.HasVec != nil {
		n++
	}
	return n
}
