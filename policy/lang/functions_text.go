package lang

import (
	"crypto/md5" //nolint:gosec // offered to users for names, not for security
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// textToText makes a function of one text.
func textToText(f func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params:       []function.Parameter{{Name: "text", Type: cty.String}},
		Type:         function.StaticReturnType(cty.String),
		RefineResult: notNull,
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			out, err := f(args[0].AsString())
			return cty.StringVal(out), err
		},
	})
}

func notNull(b *cty.RefinementBuilder) *cty.RefinementBuilder { return b.NotNull() }

var (
	base64EncodeFunc = textToText(func(s string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil })
	base64DecodeFunc = textToText(func(s string) (string, error) {
		b, err := base64.StdEncoding.DecodeString(s)
		switch {
		case err != nil:
			return "", errors.New("the argument is not base64")
		case !utf8.Valid(b):
			return "", errors.New("what the argument decodes to is not text")
		}
		return string(b), nil
	})
	sha256Func = textToText(func(s string) (string, error) {
		h := sha256.Sum256([]byte(s))
		return hex.EncodeToString(h[:]), nil
	})
	md5Func = textToText(func(s string) (string, error) {
		h := md5.Sum([]byte(s)) //nolint:gosec // see above
		return hex.EncodeToString(h[:]), nil
	})
	urlEncodeFunc = textToText(func(s string) (string, error) { return url.QueryEscape(s), nil })
)

// pathFunc makes a function of one path. Paths of a policy are slash-separated on every system.
func pathFunc(f func(string) string) function.Function {
	return textToText(func(s string) (string, error) { return f(s), nil })
}

func basename(p string) string { return path.Base(p) }
func dirname(p string) string  { return path.Dir(p) }

// textTest makes a function that compares two texts.
func textTest(f func(text, part string) bool) function.Function {
	return function.New(&function.Spec{
		Params:       []function.Parameter{{Name: "text", Type: cty.String}, {Name: "part", Type: cty.String}},
		Type:         function.StaticReturnType(cty.Bool),
		RefineResult: notNull,
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

func startsWith(s, part string) bool { return strings.HasPrefix(s, part) }
func endsWith(s, part string) bool   { return strings.HasSuffix(s, part) }
func contains(s, part string) bool   { return strings.Contains(s, part) }

// replaceFunc replaces a text, or a regular expression between slashes.
var replaceFunc = function.New(&function.Spec{
	Params:       []function.Parameter{{Name: "text", Type: cty.String}, {Name: "search", Type: cty.String}, {Name: "replacement", Type: cty.String}},
	Type:         function.StaticReturnType(cty.String),
	RefineResult: notNull,
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		s, search, by := args[0].AsString(), args[1].AsString(), args[2].AsString()
		if len(search) < 2 || !strings.HasPrefix(search, "/") || !strings.HasSuffix(search, "/") {
			return cty.StringVal(strings.ReplaceAll(s, search, by)), nil
		}
		re, err := regexp.Compile(search[1 : len(search)-1])
		if err != nil {
			return cty.UnknownVal(cty.String), function.NewArgError(1, err)
		}
		return cty.StringVal(re.ReplaceAllString(s, by)), nil
	},
})

// lengthFunc counts elements, or the characters of a text.
var lengthFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true, AllowUnknown: true}},
	Type: func(args []cty.Value) (cty.Type, error) {
		t := args[0].Type()
		if t != cty.String && t != cty.DynamicPseudoType && !t.IsCollectionType() && !t.IsTupleType() && !t.IsObjectType() {
			return cty.Number, errors.New("the argument must be a text, a list, a map or a set")
		}
		return cty.Number, nil
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		v := args[0]
		switch t := v.Type(); {
		case t.IsTupleType():
			return cty.NumberIntVal(int64(len(t.TupleElementTypes()))), nil
		case t.IsObjectType():
			return cty.NumberIntVal(int64(len(t.AttributeTypes()))), nil
		case !v.IsKnown():
			return cty.UnknownVal(cty.Number), nil
		case t == cty.String:
			return stdlib.Strlen(v)
		default:
			return v.Length(), nil
		}
	},
})

