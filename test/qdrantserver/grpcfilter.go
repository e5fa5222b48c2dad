package qdrantserver

import (
	"encoding/json"
	"strconv"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// filterFromProto takes the conditions that the REST filter knows too.
func filterFromProto(in *qdrant.Filter) (*filter, error) {
	if in == nil {
		return nil, nil
	}
	f := &filter{}
	for _, c := range []struct {
		from []*qdrant.Condition
		to   *[]*filter
	}{{in.Must, &f.Must}, {in.Should, &f.Should}, {in.MustNot, &f.MustNot}} {
		for _, condition := range c.from {
			one, err := conditionFromProto(condition)
			if err != nil {
				return nil, err
			}
			*c.to = append(*c.to, one)
		}
	}
	return f, nil
}

func conditionFromProto(in *qdrant.Condition) (*filter, error) {
	switch o := in.GetConditionOneOf().(type) {
	case *qdrant.Condition_Filter:
		return filterFromProto(o.Filter)
	case *qdrant.Condition_IsEmpty:
		return &filter{IsEmpty: &fieldName{o.IsEmpty.GetKey()}}, nil
	case *qdrant.Condition_IsNull:
		return &filter{IsNull: &fieldName{o.IsNull.GetKey()}}, nil
	case *qdrant.Condition_HasVector:
		return &filter{HasVec: qdrant.PtrOf(o.HasVector.GetHasVector())}, nil
	case *qdrant.Condition_HasId:
		f := &filter{hasIDs: true}
		for _, id := range o.HasId.GetHasId() {
			parsed, err := idFromProto(id)
			if err != nil {
				return nil, err
			}
			f.HasID = append(f.HasID, parsed)
		}
		return f, nil
	case *qdrant.Condition_Field:
		return fieldFromProto(o.Field)
	}
	return nil, status.Error(codes.Unimplemented, "this condition is not served here")
}

func fieldFromProto(in *qdrant.FieldCondition) (*filter, error) {
	f := &filter{Key: in.GetKey()}
	if r := in.GetRange(); r != nil {
		number := func(v *float64) any {
			if v == nil {
				return nil
			}
			return json.Number(formatFloat(*v, 64))
		}
		f.Range = &bounds{GT: number(r.Gt), GTE: number(r.Gte), LT: number(r.Lt), LTE: number(r.Lte)}
		return f, nil
	}
	f.Match = &match{}
	switch m := in.GetMatch().GetMatchValue().(type) {
	case *qdrant.Match_Keyword:
		f.Match.Value = m.Keyword
	case *qdrant.Match_Integer:
		f.Match.Value = json.Number(strconv.FormatInt(m.Integer, 10))
	case *qdrant.Match_Boolean:
		f.Match.Value = m.Boolean
	case *qdrant.Match_Text:
		f.Match.Text = &m.Text
	case *qdrant.Match_Keywords:
		f.Match.Any = anyOf(m.Keywords.GetStrings())
	case *qdrant.Match_ExceptKeywords:
		f.Match.Except = anyOf(m.ExceptKeywords.GetStrings())
	case *qdrant.Match_Integers:
		f.Match.Any = numbersOf(m.Integers.GetIntegers())
	case *qdrant.Match_ExceptIntegers:
		f.Match.Except = numbersOf(m.ExceptIntegers.GetIntegers())
	default:
		return nil, status.Error(codes.Unimplemented, "this match is not served here")
	}
	return f, nil
}

func anyOf(list []string) []any {
	out := []any{}
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

func numbersOf(list []int64) []any {
	out := []any{}
	for _, n := range list {
		out = append(out, json.Number(strconv.FormatInt(n, 10)))
	}
	return out
}