// lookupFunc finds an element by key; without a default a missing key is an error.
var lookupFunc = function.New(&function.Spec{
	Params:   []function.Parameter{{Name: "map", Type: cty.DynamicPseudoType}, {Name: "key", Type: cty.String}},
	VarParam: &function.Parameter{Name: "default", Type: cty.DynamicPseudoType, AllowNull: true, AllowDynamicType: true},
	Type:     function.StaticReturnType(cty.DynamicPseudoType),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		m, key := args[0], args[1].AsString()
		if t := m.Type(); !t.IsMapType() && !t.IsObjectType() {
			return cty.DynamicVal, function.NewArgErrorf(0, "a map is required")
		}
		if len(args) > 3 {
			return cty.DynamicVal, errors.New("lookup takes a map, a key and at most one default")
		}
		for it := m.ElementIterator(); it.Next(); {
			if k, v := it.Element(); k.AsString() == key {
				return v, nil
			}
		}
		if len(args) == 3 {
			return args[2], nil
		}
		return cty.DynamicVal, function.NewArgErrorf(1, "the map has no such key, and no default is given")
	},
})

// indexFunc finds the position of a value.
var indexFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}, {Name: "value", Type: cty.DynamicPseudoType}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if t := args[0].Type(); !t.IsListType() && !t.IsTupleType() {
			return cty.UnknownVal(cty.Number), function.NewArgErrorf(0, "a list is required")
		}
		for it := args[0].ElementIterator(); it.Next(); {
			k, v := it.Element()
			eq, err := stdlib.Equal(v, args[1])
			if err != nil || !eq.IsKnown() {
				return cty.UnknownVal(cty.Number), err
			}
			if eq.True() {
				return k, nil
			}
		}
		return cty.UnknownVal(cty.Number), function.NewArgErrorf(1, "the list has no such element")
	},
})

// oneFunc unwraps a list of none or one.
var oneFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
	Type:   function.StaticReturnType(cty.DynamicPseudoType),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if t := args[0].Type(); !t.IsListType() && !t.IsTupleType() && !t.IsSetType() {
			return cty.DynamicVal, function.NewArgErrorf(0, "a list or set is required")
		}
		switch args[0].LengthInt() {
		case 0:
			return cty.NullVal(cty.DynamicPseudoType), nil
		case 1:
			it := args[0].ElementIterator()
			it.Next()
			_, v := it.Element()
			return v, nil
		default:
			return cty.DynamicVal, function.NewArgErrorf(0, "it has more than one element")
		}
	},
})

// sumFunc adds numbers.
var sumFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "numbers", Type: cty.List(cty.Number)}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		total := cty.Zero
		for it := args[0].ElementIterator(); it.Next(); {
			_, v := it.Element()
			if v.IsNull() {
				return cty.UnknownVal(cty.Number), function.NewArgErrorf(0, "an element is null")
			}
			total = total.Add(v)
		}
		return total, nil
	},
})

func allOrAny(stop bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "values", Type: cty.List(cty.Bool)}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			out := cty.BoolVal(!stop)
			for it := args[0].ElementIterator(); it.Next(); {
				_, v := it.Element()
				switch {
				case v.IsNull():
					v = cty.False
				case !v.IsKnown():
					out = cty.UnknownVal(cty.Bool)
					continue
				}
				if v.True() == stop {
					return cty.BoolVal(stop), nil
				}
			}
			return out, nil
		},
	})
}

var (
	allTrueFunc = allOrAny(false)
	anyTrueFunc = allOrAny(true)
)

// typeFunc names a type, as it is written in a variable block.
var typeFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		return cty.StringVal(typeexpr.TypeString(args[0].Type())), nil
	},
})
